"""The owner's pauses of recording."""

import json
import threading
import time
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError, UsageError
from edge_agent.recording.pauses import ALL, Pauses
from edge_agent.units import HOUR_NS, SECOND_NS, MonoNs, UtcNs, encode_rfc3339

NOW = UtcNs(1_795_000_000 * SECOND_NS)
BOOT_NOW = MonoNs(600 * SECOND_NS)
BOOT = b"a" * 16
LATER_BOOT = b"b" * 16


class House:
    """The file, and the clocks of a recorder that a test turns; ``restart`` reads the file anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pauses.json"
        self.now, self.boot = NOW, BOOT_NOW
        self.restart()

    def restart(self, boot_id: bytes = BOOT) -> None:
        self.pauses = Pauses(self.path, boot_id)

    def advance(self, by_ns: int) -> None:
        self.now, self.boot = UtcNs(self.now + by_ns), MonoNs(self.boot + by_ns)

    def step(self, by_ns: int) -> None:
        self.now = UtcNs(self.now + by_ns)

    def pause(self, camera: str, for_ns: int | None = None) -> None:
        until = None if for_ns is None else encode_rfc3339(UtcNs(self.now + for_ns))
        self.pauses.pause(camera, until, self.now, self.boot)

    def paused(self, *cameras: str) -> list[bool]:
        return [self.pauses.is_paused(camera, self.now, self.boot) for camera in cameras]

    def standing(self) -> list[str]:
        return self.pauses.standing(self.now, self.boot)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_pause_outlives_the_process(house: House) -> None:
    """A pause is there again after a restart, and ends by its time alone where it has one."""
    house.pause("door", SECOND_NS)
    house.restart()
    house.pause("yard")
    house.restart()
    assert house.paused("door", "yard", "gate") == [True, True, False]
    house.advance(SECOND_NS)
    assert house.paused("door", "yard", "gate") == [False, True, False]


def test_clock_that_is_set_forward_ends_no_pause(house: House) -> None:
    """Eight hours are eight hours, also after a restart, whatever the wall clock says meanwhile."""
    house.pause("door", 8 * HOUR_NS)
    house.advance(HOUR_NS)
    house.step(24 * HOUR_NS)
    assert house.paused("door") == [True]
    house.restart()
    house.advance(7 * HOUR_NS - 1)
    assert house.paused("door") == [True]
    assert house.standing() == ["door"]
    house.advance(1)
    assert house.paused("door") == [False]


def test_clock_that_is_set_back_makes_a_pause_longer(house: House) -> None:
    """A pause also lasts until the time that was named: the later of both."""
    house.pause("door", HOUR_NS)
    house.step(-HOUR_NS)
    house.advance(HOUR_NS)
    assert house.paused("door") == [True]
    house.advance(HOUR_NS)
    assert house.paused("door") == [False]


def test_in_a_later_boot_the_wall_clock_counts(house: House) -> None:
    """Boot time begins anew: a pause of an earlier boot ends at the time that was named."""
    house.pause("door", HOUR_NS)
    house.boot = MonoNs(SECOND_NS)
    house.restart(LATER_BOOT)
    assert house.paused("door") == [True]
    house.step(HOUR_NS)
    assert house.paused("door") == [False]


def test_pause_is_measured_by_the_clock_of_who_set_it(house: House) -> None:
    """Where the recorder's own time lies far ahead, by a wrong floor, a pause for an hour still is one."""
    until = encode_rfc3339(UtcNs(NOW + HOUR_NS))
    house.step(75 * 365 * 24 * HOUR_NS)
    house.pauses.pause("door", until, NOW, house.boot)
    assert house.paused("door") == [True]
    house.advance(HOUR_NS)
    assert house.paused("door") == [False]


def test_damaged_file_pauses_everything(house: House) -> None:
    """What the owner had paused is unknown: nothing is recorded rather than something unwanted."""
    for damaged in ('{"until": ', '{"until": {"yard": "soon"}}', '{"until": {}, "boot": 3}'):
        house.path.write_text(damaged)
        house.restart()
        assert house.paused("door") == [True]


def test_file_of_before_boot_time_was_kept_is_read(house: House) -> None:
    """What was paused by an earlier version stays paused until the time that was named."""
    house.path.write_text(json.dumps({"until": {"door": encode_rfc3339(UtcNs(NOW + HOUR_NS))}, "used": []}))
    house.restart()
    assert house.paused("door", "yard") == [True, False]


@pytest.mark.parametrize("first_ns", [None, HOUR_NS])
def test_pause_is_never_made_shorter_by_a_pause(house: House, first_ns: int | None) -> None:
    """Ending a pause takes the owner's signature; a shorter pause on top of it does not end it."""
    house.pause("door", first_ns)
    house.pause("door", SECOND_NS)
    house.advance(60 * SECOND_NS)
    assert house.paused("door") == [True]


def test_malformed_time_is_refused(house: House) -> None:
    """A time that cannot be read does not become a pause of another length."""
    with pytest.raises(UsageError):
        house.pauses.pause("door", "tomorrow", NOW, BOOT_NOW)


@pytest.mark.parametrize("ended", [ALL, "door"])
def test_resume_ends_the_pause_of_its_name_alone(house: House, ended: str) -> None:
    """A pause of all cameras and one of a single camera end apart, each by a resume of the same words."""
    house.pause("door")
    house.pause(ALL)
    house.pauses.resume(ended)
    other = ({ALL, "door"} - {ended}).pop()
    assert house.standing() == [other]
    assert house.paused("door", "yard") == [True, other == ALL]
    house.pauses.resume(other)
    house.restart()
    assert house.standing() == []
    assert house.paused("door") == [False]


def test_pause_that_is_over_does_not_stand(house: House) -> None:
    """What ended by its time is not told as a pause that stands."""
    house.pause("door", SECOND_NS)
    assert house.standing() == ["door"]
    house.advance(SECOND_NS)
    assert house.standing() == []


ORDERS: dict[str, tuple[str, list[bool]]] = {
    "a pause counts before it is durable": ("yard", [True, True]),
    "a resume only after": ("door", [True, False]),
}


@pytest.mark.parametrize(("camera", "meanwhile"), ORDERS.values(), ids=ORDERS.keys())
def test_nobody_who_asks_waits_for_a_disk(
    house: House, monkeypatch: pytest.MonkeyPatch, camera: str, meanwhile: list[bool]
) -> None:
    """While the file is written, it can be asked what is paused: the thread that reads all cameras does so."""
    house.pause("door")
    answers: list[list[bool]] = []

    def write_slowly(*args: object, **options: object) -> None:
        asking = threading.Thread(
            target=lambda: answers.append([*house.paused("door", "yard"), bool(house.standing())]), daemon=True
        )
        asking.start()
        asking.join(5)

    monkeypatch.setattr("edge_agent.recording.pauses.write_small_file", write_slowly)
    if camera == "door":
        house.pauses.resume("door")
    else:
        house.pause("yard")
    assert answers == [[*meanwhile, True]]
    assert house.paused("door") == [camera == "yard"]


def test_resume_that_cannot_be_saved_ends_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be paused again after a restart stays paused now; a pause counts even if it cannot be saved."""
    house.pause("door")

    def fail(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.recording.pauses.write_small_file", fail)
    with pytest.raises(ConfigError):
        house.pauses.resume("door")
    with pytest.raises(ConfigError):
        house.pause("yard")
    assert house.paused("door", "yard") == [True, True]


def test_pauses_count_while_another_is_written(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs holds up neither the next pause nor the one that comes while a pause is being ended."""
    begun, released = threading.Event(), threading.Event()
    written: list[bytes] = []

    def write_slowly(_path: Path, content: bytes, **options: object) -> None:
        begun.set()
        assert released.wait(10)
        written.append(content)

    house.pause("door")
    monkeypatch.setattr("edge_agent.recording.pauses.write_small_file", write_slowly)
    acts = [threading.Thread(target=act, args=("door",)) for act in (house.pauses.resume, house.pause)]
    acts.append(threading.Thread(target=house.pause, args=("yard",)))
    acts[0].start()
    assert begun.wait(10)
    for act in acts[1:]:
        act.start()
    deadline = time.monotonic() + 10
    while not all(house.paused("door", "yard")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert house.paused("door", "yard") == [True, True]
    released.set()
    for act in acts:
        act.join(10)
    assert house.paused("door", "yard") == [True, True]
    assert sorted(json.loads(written[-1])["until"]) == ["door", "yard"]
