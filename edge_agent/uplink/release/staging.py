"""The staging folder: ciphertext of bundles on its way out, bounded in bytes.

Holds nothing that can be opened without the age header, which lies in the store. A full folder or a full disk refuses
new bundles; it never touches a ring.
"""

import errno
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from edge_agent.errors import DeliveryError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.regular_file import open_reader
from edge_agent.host.service_user import remove_entry

log = logging.getLogger(__name__)

FREE_BYTES = 64 << 20
"""Left free on the disk at all times."""


class StagingFullError(DeliveryError):
    """The folder's bound, or the disk's end, is reached.

    Args:
        message: For the log.
        needs_bytes: So much room the payload needs at least, as far as is known.
        is_final: It is more than the whole folder may hold: waiting does not mend that.
    """

    def __init__(self, message: str, needs_bytes: int = 0, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.needs_bytes = needs_bytes
        self.is_final = is_final


class PayloadLostError(DeliveryError):
    """A staged payload is gone or cut short: it has to be built anew."""


class Staging:
    """The folder.

    Args:
        folder: Created with mode 0700 if it is missing.
        limit_bytes: For all its files together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a bundle's payload lies."""
        return self._folder / f"{name}.age-payload"

    def create(self, name: str, needs_bytes: int = 0) -> "StagedFile":
        """Begin a payload; an older file of this name is gone.

        Durable, with its name, once the returned file is closed without an error.

        Args:
            name: Of the payload.
            needs_bytes: The least room that an earlier try was found to need: less room is no room.

        Raises:
            StagingFullError: There is no room.
        """
        path = self.path(name)
        path.unlink(missing_ok=True)
        stat = os.statvfs(self._folder)
        # `f_bavail`, not `f_bfree`: blocks that are reserved for root are no room for the
        # releaser's user.
        free_bytes = stat.f_bavail * stat.f_frsize - FREE_BYTES
        used_bytes = sum(entry.lstat().st_size for entry in self._folder.iterdir())
        room_bytes = min(self._limit_bytes - used_bytes, free_bytes)
        if room_bytes < max(1, needs_bytes):
            raise StagingFullError(
                f"no room in the staging folder: used={used_bytes} limit={self._limit_bytes} needs={needs_bytes}",
                needs_bytes,
                is_final=needs_bytes > self._limit_bytes,
            )
        return StagedFile(path, room_bytes, self._limit_bytes)

    def open(self, name: str, size: int) -> BinaryIO:
        """Open a payload of ``size`` bytes for reading.

        Raises:
            PayloadLostError: It is not there, or not as it was written.
            OSError: It cannot be read.
        """
        try:
            file = open_reader(self.path(name))
        except FileNotFoundError as error:
            raise PayloadLostError(f"staged payload is gone: file={name}") from error
        found = os.fstat(file.fileno()).st_size
        # The size is that of the ledger's `release` entry: a file of another size is not what was
        # entered.
        if found != size:
            file.close()
            raise PayloadLostError(f"staged payload has another size: file={name} bytes={found} expected={size}")
        return file

    def remove(self, name: str) -> None:
        """Delete a payload."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Delete every payload that no open release names."""
        wanted = {self.path(name).name for name in keep}
        for path in self._folder.iterdir():
            if path.name not in wanted:
                log.info("staged file belongs to no release and is removed file=%s", path.name)
                remove_entry(self._folder, path.name)


class StagedFile:
    """A payload while it is written: bounded, and synced, with its name, when it is closed without an error."""

    def __init__(self, path: Path, room_bytes: int, limit_bytes: int) -> None:
        self._path = path
        self._room_bytes, self._limit_bytes = room_bytes, limit_bytes
        self._size_bytes = 0
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes) -> int:
        """Append; StagingFullError beyond the bound."""
        self._size_bytes += len(data)
        if self._size_bytes > self._room_bytes:
            raise StagingFullError(
                f"no room in the staging folder: file={self._path.name} room={self._room_bytes}",
                self._size_bytes,
                is_final=self._size_bytes > self._limit_bytes,
            )
        with self._full_disk_told():
            return self._file.write(data)

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        with self._full_disk_told():
            self._file.flush()

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._full_disk_told(), self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
                    # R1: bytes first, then the name; only after both may the ledger say that the
                    # payload exists.
                    sync_folder(self._path.parent)
        except BaseException:
            self._path.unlink(missing_ok=True)
            if kind is None:
                raise
        if kind is not None:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        """Turn the disk's end, which others may have reached since there was room, into StagingFullError."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StagingFullError(f"disk is full: file={self._path.name}", self._size_bytes) from error
            raise
