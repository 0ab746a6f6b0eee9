"""``edge-agent status``: how every camera does, what waits for the owner, and whether anything may leave."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.commands.daemon import add_config

REFRESH_S = 2.0
_DESCRIPTION = """\
Show how every camera does, whether requests can be answered, and what waits for you.
On a terminal `--watch` refreshes the page until Ctrl-C; --json is for scripts.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="how every camera does, and what waits for you",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    parser.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status once, or again and again; 0 where both processes answer, 1 otherwise."""
    from edge_agent.config import load_config
    from edge_agent.terminal import print_json

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
    from edge_agent.control import call
    from edge_agent.errors import EdgeAgentError

    try:
        answer = call(path, "status")
    except EdgeAgentError as error:
        return {"error": str(error)}
    answer.pop("done", None)
    return answer


def _print(status: Mapping[str, Mapping[str, Any]]) -> None:
    from edge_agent.terminal import print_table

    recorder, releaser = status["recorder"], status["releaser"]
    if "error" in recorder:
        print(f"recorder: not running ({recorder['error']})")
    else:
        rows = [_camera_row(name, camera) for name, camera in sorted(recorder.get("cameras", {}).items())]
        print_table(("CAMERA", "STATE", "SINCE", "CODEC", "MBIT/S", "GOP", "NOTE"), rows)
    print()
    if "error" in releaser:
        print(f"releaser: not running ({releaser['error']})")
        return
    rows = [(key.replace("_", " "), _plain(value)) for key, value in releaser.items()]
    print_table(("RELEASER", ""), rows)


def _camera_row(name: str, camera: Mapping[str, Any]) -> tuple[object, ...]:
    bitrate, gop_ns = camera.get("bitrate"), camera.get("gop_ns")
    return (
        name,
        camera.get("state", "unknown"),
        camera.get("since", ""),
        camera.get("codec") or "-",
        f"{bitrate / 1e6:.1f}" if bitrate else "-",
        f"{gop_ns / 1e9:.1f}s" if gop_ns else "-",
        camera.get("warning") or camera.get("reason") or "",
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
