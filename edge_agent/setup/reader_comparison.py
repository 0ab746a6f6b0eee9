"""Both readers on one camera at the same time, and their differences: ``edge-agent check --compare``.

Opens two sessions of its own and keeps no picture: of each, a digest, its size and its time.
"""

import hashlib
import itertools
import statistics
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader_choice import FFMPEG, OWN
from edge_agent.host.clock import Clock

_MOST_PICTURES = 4000
"""Half a minute of 130 a second. If all of them are the same, the search for pairs takes 3 s."""
_OPEN_S = 45.0
"""Beyond the time that the camera may take: so long FFmpeg's child may take to start."""
_CLOSE_S = 15.0
"""For both to end: FFmpeg's child may wait for a time-out of its own."""


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """The part of a picture that is kept."""

    digest: bytes
    size: int
    pts: int | None
    is_keyframe: bool


@dataclass(slots=True)
class Reading:
    """One reader's result of the camera."""

    pictures: list[SeenPicture] = field(default_factory=list)
    damaged: int = 0
    lost_packets: int | None = None
    open_ns: int | None = None
    """From the beginning until the camera had agreed."""
    first_ns: int | None = None
    """… and until the first whole picture."""
    ticks: int = 0
    """Of a second."""
    fault: str = ""
    """Why it ended before its time, in words."""
    is_begun: threading.Event = field(default_factory=threading.Event)
    """The camera has agreed, or never will."""

    @property
    def distance_ms(self) -> float | None:
        """Return the usual distance of two pictures, by the camera's clock."""
        told = sorted(picture.pts for picture in self.pictures if picture.pts is not None)
        steps = [after - before for before, after in itertools.pairwise(told)]
        return 1000 * statistics.median(steps) / self.ticks if steps and self.ticks else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both readings, and the pictures that both have, between the first and the last picture that both have."""

    own: Reading
    ffmpeg: Reading
    same: int
    only_own: int
    only_ffmpeg: int
    other_keyframes: int
    """Pictures that are a keyframe for one of them alone."""
    other_times: int
    """Pictures whose distance to the first one differs."""

    @property
    def is_alike(self) -> bool:
        """Tell whether there were pictures, and no difference that the camera's losses do not explain."""
        is_cut = bool(self.own.fault or self.ffmpeg.fault)
        is_unexplained = self.only_ffmpeg > self.own.damaged + (self.own.lost_packets or 0)
        return self.same > 0 and not (
            is_cut or is_unexplained or self.only_own or self.other_keyframes or self.other_times
        )


def compare_readers(endpoint: Endpoint, clock: Clock, seconds: float) -> Comparison:
    """Read a camera with both for so long, from when both are open, or one is not to be had."""
    released = threading.Event()
    readings = {OWN: Reading(), FFMPEG: Reading()}
    threads = [
        threading.Thread(
            target=_read, args=(replace(endpoint, reader=name, audio=False), clock, released, reading), daemon=True
        )
        for name, reading in readings.items()
    ]
    for thread in threads:
        thread.start()
    for reading in readings.values():
        reading.is_begun.wait(endpoint.open_timeout_s + _OPEN_S)
    released.wait(seconds)
    released.set()
    for thread in threads:
        thread.join(_CLOSE_S)
    return compare(readings)


def _read(endpoint: Endpoint, clock: Clock, released: threading.Event, reading: Reading) -> None:
    began, loss = clock.boot(), PacketLoss(clock)
    try:
        session = open_session(endpoint, clock, loss, released=released)
        try:
            reading.open_ns = clock.boot() - began
            reading.ticks = session.tracks[0].time_base.denominator
            reading.is_begun.set()
            for arrival in session.read():
                _take(arrival, reading, began)
                if released.is_set() or len(reading.pictures) >= _MOST_PICTURES:
                    break
        finally:
            session.close()
    except CaptureError as error:
        reading.fault = "" if released.is_set() else str(error)
    finally:
        reading.is_begun.set()
    reading.lost_packets = loss.facts().get("lost_packets")


def _take(arrival: Arrival, reading: Reading, began: int) -> None:
    if arrival.track:
        return
    if arrival.is_damaged:
        reading.damaged += 1
        return
    if reading.first_ns is None:
        reading.first_ns = arrival.boot - began
    digest = hashlib.sha256(arrival.data).digest()
    reading.pictures.append(SeenPicture(digest, len(arrival.data), arrival.pts, arrival.is_keyframe))


def compare(readings: Mapping[str, Reading]) -> Comparison:
    """Hold two readings against each other."""
    own, ffmpeg = readings[OWN], readings[FFMPEG]
    shift = _find_shift(own.pictures, ffmpeg.pictures)
    places = sorted(_pair(own.pictures, ffmpeg.pictures, shift))
    if not places:
        return Comparison(own, ffmpeg, 0, 0, 0, 0, 0)
    pairs = [(own.pictures[mine], ffmpeg.pictures[theirs]) for mine, theirs in places]
    theirs = [place for _, place in places]
    shifts = [mine.pts - their.pts for mine, their in pairs if mine.pts is not None and their.pts is not None]
    return Comparison(
        own,
        ffmpeg,
        same=len(pairs),
        only_own=places[-1][0] - places[0][0] + 1 - len(pairs),
        only_ffmpeg=max(theirs) - min(theirs) + 1 - len(pairs),
        other_keyframes=sum(mine.is_keyframe != their.is_keyframe for mine, their in pairs),
        other_times=sum(each != shift for each in shifts),
    )


def _find_shift(own: Sequence[SeenPicture], ffmpeg: Sequence[SeenPicture]) -> int:
    """Return by how much the own times are ahead: each pair of pictures with the same bytes has a vote."""
    times: dict[bytes, list[int]] = {}
    for mine in own:
        if mine.pts is not None:
            times.setdefault(mine.digest, []).append(mine.pts)
    votes: Counter[int] = Counter()
    for theirs in ffmpeg:
        if theirs.pts is not None:
            votes.update(pts - theirs.pts for pts in times.get(theirs.digest, ()))
    return max(votes, key=votes.__getitem__, default=0)


def _pair(own: Sequence[SeenPicture], ffmpeg: Sequence[SeenPicture], shift: int) -> Iterator[tuple[int, int]]:
    """Yield the places of pictures that are the same.

    A still scene repeats its pictures byte by byte: of those that come more than once the time tells which is which.
    """
    places = {(mine.digest, mine.pts): place for place, mine in enumerate(own)}
    unique = {mine.digest: place for place, mine in enumerate(own)}
    often = Counter(each.digest for each in own) | Counter(each.digest for each in ffmpeg)
    for place, theirs in enumerate(ffmpeg):
        if often[theirs.digest] == 1:
            found = unique.get(theirs.digest)
        else:
            found = places.pop((theirs.digest, _move(theirs.pts, shift)), None)
        if found is not None:
            yield found, place


def _move(pts: int | None, shift: int) -> int | None:
    return None if pts is None else pts + shift
