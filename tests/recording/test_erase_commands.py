"""The recorder's ``erase``: whatever is not erased, in a ring or in its mirror, is named."""

from pathlib import Path
from typing import cast

from edge_agent.errors import RingError
from edge_agent.host.control_socket import Peer
from edge_agent.recording.erase_commands import EraseCommands
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
    commands = EraseCommands(lambda: config, lambda: sinks, cast(RingOpener, None), mirrors)
    answer = commands.erase({"camera": "*"}, Peer(0, 0, 0))
    assert answer == {"erased": {"door.main": []}, "failed": {"yard.main": "disk failed", "door.main mirror": "away"}}
    assert sorted(asked) == ["door.main", "yard.main"]
