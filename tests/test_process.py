"""What both processes do to themselves."""

import subprocess
import sys

import pytest

from edge_agent.errors import ConfigError, RingBusyError
from edge_agent.process import lock_folder

HARDENED = "from edge_agent.process import harden; import ctypes, os; harden(); "


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
