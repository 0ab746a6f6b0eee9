"""Space on a file system: reserve it permanently, give it back, keep it from being copied on write.

Owns the three Linux calls that Python does not offer. glibc's ``posix_fallocate`` is avoided: if the file system
cannot reserve, it silently writes one byte into every block, which on a card takes minutes, unseen.
"""

import array
import ctypes
import errno
import fcntl
import os
from collections.abc import Callable

# linux/falloc.h and linux/fs.h; the two ioctl numbers are those of 64-bit machines.
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_NOCOW_FL = 0x00800000
_FILL_BYTES = 1 << 20
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
"""Of a file system, and of a kernel, that has no ``fallocate``: all other errors are faults."""


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    while call(fd, mode, offset, length) != 0:
        code = ctypes.get_errno()
        # glibc's wrapper does not go on by itself after a signal.
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def _fill(fd: int, size_bytes: int, progress: Callable[[int, int], None] | None) -> None:
    zeros = bytes(_FILL_BYTES)
    for offset in range(0, size_bytes, _FILL_BYTES):
        chunk = zeros[: size_bytes - offset]
        done = os.pwrite(fd, chunk, offset)
        while done < len(chunk):
            done += os.pwrite(fd, chunk[done:], offset + done)
        if progress is not None:
            progress(offset + len(chunk), size_bytes)


def allocate(
    fd: int,
    size_bytes: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    reserve: Callable[[int, int, int, int], None] = _fallocate,
    fill: Callable[[int, int, Callable[[int, int], None] | None], None] = _fill,
) -> None:
    """Reserve ``size_bytes`` from the start of a file, without touching what is in it.

    Args:
        fd: The file.
        size_bytes: Its length afterwards.
        progress: Called with bytes done and bytes in all if ``fill`` is needed.
        reserve: The system call.
        fill: The way if the file system knows no such call: by default, write zeros into the empty file.
    """
    try:
        reserve(fd, 0, 0, size_bytes)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        fill(fd, size_bytes, progress)


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Give space inside a file back; False if the file system cannot."""
    try:
        _fallocate(fd, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def ask_no_copy_on_write(fd: int) -> None:
    """Ask btrfs to overwrite in place (FS_NOCOW_FL, on a still empty file); other file systems do not mind."""
    flags = array.array("L", [0])
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags, True)
        if os.fstatvfs(fd).f_bsize and not flags[0] & _FS_NOCOW_FL:
            flags[0] |= _FS_NOCOW_FL
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, flags)
    except OSError:
        # ext4, xfs, tmpfs and network shares have no such flag and need none.
        return
