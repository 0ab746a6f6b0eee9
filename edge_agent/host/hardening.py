"""The limits that processes and commands set themselves before anything else."""

import contextlib
import ctypes
import fcntl
import gc
import logging
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import ConfigError, RingBusyError
from edge_agent.host.regular_file import open_regular

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_NAME = 15
"""Numbers of <linux/prctl.h> and <sys/mman.h>, which Python does not name."""
# glibc's mallopt. One heap per thread and blocks of a megabyte that are kept for later cost the recorder 35 MB at
# eight cameras; with two heaps, and large blocks given back at once, at most a twentieth of its time.
# A record (1 MiB at most) is no large block: faulting it in anew took an eighth of the time that a camera's thread
# takes, and keeping the place of a few of them costs 4 MB. Reading a clip back to back is another matter: faulting the
# same megabytes in again cost the releaser an eighth of a bundle's time, also with what glibc chooses by itself.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_GIVING_BYTES = 2 << 20, 4 << 20
"""A block of so many bytes goes back when it is freed; so many free bytes at a heap's end go back."""
_KEEPING_BYTES = 32 << 20, 32 << 20
_M_ARENA_MAX, _ARENAS = -8, 2


def hide_memory() -> None:
    """Keep what is in memory out of core files, and from every other process but root's (no ptrace, no /proc/PID/mem).

    For every command, before it is known whether it will hold a passphrase or a key.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_memory_from_swap() -> None:
    """Lock memory, as it is used, where root's command may; call it before a passphrase is read.

    The limit of another user (8 MiB on Debian) is less than the derivation of a key takes: for it nothing is locked.
    """
    if os.geteuid() == 0:
        # Some containers let root lock memory but not raise the limit: ``unlock_for_user`` ends the lock then.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def unlock_for_user() -> None:
    """End the lock before root takes another user's rights, if that user's limit would count.

    Beyond the limit every allocation fails, and SQLite reports that as an I/O error.
    """
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        ctypes.CDLL(None).munlockall()


def harden(*, gives_memory_back: bool = True) -> None:
    """Keep keys out of core files and from other processes of the same user, and new files from everybody else.

    Call it when everything is imported.

    Args:
        gives_memory_back: Large blocks go back to the kernel at once: for a process that works a little at a time. Else
            they stay, for one that takes the same megabytes again and again for a while.
    """
    hide_memory()
    libc = ctypes.CDLL(None)
    os.umask(0o027)
    # Imported modules stay: the garbage collector would look through all of it again for a few hundred packets.
    gc.freeze()
    if hasattr(libc, "mallopt"):  # another C library does without
        block_bytes, end_bytes = _GIVING_BYTES if gives_memory_back else _KEEPING_BYTES
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, block_bytes)
        libc.mallopt(_M_TRIM_THRESHOLD, end_bytes)


@contextmanager
def lock_folder(folder: Path, who: str) -> Iterator[None]:
    """Hold the one lock of a process's state folder for the time of the block.

    Raises:
        RingBusyError: Another process of this kind works on it.
        ConfigError: The folder cannot be made.
    """
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.fdopen(open_regular(folder / "lock", os.O_RDWR | os.O_CREAT, mode=0o640), "r+b")
    except OSError as error:
        raise ConfigError(f"folder cannot be used: {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "`edge-agent status` shows it; one of each serves the whole gateway"
            raise RingBusyError(f"another {who} runs on this state folder: {folder.parent}", hint) from None
        yield


def leave(code: int) -> int:
    """Return the exit code, or end at once if a thread of native code would not end.

    FFmpeg logs from it into an interpreter that is being taken down, and the process crashes after its work is done.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(code)
    return code


def name_thread(name: str) -> None:
    """Give the calling thread the name that ``top -H`` shows: the first 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
