"""``edge-agent status``: how every camera does, what waits for the owner, and whether anything may leave."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.capture.reasons import REASONS
from edge_agent.commands.daemon import add_config
from edge_agent.config import load_config
from edge_agent.control import call
from edge_agent.errors import EdgeAgentError
from edge_agent.terminal import print_json, print_table

REFRESH_S = 2.0
_HEADER = ("CAMERA", "STATE", "SINCE", "CODEC", "MBIT/S", "GOP", "CLOCK", "LOSS", "PICTURE", "NOTE")
_DESCRIPTION = """\
Show how every camera does, whether requests can be answered, and what waits for you.
On a terminal `--watch` refreshes the page until Ctrl-C; --json is for scripts.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status once, or again and again; 0 where both processes answer, 1 otherwise."""
    config = load_config(args.config)
    while True:
        status = {name: _ask(config.control_path(name)) for name in ("recorder", "releaser")}
        if args.json:
            print_json(status)
        else:
            if args.watch:
                print("\x1b[H\x1b[2J", end="")
            _print(status)
        if not args.watch:
            return 0 if all("error" not in part for part in status.values()) else 1
        time.sleep(REFRESH_S)


def _ask(path: Path) -> dict[str, Any]:
    try:
        answer = call(path, "status")
    except EdgeAgentError as error:
        return {"error": str(error)}
    answer.pop("done", None)
    return answer


def _print(status: Mapping[str, Mapping[str, Any]]) -> None:
    recorder, releaser = status["recorder"], status["releaser"]
    if "error" in recorder:
        print(f"recorder: not running ({recorder['error']})")
    else:
        rows = [_camera_row(name, camera) for name, camera in sorted(recorder.get("cameras", {}).items())]
        print_table(_HEADER, rows)
    print()
    if "error" in releaser:
        print(f"releaser: not running ({releaser['error']})")
        return
    rows = [(key.replace("_", " "), _plain(value)) for key, value in releaser.items()]
    print_table(("RELEASER", ""), rows)


def _camera_row(name: str, camera: Mapping[str, Any]) -> tuple[object, ...]:
    bitrate, gop_ns, offset_ns = (camera.get(key) for key in ("bitrate", "gop_ns", "clock_offset_ns"))
    return (
        name,
        camera.get("state", "unknown"),
        camera.get("since", ""),
        camera.get("codec") or "-",
        f"{bitrate / 1e6:.1f}" if bitrate else "-",
        f"{gop_ns / 1e9:.1f}s" if gop_ns else "-",
        f"{offset_ns / 1e9:+.1f}s" if offset_ns is not None else "-",
        _loss_of(camera),
        camera.get("picture", "-"),
        _note_of(camera),
    )


def _loss_of(camera: Mapping[str, Any]) -> str:
    if "lost_percent" in camera:
        return f"{camera['lost_percent']:.2f}%"
    return f"{camera['lost_packets']} packets" if "lost_packets" in camera else "-"


def _note_of(camera: Mapping[str, Any]) -> str:
    """Return why a camera is not recorded, in words, and what else somebody should know."""
    reason, detail = camera.get("reason", ""), camera.get("detail", "")
    words = REASONS.get(reason, reason)
    if camera.get("state") == "down" and reason in REASONS:
        words = f"{reason}: {words}"
    words += f" ({detail})" if detail else ""
    return "; ".join(text for text in (words, camera.get("warning", "")) if text)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
