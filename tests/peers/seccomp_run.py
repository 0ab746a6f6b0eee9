"""Run a command under the system-call restrictions of a systemd unit, where systemd itself cannot be run.

    python tests/peers/seccomp_run.py systemd/edge-agent-recorder.service -- edge-agent record --config FILE

Applies, with libseccomp and as systemd does it: SystemCallFilter=, SystemCallErrorNumber=,
SystemCallArchitectures=native (libseccomp's default), MemoryDenyWriteExecute=, RestrictAddressFamilies=,
RestrictNamespaces=yes, RestrictSUIDSGID=, RestrictRealtime=, LockPersonality= and NoNewPrivileges=; the sets
(``@system-service``) are asked of ``systemd-analyze syscall-filter``. What needs mounts, cgroups or users
(ProtectSystem=, IPAddressDeny=, User=, …) is left out.
"""

import ctypes
import ctypes.util
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

ALLOW = 0x7FFF0000
# enum scmp_compare of seccomp.h
LESS, EQUAL, GREATER, MASKED_EQUAL = 2, 4, 6, 7
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
CLONE_NAMESPACES = (0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
S_ISUID, S_ISGID = 0o4000, 0o2000
# systemd.exec(5): "The execve(), exit(), exit_group(), getrlimit(), rt_sigreturn(), sigreturn() system calls and the
# system calls for querying time and sleeping are implicitly allow-listed".
IMPLICIT = ("@default", "execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn")
MODE_CALLS = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2, "creat": 1}


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def failing(number: int) -> int:
    """Return libseccomp's action for an errno."""
    return 0x00050000 | number


class Filter:
    """One seccomp filter; several that are loaded one after another all hold."""

    def __init__(self, default: int) -> None:
        name = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
        self._library = ctypes.CDLL(name, use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))
        if not self._context:
            raise OSError("seccomp_init failed")

    def add(self, action: int, call: str, *comparisons: Comparison) -> None:
        """Add one rule; a call that this architecture or libseccomp does not know is left out."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (Comparison * len(comparisons))(*comparisons)
        result = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(comparisons), array
        )
        if result < 0:
            raise OSError(-result, f"seccomp_rule_add {call}: {os.strerror(-result)}")

    def load(self) -> None:
        """Put the filter into force for this process and all that it starts."""
        result = self._library.seccomp_load(self._context)
        if result < 0:
            raise OSError(-result, f"seccomp_load: {os.strerror(-result)}")


@cache
def expand(name: str) -> frozenset[str]:
    """Return the system calls of a set such as ``@system-service``, sets within it included; a call is itself."""
    if not name.startswith("@"):
        return frozenset({name})
    words = ["systemd-analyze", "syscall-filter", "--no-pager", name]
    printed = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout
    members = [line.strip() for line in printed.splitlines()[1:]]
    return frozenset().union(*(expand(member) for member in members if member and not member.startswith("#")))


def read_unit(path: Path) -> dict[str, list[str]]:
    """Return the unit's settings, each with its values in order; an empty value resets, as in systemd."""
    settings: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";", "[")):
            continue
        if value:
            settings.setdefault(key, []).append(value)
        else:
            settings.pop(key, None)
    return settings


def allowed_calls(lines: Iterable[str]) -> frozenset[str]:
    """Apply ``SystemCallFilter=`` lines in order; the first must be an allow-list, as ours is."""
    calls: set[str] = set()
    for line in lines:
        names = frozenset().union(*(expand(word) for word in line.removeprefix("~").split()))
        if line.startswith("~"):
            calls -= names
        else:
            calls |= names
    return frozenset(calls).union(*(expand(name) for name in IMPLICIT))


def deny_write_execute() -> Filter:
    """MemoryDenyWriteExecute=: no mapping that is written and run, none made executable later."""
    rules, denied = Filter(ALLOW), failing(errno.EPERM)
    both = PROT_WRITE | PROT_EXEC
    for call in ("mmap", "mmap2"):
        rules.add(denied, call, Comparison(2, MASKED_EQUAL, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        rules.add(denied, call, Comparison(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    rules.add(denied, "shmat", Comparison(2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC))
    return rules


def restrict_families(names: Sequence[str]) -> Filter:
    """RestrictAddressFamilies= as an allow-list."""
    rules, denied = Filter(ALLOW), failing(errno.EAFNOSUPPORT)
    families = sorted(int(getattr(socket, name)) for name in names)
    rules.add(denied, "socket", Comparison(0, LESS, families[0], 0))
    rules.add(denied, "socket", Comparison(0, GREATER, families[-1], 0))
    for family in range(families[0] + 1, families[-1]):
        if family not in families:
            rules.add(denied, "socket", Comparison(0, EQUAL, family, 0))
    return rules


def restrict_namespaces() -> Filter:
    """RestrictNamespaces=yes; clone3 hides its flags from a filter and is refused as if it did not exist."""
    rules, denied = Filter(ALLOW), failing(errno.EPERM)
    rules.add(failing(errno.ENOSYS), "clone3")
    rules.add(denied, "setns")
    for flag in CLONE_NAMESPACES:
        rules.add(denied, "unshare", Comparison(0, MASKED_EQUAL, flag, flag))
        rules.add(denied, "clone", Comparison(0, MASKED_EQUAL, flag, flag))
    return rules


def restrict_modes() -> Filter:
    """RestrictSUIDSGID=yes."""
    rules = Filter(ALLOW)
    for call, position in MODE_CALLS.items():
        for bit in (S_ISUID, S_ISGID):
            rules.add(failing(errno.EPERM), call, Comparison(position, MASKED_EQUAL, bit, bit))
    return rules


def restrict_realtime() -> Filter:
    """RestrictRealtime=yes: SCHED_FIFO, SCHED_RR and SCHED_DEADLINE."""
    rules = Filter(ALLOW)
    for policy in (1, 2, 6):
        rules.add(failing(errno.EPERM), "sched_setscheduler", Comparison(1, EQUAL, policy, 0))
    return rules


def lock_personality() -> Filter:
    """LockPersonality=yes."""
    rules = Filter(ALLOW)
    rules.add(failing(errno.EPERM), "personality", Comparison(0, GREATER, 0, 0))
    return rules


def call_filter(settings: dict[str, list[str]]) -> Filter:
    """SystemCallFilter= with SystemCallErrorNumber=."""
    number = getattr(errno, settings.get("SystemCallErrorNumber", ["EPERM"])[-1])
    rules = Filter(failing(number))
    for call in sorted(allowed_calls(settings["SystemCallFilter"])):
        rules.add(ALLOW, call)
    return rules


def restrict(path: Path) -> None:
    """Put all of a unit's system-call restrictions into force for this process."""
    settings = read_unit(path)
    simple: dict[str, Callable[[], Filter]] = {
        "MemoryDenyWriteExecute": deny_write_execute,
        "RestrictNamespaces": restrict_namespaces,
        "RestrictSUIDSGID": restrict_modes,
        "RestrictRealtime": restrict_realtime,
        "LockPersonality": lock_personality,
    }
    filters = [make() for key, make in simple.items() if settings.get(key, ["no"])[-1] == "yes"]
    if "RestrictAddressFamilies" in settings:
        filters.append(restrict_families(settings["RestrictAddressFamilies"][-1].split()))
    if "SystemCallFilter" in settings:
        filters.append(call_filter(settings))  # last: it may forbid loading another
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "prctl")
    for rules in filters:
        rules.load()


def main(arguments: Sequence[str]) -> None:
    """Restrict this process and become the command."""
    if len(arguments) < 3 or arguments[1] != "--":
        sys.exit("usage: seccomp_run.py UNIT -- COMMAND [WORD...]")
    restrict(Path(arguments[0]))
    os.execvp(arguments[2], list(arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
