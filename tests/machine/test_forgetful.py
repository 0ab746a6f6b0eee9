"""The disk that forgets, asked by QEMU's own client: a flush keeps, and without one chance decides."""

import random
import subprocess
from pathlib import Path

import pytest

from tests.machine.forgetful import SECTOR_BYTES, Cut, ForgetfulDisk

_SIZE = 1 << 20


def cut_after(disk: ForgetfulDisk, path: Path, *commands: str) -> Cut:
    """Let qemu-io carry out commands, and kill it."""
    words = [word for command in (*commands, "sigraise 9") for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "raw", "-t", "writeback", *words, f"nbd+unix:///?socket={path}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -9, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout
    return disk.wait_cut()


@pytest.mark.needs("qemu-io")
def test_a_flush_keeps_and_a_cut_loses_what_was_not_flushed(tmp_path):
    """What was flushed survives every cut; of the rest any sector is the old or the new one; both kinds are seen."""
    image, seen = tmp_path / "disk", set()
    for seed in range(24):
        image.write_bytes(bytes(_SIZE))
        disk = ForgetfulDisk(image, random.Random(seed))
        with disk.serve(tmp_path / "nbd"):
            cut = cut_after(
                disk,
                tmp_path / "nbd",
                "write -P 0x11 0 16k",
                "flush",
                *(f"write -P 0x22 {64 + 8 * number}k 8k" for number in range(4)),
                "read -P 0x22 64k 32k",
            )
        content = image.read_bytes()
        assert content[: 16 << 10] == b"\x11" * (16 << 10)
        rest = content[64 << 10 : 96 << 10]
        sectors = {rest[at : at + SECTOR_BYTES] for at in range(0, len(rest), SECTOR_BYTES)}
        assert sectors <= {b"\x22" * SECTOR_BYTES, bytes(SECTOR_BYTES)}
        assert (cut.held, cut.flushes) == (4, 1)
        assert not content[16 << 10 : 64 << 10].strip(b"\0")
        seen.add((cut.fate, len(sectors)))
    assert {"all lost", "torn", "some kept", "all kept"} <= {fate for fate, _ in seen}
    assert {1, 2} <= {number for _, number in seen}


@pytest.mark.needs("qemu-io")
def test_an_armed_disk_fails_while_writes_are_held(tmp_path):
    """The cut finds just so many writes unflushed as were asked for, however quickly a flush would have come."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(_SIZE))
    disk = ForgetfulDisk(image, random.Random(0))
    commands = ("write 0 16k", "flush", *(f"write {64 + 8 * number}k 8k" for number in range(4)), "flush")
    words = [word for command in commands for word in ("-c", command)]
    with disk.serve(tmp_path / "nbd"):
        disk.arm(3)
        client = subprocess.Popen(
            ["qemu-io", "-f", "raw", "-t", "writeback", *words, f"nbd+unix:///?socket={tmp_path / 'nbd'}"],
            stdout=subprocess.DEVNULL,
        )
        try:
            disk.wait_stopped(30)
        finally:
            client.kill()
            client.wait(30)
        cut = disk.wait_cut()
    assert (cut.held, cut.flushes) == (3, 1)
