"""The memory and CPU of this process and of all that it started."""

import resource
from collections import defaultdict
from pathlib import Path

_KIB_PER_GIB = 1 << 20


def measure_memory_gib() -> float:
    """Return the memory that this process and its descendants have to themselves: resident, backed by no file."""
    children, sizes = defaultdict[int, list[int]](list), dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        except OSError:
            continue  # It has just ended.
        pid = int(fields["Pid"])
        children[int(fields["PPid"])].append(pid)
        sizes[pid] = sum(int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem"))
    found, waiting = 0, [int(Path("/proc/self").readlink().name)]
    while waiting:
        pid = waiting.pop()
        found += sizes.get(pid, 0)
        waiting += children[pid]
    return found / _KIB_PER_GIB


def measure_cpu_s() -> float:
    """Return the CPU seconds of this process and of all descendants that have ended and were waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
