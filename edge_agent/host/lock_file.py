"""A lock file that keeps other processes of one machine away for a while (``flock``, flock(2))."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.errors import EdgeAgentError
from edge_agent.host.regular_file import open_regular

_NAP_S = 0.02
"""`flock` has no time-out of its own, and a signal would reach one thread only."""


@contextlib.contextmanager
def hold_lock(path: Path, patience_s: float, busy: EdgeAgentError) -> Iterator[None]:
    """Hold the lock for the time of the block; it ends with the process too.

    Args:
        path: Of the lock file; it is made if it is not there, and stays.
        patience_s: How long another process is waited for.
        busy: Raised if that one still has the lock then.

    Raises:
        EdgeAgentError: ``busy``.
        OSError: The file cannot be opened.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise busy from None
                time.sleep(_NAP_S)
        yield
    finally:
        os.close(descriptor)
