"""Both readers on one camera at the same time, and their differences: ``edge-agent check --compare``.

Opens two sessions of its own and keeps no picture: of each, a digest, its size and its time.
"""

import hashlib
import itertools
import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader_choice import FFMPEG, OWN
from edge_agent.host.clock import Clock

_MOST_PICTURES = 100_000
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
        is_explained = self.own.damaged > 0
        return self.same > 0 and not (
            self.only_own or self.other_keyframes or self.other_times or (self.only_ffmpeg and not is_explained)
        )


def compare_readers(endpoint: Endpoint, clock: Clock, seconds: float) -> Comparison:
    """Read a camera with both for so long; takes some seconds more to open and to close."""
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
            for arrival in session.read():
                _take(arrival, reading, began)
                if released.is_set() or len(reading.pictures) >= _MOST_PICTURES:
                    break
        finally:
            session.close()
    except CaptureError as error:
        reading.fault = "" if released.is_set() else str(error)
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
    by_digest = {picture.digest: picture for picture in own.pictures}
    pairs = [(by_digest[each.digest], each) for each in ffmpeg.pictures if each.digest in by_digest]
    if not pairs:
        return Comparison(own, ffmpeg, 0, 0, 0, 0, 0)
    shifts = [mine.pts - theirs.pts for mine, theirs in pairs if mine.pts is not None and theirs.pts is not None]
    usual = statistics.mode(shifts) if shifts else 0
    return Comparison(
        own,
        ffmpeg,
        same=len(pairs),
        only_own=_between(own.pictures, pairs[0][0], pairs[-1][0]) - len(pairs),
        only_ffmpeg=_between(ffmpeg.pictures, pairs[0][1], pairs[-1][1]) - len(pairs),
        other_keyframes=sum(mine.is_keyframe != theirs.is_keyframe for mine, theirs in pairs),
        other_times=sum(shift != usual for shift in shifts),
    )


def _between(pictures: list[SeenPicture], first: SeenPicture, last: SeenPicture) -> int:
    return pictures.index(last) - pictures.index(first) + 1
