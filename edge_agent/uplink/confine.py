"""A process gives up what it does not need before it parses what a stranger sent.

Owns the limits: no new descriptors, no privileges, no core file, bounded memory and time. Linux only.
"""

import ctypes
import resource
import signal

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def confine(*, cpu_s: int, memory_bytes: int) -> None:
    """Give up everything that working on two open pipes does not need; die with the parent.

    Raises:
        OSError: The kernel refuses: the process must end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_PDEATHSIG, int(signal.SIGKILL)),
    ):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl failed")
    # No descriptor beside the three pipes can come to be: no file, no socket, no epoll.
    for limit, bound in (
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (bound, bound))
