"""The RTCC's two upload servers behind one face: the embedded receiver, and ``city/uploads`` over an object store.

What is announced, signed for and revoked is the test's to say, in the members of a host; both ask again and again.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.rtcc.object_store import ObjectStore as Bucket
from edge_agent.rtcc.receiver import Receiver, ReceiverSettings
from edge_agent.rtcc.receiver_certificates import Renew
from edge_agent.rtcc.receiver_room import STALLED_S
from edge_agent.rtcc.upload_rules import UploadRules
from edge_agent.uplink.release.tus import TusUploader
from tests.peers.object_store import ObjectStore
from tests.peers.pki import Pki

MAX_UPLOAD_BYTES = 1 << 20
_START_TIMEOUT_S = 30


class UploadHost(ABC):
    """One server and what it is told; use it as a context manager."""

    extensions = ""
    """Of tus, that it announces."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.folder, self.pki = folder, pki
        self.port = 0
        self.announced: set[tuple[str, str]] | None = None
        """Gateway and upload; None for all."""
        self.signed: dict[tuple[str, str], str] = {}
        self.revoked: set[str] = set()
        self.told: list[tuple[str, str]] = []
        self.away: set[str] = set()
        """Which questions (announced, signed, revoked) find no state."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/files/"

    def connect(self, gateway: str) -> TusUploader:
        return TusUploader(f"{self.url}{gateway}/", build_client_context(self.pki.client(gateway)), SystemClock())

    def is_announced(self, gateway: str, name: str) -> bool:
        self._reach("announced")
        return self.announced is None or (gateway, name) in self.announced

    def find_signed(self, gateway: str, name: str) -> str | None:
        self._reach("signed")
        return self.signed.get((gateway, name))

    def is_revoked(self, gateway: str) -> bool:
        self._reach("revoked")
        return gateway in self.revoked

    def _reach(self, question: str) -> None:
        if question in self.away:
            raise UnavailableError("state cannot be read or written: the server is away")

    def restart(self, **changes: Any) -> None:
        """End it and start it on the same port: with another ``room`` or ``max_upload`` (bytes) if that is named."""
        self.stop()
        self.start(**changes)

    @abstractmethod
    def start(self, *, room: int | None = None, max_upload: int = MAX_UPLOAD_BYTES) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def find(self, gateway: str, name: str) -> bytes | None:
        """Return what was received under a name."""

    @abstractmethod
    def read_note(self, gateway: str, name: str) -> dict[str, Any]: ...

    @abstractmethod
    def find_conflicts(self, gateway: str, name: str) -> list[bytes]: ...

    @abstractmethod
    def list(self) -> list[str]:
        """Return the names of all that lies there."""

    @abstractmethod
    def count_unfinished(self) -> int: ...

    @abstractmethod
    def nearly_stall(self) -> None:
        """Let almost as much time go by as makes an upload a stalled one."""

    @abstractmethod
    def stall(self) -> None:
        """Let more time go by than that."""

    def __enter__(self) -> "UploadHost":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class EmbeddedHost(UploadHost):
    """``edge_agent.rtcc.receiver`` in this process, over two folders."""

    extensions = "creation,expiration,termination"

    def start(self, *, room: int | None = None, max_upload: int = MAX_UPLOAD_BYTES) -> None:
        files = self.pki.server_files()
        self.uploads, self.received = self.folder / "uploads", self.folder / "received"
        free = shutil.disk_usage(self.folder).free
        settings = ReceiverSettings(
            "127.0.0.1", self.port, files.ca, files.certificate, files.key, self.uploads, self.received,
            max_upload_bytes=max_upload, keep_free_bytes=0 if room is None else free - room,
        )  # fmt: skip
        self._clock = [0.0]
        self._receiver = Receiver(
            settings, self.is_announced, lambda *what: self.told.append(what),
            self.find_signed, self.is_revoked,
        )  # fmt: skip
        self._receiver._storage.room._monotonic = lambda: self._clock[0]
        self.port = self._receiver.port
        self._receiver.start()

    def stop(self) -> None:
        self._receiver.stop()

    def find(self, gateway: str, name: str) -> bytes | None:
        path = self.received / gateway / name
        return path.read_bytes() if path.exists() else None

    def read_note(self, gateway: str, name: str) -> dict[str, Any]:
        return json.loads((self.received / gateway / f"{name}.json").read_text())

    def find_conflicts(self, gateway: str, name: str) -> list[bytes]:
        found = (self.received / gateway / "conflicts").glob(f"{name}.*[!n]")
        return [path.read_bytes() for path in found]

    def list(self) -> list[str]:
        return sorted(str(path) for folder in (self.uploads, self.received) for path in folder.rglob("*"))

    def count_unfinished(self) -> int:
        return len(list(self.uploads.rglob("*.part")))

    def nearly_stall(self) -> None:
        self._clock[0] = STALLED_S - 1

    def stall(self) -> None:
        self._clock[0] = STALLED_S + 1


class StoreHost(UploadHost):
    """``city/uploads`` as a process, over a bucket of its own; it asks ``UploadRules`` in this process."""

    extensions = "creation,termination"
    stalled_s = 4.0

    def __init__(self, folder: Path, pki: Pki, program: Path, store: ObjectStore) -> None:
        super().__init__(folder, pki)
        self._program, self._store = program, store
        self.bucket = store.make_bucket()
        self._open = Bucket(f"s3://{self.bucket}", store.variables)
        self._socket = folder / "rules.sock"
        self.renew: Renew | None = None

    def start(self, *, room: int | None = None, max_upload: int = MAX_UPLOAD_BYTES) -> None:
        self.speak()
        files = self.pki.server_files()
        words = {
            "listen": f"127.0.0.1:{self.port}", "ca": files.ca, "certificate": files.certificate, "key": files.key,
            "rules": self._socket, "bucket": self.bucket, "room": 1 << 40 if room is None else max(room, 1),
            "max-upload": max_upload, "stalled": f"{self.stalled_s}s",
        }  # fmt: skip
        with (self.folder / "uploads.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *(f"-{name}={value}" for name, value in words.items())],
                env=os.environ | self._store.variables, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.startswith("receiving at "), (self.folder / "uploads.log").read_text()
        self.port = int(line.rsplit(":", 1)[1].split("/")[0])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(_START_TIMEOUT_S)
        assert self._process.stdout
        self._process.stdout.close()
        self.fall_silent()

    def speak(self) -> None:
        """Answer the server's questions."""
        self._rules = UploadRules(
            self._socket, self.is_announced, lambda *what: self.told.append(what),
            self.find_signed, self.is_revoked, self.renew,
        )  # fmt: skip
        self._rules.start()

    def fall_silent(self) -> None:
        """Answer none."""
        self._rules.stop()
        self._socket.unlink(missing_ok=True)

    def find(self, gateway: str, name: str) -> bytes | None:
        key = self._open.find(gateway, name)
        return None if key is None else self._open.read(key)

    def read_note(self, gateway: str, name: str) -> dict[str, Any]:
        raw = self._open.read(f"received/{gateway}/{name}.json")
        assert raw is not None
        return json.loads(raw)

    def find_conflicts(self, gateway: str, name: str) -> list[bytes]:
        found = []
        for key in self._open.list(f"received/{gateway}/conflicts/"):
            if key.rpartition("/")[2].startswith(f"{name}."):
                raw = self._open.read(key)
                assert raw is not None
                payload = self._open.read(json.loads(raw)["object"])
                assert payload is not None
                found.append(payload)
        return found

    def list(self) -> list[str]:
        return sorted([*self._open.list("uploads/"), *self._open.list("received/")])

    def count_unfinished(self) -> int:
        keys = self._open.list("uploads/")
        return len([key for key in keys if key.endswith(".info") and key.removesuffix(".info") not in keys])

    def nearly_stall(self) -> None:
        """Nothing: its clock is the machine's."""

    def stall(self) -> None:
        time.sleep(self.stalled_s + 0.2)
