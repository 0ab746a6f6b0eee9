"""Uploads on the disk of the embedded receiver: while they arrive, and once they are whole.

Owns ``uploads/CN/`` (a ``.part`` and a ``.json`` per upload) and ``received/CN/``. An upload
belongs to the gateway whose certificate created it: no other gateway has a folder in common with
it. After a kill at any moment the offset in the ``.json`` is the truth: bytes of the ``.part``
beyond it are cut off before more are appended.
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
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tuspyserver.storage import TusStorage

from edge_agent.errors import EdgeAgentError
from edge_agent.host.atomic_file import sync_folder, write_small_file
from edge_agent.rtcc.receiver_room import ReservedSpace

peer: ContextVar[str] = ContextVar("peer", default="")
"""CN of the certificate of the current HTTP request; empty without one."""
UPLOAD_NAME = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""Form of ``filename`` in Upload-Metadata: the name in ``received/CN/`` and in the gateway's signed answer."""
MAX_CONFLICTS = 16
"""Kept per gateway, for a person to look at."""
_GATEWAY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UID = re.compile(r"[0-9a-f]{32}")
LOCK_TIMEOUT_S = 30.0
_BUFFER_BYTES = 1 << 20
_FIXED = ("gateway", "size", "metadata")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _SharedLock:
    """The lock of one upload, and how many hold it or wait for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class ReceiveStorage(TusStorage):
    """Uploads as plain files, each in the folder of the gateway that created it. One process only.

    Args:
        uploads_dir: Uploads under way, in a folder for each gateway.
        received_dir: Whole payloads, in a folder for each gateway.
        on_received: Called with gateway and name of an upload once it is whole and durable.
        find_signed: SHA-256 (hex) of the payload that this gateway's answer handed a key over for, by gateway and name.
    """

    def __init__(
        self,
        uploads_dir: Path,
        received_dir: Path,
        on_received: Callable[[str, str], None],
        find_signed: Callable[[str, str], str | None],
    ) -> None:
        self._uploads = uploads_dir
        self._received = received_dir
        self._on_received = on_received
        self._find_signed = find_signed
        self.room = ReservedSpace()
        self._locks: dict[tuple[str, str], _SharedLock] = {}
        # Of its own: hashing 64 GiB takes minutes, in which the default one has to write what others send.
        self._hashing = ThreadPoolExecutor(2, "receiver-hash")
        self._open: dict[str, tuple[BinaryIO, bytearray]] = {}
        # A DELETE may come while the PATCH that it cuts off is noting its last offset.
        self._guard = threading.Lock()
        self._finishing = threading.Lock()
        self._runs: dict[tuple[str, str], asyncio.Future[None]] = {}
        for folder in (uploads_dir, received_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def recover(self, keep_days: int) -> None:
        """Move what was whole but not moved yet when the process ended, and drop what nobody finished."""
        self._sort_by_gateway()
        for path in sorted(self._uploads.glob("*/*.json")):
            try:
                self._recover(path, keep_days)
            except (OSError, EdgeAgentError, LookupError, TypeError, ValueError):
                # It stays as it is: its gateway's next question tries again. Nobody else's upload waits for that.
                log.exception("upload was not recovered: note=%s", path)

    def _recover(self, path: Path, keep_days: int) -> None:
        info, gateway = _load(path), path.parent.name
        if info is None or "size" not in info:
            self._remove(gateway, path.stem)
        elif _is_whole(info, gateway):
            # However old it is: its gateway may have read from the offset that we have it.
            self._finalize(gateway, path.stem)
        elif time.time() - path.stat().st_mtime > keep_days * 86400:
            self._remove(gateway, path.stem)
        else:
            self._count(gateway, path.stem, info)

    def drop_stalled(self, longer_than_s: float, of: str | None = None) -> bool:
        """Forget the uploads without a new byte for so long, and their bytes; tell whether there were any.

        Args:
            longer_than_s: Seconds.
            of: The one gateway whose uploads are looked at; None for all.
        """
        # An open upload is being written to; uvicorn's thread alone opens one, and it is here.
        stalled = [
            each
            for each in self.room.find_stalled(longer_than_s)
            if each[1] not in self._open and of in (None, each[0])
        ]
        for gateway, uid in stalled:
            log.warning("upload is dropped, nothing came for long: gateway=%s upload=%s", gateway, uid)
            self._remove(gateway, uid)
        return bool(stalled)

    def close(self) -> None:
        """End the threads once they are done."""
        self._hashing.shutdown(wait=False)

    def _count(self, gateway: str, uid: str, info: dict[str, Any]) -> None:
        """Keep the promise of an upload as large as its missing bytes."""
        if info.get("received"):
            self.room.drop(gateway, uid)
        elif info.get("size") is not None:
            name = str((info.get("metadata") or {}).get("filename", ""))
            self.room.put(gateway, uid, name, int(info["size"]) - int(info["offset"]))

    def _sort_by_gateway(self) -> None:
        """Put the payloads of an earlier version into their gateways' folders; unfinished uploads of it begin anew."""
        for path in (*self._uploads.glob("*.json"), *self._uploads.glob("*.part")):
            if path.is_file():
                path.unlink()
        for note in self._received.glob("*.json"):
            known, payload = _load(note), note.with_suffix("")
            if known and _GATEWAY.fullmatch(str(known.get("gateway"))) and payload.is_file():
                folder = self._received / known["gateway"]
                folder.mkdir(exist_ok=True, mode=0o700)
                os.replace(payload, folder / payload.name)
                os.replace(note, folder / note.name)

    # tuspyserver's contract.

    async def create(self, uid: str) -> None:
        """Begin an empty upload of this peer."""
        await asyncio.to_thread(self._create, peer.get(), uid)

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
        # The caller writes the new offset after this: a gateway never hears of bytes that a power
        # cut takes.
        await asyncio.to_thread(os.fsync, file.fileno())

    async def finalize(self, uid: str) -> None:
        """Move a whole upload to its name in ``received/``; a second caller waits for the same run."""
        key = (peer.get(), uid)
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = asyncio.get_running_loop().run_in_executor(self._hashing, self._finalize, *key)
            run.add_done_callback(lambda _: self._runs.pop(key))
        # A request that is cut off must not end it for the others.
        await asyncio.shield(run)

    async def read(self, uid: str) -> bytes | None:  # noqa: ARG002
        """Never: an upload is not given out again."""
        return None

    async def delete(self, uid: str) -> None:
        """Forget an upload of this peer that is not whole yet; a received payload stays."""
        if self._read_info(uid) is not None:
            await asyncio.to_thread(self._remove, peer.get(), uid)

    async def read_info(self, uid: str) -> dict[str, Any] | None:
        """Return what is known of an upload of this peer.

        One that is whole is received first, if that failed before: on this answer its gateway hands its key over and
        deletes its only copy.

        Raises:
            UnavailableError: The state cannot say whether it may be received.
            OSError: It cannot be moved.
        """
        info = self._read_info(uid)
        if info is None or not _is_whole(info, peer.get()):
            return info
        await self.finalize(uid)
        return self._read_info(uid)

    async def write_info(self, uid: str, data: dict[str, Any]) -> None:
        """Note how far an upload is; atomic and durable. One that was deleted meanwhile stays deleted."""
        await asyncio.to_thread(self._merge, peer.get(), uid, data)

    async def list_uids(self) -> list[str]:
        """Return the ids of this peer's uploads."""
        return [path.stem for path in (self._uploads / peer.get()).glob("*.json")]

    def location(self, uid: str) -> str:
        """Return the path of an upload that is under way."""
        return str(self._part(peer.get(), uid))

    @contextlib.asynccontextmanager
    async def lock(  # type: ignore[override]  # its type says iterator, its text and its callers context manager
        self, uid: str
    ) -> AsyncIterator[None]:
        """Hold an upload alone, its file open and cut to the offset that was promised."""
        gateway = peer.get()
        shared = self._locks.setdefault((gateway, uid), _SharedLock())
        # Counted: after a release the lock looks free until its next holder runs, and it is not free.
        shared.users += 1
        try:
            await asyncio.wait_for(shared.lock.acquire(), LOCK_TIMEOUT_S)
            try:
                with self._hold_file(gateway, uid):
                    yield
            finally:
                shared.lock.release()
        finally:
            shared.users -= 1
            if not shared.users:
                del self._locks[gateway, uid]

    @contextlib.contextmanager
    def _hold_file(self, gateway: str, uid: str) -> Iterator[None]:
        info = self._read_info(uid)
        if info is None or info.get("received"):
            yield
            return
        file = self._part(gateway, uid).open("r+b", buffering=0)
        self._open[uid] = (file, bytearray())
        try:
            # Bytes of a piece that was cut off lie beyond the offset; appended to, they would spoil
            # the payload.
            file.truncate(info["offset"])
            file.seek(0, os.SEEK_END)
            yield
        finally:
            self._open.pop(uid)
            file.close()

    def _create(self, gateway: str, uid: str) -> None:
        self._part(gateway, uid).parent.mkdir(exist_ok=True, mode=0o700)
        self._part(gateway, uid).touch(mode=0o600)
        _store(self._info(gateway, uid), {"gateway": gateway, "offset": 0})

    def _finalize(self, gateway: str, uid: str) -> None:
        info = _load(self._info(gateway, uid))
        if info is None or not _is_whole(info, gateway):
            return
        part, name, promised = self._part(gateway, uid), info["metadata"]["filename"], info["metadata"].get("sha256")
        if not part.exists():
            self._finish_move(gateway, uid, name)
            return
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # The digest is of the bytes on this disk: the transport, the buffer and the disk are all
        # checked.
        if promised not in (None, digest):
            # Forgotten, so that the gateway finds it lost and begins anew.
            log.warning("upload is not what was promised: gateway=%s upload=%s", gateway, name)
            self._remove(gateway, uid)
            return
        note = {
            "gateway": gateway, "size": info["size"], "sha256": digest, "received_at_s": int(time.time()), "uid": uid
        }  # fmt: skip
        with self._finishing:
            # Hashing took its time: a DELETE, another request's finish or an answer may have come meanwhile.
            if not _is_whole(_load(self._info(gateway, uid)) or {}, gateway) or not part.exists():
                return
            # A signed answer names another digest: the payload of that answer must not be replaced.
            if self._find_signed(gateway, name) not in (None, digest):
                self._keep_conflict(gateway, uid, name, note)
                return
            _put(part, self._received / gateway / name, note)
            self._merge(gateway, uid, {"received": name})
        self._on_received(gateway, name)

    def _finish_move(self, gateway: str, uid: str, name: str) -> None:
        """Note what a kill kept from being noted: a payload was moved, or was on its way to be forgotten."""
        note = _load(self._received / gateway / f"{name}.json") or {}
        if note.get("uid") != uid:
            self._remove(gateway, uid)
            return
        self._merge(gateway, uid, {"received": name})
        self._on_received(gateway, name)

    def _keep_conflict(self, gateway: str, uid: str, name: str, note: dict[str, Any]) -> None:
        """Put a payload aside whose name a signed answer uses for another one; its gateway finds it lost."""
        folder = self._received / gateway / "conflicts"
        if len(list(folder.glob("*.json"))) < MAX_CONFLICTS:
            _put(self._part(gateway, uid), folder / f"{name}.{note['sha256']}", note)
        log.error("upload differs from the one signed for: gateway=%s upload=%s kept_in=%s", gateway, name, folder)
        self._remove(gateway, uid)

    def _read_info(self, uid: str) -> dict[str, Any] | None:
        # The uid comes from a path: only 32 hexadecimal digits become a file's name.
        return _load(self._info(peer.get(), uid)) if _UID.fullmatch(uid) and peer.get() else None

    def _merge(self, gateway: str, uid: str, data: dict[str, Any]) -> None:
        with self._guard:
            kept = _load(self._info(gateway, uid))
            if kept is None:
                return
            if "offset" in data and self._part(gateway, uid).exists():
                # After a failed write tuspyserver counts what it passed on, written or not.
                data = data | {"offset": min(data["offset"], self._part(gateway, uid).stat().st_size)}
            if "metadata" in data:
                # tuspyserver answers a HEAD with 400 if an upload has no type.
                data = data | {"metadata": {"filetype": "application/octet-stream"} | data["metadata"]}
            # Gateway, size and metadata are fixed at the creation: a later message changes none of them.
            data = {name: value for name, value in data.items() if name not in _FIXED or name not in kept}
            _store(self._info(gateway, uid), kept | data)
            self._count(gateway, uid, kept | data)

    def _remove(self, gateway: str, uid: str) -> None:
        with self._guard:
            self.room.drop(gateway, uid)
            self._part(gateway, uid).unlink(missing_ok=True)
            self._info(gateway, uid).unlink(missing_ok=True)

    def _part(self, gateway: str, uid: str) -> Path:
        return self._uploads / gateway / f"{uid}.part"

    def _info(self, gateway: str, uid: str) -> Path:
        return self._uploads / gateway / f"{uid}.json"


def _is_whole(info: dict[str, Any], gateway: str) -> bool:
    """Tell whether an upload has its last byte, is this gateway's, and was not moved yet."""
    return info.get("gateway") == gateway and "received" not in info and info.get("offset") == info.get("size")


def _put(part: Path, path: Path, note: dict[str, Any]) -> None:
    """Move a payload to its place, durably; its note lies there first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _store(path.with_name(f"{path.name}.json"), note)
    # After the note: a payload at its place always has the note that names its upload.
    os.replace(part, path)
    sync_folder(path.parent)
    sync_folder(path.parent.parent)


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
