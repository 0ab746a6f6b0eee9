"""What both processes do to themselves before anything else."""

import ctypes
import os
import signal
import threading

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Keep keys out of core files and from other processes of the same user, and new files from everybody else."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o027)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; call it from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
