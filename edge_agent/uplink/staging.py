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
from typing import IO

from edge_agent.errors import DeliveryError

log = logging.getLogger(__name__)

FREE_BYTES = 64 << 20
"""Left free on the disk at all times."""


class StagingFullError(DeliveryError):
    """The folder's bound, or the disk's end, is reached."""


class Staging:
    """The folder.

    Args:
        folder: Created with mode 0700 where it is missing.
        limit_bytes: For all its files together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a bundle's payload lies."""
        return self._folder / f"{name}.age-payload"

    def create(self, name: str) -> "StagedFile":
        """Begin a payload; what was there under this name is gone. StagingFullError where there is no room."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        stat = os.statvfs(self._folder)
        free_bytes = stat.f_bavail * stat.f_frsize - FREE_BYTES
        used_bytes = sum(entry.stat().st_size for entry in self._folder.iterdir())
        room_bytes = min(self._limit_bytes - used_bytes, free_bytes)
        if room_bytes <= 0:
            raise StagingFullError(f"no room in the staging folder: used={used_bytes} limit={self._limit_bytes}")
        return StagedFile(path, room_bytes)

    def remove(self, name: str) -> None:
        """Delete a payload."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Delete every payload that no open release names."""
        wanted = {self.path(name).name for name in keep}
        for path in self._folder.iterdir():
            if path.name not in wanted:
                log.info("staged file belongs to no release and is removed file=%s", path.name)
                path.unlink(missing_ok=True)


class StagedFile:
    """A payload while it is written: bounded, and synced when it is closed without an error."""

    def __init__(self, path: Path, room_bytes: int) -> None:
        self._path = path
        self._left = room_bytes
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes) -> int:
        """Append; StagingFullError beyond the bound."""
        self._left -= len(data)
        if self._left < 0:
            raise StagingFullError(f"no room in the staging folder: file={self._path.name}")
        with _full_disk_told(self._path):
            return self._file.write(data)

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        with _full_disk_told(self._path):
            self._file.flush()

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with _full_disk_told(self._path), self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
        except BaseException:
            self._path.unlink(missing_ok=True)
            if kind is None:
                raise
        if kind is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    """Turn the disk's end, which others may have reached since there was room, into StagingFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StagingFullError(f"disk is full: file={path.name}") from error
        raise
