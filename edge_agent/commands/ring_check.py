"""``edge-agent ring check``: every byte of every ring, held against itself, its keys and the ledger."""

import argparse
import os
from functools import partial
from typing import Any

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.check import CheckReport, KnownHead, check_ring
from edge_agent.commands.ring_files import find_recorder_key, find_rings, load_config_if_any
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import stream
from edge_agent.host.terminal import Progress, print_json, print_text
from edge_agent.settings.gateway import Config

_ANSWER_S = 30.0


def check_rings(args: argparse.Namespace) -> int:
    """Check every ring that is named; 74 if something was found."""
    config = load_config_if_any(args)
    # The pinned key, if there is one: a forged ring brings a key of its own.
    recorder = find_recorder_key(config)
    heads = _find_heads(config)
    answers = []
    for name, path in find_rings(args, config, with_mirrors=True):
        progress = Progress(f"check {name}", 1000)
        try:
            with FileDisk.open(path) as disk:
                report = check_ring(disk, recorder, partial(_show_share, progress), heads.get(name))
        finally:
            progress.close()
        answers.append(_describe_report(name, report) | {"held_against_ledger": name in heads})
        if not args.json:
            _print_report(name, report, is_pinned=recorder is not None)
            if name not in heads and not name.endswith(" mirror"):  # which is half a minute behind
                print_text(f"{name}: not held against the ledger: newest blocks that were cut off would not show")
    if args.json:
        print_json(answers)
    return os.EX_IOERR if any(answer["findings"] for answer in answers) else 0


def _find_heads(config: Config | None) -> dict[str, KnownHead]:
    """Ask the releaser where the rings stood when the ledger last noted it; empty if it does not answer."""
    if config is None:
        return {}
    try:
        answers = list(stream(config.control_path("releaser"), "ledger", timeout_s=_ANSWER_S, kinds=["rings"], last=1))
        entries = [entry for answer in answers for entry in answer.get("entries", ())]
        return {name: KnownHead.parse(text) for name, text in entries[-1]["entry"]["heads"].items()} if entries else {}
    except (EdgeAgentError, ValueError, KeyError):
        # Without a head that the ledger knows the ring is checked by itself.
        return {}


def _show_share(progress: Progress, done: int, total: int) -> None:
    progress.update(1000 * done // max(total, 1))


def _describe_report(name: str, report: CheckReport) -> dict[str, Any]:
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


def _print_report(name: str, report: CheckReport, *, is_pinned: bool) -> None:
    for each in report.findings:
        place = f" block={each.seq}" if each.seq is not None else ""
        place += f" index={each.index}" if each.index is not None else ""
        print_text(f"{name}:{place} {each.text} (costs {each.cost})")
    outcome = "whole" if report.is_clean else f"{len(report.findings)} findings"
    unsigned = report.records - report.signed_records
    print_text(
        f"{name}: {outcome}: blocks={report.blocks} erased={report.tombstones} records={report.records} "
        f"bytes={report.bytes_checked} in_the_open_block={unsigned}"
    )
    if not is_pinned:
        print_text(f"{name}: signatures were checked with the key in the file itself; a forger could have put it there")
