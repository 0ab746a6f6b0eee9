"""Upload servers with mutual TLS on loopback, as processes that a test kills and starts again on the same port."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.demo.broker import find_free_port
from tests.peers.pki import Pki
from tests.peers.process import PeerProcess
from tests.peers.wait import wait_until

ROOT = Path(__file__).parents[2]
NODE_DIR = Path(__file__).parent / "tus_server"


class UploadServer(PeerProcess):
    """One server process; ``command`` starts it, ``stored`` finds what it has of an upload."""

    path = "/files/"
    """Where gw1 creates its uploads."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        super().__init__()
        self.folder = folder
        self.port = find_free_port()
        self.files = pki.server_files(label=f"upload-{self.port}")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{self.path}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._is_listening, 20, f"{type(self).__name__} listens")

    def _is_listening(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "server.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stored(self, upload_url: str, name: str) -> bytes:
        raise NotImplementedError


class ReceiverProcess(UploadServer):
    """The RTCC's own receiver (tuspyserver on uvicorn)."""

    path = "/files/gw1/"

    def command(self) -> list[str]:
        words = {name: str(getattr(self.files, name)) for name in ("ca", "certificate", "key")}
        folders = {name: str(self.folder / name) for name in ("uploads_dir", "received_dir")}
        text = json.dumps({"port": self.port, **words, **folders})
        return [sys.executable, "-m", "tests.peers.receiver_process", text]

    def stored(self, upload_url: str, name: str) -> bytes:
        (path,) = (self.folder / "received_dir").glob(f"*/{name}")
        return path.read_bytes()


class NodeTusServer(UploadServer):
    """@tus/server, the reference implementation."""

    def command(self) -> list[str]:
        node = shutil.which("node")
        if not node or not (NODE_DIR / "node_modules/@tus/server").exists():
            pytest.skip(f"@tus/server is not installed: npm ci in {NODE_DIR.relative_to(ROOT)}")
        files = [str(getattr(self.files, name)) for name in ("ca", "certificate", "key")]
        return [node, str(NODE_DIR / "server.js"), str(self.port), str(self.folder / "store"), *files]

    def stored(self, upload_url: str, name: str) -> bytes:
        return (self.folder / "store" / upload_url.rsplit("/", 1)[1]).read_bytes()


SERVERS: dict[str, Callable[[Path, Pki], UploadServer]] = {
    "tuspyserver": ReceiverProcess,
    "tus-node-server": NodeTusServer,
}


@pytest.fixture(params=SERVERS)
def upload_server(request: pytest.FixtureRequest, tmp_path: Path, pki: Pki) -> Iterator[UploadServer]:
    """Each kind of upload server, running."""
    server = SERVERS[request.param](tmp_path / "upload-server", pki)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def receiver_process(tmp_path: Path, pki: Pki) -> Iterator[ReceiverProcess]:
    """The RTCC's receiver, running as a process."""
    server = ReceiverProcess(tmp_path / "receiver", pki)
    try:
        server.start()
        yield server
    finally:
        server.kill()
