"""One run, from arrivals to records, without a session."""

import itertools
from dataclasses import replace

import pytest

from edge_agent.capture.run.gap_account import GapKeeper
from edge_agent.capture.run.open_run import Run
from edge_agent.capture.session.interface import Arrival
from edge_agent.capture.status import StreamStatus
from edge_agent.media.packets import NutPacket
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs
from tests.capture.conftest import MemorySink, unpack
from tests.media.test_nut_writer import TICKS_PER_PICTURE, encode, template
from tests.support.fakes import FakeClock

NOW = UtcNs(1_795_000_000 * SECOND_NS)
PICTURE_NS = SECOND_NS // 25
GOP_OPTIONS = {"g": "25", "sc_threshold": "0", "tune": "zerolatency"}


def record(pictures: int, *, kept: int, gop: int = 25, rtp_from: int | None = None) -> MemorySink:
    """Record a session that begins now; ``kept`` pictures were taken before and come at once."""
    packets = encode("libx264", pictures, {**GOP_OPTIONS, "g": str(gop)})
    sink, clock = MemorySink(), FakeClock(NOW)
    gaps, tracks = GapKeeper(sink, NOW, "connecting"), (template("h264", packets),)
    run = Run(tracks, reorders=False, sink=sink, gaps=gaps, status=StreamStatus(clock), source={}, floor=NOW)
    for number, packet in enumerate(packets):
        # A picture is handed over when the next one begins.
        late_ns = max(0, number + 1 - kept) * PICTURE_NS
        arrival = Arrival(
            track=0, pts=packet.pts, duration=TICKS_PER_PICTURE, is_keyframe=packet.is_keyframe,
            data=packet.data, utc=UtcNs(NOW + late_ns), boot=MonoNs(late_ns), camera_utc=None, report=None,
            rtp=None if rtp_from is None else (rtp_from + number * TICKS_PER_PICTURE) % 2**32,
        )  # fmt: skip
        run.push(arrival, lambda: ClockState.SYNCHRONISED)
    run.finish()
    return sink


def test_pictures_that_a_bridge_kept_are_left_out() -> None:
    """What was taken before the session began delays nothing after it, and claims no time twice."""
    sink = record(200, kept=60)
    starts = [gop.start_ns - NOW for gop in sink.gops]
    # The keyframes of a second each; the third, at 2 s, was taken 0.4 s before the session, the fourth 0.6 s after.
    assert starts == [number * SECOND_NS + 15 * PICTURE_NS for number in range(5)]
    assert [(gap.start_ns - NOW, gap.duration_ns) for gap in sink.gaps] == [(0, 15 * PICTURE_NS)]


def test_nothing_begins_without_its_keyframe() -> None:
    """Where a GOP that is cut began before the session, all of it is left out."""
    sink = record(300, kept=60, gop=150)
    assert [gop.start_ns - NOW for gop in sink.gops][:1] == [90 * PICTURE_NS]
    assert not sink.gops[0].continues


def test_session_that_begins_now_is_recorded_from_its_first_picture_on() -> None:
    """A picture that seems to come a moment before the session is moved by that moment, not left out."""
    sink = record(100, kept=4)
    assert sink.gops[0].start_ns == NOW
    assert not sink.gaps
    assert all(a.start_ns + a.duration_ns == b.start_ns for a, b in itertools.pairwise(sink.gops))


def test_sound_with_a_wrong_time_silences_nothing() -> None:
    """One packet a minute ahead is left out; what follows it is not."""
    packets = encode("libx264", 100, GOP_OPTIONS)
    voice = template("pcm_alaw", [NutPacket(0, 0, 0, 160, True, bytes(160))], rate=8000)
    sink, clock = MemorySink(), FakeClock(NOW)
    tracks = (template("h264", packets), replace(voice, index=1))
    gaps = GapKeeper(sink, NOW, "connecting")
    run = Run(tracks, reorders=False, sink=sink, gaps=gaps, status=StreamStatus(clock), source={}, floor=NOW)
    for number, packet in enumerate(packets):
        at_ns = number * PICTURE_NS
        picture = Arrival(
            track=0, pts=packet.pts, duration=TICKS_PER_PICTURE, is_keyframe=packet.is_keyframe,
            data=packet.data, utc=UtcNs(NOW + at_ns), boot=MonoNs(at_ns), camera_utc=None, report=None,
        )  # fmt: skip
        wrong = 60 * 8000 if number == 30 else 0
        sound = picture._replace(track=1, pts=number * 320 + wrong, data=bytes([number]) * 320)
        for arrival in (picture, sound):
            run.push(arrival, lambda: ClockState.SYNCHRONISED)
    run.finish()
    heard = [unit.data[0] for gop in sink.gops for unit in unpack(gop)[1] if unit.track == 1]
    assert heard == [number for number in range(100) if number != 30]


def test_a_run_tells_how_its_times_came_about() -> None:
    """FORMAT 4.6: the clock map is that of the first record's first picture, wherever the RTP time wraps."""
    sink = record(200, kept=60, rtp_from=2**32 - 10 * TICKS_PER_PICTURE)
    (run,) = sink.runs
    first = sink.gops[0]
    assert run.facts["clock_map"] == {
        "utc_ns": first.start_ns,
        "boot_ns": first.boot_ns,
        "clock_rate": 90_000,
        "rtp_timestamp": 65 * TICKS_PER_PICTURE,  # the keyframe of 3 s, 10 pictures after the wrap
    }


def test_what_a_reader_does_not_tell_is_left_out() -> None:
    """A session reader without RTP timestamps gives a clock map without one, never a guess."""
    (run,) = record(100, kept=4).runs
    assert run.facts["clock_map"].keys() == {"utc_ns", "boot_ns", "clock_rate"}


DAMAGE = {"a picture": range(30, 50), "from a keyframe on": range(25, 50), "a whole GOP and more": range(30, 75)}


@pytest.mark.parametrize("damaged", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_pictures_are_a_hole_and_no_footage(damaged: range) -> None:
    """The record ends before the first of them, the hole has its reason, the next record begins with a keyframe."""
    packets = encode("libx264", 150, GOP_OPTIONS)
    sink, clock = MemorySink(), FakeClock(NOW)
    gaps, tracks = GapKeeper(sink, NOW, "connecting"), (template("h264", packets),)
    run = Run(tracks, reorders=False, sink=sink, gaps=gaps, status=StreamStatus(clock), source={}, floor=NOW)
    for number, packet in enumerate(packets):
        at_ns, is_damaged = number * PICTURE_NS, number in damaged
        arrival = Arrival(
            track=0, pts=packet.pts, duration=0, is_keyframe=packet.is_keyframe and not is_damaged,
            data=b"" if is_damaged else packet.data, utc=UtcNs(NOW + at_ns), boot=MonoNs(at_ns), camera_utc=None,
            report=None, rtp=number * TICKS_PER_PICTURE, is_damaged=is_damaged,
        )  # fmt: skip
        run.push(arrival, lambda: ClockState.SYNCHRONISED)
    run.finish()
    (hole,) = sink.gaps
    start, end = damaged.start * PICTURE_NS, damaged.stop * PICTURE_NS
    assert (hole.start_ns - NOW, hole.duration_ns, hole.reason) == (start, end - start, "lost-packets")
    recorded = [unit.data for gop in sink.gops for unit in unpack(gop)[1]]
    assert recorded == [packet.data for number, packet in enumerate(packets) if number not in damaged]
    timed = sorted((each.start_ns, each.start_ns + each.duration_ns) for each in (*sink.gops, *sink.gaps))
    assert all(a[1] == b[0] for a, b in itertools.pairwise(timed))
    assert len(sink.runs) == 1
