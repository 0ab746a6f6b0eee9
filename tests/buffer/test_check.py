"""Every byte of a ring is accounted for, with public keys only."""

import json
from pathlib import Path

import pytest

from edge_agent.buffer.check import check_ring
from edge_agent.buffer.disk import FileDisk
from edge_agent.cli import build_parser
from edge_agent.commands import ring as command
from edge_agent.units import SECOND_NS
from tests.buffer.rig import Rig


def check(path: Path, rig: Rig):
    disk = FileDisk.open(path)
    try:
        return check_ring(disk, rig.keys.recorder.public_key())
    finally:
        disk.close()


def test_check_finds_nothing_in_a_ring_that_wrapped(rig: Rig) -> None:
    """A ring as the recorder left it, after laps and an erasure, has no finding."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 120)
    rig.clock.run(80 * 3600 * SECOND_NS)
    rig.record(writer, 30)
    writer.close()
    report = check(rig.path, rig)
    assert report.findings == ()
    assert report.blocks == 8
    assert report.records > 20


def test_check_works_beside_a_writer_whose_block_is_open(rig: Rig) -> None:
    """The open block's records are checked too; nothing signs its end yet."""
    rig.create()
    writer = rig.writer()
    rig.record(writer, 3)
    report = check(rig.path, rig)
    assert report.findings == ()
    assert (report.records, report.signed_records) == (3, 0)
    assert report.head == writer.head


def run(*words: str) -> int:
    parser = build_parser()
    if not any("ring" in (action.choices or ()) for action in parser._subparsers._group_actions):
        subparsers = parser._subparsers._group_actions[0]
        command.add_parser(subparsers)
    args = parser.parse_args(["ring", *words])
    return args.run(args)


def test_ring_check_names_the_record_that_was_changed(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit in a body costs one record, is named, and ends in exit code 74; the copy needs no config."""
    superblock = rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 30)
    writer.close()
    raw = bytearray(rig.path.read_bytes())
    raw[superblock.block_offset(2) + 8192 + 300] ^= 1
    copy = rig.folder / "copy.ring"
    copy.write_bytes(raw)
    missing = str(rig.folder / "none.yaml")
    assert run("check", str(rig.path), "--config", missing) == 0
    assert "whole" in capsys.readouterr().out
    assert run("check", str(copy), "--config", missing, "--json") == 74
    (answer,) = json.loads(capsys.readouterr().out)
    assert [(each["block"], each["index"], each["costs"]) for each in answer["findings"]] == [(2, 1, "one record")]


def test_ring_dump_needs_no_key(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON line for the superblock, for every page and every record."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 20)
    writer.close()
    assert run("dump", str(rig.path), "--config", str(rig.folder / "none.yaml")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["camera"] == "door"
    assert sum("length" in line for line in lines) == 20


def test_ring_ls_shows_days_by_hours(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """Footage, a gap with its length, and an hour without any are told apart."""
    rig.create(blocks=64)
    writer = rig.writer()
    for _ in range(300):
        rig.clock.run(59 * SECOND_NS)
        writer.append(rig.gop(100, duration_ns=59 * SECOND_NS))
    rig.clock.run(5 * 3600 * SECOND_NS)
    rig.record(writer, 10)
    writer.close()
    missing = str(rig.folder / "none.yaml")
    assert run("ls", str(rig.path), "--config", missing, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["footage_s"] == 300 * 59 + 10
    assert run("ls", str(rig.path), "--config", missing) == 0
    out = capsys.readouterr().out
    assert "2027-01-15" in out
    assert len(out.splitlines()) <= 6
