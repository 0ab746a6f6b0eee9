"""``edge-agent ring ls``: the content of rings, as a row of hours per day or as JSON."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.buffer.read.coverage import Overview, look_over
from edge_agent.buffer.read.reader import RingReader
from edge_agent.commands.ring_files import find_rings, find_vault_key, load_config_if_any
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import print_json, print_text
from edge_agent.settings.gateway import Config
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, encode_rfc3339, encode_size

_FULL, _MOST, _SOME, _NONE, _ERASED = range(5)
_GLYPHS = {"utf-8": "█▓░·×", "ascii": "#=-.x"}


def list_rings(args: argparse.Namespace) -> int:
    """Print every ring that is named."""
    config = load_config_if_any(args)
    vault, why_closed = find_vault_key(config)
    trouble = _ask_storage(config)
    answers: list[dict[str, Any]] = []
    for name, path in find_rings(args, config):
        if name in trouble:
            print(f"edge-agent: error: {name}: nothing is stored: {trouble[name]}", file=sys.stderr)
        if not path.exists():
            state = "cannot be made" if name in trouble else "not made yet"
            answers.append({"ring": name, "state": state})
            if not args.json:
                print(f"{name}  {state}" + ("" if name in trouble else ": the recorder makes it at its first start"))
            continue
        with RingReader.open(path, vault) as reader:
            overview = look_over(reader)
            size_bytes = reader.superblock.file_bytes
        asked_bytes = _asked_bytes(config, name) or size_bytes
        if not 0 <= asked_bytes - size_bytes < asked_bytes // 10:  # another size was asked for since it was made
            asked_bytes = size_bytes
        answers.append(_describe(name, size_bytes, overview))
        if not args.json:
            _print_timeline(name, asked_bytes, overview, config.gateway.time_zone if config else "UTC", args.days)
    if args.json:
        print_json(answers)
    elif any(answer.get("hours") for answer in answers):
        _print_legend(config.gateway.time_zone if config else "UTC")
    unknown = any("unknown" in cell["gaps_s"] for each in answers for cell in each.get("hours", ()))
    if unknown:  # beside the JSON too: a script's owner must not take it for a reason
        why_closed = why_closed or "not all of it opens with the vault's key that is here"
        text = f"why there is a gap is encrypted: {why_closed}"
        if args.json:
            print(text, file=sys.stderr)
        else:
            print_text(text)
    return os.EX_IOERR if any(each["ring"] in trouble for each in answers) else 0


def _ask_storage(config: Config | None) -> dict[str, str]:
    """Return ring → why the recorder can store nothing there; none if no recorder runs."""
    if config is None:
        return {}
    try:
        cameras = call(config.control_path("recorder"), "status").get("cameras", {})
    except EdgeAgentError:
        return {}
    return {name: each["storage"] for name, each in cameras.items() if each.get("storage", "ok") not in ("ok", "")}


def _asked_bytes(config: Config | None, name: str) -> int | None:
    """Return the size that the configuration asks for; the file is a little smaller, by whole blocks."""
    rings = () if config is None else config.rings()
    for camera, quality in rings:
        if config is not None and f"{camera.id}.{quality}" == name:
            return config.ring_size_bytes(camera, quality)
    return None


def _describe(name: str, size_bytes: int, overview: Overview) -> dict[str, Any]:
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
                "gaps_s": {_name(reason): ns // SECOND_NS for reason, ns in sorted(cell.reasons.items())},
            }
            for _, cell in sorted(overview.cells.items())
        ],
    }


def _print_timeline(name: str, size_bytes: int, overview: Overview, time_zone: str, days: int) -> None:
    """Print one ring: a line about it, a row per day, and the gaps."""
    glyphs, hours = _find_glyphs(), overview.footage_ns / HOUR_NS
    notes = [f"{overview.erased_blocks} erased"] if overview.erased_blocks else []
    notes += [f"{overview.untimed_blocks} without a believable time"] if overview.untimed_blocks else []
    print(f"{name}  {encode_size(size_bytes)}  {hours:.1f} h of footage  blocks {overview.blocks}", *notes, sep="  ")
    rows = _rows(overview, time_zone)
    for day in sorted(rows)[-days:]:
        print(
            f"  {day}  " + "".join(glyphs[mark] + (" " if hour % 6 == 5 else "") for hour, mark in enumerate(rows[day]))
        )
    if rows:
        print(f"  {'hour':10}  0      6      12     18")
    totals: dict[str, int] = {}
    for cell in overview.cells.values():
        for reason, ns in cell.reasons.items():
            totals[reason] = totals.get(reason, 0) + ns
    for reason, ns in sorted(totals.items(), key=lambda pair: -pair[1]):
        print(f"  gap {_name(reason)}: {_words(ns)}")


def _print_legend(time_zone: str) -> None:
    glyphs = _find_glyphs()
    marks = {_FULL: "footage", _MOST: "most", _SOME: "some", _NONE: "none", _ERASED: "erased"}
    shown = "  ".join(f"{glyphs[mark]} {word}" for mark, word in marks.items())
    print_text(f"{shown}; hours of {time_zone}")


def _find_glyphs() -> Sequence[str]:
    encoding = (sys.stdout.encoding or "ascii").lower()
    return _GLYPHS["utf-8" if encoding.replace("_", "-") in ("utf-8", "utf8") else "ascii"]


def _name(reason: str) -> str:
    """Return a reason as it is printed: without the vault's key a gap note says only that it is one."""
    return "unknown" if reason == "gap" else reason


def _rows(overview: Overview, time_zone: str) -> dict[str, list[int]]:
    """Lay the hour cells out as one list of 24 marks per day of the owner's time zone."""
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
        # The hour that clocks show twice has one mark: that of the fuller one.
        row[local.hour] = _ERASED if mark == _NONE and "erased" in cell.reasons else min(mark, row[local.hour])
    return rows


def _words(duration_ns: int) -> str:
    if duration_ns < 2 * MINUTE_NS:
        return f"{duration_ns // SECOND_NS} s"
    minutes = duration_ns // MINUTE_NS
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
