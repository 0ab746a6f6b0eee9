"""Tells the owner of faults: looks every few seconds, and remembers across restarts what was told.

Owns the file of the faults that were told and are not over. Without it, or if it is damaged, everything that is wrong
is told
again: twice is better than never.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.consent.camera_state import CameraConsent
from edge_agent.consent.policy import Occasion
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import Clock
from edge_agent.host.language import load_texts
from edge_agent.host.regular_file import read_regular
from edge_agent.local_time import encode_local, localise
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.fault_sources import (
    Seen,
    list_folders,
    read_recorder,
    see_adoption,
    see_disks,
    see_ends,
    see_line,
    see_recorder,
)
from edge_agent.uplink.owner.fault_words import WORDS, group_turns, make_notices, say_fault
from edge_agent.uplink.owner.faults import Fault, FaultWatch, Key, Turn
from edge_agent.uplink.owner.notice_words import Notice

log = logging.getLogger(__name__)

FILE = "faults-told.json"
EVERY_S = 10.0
"""Between two looks; the shortest fault is told after a minute."""


@dataclass(frozen=True, slots=True)
class ReleaserFacts:
    """The releaser's own state, asked at each look; the defaults are of a gateway that belongs to no RTCC."""

    why_unclear: Callable[[], str] = lambda: ""
    """Why the clock is not believed."""
    is_connected: Callable[[], bool | None] = lambda: None
    """Whether the broker is; None for a gateway that belongs to no RTCC."""
    consents: Callable[[UtcNs], Mapping[str, CameraConsent]] = lambda _: {}
    """Each camera's consent now."""
    ends: Callable[[], Mapping[str, UtcNs | None]] = dict
    """When the certificate and the trust bundle end, by kind."""


class FaultNews:
    """Looks at everything that can be wrong.

    Args:
        config: Names the cameras, the recorder's status, the disks and the owner's language.
        send: Takes notices; ``News.tell``.
        wanted: The occasions that the owner's terms want told; faults themselves are told by ``notify.faults``.
        clock: The gateway's clocks.
        facts: The releaser's own state.
    """

    def __init__(
        self,
        config: Config,
        send: Callable[[Notice], object],
        wanted: Callable[[], frozenset[Occasion]],
        clock: Clock,
        facts: ReleaserFacts,
    ) -> None:
        self._config, self._send, self._wanted, self._clock = config, send, wanted, clock
        self._facts = facts
        self._texts = load_texts(config.gateway.language)
        self._zone: tzinfo = ZoneInfo(config.gateway.time_zone)
        self._path = config.store_path.with_name(FILE)
        self._watch = FaultWatch(_load(self._path))
        self._lock = threading.Lock()
        self._current: dict[Key, Fault] = {}

    def look(self) -> None:
        """Look once, tell the news, and remember it; news that could not be told is news at the next look."""
        with self._lock:
            # Held for the look alone: a disk that hangs while a notice is written must not keep the
            # status from its lines.
            before = self._watch.told
            seen = self._see()
            turns = self._watch.look(seen.faults, seen.well, self._clock.boot())
            self._current = {fault.key: fault for fault in seen.faults}
        for group in group_turns(turns):
            self._tell(group)
        with self._lock:
            if self._watch.told != before:
                self._save()

    def _tell(self, group: Sequence[Turn]) -> None:
        """Tell one message; a full disk, of which it may tell, can keep it from being written down."""
        try:
            for notice in make_notices(group, self._texts):
                faults = self._config.notify.faults
                if faults if notice.occasion is None else notice.occasion in self._wanted():
                    self._send(notice)
        except Exception as error:
            log.warning("fault is not told yet kind=%s: %s", group[0].fault.kind, error)
            with self._lock:
                for turn in group:
                    self._watch.take_back(turn)
            return
        for turn in group:
            fault, what = turn.fault, "is over" if turn.is_over else "is told"
            log.warning("fault %s kind=%s subject=%s detail=%s", what, fault.kind, fault.subject, fault.detail)

    def lines(self) -> list[str]:
        """Return what is wrong for as long as its kind allows, one line each, for the status. Any thread."""
        with self._lock:
            told = self._watch.told
            return [say_fault(fault, self._texts) for key, fault in self._current.items() if key in told]

    def _see(self) -> Seen:
        seen, now = Seen(), self._clock.utc()
        see_recorder(seen, read_recorder(self._config.status_path), self._config, now, self._say)
        see_disks(seen, list_folders(self._config))
        why_unclear = localise(self._facts.why_unclear(), self._zone)
        see_line(seen, self._clock.state(), self._facts.is_connected(), why_unclear)
        see_adoption(seen, adoption.find_missing(self._config))
        see_ends(seen, self._facts.consents(now), self._facts.ends(), now, self._say)
        return seen

    def _say(self, moment: UtcNs) -> str:
        return encode_local(moment, self._zone)

    def _save(self) -> None:
        told = [[kind, subject, stage] for (kind, subject), stage in sorted(self._watch.told.items())]
        try:
            write_small_file(self._path, json.dumps(told, ensure_ascii=False).encode())
        except OSError as error:
            log.warning("what was told is not remembered path=%s: %s", self._path, error.strerror)


def _load(path: Path) -> dict[Key, int]:
    try:
        found: Any = json.loads(read_regular(path))
        return {(kind, str(subject)): int(stage) for kind, subject, stage in found if kind in WORDS}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        log.warning("what was told cannot be read, and is told again: %s", type(error).__name__)
        return {}
