"""A process's clock with a memory: its knowledge of time outlives the process and the power.

Owns one small file with two facts. The **floor**: the last time that was known to be right; a
gateway without a battery-backed clock starts hours or years back, and must not believe a time
before the last one that it knew. And the difference between wall clock and boot time when a time
source first disciplined it in this boot: boot time cannot be set, so a wall clock that has since
come away from it was set by somebody; an attacker who can answer for a time server can do that.
Each process keeps a file of its own: neither can write the other's, and neither believes the other.
Only the owner's signed order (``confirm-clock``) ends a doubt permanently; it is one order for
both.
"""

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import SystemClock, TimeSource
from edge_agent.host.regular_file import read_regular
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs, encode_rfc3339

log = logging.getLogger(__name__)

PERSIST_EVERY_NS = 10 * MINUTE_NS
"""A power cut costs the floor so much at most; a card is written six times an hour."""
MAX_STEP_NS = MINUTE_NS
"""So far may the wall clock come away from boot time before it is doubted: the skew that requests are granted anyway.

Both clocks are slewed together, so that only steps count. A time source that comes back after days steps by seconds.
"""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The change that the owner's confirmation made."""

    time: UtcNs
    floor_was: UtcNs
    floor: UtcNs
    step_ns: int
    """How far the wall clock had come away from boot time; 0 if nothing was known of it."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """The file's content."""

    floor: UtcNs
    boot_id: str
    stood_ns: int | None
    """UTC minus boot time in the boot of ``boot_id``."""
    is_confirmed: bool
    """The owner said so."""


class KeptClock:
    """A ``Clock`` that remembers. Safe from any thread; ``keep`` is called by one, every second or two.

    Args:
        path: Of its file.
        boot_id: The kernel's id of this boot.
        system: The clocks themselves; their floor is the one that nothing lowers (the build time).
        doubts_steps: A wall clock that was set by more than ``MAX_STEP_NS`` since it was first disciplined in this boot
            is floor-only, until it comes back or the owner confirms it: for the process that decides. One that records
            begins a new run instead.
    """

    def __init__(self, path: Path, boot_id: bytes, system: SystemClock, *, doubts_steps: bool = False) -> None:
        self._path, self._boot_id, self._system, self._doubts_steps = path, boot_id.hex(), system, doubts_steps
        self._lock = threading.Lock()
        self._least = system.floor
        self._due = MonoNs(0)
        self._told = False
        memory = _load(path)
        self._kept = memory.floor
        is_ours = memory.boot_id == self._boot_id
        self._stood_ns = memory.stood_ns if is_ours else None
        self._is_confirmed = memory.is_confirmed and is_ours
        self._apply()

    # The clock's answers

    def utc(self) -> UtcNs:
        """Read the wall clock; if that is below the floor, the floor and the time since."""
        return self._system.utc()

    def boot(self) -> MonoNs:
        """Read the time since boot, which nobody can set."""
        return self._system.boot()

    def state(self) -> ClockState:
        """Return the state of the wall clock: the system's, but floor-only while a step is in doubt."""
        state = self._system.state()
        if state is ClockState.SYNCHRONISED and self._doubts_steps and self._step_ns() is None:
            return ClockState.FLOOR_ONLY  # `keep` has not looked at it yet
        return ClockState.FLOOR_ONLY if self._doubts_steps and self._has_stepped() else state

    def wall(self) -> UtcNs:
        """Read the wall clock as it is."""
        return self._system.wall()

    @property
    def confirmed_offset_ns(self) -> int | None:
        """UTC minus boot time as the owner confirmed it in this boot; None if they did not."""
        return self._stood_ns if self._is_confirmed else None

    # Its memory

    def keep(self, *, now: bool = False) -> None:
        """Take in where the clock stands, and write it down every ``PERSIST_EVERY_NS``, or at once; then durable.

        Of a clock that is not synchronised, or that has stepped, nothing is taken: one bad answer of a time server must
        not become the floor.
        """
        with self._lock:
            if self._system.state() is not ClockState.SYNCHRONISED:
                return
            boot = self._system.boot()
            is_first = self._stood_ns is None
            if is_first:
                self._stood_ns = self._system.utc() - boot
            if self._tell_step() or (boot < self._due and not now and not is_first):
                return
            self._due = MonoNs(boot + PERSIST_EVERY_NS)
            self._kept = max(self._kept, self._system.utc())
            try:
                self._write()
            except OSError as error:
                # Swallowed: a full disk must not stop the process; the floor in memory holds until
                # its end.
                log.warning("clock not written down path=%s: %s", self._path, error.strerror)

    def raise_floor(self, time: UtcNs) -> None:
        """Believe no time before this one, not even by the owner's confirmation: an RTCC's root signed it then.

        A synchronised clock that is behind it, by the skew that such a signature is granted and no more, is not doubted
        for it.
        """
        with self._lock:
            is_skew = 0 < time - self._system.wall() <= MAX_STEP_NS
            if time <= self._least or (is_skew and self._system.state() is ClockState.SYNCHRONISED):
                return
            self._least = time
            self._apply()

    def demand_confirmable(self) -> None:
        """Raise what ``confirm`` would raise now; UsageError if the owner's confirmation cannot be taken."""
        with self._lock:
            self._demand_confirmable()

    def confirm(self) -> Confirmed:
        """Believe the wall clock as it is now, because the owner says that it is right; durable on return.

        Lowers a floor that lies ahead of it, and ends the doubt about a step. It is not the owner's word alone: the
        time source has to say the same.

        Raises:
            UsageError: The time source says nothing, or the time is before one that cannot be lowered; nothing changed.
            ConfigError: It cannot be written down; nothing changed.
        """
        with self._lock:
            wall = self._demand_confirmable()
            before = (self._kept, self._stood_ns, self._is_confirmed)
            floor_was, step_ns = self._system.floor, self._step_ns() or 0
            self._kept, self._is_confirmed = UtcNs(min(self._kept, wall)), True
            self._stood_ns = wall - self._system.boot()
            try:
                self._write()
            except OSError as error:
                # Nothing may count in memory that a restart would not remember.
                self._kept, self._stood_ns, self._is_confirmed = before
                raise ConfigError(f"clock cannot be written down: {self._path}: {error.strerror}") from error
            self._apply()
            self._told = False
            return Confirmed(wall, floor_was, self._system.floor, step_ns)

    def facts(self) -> dict[str, Any]:
        """Return where the clock stands and why it is believed or not, as JSON values."""
        source, step_ns = self._system.source(), self._step_ns()
        return {
            "state": self.state().value,
            "why": self._why(source, step_ns),
            "wall": encode_rfc3339(self.wall()),
            "source": {"state": source.state.value, "by": source.by},
            "floor": encode_rfc3339(self._system.floor),
            "floor_least": encode_rfc3339(self._least),
            "boot_ns": self.boot(),
            "utc_minus_boot_ns": self.wall() - self.boot(),
            "step_ns": step_ns,
        }

    def _why(self, source: TimeSource, step_ns: int | None) -> str:
        if source.state is not ClockState.SYNCHRONISED:
            return "no time source disciplines the wall clock"
        if self.wall() < self._system.floor:
            return f"the wall clock is before {encode_rfc3339(self._system.floor)}, which was known to be right"
        if step_ns is not None and abs(step_ns) > MAX_STEP_NS:
            return f"the wall clock was set by {step_ns / SECOND_NS:+.0f} s since a time source first disciplined it"
        return "" if source.by != "configuration" else "the configuration believes it unseen"

    def _demand_confirmable(self) -> UtcNs:
        wall = self._system.wall()
        if self._system.source().state is not ClockState.SYNCHRONISED:
            raise UsageError(
                "the time cannot be confirmed: no time source disciplines the wall clock",
                "`timedatectl` shows why; give the command again once it is synchronised",
            )
        if wall < self._least:
            raise UsageError(
                f"the time cannot be confirmed: {encode_rfc3339(wall)} is before {encode_rfc3339(self._least)},"
                " when this program was installed or its trust bundle was signed",
                "set the clock; where the later one is wrong, install again, or have the crime center sign anew",
            )
        return wall

    def _step_ns(self) -> int | None:
        """Return how far the wall clock was set since it was first disciplined in this boot; None before that."""
        return None if self._stood_ns is None else self._system.wall() - self._system.boot() - self._stood_ns

    def _has_stepped(self) -> bool:
        return abs(self._step_ns() or 0) > MAX_STEP_NS

    def _tell_step(self) -> bool:
        """Log a step, once; tell whether there is one."""
        has_stepped = self._has_stepped()
        if has_stepped and not self._told:
            log.warning("wall clock was set by_s=%.1f: see `edge-agent clock`", (self._step_ns() or 0) / SECOND_NS)
        self._told = has_stepped
        return has_stepped

    def _apply(self) -> None:
        self._system.set_floor(max(self._least, self._kept))

    def _write(self) -> None:
        content = {
            "utc_ns": self._kept,
            "boot_id": self._boot_id,
            "utc_minus_boot_ns": self._stood_ns,
            "confirmed": self._is_confirmed,
        }
        write_small_file(self._path, json.dumps(content).encode(), durable=True)


def describe_confirmed(confirmed: Confirmed) -> dict[str, Any]:
    """Return the change that the owner's confirmation made, as JSON values."""
    return {
        "time": encode_rfc3339(confirmed.time),
        "floor_was": encode_rfc3339(confirmed.floor_was),
        "floor": encode_rfc3339(confirmed.floor),
        "step_ns": confirmed.step_ns,
    }


def _load(path: Path) -> _Memory:
    """Read the file; one that cannot be read is as good as none."""
    try:
        found = json.loads(read_regular(path))
        stood_ns = found.get("utc_minus_boot_ns")
        floor = UtcNs(max(0, int(found["utc_ns"])))
        boot_id, is_confirmed = str(found.get("boot_id", "")), found.get("confirmed") is True
        return _Memory(floor, boot_id, None if stood_ns is None else int(stood_ns), is_confirmed)
    except FileNotFoundError:
        return _Memory(UtcNs(0), "", None, is_confirmed=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("clock's memory not read path=%s: %s", path, type(error).__name__)
        return _Memory(UtcNs(0), "", None, is_confirmed=False)
