"""The owner's pauses of recording: set at once by anybody at the gateway, ended only by the owner's signature.

Owns the recorder's small file of pauses. A pause for a time lasts until that time by the wall clock and for as long as
was meant by boot time, whichever is later: a clock that is set forward does not switch a camera on. In a later boot
only the wall clock is left.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.units import MonoNs, UtcNs, encode_rfc3339, parse_rfc3339

log = logging.getLogger(__name__)

ALL = "*"
_FOR_GOOD = "for good"
_NEVER = UtcNs(2**63 - 1)


@dataclass(frozen=True, slots=True)
class _End:
    """When a pause ends: not before both."""

    utc: UtcNs
    boot: MonoNs
    """In the boot in which it was set; 0 in any other."""

    def later(self, other: "_End") -> "_End":
        return _End(max(self.utc, other.utc), max(self.boot, other.boot))


class Pauses:
    """Which cameras are paused, across restarts. Safe from any thread.

    Args:
        path: The file; a missing one means none, an unreadable one means all: better no footage than unwanted footage.
        boot_id: The kernel's id of this boot.
    """

    def __init__(self, path: Path, boot_id: bytes) -> None:
        self._path, self._boot_id = path, boot_id.hex()
        self._saving = threading.Lock()
        """Held over writes to a disk, which may take minutes: no question and no pause that counts waits for it."""
        self._lock = threading.Lock()
        """Held while ``_ends`` is replaced; taken inside the other, never around it."""
        self._ends: Mapping[str, _End] = {}
        """Never changed, but replaced."""
        try:
            self._ends = self._parse(json.loads(read_regular(path)))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            log.error("pauses cannot be read, all cameras are paused path=%s", path)
            self._ends = {ALL: _End(_NEVER, MonoNs(0))}

    def _parse(self, found: Any) -> dict[str, _End]:
        ends = {str(camera): _End(_utc_of(str(until)), MonoNs(0)) for camera, until in found["until"].items()}
        boot = found.get("boot", {})  # a file of an earlier version has none
        if boot.get("id") == self._boot_id:
            for camera, boot_ns in boot["until_ns"].items():
                ends[camera] = _End(ends[camera].utc, MonoNs(int(boot_ns)))
        return ends

    def is_paused(self, camera: str, now: UtcNs, boot: MonoNs) -> bool:
        """Tell whether a camera is paused."""
        ends = self._ends
        return any(_holds(ends.get(name), now, boot) for name in (ALL, camera))

    def pause(self, camera: str, until: str | None, wall: UtcNs, boot: MonoNs) -> None:
        """Pause a camera, or ``*``, until a time (RFC 3339) or for good; it counts at once, and is durable on return.

        A pause is never made shorter by another one: ending it takes the owner's signature.

        Args:
            camera: Its id.
            until: Its end by the clock of the command that sets it.
            wall: That clock, as it is now.
            boot: Boot time now.

        Raises:
            UsageError: The time is malformed.
        """
        try:
            end = _NEVER if until is None else parse_rfc3339(until)
        except ValueError as error:
            raise UsageError(f"pause until: {error}") from error
        meant = _End(end, MonoNs(0 if until is None else boot + max(0, end - wall)))
        with self._lock:
            self._ends = {**self._ends, camera: meant.later(self._ends.get(camera, meant))}
        with self._saving:
            self._save(self._ends)

    def resume(self, camera: str) -> None:
        """End the pause of a camera, or that of all, because the owner signed an order.

        A pause of all cameras and those of single ones stand apart: an order ends what it names, and no more. It ends
        only when that is durable: if it cannot be saved, the pause stands.
        """
        with self._saving:
            before = self._ends.get(camera)
            self._save({name: end for name, end in self._ends.items() if name != camera})
            with self._lock:
                if self._ends.get(camera) is before:  # else a newer pause came, and is saved next
                    self._ends = {name: end for name, end in self._ends.items() if name != camera}

    def standing(self, now: UtcNs, boot: MonoNs) -> list[str]:
        """Return what is paused: cameras, and ``*`` where all of them are."""
        return sorted(name for name, end in self._ends.items() if _holds(end, now, boot))

    def _save(self, ends: Mapping[str, _End]) -> None:
        until = {camera: _text_of(end.utc) for camera, end in ends.items()}
        boot = {"id": self._boot_id, "until_ns": {camera: end.boot for camera, end in ends.items()}}
        try:
            write_small_file(self._path, json.dumps({"until": until, "boot": boot}).encode(), durable=True)
        except OSError as error:
            raise ConfigError(f"pauses cannot be saved: {self._path}: {error.strerror}") from error


def _holds(end: _End | None, now: UtcNs, boot: MonoNs) -> bool:
    return end is not None and (now < end.utc or boot < end.boot)


def _utc_of(until: str) -> UtcNs:
    return _NEVER if until == _FOR_GOOD else parse_rfc3339(until)


def _text_of(end: UtcNs) -> str:
    return _FOR_GOOD if end == _NEVER else encode_rfc3339(end)
