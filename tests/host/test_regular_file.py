"""Anything else in a file's place is refused at once, and holds up nothing; nobody opens such a path in another way."""

import ast
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.excerpt import HoldFolder
from edge_agent.buffer.ring import wipe_ring
from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.host.clock import SystemClock
from edge_agent.host.hardening import lock_folder
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.host.regular_file import NotRegularError, open_regular, read_regular
from edge_agent.recording.owner_orders import UsedOrders
from edge_agent.recording.pauses import Pauses
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.recording.ring_ids import KnownRingIds
from edge_agent.settings.gateway import read_text
from edge_agent.units import MonoNs, UtcNs
from edge_agent.uplink.inbound.consent_files import read_owners_file
from edge_agent.uplink.release.staging import Staging
from edge_agent.uplink.store.database import Database

LIMIT_S = 10.0


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"another's")
    path.symlink_to("elsewhere")


PLANTS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": _socket,
    "link to a file": _link,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


def _lock(path: Path) -> None:
    with lock_folder(path.parent, "recorder"):
        pytest.fail("the lock was taken")


def _staged(path: Path) -> None:
    Staging(path.parent, 1 << 30).open(path.name.partition(".")[0], 9)


USES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "ring that is read": ("door.main.ring", FileDisk.open),
    "ring that is written": ("door.main.ring", lambda path: FileDisk.open(path, writable=True)),
    "ring that is destroyed": ("door.main.ring", wipe_ring),
    "lock": ("lock", _lock),
    "pins": ("rings.json", KnownRingIds),
    "readers": ("readers.json", lambda path: ReaderMemory(path, lambda: UtcNs(0))),
    "pauses": ("pauses.json", lambda path: Pauses(path, bytes(16))),
    "orders": ("orders.json", UsedOrders),
    "clock": ("clock.json", lambda path: KeptClock(path, bytes(16), SystemClock())),
    "owner's terms": ("consent.yaml", read_owners_file),
    "configuration": ("edge-agent.yaml", read_text),
    "database": ("state.sqlite", Database),
    "staged payload": ("1.age-payload", _staged),
}
FOLLOWED = ("signed consent", "configuration")
"""In a folder that is root's alone, a link is root's."""


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
@pytest.mark.parametrize("use", USES.keys())
def test_what_lies_in_a_files_place_holds_up_nothing(tmp_path: Path, use: str, plant: Callable[[Path], None]) -> None:
    """Opening ends at once: by an error, or as if the file were damaged; what a link names stays as it is."""
    name, open_it = USES[use]
    plant(tmp_path / name)
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            open_it(tmp_path / name)
            ended.append(None)
        except (OSError, EdgeAgentError) as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert ended, "it hangs"
    if (tmp_path / "elsewhere").exists():
        assert (tmp_path / "elsewhere").read_bytes() == b"another's"


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_a_start_clears_away_what_is_no_file(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """A link that an earlier intruder left among holds and staged bundles keeps no later releaser from starting."""
    for folder in ("staging", "holds"):
        (tmp_path / folder).mkdir()
        plant(tmp_path / folder / "x.ring")
    Staging(tmp_path / "staging", 1 << 30).sweep([])
    HoldFolder(tmp_path / "holds", 1 << 30).keep_only([])
    assert not any(os.path.lexists(tmp_path / folder / "x.ring") for folder in ("staging", "holds"))


def test_pauses_that_cannot_be_read_pause_every_camera(tmp_path: Path) -> None:
    """A FIFO in place of the owner's pauses ends none of them."""
    os.mkfifo(tmp_path / "pauses.json")
    assert Pauses(tmp_path / "pauses.json", bytes(16)).is_paused("door", UtcNs(0), MonoNs(0))


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC], ids=str)
def test_only_a_regular_file_is_opened(tmp_path: Path, flags: int, plant: Callable[[Path], None]) -> None:
    """The error names what lies there; nothing behind a link is read, and nothing is cut."""
    plant(tmp_path / "it")
    with pytest.raises(NotRegularError, match="lies there, not a regular file"):
        open_regular(tmp_path / "it", flags)


def test_a_link_is_followed_to_a_regular_file_only(tmp_path: Path) -> None:
    """The owner may keep `consent.yaml` elsewhere; a link to what never ends is refused all the same."""
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    assert read_regular(tmp_path / "link", follow=True) == b"content"
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="device"):
        read_text(tmp_path / "zero")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A state file that grew costs no memory."""
    (tmp_path / "it").write_bytes(bytes(1000))
    with pytest.raises(OSError, match="larger than 999 bytes"):
        read_regular(tmp_path / "it", 999)


RAW = frozenset({"open", "read_text", "read_bytes", "write_text", "write_bytes", "chown", "chmod", "lchown"})
OURS = frozenset({
    "FileDisk.open", "RingReader.open", "RingWriter.open", "BlockCipher.open", "self._footage.open", "self.open",
    "footage.open", "self._rings.open", "self._staging.open", "opening.open", "av.open", "self._zip.open", "read_text",
    "session.open", "self._home.open",
})  # fmt: skip
ALLOWED = {
    "os.open": "looked at below: each says O_NOFOLLOW, O_EXCL, O_TMPFILE, O_DIRECTORY or O_PATH, which reads nothing",
    "os.chmod": "in service_user: through a descriptor",
    "BOOT_ID_PATH.read_text": "the kernel's",
    "Path('/proc/self/mountinfo').read_text": "the kernel's",
    "Path('/proc/meminfo').read_text": "the kernel's",
    "Path('/proc/self/maps').read_text": "the kernel's",
    "(link / 'operstate').read_text": "the kernel's",
    "(link / 'speed').read_text": "the kernel's",
    "args.file.open": "a person names it",
    "open": "a person names it (explain, ledger)",
    "path.read_text": "the passphrase, age keys: a person names the file; shipped files: the program's own",
    "path.write_text": "the pinned certificate: in a folder that was just made",
    "path.read_bytes": "the program's own sources",
    "(importlib.resources.files('edge_agent.page') / 'static' / name).read_bytes": "the program's own",
    "(importlib.resources.files('edge_agent.page') / 'languages' / f'{language}.json').read_bytes": "the program's own",
    "tarfile.open": "of bytes in memory",
    "archive.chmod": "root's own folder, just made",
    "folder.chmod": "root's own folder of configuration",
    "os.chown": "follows no link, in folders that are root's own",
    "path.chmod": "of configuration: no link, in a folder that is root's by then",
}
ELSEWHERE = {"demo", "rtcc", "verifier"}
"""No process of a gateway: in folders of the person who runs them."""
GUARDS = ("O_NOFOLLOW", "O_EXCL", "O_TMPFILE", "O_DIRECTORY", "_FOLDER", "devnull", "O_PATH")


def test_no_file_is_opened_in_another_way() -> None:
    """A new `open(` on a path is found here: use `open_regular`, or say who alone can write there."""
    root = Path(__file__).parents[2] / "edge_agent"
    found = set()
    for path in root.rglob("*.py"):
        if ELSEWHERE & set(path.relative_to(root).parts) or path.name == "regular_file.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            function, call = ast.unparse(node.func), ast.unparse(node)
            if function.rpartition(".")[2] not in RAW or function in OURS:
                continue
            if function not in ALLOWED or (function == "os.open" and not any(guard in call for guard in GUARDS)):
                found.add(f"{path.relative_to(root)}:{node.lineno}: {call}")
    assert not found
