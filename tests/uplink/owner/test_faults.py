"""Faults are told: once when they last, once more when they are over, and at each stage that comes nearer."""

import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consent.camera_state import CameraConsent, ConsentState
from edge_agent.consent.policy import Occasion
from edge_agent.host.language import load_texts
from edge_agent.settings.gateway import parse_config
from edge_agent.texts import LANGUAGES
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs, encode_rfc3339
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.fault_news import FaultNews, ReleaserFacts
from edge_agent.uplink.owner.fault_sources import Seen, see_disks, see_ends, see_recorder
from edge_agent.uplink.owner.fault_words import WORDS, make_notices
from edge_agent.uplink.owner.faults import WELL_NS, Fault, FaultWatch, Turn
from edge_agent.uplink.owner.notifier import MAX_TITLE
from tests.support.fakes import FakeClock

DOWN = Fault("camera", "Front door", after_ns=5 * MINUTE_NS)


def see(watch: FaultWatch, minutes: float, *faults: Fault, well=()) -> list[Turn]:
    return watch.look(faults, well, MonoNs(int(minutes * MINUTE_NS)))


def test_a_fault_is_told_once_when_it_has_lasted():
    """Not at once, not again."""
    watch = FaultWatch({})
    assert [len(see(watch, minute, DOWN)) for minute in range(10)] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_what_comes_back_in_time_is_never_told():
    """A camera that restarts wakes nobody, and its next fault begins anew."""
    watch = FaultWatch({})
    assert see(watch, 0, DOWN) + see(watch, 4, well=[DOWN.key]) + see(watch, 5, DOWN) + see(watch, 9, DOWN) == []
    assert len(see(watch, 10, DOWN)) == 1


def test_the_end_is_told_once_when_it_lasts():
    """A camera that comes and goes is told of once until it stays."""
    watch = FaultWatch({})
    see(watch, 0, DOWN)
    see(watch, 5, DOWN)
    assert see(watch, 5.5, well=[DOWN.key]) + see(watch, 5.6, DOWN) + see(watch, 6, well=[DOWN.key]) == []
    assert [turn.is_over for turn in see(watch, 7, well=[DOWN.key])] == [True]
    assert see(watch, 8, well=[DOWN.key]) == []


def test_of_what_cannot_be_judged_nothing_is_said():
    """A camera that was switched off, or a recorder that does not answer, is not well again."""
    watch = FaultWatch({DOWN.key: 0})
    assert see(watch, 60) == []
    assert watch.told == {DOWN.key: 0}


def test_what_was_told_before_a_restart_is_not_told_again():
    """The told faults are kept; their end is told by the next process."""
    watch = FaultWatch({DOWN.key: 0})
    assert see(watch, 0, DOWN) + see(watch, 30, DOWN) == []
    assert len(see(watch, 31, well=[DOWN.key]) + see(watch, 33, well=[DOWN.key])) == 1


@given(st.lists(st.sampled_from(["wrong", "well", "unknown"]), max_size=60))
def test_beginnings_and_ends_alternate(states):
    """Whatever happens, nobody is told twice that it began, or that it is over what was never told."""
    watch, turns = FaultWatch({}), []
    for number, state in enumerate(states):
        faults, well = [DOWN] * (state == "wrong"), [DOWN.key] * (state == "well")
        turns += see(watch, number * 0.7, *faults, well=well)
    assert [turn.is_over for turn in turns] == [bool(number % 2) for number in range(len(turns))]


def test_an_end_is_told_at_each_stage():
    """Seven days before, one day before, and when it is over: three messages, whatever the number of looks."""
    watch, told = FaultWatch({}), []
    end = UtcNs(1_790_000_000_000_000_000)
    for hour in range(-10 * 24, 24):
        seen = Seen()
        see_ends(seen, {}, {"certificate": end}, UtcNs(end + hour * HOUR_NS), str)
        told += watch.look(seen.faults, seen.well, MonoNs((hour + 300) * HOUR_NS))
    titles = [notice.title for turn in told for notice in make_notices([turn], load_texts("en"))]
    assert titles == [
        "This gateway's certificate ends within a week",
        "This gateway's certificate ends within a day",
        "This gateway's certificate has ended",
    ]


def test_a_consent_that_is_revoked_is_not_said_to_go_on():
    """It neither ends soon nor is it well: nothing is said."""
    now = UtcNs(1_790_000_000_000_000_000)
    watch, states = FaultWatch({}), (ConsentState.IN_FORCE, ConsentState.REVOKED, ConsentState.IN_FORCE)
    turns = []
    for hour, (state, days) in enumerate(zip(states, (3, 3, 40), strict=True)):
        for part in (0, 2 * WELL_NS):
            seen = Seen()
            see_ends(seen, {"door": CameraConsent(state, "ask", UtcNs(now + days * DAY_NS))}, {}, now, str)
            turns += [[turn.is_over for turn in watch.look(seen.faults, seen.well, MonoNs(hour * HOUR_NS + part))]]
    assert turns == [[False], [], [], [], [True], []]


CONFIG = """
gateway: {state_dir: STATE, run_dir: RUN, time_zone: America/Chicago}
cameras:
  - {id: door, name: Front door, url: "rtsp://127.0.0.1/a"}
  - {id: yard, name: Yard, url: "rtsp://127.0.0.1/b", down_after: 30m}
notify: {services: [phone]}
"""


class House:
    """A gateway whose recorder's status a test writes, and what its owner is told."""

    def __init__(self, folder: Path) -> None:
        text = CONFIG.replace("STATE", str(folder / "state")).replace("RUN", str(folder / "run"))
        self.config = parse_config(text, "test", folder)
        for path in (self.config.store_path.parent, self.config.status_path.parent):
            path.mkdir(parents=True, exist_ok=True)
        self.clock, self.is_connected = FakeClock(), True
        self.consents: dict[str, CameraConsent] = {}
        self.ends: dict[str, UtcNs | None] = {}
        self.told: list[tuple[str, str]] = []
        self.news = self.start()

    def start(self) -> FaultNews:
        def tell(notice):
            self.told.append((notice.title, notice.body))

        return FaultNews(
            self.config,
            tell,
            lambda: frozenset(Occasion),
            self.clock,
            ReleaserFacts(
                why_unclear=lambda: "the wall clock is before 2026-11-29T01:12:00Z, which was known to be right",
                is_connected=lambda: self.is_connected,
                consents=lambda _now: self.consents,
                ends=lambda: self.ends,
            ),
        )

    def end_in(self, days: int) -> UtcNs:
        return UtcNs(self.clock.utc() + days * DAY_NS)

    def write(self, **streams: dict[str, object]) -> None:
        good = {"state": "recording", "storage": "ok", "since": encode_rfc3339(self.clock.utc())}
        cameras = {f"{name}.main": good | facts for name, facts in streams.items()}
        status = {"written_at": encode_rfc3339(self.clock.utc()), "cameras": cameras}
        self.config.status_path.write_text(json.dumps(status))

    def run(self, minutes: int, **streams: dict[str, object]) -> list[str]:
        """Let time pass; return the titles of what was told."""
        before = len(self.told)
        for _ in range(minutes * 6):
            self.clock.advance(10 * SECOND_NS)
            self.write(**streams)
            self.news.look()
        return [title for title, _ in self.told[before:]]


STREAMS: dict[str, tuple[dict[str, object], str, str]] = {
    "down": ({"state": "down", "reason_text": "no connection"}, "Not recorded: Front door", "no connection"),
    "ring": ({"storage": "disk is full"}, "Footage cannot be stored: Front door", "disk is full"),
    "covered": ({"picture": "covered"}, "The picture is covered: Front door", "Look at the camera"),
    "frozen": ({"picture": "frozen"}, "The picture is frozen: Front door", "off and on"),
    "moved": ({"picture": "moved"}, "The camera looks elsewhere: Front door", "masks"),
    "events": ({"events": "trouble", "events_detail": "refused"}, "No events come: Front door", "refused"),
}


@pytest.mark.parametrize(("facts", "title", "word"), STREAMS.values(), ids=STREAMS)
def test_a_fault_of_a_camera_is_told_with_its_mend_and_its_end(tmp_path, facts, title, word):
    """Once, why, and what to do; and once more when all is well."""
    house = House(tmp_path)
    good: dict[str, object] = {"picture": "ok", "events": "listening"}
    assert house.run(2, door=good, yard=good) == []
    assert house.run(20, door=good | facts, yard=good) == [title]
    assert word in house.told[0][1]
    assert len(house.run(5, door=good, yard=good)) == 1


def stop_recorder(house: House) -> dict[str, object]:
    house.write = lambda **_: None  # type: ignore[method-assign]
    return {}


def start_recorder(house: House) -> None:
    del house.write


def set_consent(house: House, days: int) -> None:
    house.consents = {"door": CameraConsent(ConsentState.IN_FORCE, "ask", house.end_in(days))}


def set_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_blocks=1 << 40, f_frsize=1))


def edit_terms(house: House) -> None:
    house.config.consent.file.write_text("version: 1 # edited\n")


def leave_terms(house: House) -> None:
    house.config.consent.file.write_text("version: 1\n")
    adoption.expect(house.config, house.config.consent.file, "text")
    adoption.leave(house.config, b"order", "text")


Change = Callable[[House, pytest.MonkeyPatch], object]
KINDS: dict[str, tuple[Change, Change]] = {
    "recorder": (lambda house, _: stop_recorder(house), lambda house, _: start_recorder(house)),
    "camera": (lambda *_: {"state": "down"}, lambda *_: {}),
    "events": (lambda *_: {"events": "trouble"}, lambda *_: {"events": "listening"}),
    "ring": (lambda *_: {"storage": "disk is full"}, lambda *_: {}),
    "mirror": (lambda *_: {"mirror": "not copied yet"}, lambda *_: {"mirror": "ok"}),
    "disk": (lambda _, patch: set_room(patch, 1 << 20), lambda _, patch: set_room(patch, 1 << 39)),
    "covered": (lambda *_: {"picture": "covered"}, lambda *_: {"picture": "ok"}),
    "frozen": (lambda *_: {"picture": "frozen"}, lambda *_: {"picture": "ok"}),
    "black": (lambda *_: {"picture": "black"}, lambda *_: {"picture": "ok"}),
    "moved": (lambda *_: {"picture": "moved"}, lambda *_: {"picture": "ok"}),
    "clock": (
        lambda house, _: setattr(house.clock, "clock_state", ClockState.FLOOR_ONLY),
        lambda house, _: setattr(house.clock, "clock_state", ClockState.SYNCHRONISED),
    ),
    "broker": (
        lambda house, _: setattr(house, "is_connected", False),
        lambda house, _: setattr(house, "is_connected", True),
    ),
    "adoption": (
        lambda house, _: leave_terms(house),
        lambda house, _: edit_terms(house),
    ),
    "consent": (lambda house, _: set_consent(house, 5), lambda house, _: set_consent(house, 40)),
    "certificate": (
        lambda house, _: house.ends.update(certificate=house.end_in(5)),
        lambda house, _: house.ends.update(certificate=house.end_in(300)),
    ),
    "trust": (
        lambda house, _: house.ends.update(trust=house.end_in(5)),
        lambda house, _: house.ends.update(trust=house.end_in(30)),
    ),
}


def test_every_kind_of_fault_has_a_way_to_come_about():
    """A kind that this table lacks would be told by nobody."""
    assert set(KINDS) == set(WORDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_told_once_with_its_mend_and_once_when_it_is_well(tmp_path, monkeypatch, kind):
    """Whatever it is: nothing before it lasts, one message with what to do, and one message that it is over."""
    house, (break_it, mend_it) = House(tmp_path), KINDS[kind]
    assert house.run(2, door=mend_it(house, monkeypatch) or {} if kind != "recorder" else {}) == []
    facts = break_it(house, monkeypatch) or {}
    assert len(house.run(16 * 60 if kind == "black" else 40, door=facts)) == 1
    title, body = house.told[0]
    words, texts = WORDS[kind], load_texts("en")
    assert body.splitlines()[0] == texts(words.meaning)
    assert body.splitlines()[-1] == texts(words.mend)
    assert not re.search(r"[0-9]T[0-9]", body)
    assert house.news.lines()[0].startswith(title)
    facts = mend_it(house, monkeypatch) or {}
    subject = title.partition(": ")[2]
    assert house.run(20, door=facts) == [texts(words.well, subject=subject)]
    assert house.news.lines() == []


QUIET: dict[str, dict[str, object]] = {
    "switched off": {"state": "off", "reason": "disabled"},
    "paused": {"state": "off", "reason": "paused"},
    "no event": {"state": "waiting", "reason": "not-by-rule"},
    "night": {"picture": "black"},
    "ring being made": {"storage": "ring is being made: 3 %", "preparing": True},
}


@pytest.mark.parametrize("facts", QUIET.values(), ids=QUIET)
def test_what_is_meant_so_is_no_fault(tmp_path, facts):
    """Nobody is woken for what the owner wants, or what passes by itself."""
    assert House(tmp_path).run(60, door=facts, yard={}) == []


def test_each_camera_has_its_own_patience(tmp_path):
    """The yard may be away for half an hour."""
    house, down = House(tmp_path), {"state": "down"}
    assert house.run(20, door=down, yard=down) == ["Not recorded: Front door"]
    assert house.run(20, door=down, yard=down) == ["Not recorded: Yard"]


def test_one_message_for_all_cameras_of_a_switch(tmp_path):
    """Cameras that go together are told together."""
    house = House(tmp_path)
    frozen = {"picture": "frozen"}
    assert house.run(10, door=frozen, yard=frozen) == ["The picture is frozen: Front door, Yard"]
    assert "Front door: since " in house.told[0][1]


def test_a_recorder_that_is_silent_is_told_and_its_cameras_are_not_well(tmp_path):
    """Nothing newer than a minute: nothing is recorded, and no camera is said to be back."""
    house = House(tmp_path)
    house.run(7, door={"state": "down"}, yard={})
    for _ in range(60):
        house.clock.advance(10 * SECOND_NS)
        house.news.look()
    assert [title for title, _ in house.told] == [
        "Not recorded: Front door",
        "Nothing is recorded: the recorder does not run",
    ]
    assert sorted(house.run(3, door={}, yard={})) == ["Recorded again: Front door", "The recorder runs again"]


def test_a_restart_tells_nothing_twice(tmp_path):
    """What was told lies in the releaser's folder, and a damaged file costs one message more, never one less."""
    house = House(tmp_path)
    house.run(7, door={"state": "down"}, yard={})
    house.news = house.start()
    assert house.run(7, door={"state": "down"}, yard={}) == []
    (house.config.store_path.with_name("faults-told.json")).write_text("[[")
    house.news = house.start()
    assert house.run(7, door={"state": "down"}, yard={}) == ["Not recorded: Front door"]


def test_what_could_not_be_told_is_told_later_each_fault_alone(tmp_path):
    """A full disk keeps a message from being written down: it is told once there is room, before or after a restart."""
    house, sent = House(tmp_path), []

    def send(notice):
        if "covered" in notice.title and not sent:
            raise sqlite3.OperationalError("database or disk is full")
        house.told.append((notice.title, notice.body))

    def start() -> FaultNews:
        facts = ReleaserFacts(is_connected=lambda: True)
        return FaultNews(house.config, send, lambda: frozenset(Occasion), house.clock, facts)

    facts: dict[str, dict[str, object]] = {"door": {"state": "down"}, "yard": {"picture": "covered"}}
    house.news = start()
    assert house.run(20, **facts) == ["Not recorded: Front door"]
    house.news = start()
    assert house.run(20, **facts) == []
    sent.append("there is room")
    assert house.run(1, **facts) == ["The picture is covered: Yard"]
    assert house.run(20, **facts) == []


def test_an_end_that_could_not_be_told_is_told_later(tmp_path):
    """The same for good news."""
    house = House(tmp_path)
    house.run(7, door={"state": "down"}, yard={})
    send = house.news._send

    def fail(_notice):
        raise OSError("disk is full")

    house.news._send = fail
    assert house.run(5, door={}, yard={}) == []
    house.news._send = send
    assert house.run(3, door={}, yard={}) == ["Recorded again: Front door"]
    assert house.run(5, door={}, yard={}) == []


def test_a_clock_that_is_not_believed_is_told(tmp_path):
    """After ten minutes; a start without a network is no fault."""
    house = House(tmp_path)
    house.clock.clock_state = ClockState.FLOOR_ONLY
    assert house.run(9, door={}, yard={}) == []
    assert house.run(3, door={}, yard={}) == ["The gateway's clock is not believed"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_has_words_in_every_language(language):
    """Titles fit into a phone's line, bodies say what to do; a brace that is left would be a name nobody filled."""
    for kind, words in WORDS.items():
        for stage in range(1 + len(words.later)):
            fault = Fault(kind, "Front door", "no connection", "2026-11-28 19:12:00", stage=stage)
            for turn in (Turn(fault), Turn(fault, is_over=True)):
                (notice,) = make_notices([turn], load_texts(language))
                assert len(notice.title) <= MAX_TITLE
                assert "{" not in notice.title + notice.body
                assert len(notice.body.splitlines()) <= 4


ROOM: dict[str, tuple[int, int, bool]] = {
    "a small disk with a thousandth": (1 << 20, 1 << 30, True),
    "a small disk with more than a hundredth": (12 << 20, 1 << 30, False),
    "a large disk with less than 256 MiB": (255 << 20, 1 << 40, True),
    "a large disk with 256 MiB": (256 << 20, 1 << 40, False),
}


@pytest.mark.parametrize(("free", "total", "is_wrong"), ROOM.values(), ids=ROOM)
def test_a_disk_without_room_is_seen(tmp_path, monkeypatch, free, total, is_wrong):
    """A hundredth of a small disk, 256 MiB of a large one."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=1))
    seen = Seen()
    see_disks(seen, [tmp_path])
    assert bool(seen.faults) is is_wrong


def test_a_status_of_nonsense_is_no_error(tmp_path):
    """The recorder parses what cameras send: what it writes is not believed to be well-formed."""
    house = House(tmp_path)
    for cameras in ({"door.main": 3}, {"x": {}}, {"door.main": {"state": [], "since": {}, "picture": 5}}):
        seen = Seen()
        status = {"written_at": encode_rfc3339(house.clock.utc()), "cameras": cameras}
        see_recorder(seen, status, house.config, house.clock.utc(), str)


def test_local_time_is_the_gateways(tmp_path):
    """Since when, as the owner's clock shows it."""
    house = House(tmp_path)
    house.run(7, door={"state": "down", "since": "2026-11-28T19:12:00Z"}, yard={})
    assert "since 2026-11-28 13:12:00" in house.told[0][1]
