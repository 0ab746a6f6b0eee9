"""A process gives up what it does not need before it parses what a stranger sent.

Owns the limits: no new descriptors, no privileges, no core file, bounded memory and time; and, if the kernel has
Landlock, no path, no socket and no signal to others. Linux only.
"""

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Sequence
from pathlib import Path

from edge_agent.host.socket_filter import forbid_local_sockets

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

# The same numbers on x86-64 and ARM64.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION = 1
_PATH_BENEATH, _READ_FILE = 1, 1 << 2
_TCP_BIND, _TCP = 0b01, 0b11
_CLIENT_DESCRIPTORS = 64
"""RTSP, four ports for each of two tracks, and the sockets of a resolver."""
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
    libc = _give_up_privileges()
    is_walled = _forbid_paths(libc, _TCP)
    # No descriptor beside the three pipes can come to be: no file, no socket, no epoll.
    _set_limits(descriptors=0, cpu_s=cpu_s, memory_bytes=memory_bytes)
    return is_walled


def confine_client(*, memory_bytes: int, readable: Sequence[Path]) -> bool:
    """Give up everything that a client of one server does not need; die with the parent.

    It may still open connections over IP, and read the files that are named; nothing can connect to it over TCP.

    Args:
        memory_bytes: Of address space.
        readable: Files; one that is not there is left out.

    Returns:
        Whether the kernel denies every other path and the sockets of this machine's programs as well. Without that
        their modes decide.

    Raises:
        OSError: The kernel refuses: the process must end.
    """
    libc = _give_up_privileges()
    # Each layer by itself: a kernel without Landlock still has the other one.
    layers = (_forbid_paths(libc, _TCP_BIND, readable), forbid_local_sockets(libc))
    _set_limits(descriptors=_CLIENT_DESCRIPTORS, cpu_s=resource.RLIM_INFINITY, memory_bytes=memory_bytes)
    return all(layers)


def _give_up_privileges() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),
        # A child whose parent was killed would go on with a camera's session, or with a clip that
        # nobody reads.
        (_PR_SET_PDEATHSIG, int(signal.SIGKILL)),
    ):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl failed")
    return libc


def _set_limits(*, descriptors: int, cpu_s: int, memory_bytes: int) -> None:
    for limit, bound in (
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (bound, bound))


def bound_memory(memory_bytes: int) -> None:
    """Have the kernel refuse this process more memory than that: the memory that it maps to write in, stacks included.

    For a process that needs files and sockets, and so cannot be confined; there is no core file either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _forbid_paths(libc: ctypes.CDLL, tcp: int, readable: Sequence[Path] = ()) -> bool:
    """Deny this thread, and those that it will start, all that Landlock knows; False if that is not everything."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return False
    files = (1 << _FS_RIGHTS.get(version, 16)) - 1
    # struct landlock_ruleset_attr grows: files, from version 4 on TCP, from version 6 on abstract sockets and signals.
    attributes = struct.pack("<QQQ", files, tcp, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        # A thread that is there already is not restricted: there must be none.
        is_alone = len(os.listdir("/proc/self/task")) == 1
        return libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0 and is_alone
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # struct landlock_path_beneath_attr: rights, then a descriptor. The kernel refuses the rule for anything but a
        # file.
        beneath = struct.pack("<Qi", _READ_FILE, file)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(file)
