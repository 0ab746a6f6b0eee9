"""A process gives up sockets to other programs of its machine, before which Landlock (to version 8) does not stand.

Owns the filter of system calls (seccomp) that leaves IPv4, IPv6 and the sockets by which the C library asks the kernel
about its network. Linux on x86-64 and ARM64 only.
"""

import ctypes
import errno
import platform
import socket
import struct

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
# struct sock_filter: code, where to go on if it holds and if not, operand.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
# struct seccomp_data: number, architecture, instruction, arguments.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Architecture (AUDIT_ARCH_*) and the number of ``socket``."""
_X32 = 0x40000000
"""From here on the calls of x86-64's other convention."""
_IO_URING_SETUP = 425
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def forbid_local_sockets(libc: ctypes.CDLL) -> bool:
    """Refuse this thread, and those that it will start, sockets of any other family; False if that cannot be.

    It must have given up new privileges before.
    """
    if platform.machine() not in _MACHINES:
        return False
    architecture, number_of_socket = _MACHINES[platform.machine()]
    checks = len(_FAMILIES)
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 5 + checks, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 3 + checks, 0, _X32),
        (_IF_EQUAL, 2 + checks, 0, _IO_URING_SETUP),
        (_IF_EQUAL, 0, 2 + checks, number_of_socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *((_IF_EQUAL, checks - place, 0, int(family)) for place, family in enumerate(_FAMILIES)),
        (_RETURN, 0, 0, _REFUSE | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]
    packed = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), packed)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)
