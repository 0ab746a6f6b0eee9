"""The recorder's ``erase`` and ``accept-ring``: whatever is not erased, in a ring or in its mirror, is named."""

from pathlib import Path
from typing import cast

import pytest

from edge_agent.errors import RingError, RingPreparingError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.recording.ring_commands import RingCommands
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.recording.ring_sink import RingSink
from edge_agent.settings.gateway import parse_config

TEXT = "cameras: [{id: door, url: 'rtsp://a/b'}, {id: yard, url: 'rtsp://a/c'}]\n"


class Sink:
    """A ring that is erased, or is not."""

    def __init__(self, error: str) -> None:
        self._error = error

    def erase(self, _window: object) -> list[object]:
        if self._error:
            raise RingError(self._error)
        return []


def test_a_mirror_that_is_not_erased_is_named() -> None:
    """Also that of a ring which failed itself: its copy is asked for all the same."""
    sinks = cast(dict[str, RingSink], {"door.main": Sink(""), "yard.main": Sink("disk failed")})
    asked: list[str] = []

    def mirrors(names: object) -> dict[str, str]:
        asked.extend(cast(list[str], names))
        return {"door.main mirror": "away"}

    config = parse_config(TEXT, "test", Path("/x"))
    commands = RingCommands(lambda: config, lambda: sinks, cast(RingOpener, None), mirrors)
    answer = commands.erase({"camera": "*"}, Peer(0, 0, 0))
    assert answer == {"erased": {"door.main": []}, "failed": {"yard.main": "disk failed", "door.main mirror": "away"}}
    assert sorted(asked) == ["door.main", "yard.main"]


def test_a_ring_that_is_away_is_named(tmp_path: Path) -> None:
    """Of a camera that is switched off, on a disk that is not mounted: its mirror is asked, and the answer tells it."""

    class Away:
        def ring_id(self, name: str) -> bytes | None:
            return bytes(16) if name == "shed.main" else None

        def open(self, *_: object) -> None:
            raise RingError("ring is not there")

    text = "".join(f"  - {{id: {name}, url: 'rtsp://a/d', enabled: false}}\n" for name in ("shed", "never"))
    config = parse_config(f"cameras:\n{text}buffer: {{dir: {tmp_path}}}\n", "t", tmp_path)
    asked: list[str] = []

    def mirrors(names: object) -> dict[str, str]:
        asked.extend(cast(list[str], names))
        return {}

    commands = RingCommands(lambda: config, dict, cast(RingOpener, Away()), mirrors)
    answer = commands.erase({"camera": "*"}, Peer(0, 0, 0))
    assert answer == {"erased": {}, "failed": {"shed.main": "ring is not there"}}
    assert asked == ["shed.main"]


class FailedSink:
    """A ring that another one has taken the place of, until that is accepted."""

    def __init__(self, error: str, accepted: list[str], name: str) -> None:
        self.error, self._accepted, self._name = error, accepted, name

    def retry(self) -> None:
        assert self._name in self._accepted
        self.error = ""


class Opener:
    """Notes which rings are accepted."""

    def __init__(self) -> None:
        self.accepted: list[str] = []

    def accept(self, name: str) -> None:
        self.accepted.append(name)


@pytest.mark.parametrize(("ring", "left"), [("*", ""), ("door.main", "another ring"), ("shed.main", "")])
def test_only_a_ring_that_fails_is_accepted_anew(ring: str, left: str) -> None:
    """A ring that is written keeps its pin, one that was not named stays refused, and a mistake in the name is told."""
    opener = Opener()
    sinks = {
        name: FailedSink(error, opener.accepted, name)
        for name, error in (("door.main", "another ring"), ("yard.main", "another ring"), ("pond.main", ""))
    }
    config = parse_config(TEXT, "test", Path("/x"))
    commands = RingCommands(
        lambda: config, lambda: cast(dict[str, RingSink], sinks), cast(RingOpener, opener), lambda _: {}
    )
    if ring == "shed.main":
        with pytest.raises(UsageError):
            commands.accept({"ring": ring}, Peer(0, 0, 0))
        assert opener.accepted == []
        return
    answer = commands.accept({"ring": ring}, Peer(0, 0, 0))
    assert set(answer["storage"].values()) == {"ok"}
    assert opener.accepted == (["door.main", "yard.main"] if ring == "*" else ["door.main"])
    assert sinks["yard.main"].error == left


def test_a_ring_that_cannot_be_accepted_costs_no_other() -> None:
    """The answer names each ring: the one that is just being moved, and the one behind it."""

    class Moving(Opener):
        def accept(self, name: str) -> None:
            if name == "door.main":
                raise RingPreparingError("ring is being prepared: 37 %")
            super().accept(name)

    opener = Moving()
    sinks = {name: FailedSink("no ring", opener.accepted, name) for name in ("door.main", "yard.main")}
    commands = RingCommands(
        lambda: parse_config(TEXT, "test", Path("/x")), lambda: cast(dict[str, RingSink], sinks),
        cast(RingOpener, opener), lambda _: {},
    )  # fmt: skip
    answer = commands.accept({"ring": "*"}, Peer(0, 0, 0))
    assert answer == {"storage": {"door.main": "ring is being prepared: 37 %", "yard.main": "ok"}}
