"""The disk as a ring sees it: reads, writes and one barrier.

Owns the file descriptor and the translation of ``OSError`` into this program's errors, with the advice that goes with
each errno. Must never retry a failed sync (FORMAT 1.2, D4).
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol, Self

from edge_agent.errors import DurabilityError, RingBusyError, RingError
from edge_agent.host.regular_file import open_regular

_HINTS = {
    errno.EIO: "The disk reports a fault: look at `dmesg`, and replace it if this comes again.",
    errno.EROFS: "The file system was remounted read-only, which a failing disk or card often causes: look at `dmesg`.",
    errno.ENOSPC: "No space is left: a copy-on-write file system or a snapshot may hold what the ring overwrites.",
    errno.ENODEV: "The disk is gone: is it plugged in and mounted?",
    errno.ENXIO: "The disk is gone: is it plugged in and mounted?",
    errno.ESTALE: "The network share was exported anew: mount it again, or better keep rings on a local disk.",
    errno.EACCES: "The recorder's user must own the ring; the releaser's group may read it.",
    errno.EFBIG: "The file system cannot hold so large a file: vfat ends at 4 GiB; use ext4, xfs or btrfs.",
}


def hint_for(error: OSError) -> str:
    """Return the advice for an errno, or nothing."""
    return _HINTS.get(error.errno or 0, "")


class Disk(Protocol):
    """The functions of a disk that a ring needs; ``FileDisk`` in the product, ``FakeDisk`` in tests."""

    name: str

    def pread(self, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes; fewer only at the end of the file. RingError if the disk fails."""

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of ``data``; durable after the next ``fdatasync``. DurabilityError if the disk fails."""

    def fdatasync(self) -> None:
        """Make everything written so far durable. DurabilityError, final, if the disk fails."""

    def size(self) -> int:
        """Return the length of the file."""

    def close(self) -> None:
        """Let go of the file."""


class FileDisk:
    """A ring file.

    A writer holds the file's advisory lock (``flock``) for as long as it is open, so that there is never a second one.
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> Self:
        """Open a ring file, to write it alone or to read it beside its writer.

        Raises:
            RingBusyError: Another process writes this ring.
            RingError: It cannot be opened; the hint names the remedy.
        """
        flags = os.O_RDWR if writable else os.O_RDONLY
        try:
            fd = open_regular(path, flags)
        except OSError as error:
            hint = hint_for(error) or "Is the disk mounted? Paths are named in edge-agent.yaml under buffer.dir."
            raise RingError(f"cannot open ring: path={path}: {error.strerror}", hint) from error
        if writable:
            try:
                # Not waited for: a second recorder must say so, not begin when the first one ends.
                # The kernel frees it at a crash.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                raise RingBusyError(
                    f"another recorder writes this ring: path={path}", hint="Stop it first: one ring has one writer."
                ) from error
        return cls(fd, path.name)

    def pread(self, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes; fewer only at the end of the file."""
        try:
            data = os.pread(self._fd, length, offset)
            while 0 < len(data) < length:
                # A signal may cut a read short; only 0 bytes mean the end of the file.
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise RingError(f"read failed: ring={self.name} at={offset}: {error.strerror}", hint_for(error)) from error
        return data

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of ``data``."""
        try:
            done = os.pwrite(self._fd, data, offset)
            # A write may be cut short by a signal or a full disk; the second try gets the error.
            while done < len(data):
                done += os.pwrite(self._fd, memoryview(data)[done:], offset + done)
        except OSError as error:
            raise DurabilityError(
                f"write failed: ring={self.name} at={offset}: {error.strerror}", hint_for(error)
            ) from error

    def fdatasync(self) -> None:
        """Make everything written so far durable; a failure is final for the bytes that it covered."""
        try:
            # FORMAT 1.2, D4: never tried again; the kernel may have dropped the pages, and the next
            # call would succeed.
            os.fdatasync(self._fd)
        except OSError as error:
            raise DurabilityError(f"sync failed: ring={self.name}: {error.strerror}", hint_for(error)) from error

    def size(self) -> int:
        """Return the length of the file."""
        return os.fstat(self._fd).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and with it the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
