"""What is remembered of the readers of streams, over restarts."""

import json
from pathlib import Path

import pytest

from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.reader_choice import ReaderChoice
from edge_agent.recording.reader_memory import HOLDS_NS, ReaderMemory
from edge_agent.settings.gateway import Camera, Config
from edge_agent.units import SECOND_NS, UtcNs

ADDRESS = "rtsp://camera.example/1"
STREAM = "door.main"
START = UtcNs(1_700_000_000 * SECOND_NS)


class House:
    """A state folder and a time."""

    def __init__(self, folder: Path) -> None:
        self.path, self.now = folder / "readers.json", START

    def start(self, version: str = "1.0.0") -> ReaderMemory:
        return ReaderMemory(self.path, lambda: self.now, version)

    def record(self, memory: ReaderMemory, reader: str, state: str = "recording") -> None:
        memory.note(STREAM, ADDRESS, {"state": state, "reader": reader})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def begin(memory: ReaderMemory) -> str:
    """Return the reader of the first session after a start."""
    known = memory.recall(STREAM, ADDRESS)
    return ReaderChoice().pick(Endpoint(ADDRESS, reader="auto", known_reader=known)).reader


def test_camera_that_needs_ffmpeg_begins_with_it_after_a_restart(house: House) -> None:
    """What FFmpeg recorded begins with FFmpeg; a stream of which nothing is known begins with our own reader."""
    house.record(house.start(), "ffmpeg")
    assert begin(house.start()) == "ffmpeg"
    assert house.start().recall("yard.main", ADDRESS) == ""


def test_session_that_records_nothing_proves_nothing(house: House) -> None:
    """Only a stream that is recorded is remembered."""
    house.record(house.start(), "ffmpeg", state="connecting")
    assert begin(house.start()) == "own"


def test_own_reader_that_records_ends_the_memory(house: House) -> None:
    """Once our own reader records the stream, nothing is remembered."""
    memory = house.start()
    house.record(memory, "ffmpeg")
    house.record(memory, "own")
    assert begin(house.start()) == "own"


ENDS = {
    "a week later": (lambda house: setattr(house, "now", UtcNs(START + HOLDS_NS)), "1.0.0", ADDRESS),
    "the clock went back": (lambda house: setattr(house, "now", UtcNs(START - 1)), "1.0.0", ADDRESS),
    "an update": (lambda house: None, "1.0.1", ADDRESS),
    "another address": (lambda house: None, "1.0.0", "rtsp://camera.example/2"),
}


@pytest.mark.parametrize(("change", "version", "address"), ENDS.values(), ids=ENDS.keys())
def test_own_reader_is_tried_anew(house: House, change, version, address) -> None:  # type: ignore[no-untyped-def]
    """After a week, an update or a change of the address our own reader has its turn, once; then FFmpeg again."""
    house.record(house.start(), "ffmpeg")
    change(house)
    memory = house.start(version)
    assert memory.recall(STREAM, address) == "own"
    assert memory.recall(STREAM, address) == ""
    memory.note(STREAM, address, {"state": "recording", "reader": "ffmpeg"})
    assert house.start(version).recall(STREAM, address) == "ffmpeg"


def test_a_week_ends_also_without_a_restart(house: House) -> None:
    """A stream whose sessions FFmpeg reads for longer than a week is tried with our own at its next session."""
    memory, choice = house.start(), ReaderChoice()
    house.record(memory, "ffmpeg")

    def pick() -> str:
        known = memory.recall(STREAM, ADDRESS)
        return choice.pick(Endpoint(ADDRESS, reader="auto", known_reader=known)).reader

    assert pick() == "ffmpeg"
    house.now = UtcNs(START + HOLDS_NS)
    house.record(memory, "ffmpeg")
    assert pick() == "own"


CHOSEN = {
    "over TCP, by itself": ({}, "ffmpeg"),
    "over TLS, which is TCP": ({"url": "rtsps://camera.example/1", "transport": "udp"}, "ffmpeg"),
    "over UDP": ({"transport": "udp"}, ""),
    "by name": ({"reader": "ffmpeg"}, ""),
}


@pytest.mark.parametrize(("settings", "known"), CHOSEN.values(), ids=CHOSEN.keys())
def test_only_what_was_found_out_is_remembered(house: House, settings: dict[str, str], known: str) -> None:
    """What the settings decide would outlive them: a stream that goes over TCP again begins with our own reader."""
    camera = Camera.model_validate({"id": "door", "url": ADDRESS, **settings})
    memory, config = house.start(), Config.model_construct(cameras=(camera,))
    memory.take(config, {STREAM: {"state": "recording", "reader": "ffmpeg"}})
    assert memory.recall(STREAM, camera.address("main")) == known


DAMAGED = {
    "empty": b"",
    "no object": b"[1]",
    "no JSON": b"{",
    "other members": json.dumps({STREAM: {"since_ns": "x"}}).encode(),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file_is_as_good_as_none(house: House, content: bytes) -> None:
    """A file that cannot be read keeps no camera from being recorded; what follows is remembered again."""
    house.path.write_bytes(content)
    memory = house.start()
    assert begin(memory) == "own"
    house.record(memory, "ffmpeg")
    assert begin(house.start()) == "ffmpeg"
