"""Pictures of own footage: through a real control socket into memory, and into a file if the owner wants one."""

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.commands.look import fetch_pictures, write_picture
from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.control_socket import ControlServer, Peer
from edge_agent.settings.gateway import Config, load_config

PICTURES = {"2026-11-28T19:12:00Z": b"first picture", "2026-11-28T19:13:00Z": b"second"}


class Releaser:
    """Answers ``look`` with pictures, as the real one does after its checks."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.cut_bytes = 0

    def look(self, members: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        self.asked.append(members)
        images = b"".join(PICTURES.values())
        assert peer.fd is not None
        os.write(peer.fd, images[: len(images) - self.cut_bytes])
        return {"pictures": [{"at": at, "size": len(image)} for at, image in PICTURES.items()]}


@pytest.fixture
def releaser(tmp_path: Path) -> Iterator[tuple[Config, Releaser]]:
    """A releaser that serves, and the configuration that leads to it."""
    path = tmp_path / "edge-agent.yaml"
    path.write_text(f"gateway: {{run_dir: {tmp_path / 'run'}, state_dir: {tmp_path / 'state'}}}\n")
    config, answering, stop = load_config(path), Releaser(), threading.Event()
    config.control_path("releaser").parent.mkdir(parents=True, mode=0o750)
    server = ControlServer(config.control_path("releaser"), {"look": answering.look}, stop)
    server.start()
    yield config, answering
    stop.set()
    server.join()


def test_pictures_come_with_their_times(releaser: tuple[Config, Releaser]):
    """Each has its own bytes; the order and the wish reach the releaser as they are."""
    config, answering = releaser
    assert dict(fetch_pictures(config, "a.b.c", stills=2)) == PICTURES
    assert [(each["jws"], each["stills"]) for each in answering.asked] == [("a.b.c", 2)]


def test_picture_that_is_cut_is_no_picture(releaser: tuple[Config, Releaser]):
    """Fewer bytes came than the answer says: nothing is shown."""
    config, answering = releaser
    answering.cut_bytes = 1
    with pytest.raises(UnavailableError, match="cut"):
        fetch_pictures(config, "a.b.c")


def test_picture_is_written_for_its_owner_alone_and_over_nothing(tmp_path: Path):
    """Mode 0600; a file that is there stays as it is."""
    path = tmp_path / "door.jpg"
    write_picture(path, b"picture")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"picture", 0o600)
    with pytest.raises(UsageError, match=r"door\.jpg"):
        write_picture(path, b"another")
    assert path.read_bytes() == b"picture"
