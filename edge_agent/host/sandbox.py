"""A process gives up what it does not need before it parses what a stranger sent.

Owns the limits: no new descriptors, no privileges, no core file, bounded memory and time; and, if the kernel has
Landlock, no path, no socket and no signal to others. Linux only.
"""

import ctypes
import os
import resource
import signal
import struct

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

# The same numbers on x86-64 and ARM64.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION = 1
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many of the rights to files each version of Landlock knows, from bit 0; from version 5 on 16."""


def confine(*, memory_bytes: int, cpu_s: int = resource.RLIM_INFINITY) -> bool:
    """Give up everything that working on descriptors that are open does not need; die with the parent.

    Args:
        memory_bytes: Of address space.
        cpu_s: Processor time until the kernel ends the process; without it, indefinitely.

    Returns:
        Whether Landlock denies every path as well. Without it no file can be opened either, but one could be unlinked
        or renamed where the modes allow that.

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
    is_walled = _forbid_paths(libc)
    # No descriptor beside the three pipes can come to be: no file, no socket, no epoll.
    for limit, bound in (
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (bound, bound))
    return is_walled


def bound_memory(memory_bytes: int) -> None:
    """Have the kernel refuse this process more memory than that: the memory that it maps to write in, stacks included.

    For a process that needs files and sockets, and so cannot be confined; there is no core file either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _forbid_paths(libc: ctypes.CDLL) -> bool:
    """Deny this thread, and those that it will start, all that Landlock knows; False if that is not everything."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return False
    files = (1 << _FS_RIGHTS.get(version, 16)) - 1
    # struct landlock_ruleset_attr grows: files, from version 4 on TCP, from version 6 on abstract sockets and signals.
    attributes = struct.pack("<QQQ", files, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        # A thread that is there already is not restricted: there must be none.
        is_alone = len(os.listdir("/proc/self/task")) == 1
        return libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0 and is_alone
    finally:
        os.close(ruleset)
