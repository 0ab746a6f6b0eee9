"""From access units to the payloads of records: where to cut, and what is committed to.

Owns the limits of a record (2 s, 1 MiB) and the order of its packets. Copies the camera's bytes and never changes them.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.media.commitments import SALT_BYTES, Track, record_commitment
from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import NutPacket, TrackTemplate, derive_dts, interleave
from edge_agent.units import SECOND_NS

MAX_RECORD_NS = 2 * SECOND_NS
MAX_RECORD_BYTES = 1 << 20
MIN_RECORD_NS = SECOND_NS // 2
"""Shorter GOPs share a record: if every picture is a keyframe, 25 records a second would be mostly padding."""
_HOLE_STEPS = 3
"""A picture that comes more than 2 s and so many pictures after the one before leaves a hole, which is no footage."""
_HEADER_BYTES = 4096  # of the NUT file and the salt; 700 bytes were the most seen
_PACKET_OVERHEAD_BYTES = 32
_one_at_a_time = threading.Lock()
_LONGEST_TURN_S = 0.05
"""Hashing lets go of the interpreter's lock: two threads that hash at once pass it to and fro at every picture. It only
saves time; a record of a hundred thousand tiny packets is not waited for."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The access units of one record, in order of arrival; the first video unit opens it."""

    packets: tuple[NutPacket, ...]
    first_pts: int
    end_pts: int
    """PTS of the first video unit after it, or the last one's plus a step if none follows soon."""
    continues: bool


class GopCutter:
    """Collects the access units of a run and cuts them into records. Track 0 is video."""

    def __init__(self, video: TrackTemplate) -> None:
        second_ticks = int(1 / video.time_base)
        self._most_ticks = MAX_RECORD_NS * second_ticks // SECOND_NS
        self._least_ticks = MIN_RECORD_NS * second_ticks // SECOND_NS
        self._packets: list[NutPacket] = []
        self._bytes = _HEADER_BYTES
        self._first_pts: int | None = None
        self._latest_pts = 0
        self._continues = False

    def push(self, packet: NutPacket) -> Cut | None:
        """Add one access unit; return the record that is complete before it, if one is.

        Units before the first keyframe of a run are dropped: no decoder could use them.
        """
        cut = None
        if packet.track == 0:
            if self._first_pts is None and not packet.is_keyframe:
                return None
            end_pts = self._find_end(packet)
            if end_pts is not None:
                cut = self._take(end_pts, continues=not packet.is_keyframe)
            if self._first_pts is None:
                self._first_pts = self._latest_pts = packet.pts
            self._latest_pts = max(self._latest_pts, packet.pts)
        elif self._first_pts is None:
            return None
        self._packets.append(packet)
        self._bytes += len(packet.data) + _PACKET_OVERHEAD_BYTES
        return cut

    def flush(self, step_ticks: int) -> Cut | None:
        """Return what is left as the last record of a run or a part of it; the next one begins with a keyframe."""
        if self._first_pts is None:
            return None
        return self._take(self._latest_pts + step_ticks, continues=False)

    def _find_end(self, packet: NutPacket) -> int | None:
        """Return where the record that is open ends before this picture; None if it goes on."""
        if self._first_pts is None:
            return None
        if packet.pts - self._latest_pts > max(self._most_ticks, _HOLE_STEPS * packet.duration):
            return self._latest_pts + packet.duration
        return packet.pts if self._is_due(packet, packet.pts - self._first_pts) else None

    def _is_due(self, packet: NutPacket, spans_ticks: int) -> bool:
        if packet.is_keyframe and spans_ticks >= self._least_ticks:
            return True
        # A picture that is shown before one already taken stays with it; it cannot open a record.
        if packet.pts < self._latest_pts:
            return False
        is_full = self._bytes + len(packet.data) + _PACKET_OVERHEAD_BYTES > MAX_RECORD_BYTES
        return is_full or spans_ticks + packet.duration > self._most_ticks

    def _take(self, end_pts: int, *, continues: bool) -> Cut:
        assert self._first_pts is not None
        # No record lasts no time: a window of no length would match nothing.
        cut = Cut(tuple(self._packets), self._first_pts, max(end_pts, self._first_pts + 1), self._continues)
        self._packets, self._bytes, self._first_pts = [], _HEADER_BYTES, None
        self._continues = continues
        return cut


def build_payload(tracks: Sequence[TrackTemplate], packets: Sequence[NutPacket]) -> tuple[bytes, bytes]:
    """Make a record's payload and its media commitment.

    Args:
        tracks: All tracks of the run, by index.
        packets: Of one cut; their DTS are made anew, because NUT keeps none and cameras send wrong ones.

    Returns:
        ``salt ‖ NUT file`` and the 32 bytes of the commitment over exactly its packets.
    """
    salt = os.urandom(SALT_BYTES)
    ordered = interleave(tracks, _with_dts(packets))
    described = [Track(track.index, track.codec, track.time_base, track.extradata) for track in tracks]
    # The payload last: who encrypts it next finds it in the processor's cache.
    is_alone = _one_at_a_time.acquire(timeout=_LONGEST_TURN_S)
    try:
        commitment = record_commitment(salt, described, ordered)
        return write_nut(tracks, ordered, behind=salt), commitment
    finally:
        if is_alone:
            _one_at_a_time.release()


def _with_dts(packets: Sequence[NutPacket]) -> list[NutPacket]:
    clocks = {
        track: iter(derive_dts([packet.pts for packet in packets if packet.track == track]))
        for track in {packet.track for packet in packets}
    }
    return [
        packet if packet.dts == dts else packet._replace(dts=dts)
        for packet in packets
        for dts in (next(clocks[packet.track]),)
    ]
