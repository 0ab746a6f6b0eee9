"""kill -9 of either process at any moment: at most five seconds of footage are lost, and no request."""

import signal
import time
from dataclasses import replace

import pytest

from edge_agent.protocol.answer import Status
from edge_agent.units import SECOND_NS, UtcNs, Window
from tests.end_to_end.conftest import read_pictures

pytestmark = [pytest.mark.peer, pytest.mark.slow]

MOST_LOST_NS = 5 * SECOND_NS


def test_killed_recorder_loses_at_most_five_seconds_and_declares_the_gap(world):
    """Footage from before and after a kill is delivered as two clips, with the hole between them named."""
    world.wait_recorded(6)
    start = world.clock.utc()
    world.home.stop("record", how=signal.SIGKILL)
    killed = world.clock.utc()
    world.home.start("record")
    world.home.wait_ready()
    world.wait_recorded(3)
    end = world.clock.utc()
    draft = world.draft(0.002, 0.001)
    window = Window(UtcNs(start - 5 * SECOND_NS), UtcNs(end - SECOND_NS))
    draft = replace(draft, window=window, incident=replace(draft.incident, window=window))
    signed = world.send(draft)
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    findings = world.open(signed.jti)
    assert findings.ok, findings.as_text()
    assert len(world.clips(signed.jti)) == 2
    before = read_pictures(world.folder / signed.jti, "clips/001.mp4")
    after = read_pictures(world.folder / signed.jti, "clips/002.mp4")
    assert killed - before[-1].pixels < MOST_LOST_NS
    assert after[0].ring > before[-1].ring
    assert "Missing, as declared" in findings.as_text()


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.15, 0.3, 0.6])
def test_killed_releaser_loses_no_request_and_delivers_once(world, after_s):
    """Whenever the releaser is killed, the request is decided once, released once and answered to its end."""
    world.wait_recorded(9)
    draft = world.draft(8, 6)  # long past: the clip is built at once
    signed = world.sign(draft)
    world.session.send(signed)
    time.sleep(after_s)  # so that it is at another line when it is killed; any line will do
    world.home.stop("release", how=signal.SIGKILL)
    world.home.start("release")
    world.home.wait_ready()
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    assert world.open(signed.jti).ok
    assert [each["entry"]["outcome"] for each in world.entries("decision")] == ["grant"]
    assert len(world.entries("delivery")) == 1
    assert len(world.entries("release")) == 1
    assert "ledger is whole" in world.home.run("ledger", "verify")


def test_recorder_that_is_told_to_stop_has_everything_synced(world):
    """SIGTERM ends the recorder within two seconds, and nothing that was recorded is lost."""
    world.wait_recorded(5)
    world.home.stop("record")
    stopped = world.clock.utc()
    draft = world.draft(4, 0.5)
    signed = world.send(draft)
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    assert world.open(signed.jti).ok
    pictures = read_pictures(world.folder / signed.jti)
    assert stopped - pictures[-1].pixels < 3 * SECOND_NS
