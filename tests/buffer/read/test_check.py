"""Every byte of a ring is accounted for, with public keys only."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.check import KnownHead, check_ring
from edge_agent.custody.keys import encode_private, generate
from edge_agent.host.control_socket import ControlServer
from edge_agent.units import SECOND_NS
from tests.buffer.rig import Rig
from tests.commands import typed


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
    return typed.run("ring", *words)


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


def head_of(rig: Rig) -> KnownHead:
    with rig.reader() as reader:
        return KnownHead(reader.superblock.ring_id, *reader.head())


def findings_against(rig: Rig, known: KnownHead) -> list[str]:
    disk = FileDisk.open(rig.path)
    try:
        return [each.text for each in check_ring(disk, rig.keys.recorder.public_key(), None, known).findings]
    finally:
        disk.close()


@pytest.mark.parametrize("more", [0, 1, 30, 200], ids="{} records later".format)
def test_known_head_agrees_with_a_ring_that_only_went_on(rig: Rig, more: int) -> None:
    """Whatever was appended, erased or overwritten since, the ledger's head is no finding."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 25)
    known = head_of(rig)
    rig.record(writer, more)
    writer.close()
    assert findings_against(rig, known) == []
    writer = rig.writer()
    writer.erase(None)
    writer.close()
    assert findings_against(rig, known) == []


def test_known_head_counts_nothing_that_a_power_cut_may_take(rig: Rig) -> None:
    """The head stops at the last record that was known synced."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 2)
    writer.sync()
    synced = writer.head[1]
    rig.record(writer, 1)
    assert writer.head[1] != synced
    assert head_of(rig).chain == synced


def test_ring_put_back_to_an_older_copy_is_found_by_the_ledgers_head_alone(rig: Rig) -> None:
    """An older copy is whole in itself; held against the head that the ledger noted since, it is not."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 25)
    writer.close()
    older = rig.path.read_bytes()
    writer = rig.writer()
    rig.record(writer, 25)
    known = head_of(rig)
    writer.close()
    rig.path.write_bytes(older)
    assert check(rig.path, rig).findings == ()
    (text,) = findings_against(rig, known)
    assert f"the ledger knew block {known.seq}" in text
    # Somebody with the recorder's key records on over it: the number is there again, the chain is not.
    writer = rig.writer()
    rig.record(writer, 40)
    writer.close()
    assert findings_against(rig, known) == ["block was another when the ledger noted it"]
    assert findings_against(rig, replace(known, ring_id=bytes(16))) == [
        "the ledger tells of another ring in this one's place"
    ]


@pytest.mark.parametrize("is_made", [False, True], ids=["never made", "lost later"])
def test_ring_ls_fails_if_the_recorder_cannot_store(
    is_made: bool, rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ring that cannot be made or opened is named with the recorder's own words, and the exit code is EX_IOERR."""
    if is_made:
        rig.create(blocks=8)
    config = tmp_path / "edge-agent.yaml"
    folders = f"gateway: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\nbuffer: {{dir: {rig.folder}}}\n"
    config.write_text(folders + "cameras: [{id: door, url: 'rtsp://127.0.0.1/'}]\n")
    assert run("ls", "--config", str(config)) == 0  # no recorder runs
    assert ("not made yet" in capsys.readouterr().out) is not is_made
    stop = threading.Event()
    status = {"cameras": {"door.main": {"storage": "no space left: path=/mnt/x"}, "hall.main": {"storage": "ok"}}}
    server = ControlServer(tmp_path / "recorder/sock", {"status": lambda *_: status}, stop)
    server.start()
    try:
        assert run("ls", "--config", str(config)) == os.EX_IOERR
    finally:
        stop.set()
        server.join()
    printed = capsys.readouterr()
    assert "no space left: path=/mnt/x" in printed.err
    assert ("cannot be made" in printed.out) is not is_made


VAULTS = {
    # keys/public/custody, keys/releaser/vault.pem, what systemd-creds does, who asks, gap, what is said of it
    "a copied file": (None, "", "exit 1", 0, "unknown", "root sees it on the gateway that recorded"),
    "bare, somebody else": (False, "unreadable", "exit 1", 1000, "unknown", "root sees it (sudo edge-agent ring ls)"),
    "bare, root": (False, "ours", "exit 1", 0, "busy", ""),
    "bare, lost": (False, "", "exit 1", 0, "unknown", "file is missing: "),
    "bare, a new one": (False, "other", "exit 1", 0, "unknown", "not all of it opens with the vault's key that is"),
    "sealed, root": (True, "", "cat SEALED", 0, "busy", ""),
    "sealed, somebody else": (True, "", "cat SEALED", 1000, "unknown", "root sees it (sudo edge-agent ring ls)"),
    "sealed, in another machine": (True, "", "exit 1", 0, "unknown", "is sealed, and this machine does not open it"),
    "sealed, no systemd-creds": (True, "", None, 0, "unknown", "is sealed, and this machine does not open it"),
}


@pytest.mark.parametrize(("is_sealed", "file", "creds", "user", "gap", "words"), VAULTS.values(), ids=VAULTS)
def test_ring_ls_says_why_a_reason_is_closed(
    is_sealed, file, creds, user, gap, words, rig: Rig, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A gap has its reason; without the vault's key it is unknown, and it is said why. No service runs."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 5)
    rig.clock.run(7 * SECOND_NS)
    writer.append(rig.note(Kind.GAP, b'{"reason":"busy"}', 7 * SECOND_NS))
    rig.record(writer, 5)
    writer.close()
    lay_vault(tmp_path, is_sealed, file, encode_private(rig.keys.vault))
    tool = tmp_path / "bin/systemd-creds"
    tool.parent.mkdir()
    if creds is not None:
        tool.write_text(f"#!/bin/sh\n{creds.replace('SEALED', str(tmp_path / 'sealed'))}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/bin" if creds is not None else str(tool.parent))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    config = tmp_path / "edge-agent.yaml"
    if is_sealed is not None:
        config.write_text(f"gateway: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\ncameras:\n")
    command = ["ls", str(rig.path), "--config", str(config)]
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert f"gap {gap}: 7 s" in out
    assert ("why there is a gap is encrypted" in out) is bool(words)
    assert words in out
    assert run(*command, "--json") == 0
    printed = capsys.readouterr()
    assert gap in json.loads(printed.out)[0]["hours"][0]["gaps_s"]
    assert words in printed.err


def lay_vault(state_dir: Path, is_sealed: bool | None, file: str, pem: bytes) -> None:
    """Lay down the vault's key as a gateway has it; what systemd-creds would open lies beside."""
    for name in ("public", "recorder", "releaser"):
        (state_dir / "keys" / name).mkdir(parents=True)
    (state_dir / "sealed").write_bytes(pem)
    if is_sealed:
        (state_dir / "keys/public/custody").write_text("tpm\n")
    if file:
        path = state_dir / "keys/releaser/vault.pem"
        path.write_bytes(encode_private(generate("vault")) if file == "other" else pem)
        path.chmod(0o644 if file == "unreadable" else 0o600)


def test_ring_check_asks_the_releaser_for_the_heads(rig: Rig, tmp_path: Path, capsys) -> None:
    """With a releaser at hand the ring is held against its ledger; without one, that is said."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 25)
    known = head_of(rig)
    writer.close()
    config = tmp_path / "edge-agent.yaml"
    folders = f"gateway: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\nbuffer: {{dir: {rig.folder}}}\n"
    config.write_text(folders + "cameras: [{id: door, url: 'rtsp://127.0.0.1/'}]\n")
    assert run("check", "door", "--config", str(config)) == 0
    assert "not held against the ledger" in capsys.readouterr().out
    heads = {"door.main": f"{known.ring_id.hex()}:{known.seq + 1}:{known.chain.hex()}"}
    entry = {"index": 0, "at": "2026-11-23T00:00:00Z", "kind": "rings", "entry": {"heads": heads}}
    stop = threading.Event()
    server = ControlServer(tmp_path / "releaser/sock", {"ledger": lambda *_: {"entries": [entry]}}, stop)
    server.start()
    try:
        assert run("check", "door", "--config", str(config), "--json") == os.EX_IOERR
    finally:
        stop.set()
        server.join()
    (report,) = json.loads(capsys.readouterr().out)
    assert report["held_against_ledger"]
    assert [each["costs"] for each in report["findings"]] == ["the blocks since then"]
