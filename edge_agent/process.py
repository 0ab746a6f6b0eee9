"""What both processes do to themselves before anything else."""

import ctypes
import os
import signal
import threading

_PR_SET_DUMPABLE = 4
# glibc's mallopt. One heap per thread and blocks of a megabyte that are kept for later cost the recorder 35 MB at
# eight cameras; with two heaps, and large blocks given back at once, it costs no measurable time.
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES = -3, 256 << 10
_M_ARENA_MAX, _ARENAS = -8, 2


def harden() -> None:
    """Keep keys out of core files and from other processes of the same user, and new files from everybody else."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o027)
    if hasattr(libc, "mallopt"):  # another C library does without
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
