"""Open a file that another user may have put there: a regular file at once, or an error at once.

Owns the one way in which this program opens such a path. A FIFO would hold up whoever opens it, a device may act
when it is opened, and a symbolic link reads or writes another file with our rights.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_STATE_BYTES = 1 << 20
"""For a small state file of this program's own; the largest holds a few lines for each of 64 cameras."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link"),
)


class NotRegularError(OSError):
    """Something else than a regular file lies there; ``strerror`` names it."""


def open_regular(path: Path, flags: int = os.O_RDONLY, *, mode: int = 0o600, follow: bool = False) -> int:
    """Open a regular file without waiting for anybody.

    Args:
        path: Of the file.
        flags: As for ``os.open``; ``O_TRUNC`` takes effect only once the file is known to be regular.
        mode: Permissions of a file that ``O_CREAT`` makes.
        follow: Follow a symbolic link in the last component: only in a folder that root alone may write.

    Returns:
        A descriptor, closed on exec.

    Raises:
        NotRegularError: A folder, a FIFO, a socket, a device or a symbolic link lies there.
        OSError: It cannot be opened, or the holder of a lease does not let go of it.
    """
    # O_NONBLOCK: neither a FIFO without a partner nor a lease holds us up. It means nothing to a regular file.
    waits_not = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | waits_not, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _refusal(path, os.lstat(path).st_mode) from error
        raise
    try:
        found = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(found):
            raise _refusal(path, found)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_reader(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file to read bytes; errors as of ``open_regular``."""
    return os.fdopen(open_regular(path, follow=follow), "rb")


def read_regular(path: Path, max_bytes: int = MAX_STATE_BYTES, *, follow: bool = False) -> bytes:
    """Read a small regular file whole.

    Raises:
        NotRegularError: Something else lies there.
        OSError: It cannot be read, or is larger than ``max_bytes`` (``EFBIG``).
    """
    with open_reader(path, follow=follow) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
    return content


def overwrite_regular(path: Path) -> None:
    """Overwrite a small regular file with random bytes, durably: call before its name goes.

    The traces in flash memory are in docs/threat-model.md.

    Raises:
        NotRegularError: Something else lies there.
        OSError: It cannot be written.
    """
    descriptor = open_regular(path, os.O_RDWR)
    try:
        # Without a buffer of Python's between: a sync before its flush would leave the old bytes on the disk.
        os.pwrite(descriptor, os.urandom(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, mode: int) -> NotRegularError:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
    return NotRegularError(errno.EINVAL, f"{kind} lies there, not a regular file", str(path))
