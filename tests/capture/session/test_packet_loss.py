"""Packet loss: the account, what is heard of FFmpeg's log, and real sessions that lose packets."""

import subprocess
import sys
import threading
from collections.abc import Callable

import av.logging
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.session.ffmpeg_log import hear
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.packet_loss import WARNING_HELD_BACK_S, WARNING_PACKETS, WINDOW_NS, PacketLoss
from edge_agent.capture.status import list_warnings
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.source import LiveSettings
from edge_agent.units import SECOND_NS
from tests.capture.conftest import Recording, wait_until
from tests.support.fakes import FakeClock

LIVE = LiveSettings(width=1280, height=720, gop=8)
"""Several packets a picture."""


def account(clock: FakeClock) -> PacketLoss:
    loss = PacketLoss(clock)
    loss.begin(is_counted=True)
    return loss


def test_share_is_of_what_was_sent_between_reports() -> None:
    """Losses before the first report and after the last are counted, and are no part of the share."""
    loss = account(FakeClock())
    loss.missed(7)
    loss.sent(0, 1000)
    assert loss.facts() == {"lost_packets": 7}
    loss.missed(2)
    loss.sent(0, 1100)
    loss.missed(50)
    assert loss.facts() == {"lost_packets": 59, "lost_percent": 2.0}


def test_both_tracks_count() -> None:
    """Sound has reports of its own; FFmpeg does not say of which track a packet is missing."""
    loss = account(FakeClock())
    loss.sent(0, 0)
    loss.sent(1, 0)
    loss.missed(3)
    loss.sent(0, 200)
    loss.sent(1, 100)
    assert loss.facts()["lost_percent"] == 1.0


COUNTERS: dict[str, tuple[int, int, int]] = {
    "it wraps": ((1 << 32) - 50, 50, 100),
    "it begins anew": (5000, 10, 0),
    "it stands": (10, 10, 0),
}


@pytest.mark.parametrize(("before", "after", "sent"), COUNTERS.values(), ids=COUNTERS.keys())
def test_camera_that_counts_anew_tells_no_share(before: int, after: int, sent: int) -> None:
    """The camera's counter is of 32 bits, and may begin anew at any time."""
    loss = account(FakeClock())
    loss.sent(0, before)
    loss.missed(1)
    loss.sent(0, after)
    assert loss.facts().get("lost_percent") == (100 / sent if sent else None)


def test_new_numbering_is_no_loss() -> None:
    """A gap as long as RFC 3550 takes for a new start is not one."""
    loss = account(FakeClock())
    loss.missed(3000)
    assert loss.facts() == {"lost_packets": 0}


def test_camera_that_is_held_back_for_long_is_told() -> None:
    """From half a minute in five on, and only while it is recorded; what is under a second is nothing."""
    clock = FakeClock()
    loss = account(clock)
    loss.held_back(SECOND_NS - 1)
    assert loss.facts() == {"lost_packets": 0}
    loss.held_back(WARNING_HELD_BACK_S * SECOND_NS)
    told = loss.facts()
    assert told["held_back_s"] == WARNING_HELD_BACK_S
    assert "held back for 30s" in list_warnings({"state": "recording", **told})[0]
    assert list_warnings({"state": "down", **told}) == []
    clock.advance(WINDOW_NS)
    assert loss.facts() == {"lost_packets": 0}


def test_old_losses_are_forgotten() -> None:
    """Only the last minutes count, and a new session forgets nothing of them."""
    clock = FakeClock()
    loss = account(clock)
    loss.missed(10)
    clock.advance(WINDOW_NS // 2)
    loss.begin(is_counted=True)
    loss.missed(1)
    assert loss.facts()["lost_packets"] == 11
    clock.advance(WINDOW_NS // 2 + SECOND_NS)
    assert loss.facts()["lost_packets"] == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1 << 32), st.integers(-5, 70_000)), max_size=400))
def test_account_stays_small_and_within_bounds(steps: list[tuple[int, int, int]]) -> None:
    """Whatever a camera reports, the share lies between 0 and 100 and the account has a fixed number of places."""
    clock = FakeClock()
    loss = account(clock)
    for seconds, total, missed in steps:
        clock.advance(seconds * SECOND_NS)
        loss.missed(missed)
        loss.sent(0, total)
        assert 0 <= loss.facts().get("lost_percent", 0) <= 100
        assert len(loss._places) <= 31


WARNINGS: dict[str, tuple[dict[str, float], bool]] = {
    "nothing lost": ({"lost_packets": 0, "lost_percent": 0.0}, False),
    "a little": ({"lost_packets": WARNING_PACKETS, "lost_percent": 0.4}, False),
    "much": ({"lost_packets": 30, "lost_percent": 0.5}, True),
    "much, of a camera without reports": ({"lost_packets": WARNING_PACKETS}, True),
    "a little, of a camera without reports": ({"lost_packets": 5}, False),
    "not known": ({}, False),
}


@pytest.mark.parametrize(("facts", "warns"), WARNINGS.values(), ids=WARNINGS.keys())
def test_much_loss_is_warned_of(facts: dict[str, float], warns: bool) -> None:
    """The status warns from where most GOPs are damaged."""
    assert any("lost on the way" in text for text in list_warnings({"state": "recording", **facts})) == warns


def in_thread(run: Callable[[], None]) -> None:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)


def test_each_thread_hears_its_own_camera_only() -> None:
    """What FFmpeg says while one camera is read is not put down to another; a repeated line counts each time."""
    mine: list[int] = []
    theirs: list[int] = []
    heard = hear(mine.append)

    def other() -> None:
        hear(theirs.append)
        for _ in range(3):
            av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 4 packets\n")

    in_thread(other)
    av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 4 packets\n")
    av.logging.log(av.logging.ERROR, "rtsp", "method DESCRIBE failed: 453 Not Enough Bandwidth\n")
    assert (mine, theirs, heard.status) == ([4], [4, 4, 4], 453)


_TALKATIVE = """
import logging, resource, sys
import av.logging
from edge_agent.capture.session.ffmpeg_log import hear

logging.basicConfig(level=logging.DEBUG)
hear(lambda _: None)
def talk():
    for number in range(50_000):
        av.logging.log(av.logging.ERROR, "rtsp", f"cannot open rtsp://owner:secret-{number}@camera/" + "x" * 500)
talk()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
talk()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_nothing_of_the_log_is_kept_or_repeated() -> None:
    """A flood of lines, secrets among them, leaves no line in our log and nothing in memory."""
    done = subprocess.run([sys.executable, "-c", _TALKATIVE], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert int(done.stdout) < 1024  # KiB, of 25 MB that were said


@pytest.mark.peer
@pytest.mark.slow
def test_lost_packets_are_counted_over_udp() -> None:
    """One packet in twenty lost on the way: five percent in the status, and a warning; before that, nothing lost."""
    with (
        SimulatedCamera(CameraSettings(live=LIVE)) as camera,
        Recording(Endpoint(camera.url, transport="udp")) as recording,
    ):
        wait_until(lambda: "lost_percent" in recording.status.snapshot())
        assert recording.status.snapshot()["lost_packets"] == 0
        camera.fault("loss")
        wait_until(lambda: recording.status.snapshot()["lost_packets"] >= 15, 40)
        wait_until(lambda: recording.status.snapshot()["lost_percent"] >= 1)
        facts = recording.status.snapshot()
    assert facts["lost_percent"] < 6
    assert "lost on the way" in list_warnings(facts)[0]


@pytest.mark.peer
@pytest.mark.slow
def test_lost_packets_of_a_camera_without_reports_are_counted() -> None:
    """Without sender reports there is a number and no share."""
    with SimulatedCamera(CameraSettings(live=LIVE)) as camera:
        camera.fault("no-reports")
        camera.fault("loss")
        with Recording(Endpoint(camera.url, transport="udp")) as recording:
            wait_until(lambda: recording.status.snapshot().get("lost_packets", 0) >= 3, 40)
            assert "lost_percent" not in recording.status.snapshot()


@pytest.mark.peer
def test_tcp_claims_nothing() -> None:
    """Over TCP no loss is told, not even none: FFmpeg looks for no gaps there."""
    with SimulatedCamera(CameraSettings(live=LIVE)) as camera, Recording(Endpoint(camera.url)) as recording:
        recording.wait_for_gops(2)
        assert "lost_packets" not in recording.status.snapshot()
