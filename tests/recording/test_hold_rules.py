"""Why a stream is not recorded now: the first of pause, hours and rule that holds."""

from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from edge_agent.capture.event_window import EventGate
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.hold_rules import HoldRules
from edge_agent.recording.pauses import ALL, Pauses
from edge_agent.settings.gateway import Camera
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, parse_rfc3339
from tests.support.fakes import FakeClock

ZONE = ZoneInfo("America/Chicago")
DOOR = Camera.model_validate({"id": "door", "url": "rtsp://a/b", "hours": ["18:00-08:00"]})


class Gates:
    """The gate of one camera, or none."""

    def __init__(self, gate: EventGate | None) -> None:
        self._gate = gate

    def gate_of(self, _camera: str) -> EventGate | None:
        return self._gate


class Rules:
    """The rules of one camera, in its first moment of hours."""

    def __init__(self, folder: Path, gate: EventGate | None = None) -> None:
        self.clock = FakeClock(utc=parse_rfc3339("2026-11-29T00:00:00Z"))
        self.pauses = Pauses(folder / "pauses.json", bytes(16))
        self.stores = False
        rules = HoldRules(self.pauses, cast(Triggers, Gates(gate)), self.clock)
        self.find, self.find_sub = (rules.rule_of(DOOR, each, ZONE, lambda: self.stores) for each in ("main", "sub"))

    def pause(self, camera: str) -> None:
        self.pauses.pause(camera, None, self.clock.utc(), self.clock.boot())


def test_a_pause_counts_at_once_and_until_it_ends(tmp_path: Path) -> None:
    """One of this camera or of all holds the stream; one of another camera does not."""
    rules = Rules(tmp_path)
    rules.pause("yard")
    assert rules.find() == ""
    for camera in ("door", ALL):
        rules.pause(camera)
        assert rules.find() == "paused"
        rules.pauses.resume(camera)
        assert rules.find() == ""


def test_hours_are_asked_each_time(tmp_path: Path) -> None:
    """The same function says yes within the hours and no after them."""
    rules = Rules(tmp_path)
    assert rules.find() == ""
    rules.clock.advance(14 * HOUR_NS)
    assert rules.find() == "outside-hours"


def test_a_gate_holds_until_an_event(tmp_path: Path) -> None:
    """An event-only camera waits for its event, and waits again after it."""
    gate = EventGate()
    rules = Rules(tmp_path, gate)
    assert rules.find() == "not-by-rule"
    assert gate.fire(rules.clock.boot(), 5 * SECOND_NS)
    assert rules.find() == ""
    rules.clock.advance(6 * SECOND_NS)
    assert rules.find() == "not-by-rule"


def test_a_camera_that_has_to_be_woken_is_recorded_for_as_long_as_was_asked(tmp_path: Path) -> None:
    """The time counts from what is stored first; each stream has its own; a camera that never wakes is given up."""
    rules = Rules(tmp_path, gate := EventGate(MINUTE_NS, ("main", "sub")))
    assert rules.find() == "not-by-rule"
    gate.fire(rules.clock.boot(), 5 * SECOND_NS)
    assert rules.find() == ""
    rules.clock.advance(40 * SECOND_NS)
    rules.stores = True
    assert rules.find() == ""
    rules.stores = False
    for _ in range(5):
        assert (rules.find(), rules.find_sub()) == ("", "")
        rules.clock.advance(SECOND_NS)
    assert (rules.find(), rules.find_sub()) == ("not-by-rule", "")
    rules.clock.advance(15 * SECOND_NS)
    assert (rules.find(), rules.find_sub()) == ("not-by-rule", "not-by-rule")


def test_a_camera_that_is_awake_is_recorded_from_the_event_on(tmp_path: Path) -> None:
    """Its first record is stored a GOP later, and moves nothing."""
    rules = Rules(tmp_path, gate := EventGate())
    gate.fire(rules.clock.boot(), 5 * SECOND_NS)
    rules.clock.advance(3 * SECOND_NS)
    rules.stores = True
    assert rules.find() == ""
    rules.clock.advance(2 * SECOND_NS)
    assert rules.find() == "not-by-rule"


def test_an_event_that_is_over_before_a_pause_ends_counts_for_nothing(tmp_path: Path) -> None:
    """Neither is the camera woken for it, nor does it use up an hour's openings; one that lasts longer counts."""
    rules = Rules(tmp_path, gate := EventGate(MINUTE_NS))
    for _ in range(10):
        rules.pause("door")
        assert gate.fire(rules.clock.boot(), 5 * SECOND_NS, per_hour=2)
        assert rules.find() == "paused"
        rules.clock.advance(6 * SECOND_NS)
        assert rules.find() == "paused"
        rules.pauses.resume("door")
        assert rules.find() == "not-by-rule"
    rules.pause("door")
    gate.fire(rules.clock.boot(), MINUTE_NS, per_hour=2)
    assert rules.find() == "paused"
    rules.pauses.resume("door")
    assert rules.find() == ""
    rules.clock.advance(50 * SECOND_NS)
    rules.stores = True
    assert rules.find() == ""
    rules.clock.advance(MINUTE_NS - 1)
    assert rules.find() == ""
    rules.clock.advance(1)
    assert rules.find() == "not-by-rule"


def test_an_event_in_a_pause_wakes_the_camera_that_the_pause_has_ended(tmp_path: Path) -> None:
    """What it stored before the pause is of a session that is no more."""
    rules = Rules(tmp_path, gate := EventGate(MINUTE_NS))
    gate.fire(rules.clock.boot(), 10 * SECOND_NS)
    rules.stores = True
    assert rules.find() == ""
    rules.pause("door")
    assert rules.find() == "paused"
    rules.stores = False
    gate.fire(rules.clock.boot(), 20 * SECOND_NS)
    rules.clock.advance(10 * SECOND_NS)
    rules.pauses.resume("door")
    assert rules.find() == ""
    rules.clock.advance(40 * SECOND_NS)
    assert rules.find() == ""


def test_a_pause_is_told_before_hours_and_hours_before_a_rule(tmp_path: Path) -> None:
    """If several reasons hold, the owner's own comes first."""
    rules = Rules(tmp_path, EventGate())
    rules.clock.advance(14 * HOUR_NS)
    assert rules.find() == "outside-hours"
    rules.pause("door")
    assert rules.find() == "paused"
