"""Where uploads lie while they arrive, and where they go when they are whole.

Owns ``uploads/`` (a ``.part`` and a ``.json`` per upload) and what it puts into ``received/``. An upload belongs to the
gateway whose certificate created it; to every other it does not exist. After a kill at any moment the offset in the
``.json`` is the truth: what the ``.part`` holds beyond it is cut off before anything is appended.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from tuspyserver.storage import TusStorage

from edge_agent.small_file import sync_folder, write_small_file

peer: ContextVar[str] = ContextVar("peer", default="")
"""CN of the certificate that the request in hand came with."""
UPLOAD_NAME = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""What ``filename`` in Upload-Metadata may be: the name in ``received/`` and in the gateway's signed answer."""
_UID = re.compile(r"[0-9a-f]{32}")
LOCK_TIMEOUT_S = 30.0
_BUFFER_BYTES = 1 << 20

log = logging.getLogger(__name__)


class ReceiveStorage(TusStorage):
    """Uploads as plain files, owned by the gateway that created them. One process only."""

    def __init__(self, uploads_dir: Path, received_dir: Path, on_received: Callable[[str, str], None]) -> None:
        self._uploads = uploads_dir
        self._received = received_dir
        self._on_received = on_received
        self._locks: dict[str, asyncio.Lock] = {}
        self._open: dict[str, tuple[BinaryIO, bytearray]] = {}
        # A DELETE may come while the PATCH that it cuts off is noting its last offset.
        self._guard = threading.Lock()
        for folder in (uploads_dir, received_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def recover(self, keep_days: int) -> None:
        """Move what was whole but not moved yet when the process ended, and drop what nobody finished."""
        for path in sorted(self._uploads.glob("*.json")):
            info = _load(path)
            if info is None or "size" not in info or time.time() - path.stat().st_mtime > keep_days * 86400:
                self._remove(path.stem)
            elif info["offset"] == info["size"] and not info.get("received"):
                self._finalize(path.stem)

    def find_conflict(self, name: str) -> bool:
        """Tell whether a received upload of that name is another gateway's."""
        known = _load(self._received / f"{name}.json")
        return known is not None and known["gateway"] != peer.get()

    def count_unfinished(self) -> int:
        """Return how many uploads of this peer are under way."""
        infos = (_load(path) for path in self._uploads.glob("*.json"))
        return sum(1 for info in infos if info and info["gateway"] == peer.get() and not info.get("received"))

    # tuspyserver's contract.

    async def create(self, uid: str) -> None:
        """Begin an empty upload of this peer."""
        await asyncio.to_thread(lambda: self._part(uid).touch(mode=0o600))
        await asyncio.to_thread(_store, self._info(uid), {"gateway": peer.get(), "offset": 0})

    async def exists(self, uid: str) -> bool:
        """Tell whether this peer has such an upload."""
        return self._read_info(uid) is not None

    async def size(self, uid: str) -> int:
        """Return the bytes that are durably here."""
        info = self._read_info(uid)
        return int(info["offset"]) if info else 0

    async def append(self, uid: str, chunk: bytes) -> None:
        """Write at the end, under the lock; a thread is asked once per ``_BUFFER_BYTES``."""
        file, buffer = self._open[uid]
        buffer += chunk
        if len(buffer) >= _BUFFER_BYTES:
            await asyncio.to_thread(_write, file, bytes(buffer))
            buffer.clear()

    async def flush(self, uid: str) -> None:
        """Make what was appended durable, before the offset says so."""
        file, buffer = self._open[uid]
        await asyncio.to_thread(_write, file, bytes(buffer))
        buffer.clear()
        await asyncio.to_thread(os.fsync, file.fileno())

    async def finalize(self, uid: str) -> None:
        """Move a whole upload to its name in ``received/``."""
        await asyncio.to_thread(self._finalize, uid)

    async def read(self, uid: str) -> bytes | None:  # noqa: ARG002
        """Never: an upload is not given out again."""
        return None

    async def delete(self, uid: str) -> None:
        """Forget an upload of this peer that is not whole yet; what was received stays."""
        if self._read_info(uid) is not None:
            await asyncio.to_thread(self._remove, uid)

    async def read_info(self, uid: str) -> dict[str, Any] | None:
        """Return what is known of an upload of this peer."""
        return self._read_info(uid)

    async def write_info(self, uid: str, data: dict[str, Any]) -> None:
        """Replace what is known of an upload; atomic and durable. One that was deleted meanwhile stays deleted."""
        await asyncio.to_thread(self._merge, uid, data)

    async def list_uids(self) -> list[str]:
        """Return the ids of all uploads."""
        return [path.stem for path in self._uploads.glob("*.json")]

    def location(self, uid: str) -> str:
        """Return the path of an upload that is under way."""
        return str(self._part(uid))

    @contextlib.asynccontextmanager
    async def lock(  # type: ignore[override]  # its type says iterator, its text and its callers context manager
        self, uid: str
    ) -> AsyncIterator[None]:
        """Hold an upload alone, its file open and cut to the offset that was promised."""
        lock = self._locks.setdefault(uid, asyncio.Lock())
        await asyncio.wait_for(lock.acquire(), LOCK_TIMEOUT_S)
        try:
            info = self._read_info(uid)
            if info is None or info.get("received"):
                yield
                return
            file = self._part(uid).open("r+b", buffering=0)
            self._open[uid] = (file, bytearray())
            try:
                file.truncate(info["offset"])
                file.seek(0, os.SEEK_END)
                yield
            finally:
                self._open.pop(uid)
                file.close()
        finally:
            lock.release()
            if not lock.locked():
                self._locks.pop(uid, None)

    def _finalize(self, uid: str) -> None:
        info = _load(self._info(uid))
        if info is None or info.get("received") or info["offset"] != info["size"]:
            return
        name, promised = info["metadata"]["filename"], info["metadata"].get("sha256")
        with self._part(uid).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if promised not in (None, digest):
            # Forgotten, so that the gateway finds it lost and begins anew.
            log.warning("upload is not what was promised: gateway=%s upload=%s", info["gateway"], name)
            self._remove(uid)
            return
        note = {"gateway": info["gateway"], "size": info["size"], "sha256": digest, "received_at_s": int(time.time())}
        _store(self._received / f"{name}.json", note)
        os.replace(self._part(uid), self._received / name)
        sync_folder(self._received)
        self._merge(uid, {"received": name})
        self._on_received(info["gateway"], name)

    def _read_info(self, uid: str) -> dict[str, Any] | None:
        info = _load(self._info(uid)) if _UID.fullmatch(uid) else None
        return info if info and info["gateway"] == peer.get() else None

    def _merge(self, uid: str, data: dict[str, Any]) -> None:
        with self._guard:
            kept = _load(self._info(uid))
            if kept is not None:
                if "offset" in data and self._part(uid).exists():
                    # After a failed write tuspyserver counts what it passed on, written or not.
                    data = data | {"offset": min(data["offset"], self._part(uid).stat().st_size)}
                _store(self._info(uid), kept | data)

    def _remove(self, uid: str) -> None:
        with self._guard:
            self._part(uid).unlink(missing_ok=True)
            self._info(uid).unlink(missing_ok=True)

    def _part(self, uid: str) -> Path:
        return self._uploads / f"{uid}.part"

    def _info(self, uid: str) -> Path:
        return self._uploads / f"{uid}.json"


def _load(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _store(path: Path, value: dict[str, Any]) -> None:
    write_small_file(path, json.dumps(value, default=str).encode(), mode=0o600)


def _write(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
