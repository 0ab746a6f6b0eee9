"""A large file that has its name once it is whole, and leaves nothing before."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import UsageError
from edge_agent.host.unnamed_file import NewFile, WriteError


def list_folder(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_a_file_is_there_once_it_is_kept(tmp_path):
    """Whole, for its owner alone, and nothing beside it; until then nothing at all."""
    old = os.umask(0)
    try:
        with NewFile(tmp_path / "big") as new:
            new.file.write(b"x" * 3_000_000)
            assert list_folder(tmp_path) == []
            new.keep()
    finally:
        os.umask(old)
    assert (tmp_path / "big").read_bytes() == b"x" * 3_000_000
    assert (tmp_path / "big").stat().st_mode & 0o777 == 0o600
    assert list_folder(tmp_path) == ["big"]


def test_a_file_that_is_not_kept_never_was(tmp_path):
    """After any error in between."""
    with pytest.raises(RuntimeError), NewFile(tmp_path / "big") as new:
        new.file.write(b"x")
        raise RuntimeError
    assert list_folder(tmp_path) == []


def test_nothing_is_overwritten(tmp_path):
    """Neither what is there at the beginning nor what came meanwhile, a dangling link included."""
    (tmp_path / "big").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        NewFile(tmp_path / "big")
    with NewFile(tmp_path / "other") as new:
        (tmp_path / "other").symlink_to("nowhere")
        with pytest.raises(UsageError, match="exists already"):
            new.keep()
    assert (tmp_path / "big").read_bytes() == b"mine"
    assert list_folder(tmp_path) == ["big", "other"]


@pytest.mark.parametrize("where", ["missing/big", "file/big"])
def test_a_folder_that_is_none_is_told(tmp_path, where):
    """Before anything is written."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no file can be made there"):
        NewFile(tmp_path / where)


_KILLED = """
import sys
from pathlib import Path
from edge_agent.host.unnamed_file import NewFile
new = NewFile(Path(sys.argv[1]))
new.file.write(b"x" * 3_000_000)
new.file.flush()
print("written", flush=True)
sys.stdin.read()
"""


def test_a_kill_leaves_nothing(tmp_path):
    """A file without a name goes with the process that wrote it."""
    path = tmp_path / "big"
    child = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
    assert list_folder(tmp_path) == []


class Draft(NewFile):
    """As on a file system that knows no files without a name."""

    def _open(self) -> int:
        return self._open_draft()


def test_without_nameless_files_a_hidden_draft_stands_in(tmp_path):
    """It gets its name in the end as well, and goes where it is not kept."""
    with Draft(tmp_path / "big") as new:
        new.file.write(b"x")
        assert list_folder(tmp_path) == [".big.part"]
        assert (tmp_path / ".big.part").stat().st_mode & 0o777 == 0o600
        new.keep()
    assert list_folder(tmp_path) == ["big"]
    with Draft(tmp_path / "gone") as new:
        new.file.write(b"x")
    assert list_folder(tmp_path) == ["big"]


def test_a_draft_that_a_kill_left_is_taken_over_and_one_in_use_is_not(tmp_path):
    """What nobody holds is nobody's; what somebody writes is left alone."""
    (tmp_path / ".big.part").write_bytes(b"half of something else")
    with Draft(tmp_path / "big") as new:
        with pytest.raises(UsageError, match="no file can be made"):
            Draft(tmp_path / "big")
        new.file.write(b"x")
        new.keep()
    assert (tmp_path / "big").read_bytes() == b"x"
    (tmp_path / "other").touch()
    os.symlink("other", tmp_path / ".trap.part")
    with pytest.raises(UsageError):
        Draft(tmp_path / "trap")


def test_a_full_disk_is_told_when_it_is_kept(tmp_path):
    """What does not fit is told in words, and nothing of it is left."""
    with NewFile(tmp_path / "big") as new:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, new.file.fileno())
        os.close(full)
        new.file.write(b"x")
        with pytest.raises(WriteError, match="full") as caught:
            new.keep()
    assert caught.value.exit_code == os.EX_IOERR
    assert list_folder(tmp_path) == []
