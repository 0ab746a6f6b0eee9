"""Small files: whole or not at all, with the mode that was asked for."""

import os

import pytest

from edge_agent.host.atomic_file import write_new_file, write_small_file


@pytest.fixture
def strict_umask():
    """A umask that takes everything from the group, as root's shell may have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_mode_is_the_one_asked_for(tmp_path, strict_umask):
    """The other process reads some of these files by its group: a umask must not take that away."""
    write_small_file(tmp_path / "status.json", b"{}", mode=0o640)
    write_new_file(tmp_path / "owner.pub", b"-", 0o644)
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o644, 0o640]


def test_draft_of_a_crash_is_in_nobodys_way(tmp_path):
    """What a power cut left half written is replaced and never becomes the file; no link in its place is followed."""
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / "pins.json.new").symlink_to(tmp_path / "elsewhere")
    write_small_file(tmp_path / "pins.json", b"new")
    assert (tmp_path / "pins.json").read_bytes() == b"new"
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "pins.json"]


def test_key_is_never_written_over(tmp_path):
    """``write_new_file`` refuses where there is such a file, leaves it as it is, and leaves no draft behind."""
    (tmp_path / "vault.pem").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "vault.pem", b"new", 0o600)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"vault.pem": b"old"}


def test_failure_keeps_the_old_file(tmp_path):
    """A draft that cannot be made costs the new content, not the old."""
    path = tmp_path / "clock.json"
    path.write_bytes(b"old")
    path.with_name("clock.json.new").mkdir()
    with pytest.raises(OSError):
        write_small_file(path, b"new")
    assert path.read_bytes() == b"old"
