"""Whether the sound that is wanted is recorded, and the words if it is not.

Owns that part of a stream's status. One thread only: the stream's own.
"""

import logging

from edge_agent.capture.session.interface import Arrival, Session
from edge_agent.capture.status import StreamStatus
from edge_agent.units import SECOND_NS, MonoNs

log = logging.getLogger(__name__)

_LONGEST_NS = 10 * SECOND_NS
_NONE = "none has come for ten seconds"


class SoundWatch:
    """Watches the sound of one session.

    Args:
        name: Of the stream, for the log.
        session: Just opened.
        status: Of the stream.
        now: Time since boot.
    """

    def __init__(self, name: str, session: Session, status: StreamStatus, now: MonoNs) -> None:
        self._status, self._latest, self._told = status, now, session.silence
        self._is_due = len(session.tracks) > 1
        if session.silence:
            log.warning("sound is not recorded stream=%s: %s", name, session.silence)
        status.note(silence=session.silence)

    def take(self, arrival: Arrival | None, now: MonoNs) -> None:
        """Take in a packet, or that none arrived."""
        if not self._is_due:
            return
        if arrival is not None and arrival.track:
            self._latest = arrival.boot
        silence = _NONE if now - self._latest > _LONGEST_NS else ""
        if silence != self._told:
            self._told = silence
            self._status.note(silence=silence)
