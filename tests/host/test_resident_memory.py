"""Memory that is given back: by the kernel's own account, in a process of its own."""

import os
import subprocess
import sys
import tempfile

_HEAP = """
import re
from edge_agent.host.resident_memory import give_back_heap

def resident_kb() -> int:
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

# Small blocks, with one that stays behind them: the end of the heap is not free by itself.
blocks = [b"x" * 4000 + str(number).encode() for number in range(16_000)]
last = b"y" * 4000 + str(len(blocks)).encode()
full_kb = resident_kb()
del blocks
give_back_heap()
print(full_kb - resident_kb())
"""
_FILES = """
import mmap, re, sys
from edge_agent.host.resident_memory import give_back_files

def resident_kb() -> int:
    return int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1])

with open(sys.argv[1], "rb") as file:
    library = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
assert sum(library[at] for at in range(0, len(library), 4096)) == 0
full_kb = resident_kb()
give_back_files()
print(full_kb - resident_kb())
assert library[4096] == 0
"""


def measure_given_back_kb(program: str, *words: str) -> int:
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_what_is_free_of_the_heap_goes_back():
    """Of 64 MB that are free, most."""
    assert measure_given_back_kb(_HEAP) > 40_000


def test_what_was_read_of_libraries_goes_back():
    """Of one that no other process has mapped; what is used again is read again."""
    # On a disk, and written to it: of memory, or of what was not written yet, the kernel drops nothing.
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="library-") as file:
        file.write(bytes(8 << 20))
        os.fsync(file.fileno())
        assert measure_given_back_kb(_FILES, file.name) > 4_000
