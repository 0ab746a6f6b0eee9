"""``edge-agent ring``: what the rings hold, whether they are as they were written, and their bytes for a developer."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.daemon import add_config

if TYPE_CHECKING:
    from edge_agent.buffer.check import CheckReport, KnownHead
    from edge_agent.buffer.overview import Overview
    from edge_agent.config import Config
    from edge_agent.terminal import Progress

_DESCRIPTION = """\
A ring is the encrypted file of one camera. Nothing here opens footage; only `accept` changes anything.

  edge-agent ring ls                  footage and gaps of every camera, days by hours
  edge-agent ring ls door --json      the same for a script
  edge-agent ring check               every byte of every ring: checksums, signatures, chain
  edge-agent ring check copy.ring     a copied file; needs no key
  edge-agent ring dump door           header pages and record headers as JSON lines
  edge-agent ring accept door         take the ring that is there, or a new one: after a change of disk
"""
_MOST_DAYS = 14
_ANSWER_S = 30.0
_FULL, _MOST, _SOME, _NONE, _ERASED = range(5)
_GLYPHS = {"utf-8": "█▓░·×", "ascii": "#=-.x"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "ring",
        help="what the rings hold, and whether they are whole",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in {
        "ls": "a timeline of footage, gaps and their reasons",
        "check": "check every byte; exit code 74 where something is wrong",
        "dump": "print header pages and record headers as JSON lines; needs no key",
        "accept": "where the recorder misses a ring or finds another one at its path: take what is there, or make one",
    }.items():
        each = verbs.add_parser(verb, help=text, description=text)
        each.add_argument(
            "rings", nargs="*", metavar="RING", help="a camera (door, door.sub) or a ring file; all where none is named"
        )
        if verb == "ls":
            each.add_argument("--days", type=int, default=_MOST_DAYS, help="how many days at most [%(default)s]")
        add_config(each)
        each.add_argument("--json", action="store_true", help="print JSON")
        each.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb; only ``accept`` changes anything."""
    if args.verb == "ls":
        return _list(args)
    if args.verb == "accept":
        return _accept(args)
    if args.verb == "check":
        return _check(args)
    return _dump(args)


def _load_config(args: argparse.Namespace) -> "Config | None":
    """Load the configuration where it is needed or can be had; a named file does without."""
    from edge_agent.config import load_config

    if args.rings and all(Path(name).is_file() for name in args.rings) and not args.config.is_file():
        return None
    return load_config(args.config)


def _find_rings(args: argparse.Namespace, config: "Config | None") -> Iterator[tuple[str, Path]]:
    from edge_agent.errors import UsageError

    if not args.rings:
        assert config is not None
        for camera, quality in config.rings():
            yield f"{camera.id}.{quality}", config.ring_path(camera.id, quality)
    for name in args.rings:
        if Path(name).is_file():
            yield name, Path(name)
            continue
        camera_id, _, part = name.partition(".")
        if config is None or config.find_camera(camera_id) is None or part not in ("", "main", "sub"):
            raise UsageError(f"neither a camera nor a ring file: {name}")
        yield f"{camera_id}.{part or 'main'}", config.ring_path(camera_id, "sub" if part == "sub" else "main")


def _list(args: argparse.Namespace) -> int:
    from edge_agent.buffer.overview import look_over
    from edge_agent.buffer.reader import RingReader
    from edge_agent.terminal import print_json

    config = _load_config(args)
    vault = _find_vault_key(config)
    answers = []
    for name, path in _find_rings(args, config):
        if not path.exists():
            answers.append({"ring": name, "state": "not made yet"})
            if not args.json:
                print(f"{name}  not made yet: the recorder makes it at its first start")
            continue
        with RingReader.open(path, vault) as reader:
            overview = look_over(reader)
            size_bytes = reader.superblock.file_bytes
        answers.append(_describe(name, size_bytes, overview))
        if not args.json:
            _print_timeline(name, size_bytes, overview, config.gateway.time_zone if config else "UTC", args.days)
    if args.json:
        print_json(answers)
    return 0


def _find_vault_key(config: "Config | None") -> Any:
    """Return the vault's private key where whoever runs this may read it: it only adds the reasons of gaps."""
    from edge_agent.errors import EdgeAgentError
    from edge_agent.keys import KeyStore

    if config is None:
        return None
    try:
        return KeyStore(config.state_dir, "releaser").load_private("vault")
    except EdgeAgentError:
        return None


def _describe(name: str, size_bytes: int, overview: "Overview") -> dict[str, Any]:
    from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

    return {
        "ring": name,
        "bytes": size_bytes,
        "oldest": encode_rfc3339(UtcNs(overview.oldest_ns)) if overview.oldest_ns is not None else None,
        "newest": encode_rfc3339(UtcNs(overview.newest_ns)) if overview.newest_ns is not None else None,
        "footage_s": overview.footage_ns // SECOND_NS,
        "blocks": overview.blocks,
        "erased_blocks": overview.erased_blocks,
        "untimed_blocks": overview.untimed_blocks,
        "hours": [
            {
                "start": encode_rfc3339(cell.start_ns),
                "footage_s": cell.footage_ns // SECOND_NS,
                "gaps_s": {reason: ns // SECOND_NS for reason, ns in sorted(cell.reasons.items())},
            }
            for _, cell in sorted(overview.cells.items())
        ],
    }


def _print_timeline(name: str, size_bytes: int, overview: "Overview", time_zone: str, days: int) -> None:
    """Print one ring: a line about it, a row per day, and what the gaps were."""
    import sys

    from edge_agent.units import HOUR_NS, encode_size

    encoding = (sys.stdout.encoding or "ascii").lower()
    glyphs = _GLYPHS["utf-8" if encoding.replace("_", "-") in ("utf-8", "utf8") else "ascii"]
    hours = overview.footage_ns / HOUR_NS
    notes = [f"{overview.erased_blocks} erased"] if overview.erased_blocks else []
    notes += [f"{overview.untimed_blocks} without a believable time"] if overview.untimed_blocks else []
    print(f"{name}  {encode_size(size_bytes)}  {hours:.1f} h of footage  blocks {overview.blocks}", *notes, sep="  ")
    rows = _rows(overview, time_zone)
    for day in sorted(rows)[-days:]:
        print(
            f"  {day}  " + "".join(glyphs[mark] + (" " if hour % 6 == 5 else "") for hour, mark in enumerate(rows[day]))
        )
    if rows:
        print(f"  {time_zone:10.10}  0     6      12     18       "
              f"{glyphs[_FULL]} footage  {glyphs[_MOST]} most  {glyphs[_SOME]} some  {glyphs[_NONE]} none  "
              f"{glyphs[_ERASED]} erased")  # fmt: skip
    totals: dict[str, int] = {}
    for cell in overview.cells.values():
        for reason, ns in cell.reasons.items():
            totals[reason] = totals.get(reason, 0) + ns
    for reason, ns in sorted(totals.items(), key=lambda pair: -pair[1]):
        print(f"  gap {reason}: {_words(ns)}")


def _rows(overview: "Overview", time_zone: str) -> dict[str, list[int]]:
    """Lay the hour cells out as one list of 24 marks per day of the owner's time zone."""
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    from edge_agent.units import HOUR_NS, SECOND_NS

    zone = ZoneInfo(time_zone)
    rows: dict[str, list[int]] = {}
    if not overview.cells:
        return rows
    # Every hour between the first and the last, so that a day without footage has its row of dots.
    for hour in range(min(overview.cells), max(overview.cells) + 1, HOUR_NS):
        local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=hour // SECOND_NS)).astimezone(zone)
        row = rows.setdefault(local.strftime("%Y-%m-%d"), [_NONE] * 24)
        cell = overview.cells.get(hour)
        if cell is None:
            continue
        share = cell.footage_ns / HOUR_NS
        mark = _FULL if share > 0.99 else _MOST if share > 0.5 else _SOME if share > 0 else _NONE
        row[local.hour] = _ERASED if mark == _NONE and "erased" in cell.reasons else min(mark, row[local.hour])
    return rows


def _words(duration_ns: int) -> str:
    from edge_agent.units import MINUTE_NS, SECOND_NS

    if duration_ns < 2 * MINUTE_NS:
        return f"{duration_ns // SECOND_NS} s"
    minutes = duration_ns // MINUTE_NS
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _accept(args: argparse.Namespace) -> int:
    import os

    from edge_agent.config import load_config
    from edge_agent.control import call
    from edge_agent.terminal import print_json

    config = load_config(args.config)
    storage: dict[str, str] = {}
    for name in [ring for ring, _ in _find_rings(args, config)]:
        storage |= call(config.control_path("recorder"), "accept-ring", timeout_s=_ANSWER_S, ring=name)["storage"]
    if args.json:
        print_json(storage)
    else:
        for name, state in sorted(storage.items()):
            print(f"{name}: {state}")
        print(
            "A consent is for the rings that it names: after a change the owner signs again (edge-agent consent sign)"
        )
    return 0 if all(state == "ok" for state in storage.values()) else os.EX_IOERR


def _check(args: argparse.Namespace) -> int:
    import os
    from functools import partial

    from edge_agent.buffer.check import check_ring
    from edge_agent.buffer.disk import FileDisk
    from edge_agent.terminal import Progress, print_json

    config = _load_config(args)
    recorder = _find_recorder_key(config)
    heads = _find_heads(config)
    answers = []
    for name, path in _find_rings(args, config):
        disk = FileDisk.open(path)
        progress = Progress(f"check {name}", 1000)
        try:
            report = check_ring(disk, recorder, partial(_show_share, progress), heads.get(name))
        finally:
            progress.close()
            disk.close()
        answers.append(_describe_report(name, report) | {"held_against_ledger": name in heads})
        if not args.json:
            _print_report(name, report, is_pinned=recorder is not None)
            if name not in heads:
                print(f"{name}: not held against the ledger: newest blocks that were cut off would not show")
    if args.json:
        print_json(answers)
    return os.EX_IOERR if any(answer["findings"] for answer in answers) else 0


def _find_heads(config: "Config | None") -> "dict[str, KnownHead]":
    """Ask the releaser where the rings stood when the ledger last noted it; empty where it does not answer."""
    from edge_agent.buffer.check import KnownHead
    from edge_agent.control import stream
    from edge_agent.errors import EdgeAgentError

    if config is None:
        return {}
    try:
        answers = list(stream(config.control_path("releaser"), "ledger", timeout_s=_ANSWER_S, kinds=["rings"], last=1))
        entries = [entry for answer in answers for entry in answer.get("entries", ())]
        return {name: KnownHead.parse(text) for name, text in entries[-1]["entry"]["heads"].items()} if entries else {}
    except (EdgeAgentError, ValueError, KeyError):
        return {}


def _show_share(progress: "Progress", done: int, total: int) -> None:
    progress.update(1000 * done // max(total, 1))


def _find_recorder_key(config: "Config | None") -> Any:
    from edge_agent.errors import EdgeAgentError
    from edge_agent.keys import KeyStore

    if config is None:
        return None
    try:
        return KeyStore(config.state_dir, "releaser").load_public("recorder")
    except EdgeAgentError:
        return None


def _describe_report(name: str, report: "CheckReport") -> dict[str, Any]:
    return {
        "ring": name,
        "ring_id": report.ring_id.hex(),
        "blocks": report.blocks,
        "erased_blocks": report.tombstones,
        "records": report.records,
        "signed_records": report.signed_records,
        "bytes": report.bytes_checked,
        "head": {"block": report.head[0], "chain": report.head[1].hex()},
        "findings": [
            {"block": each.seq, "index": each.index, "text": each.text, "costs": each.cost} for each in report.findings
        ],
    }


def _print_report(name: str, report: "CheckReport", *, is_pinned: bool) -> None:
    for each in report.findings:
        place = f" block={each.seq}" if each.seq is not None else ""
        place += f" index={each.index}" if each.index is not None else ""
        print(f"{name}:{place} {each.text} (costs {each.cost})")
    outcome = "whole" if report.is_clean else f"{len(report.findings)} findings"
    unsigned = report.records - report.signed_records
    print(
        f"{name}: {outcome}: blocks={report.blocks} erased={report.tombstones} records={report.records} "
        f"bytes={report.bytes_checked} in_the_open_block={unsigned}"
    )
    if not is_pinned:
        print(f"{name}: signatures were checked with the key in the file itself; a forger could have put it there")


def _dump(args: argparse.Namespace) -> int:
    import json

    from edge_agent.buffer.check import dump_ring
    from edge_agent.buffer.disk import FileDisk

    for _, path in _find_rings(args, _load_config(args)):
        disk = FileDisk.open(path)
        try:
            for line in dump_ring(disk):
                print(json.dumps(line))
        finally:
            disk.close()
    return 0
