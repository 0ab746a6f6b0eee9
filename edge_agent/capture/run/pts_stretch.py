"""PTS that tell UTC if the camera's own do not: its media clock runs at another rate than the wall.

Owns the mapping from a run's PTS to those of its records. Within a record the UTC of a picture is the record's start
and a difference of PTS, so a wrong rate would move pictures by up to 0.4 s, out of a window or into it. Pure.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from edge_agent.capture.run.gop import Cut
from edge_agent.media.packets import NutPacket, TrackTemplate


class Stretch:
    """The PTS of one run's records. Until a record is stretched they are the camera's own.

    Args:
        time_base: Of the video track.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._shift_ticks = 0

    def apply(self, tracks: Sequence[TrackTemplate], cut: Cut, span_ticks: int | None) -> tuple[NutPacket, ...]:
        """Return a record's packets with the PTS that they are stored with; records follow each other as before.

        Args:
            tracks: Of the run.
            cut: The record.
            span_ticks: How long it lasts by UTC, in ticks of the video track; None if its own PTS tell.
        """
        own_ticks = cut.end_pts - cut.first_pts
        if span_ticks is None and not self._shift_ticks:
            return cut.packets
        span_ticks = max(1, own_ticks if span_ticks is None else span_ticks)
        first, shift = cut.first_pts, self._shift_ticks
        self._shift_ticks += span_ticks - own_ticks
        return tuple(self._map(tracks, cut.packets, first, shift, Fraction(span_ticks, own_ticks)))

    def _map(
        self, tracks: Sequence[TrackTemplate], packets: Sequence[NutPacket], first: int, shift: int, scale: Fraction
    ) -> Iterator[NutPacket]:
        taken: set[tuple[int, int]] = set()
        for packet in packets:
            ratio = self._time_base / tracks[packet.track].time_base
            # Sound is stretched about the same instant as the pictures, in ticks of its own.
            origin = first * ratio
            pts = max(0, int(origin + shift * ratio + (packet.pts - origin) * scale))
            # A scale below 1 may round two packets to one PTS.
            while (packet.track, pts) in taken:
                pts += 1
            taken.add((packet.track, pts))
            yield packet._replace(pts=pts, dts=pts, duration=int(packet.duration * scale))
