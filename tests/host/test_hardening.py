"""The limits that both processes set themselves."""

import ctypes
import os
import subprocess
import sys

import pytest

from edge_agent.errors import ConfigError, RingBusyError
from edge_agent.host.hardening import lock_folder

HARDENED = "from edge_agent.host.hardening import harden; import ctypes, os; harden(); "


def test_second_process_on_the_same_state_is_refused_and_the_first_goes_on(tmp_path):
    """Two releasers would fight for one broker session and one database."""
    first, second = (lock_folder(tmp_path / "releaser", "releaser") for _ in range(2))
    with first, pytest.raises(RingBusyError, match="another releaser"), second:
        pytest.fail("the lock was given twice")
    with lock_folder(tmp_path / "releaser", "releaser"):
        pass


def test_folder_that_cannot_be_made_is_a_configuration_error(tmp_path):
    """A file in the way is told as such."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"), lock_folder(tmp_path / "file" / "x", "releaser"):
        pytest.fail("a lock in a file")


@pytest.mark.parametrize(
    ("question", "answer"),
    [("ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)", "0"), ("oct(os.umask(0))", "0o27")],
    ids=["not dumpable", "closed to others"],
)
def test_hardened_process(question, answer):
    """No core file holds a key, and no new file is open to everybody."""
    done = subprocess.run([sys.executable, "-c", f"{HARDENED}print({question})"], capture_output=True, text=True)
    assert done.stdout.strip() == answer


FAULTS = """
import resource
from edge_agent.host.hardening import harden
harden(gives_memory_back=False)
def fault():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [bytearray(1 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(fault(), fault())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_the_releaser_does_not_fault_the_same_megabytes_in_again():
    """A bundle goes through a few records at once, by the hundred; a fresh one costs a fault for every 4 KiB."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, again = map(int, done.stdout.split())
    assert first > 1000  # they were faulted in, once
    assert again < 200


COMMANDS = {
    "edge-agent": "from edge_agent.cli import main",
    "rtcc": "from edge_agent.rtcc.cli import main",
}
LOOK = """
import argparse, ctypes, resource, sys
from edge_agent.host import command_line
IMPORT
def look(*_):
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
    sys.exit()
argparse.ArgumentParser.parse_args = look
main(["status"])
"""


@pytest.mark.parametrize("entry", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_hides_its_memory_before_it_does_anything(entry):
    """No core file, and no process of the same user, gets a passphrase or the owner's key: whatever the command is."""
    code = LOOK.replace("IMPORT", entry)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0 (0, 0)", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="others may lock too little")
def test_a_passphrase_is_read_into_memory_that_is_not_swapped(tmp_path):
    """Root's commands lock their memory first."""
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    code = (
        "import sys; from pathlib import Path; from edge_agent.commands.owner_key import read_passphrase; "
        "read_passphrase(Path(sys.argv[1])); "
        "print([line for line in open('/proc/self/status') if line.startswith('VmLck')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "passphrase"], capture_output=True, text=True)
    assert int(done.stdout) > 0, done.stderr
