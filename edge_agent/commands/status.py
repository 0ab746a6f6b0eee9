"""``edge-agent status``: how every camera does, what waits for the owner, and whether anything may leave."""

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

from edge_agent.capture.reasons import REASONS
from edge_agent.commands.daemon import add_config
from edge_agent.consent.camera_state import parse_consents, say_until
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.host.language import load_texts
from edge_agent.host.terminal import print_json, print_text
from edge_agent.local_time import encode_local, localise
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.inspection import find_closed_keys, is_sealed
from edge_agent.texts import Texts
from edge_agent.units import parse_rfc3339

REFRESH_S = 2.0
_Process = Literal["recorder", "releaser"]
_PROCESSES: tuple[_Process, ...] = ("recorder", "releaser")
_LABELS = {
    "gateway": "this gateway",
    "enrolment": "enrolled with",
    "trust_bundle": "trust bundle",
    "custody": "how the keys are kept",
    "release_paused": "release paused",
    "refused_unread": "refused without being read",
    "refused_counted": "refused beyond the limit this hour",
    "waiting_for_you": "waits for you",
    "releasing": "being released",
}
_CLOCK_STATES = {"synchronised": "believed", "floor-only": "not believed"}
_CUSTODY = {
    "bare": "bare files: whoever copies the disk has them",
    "tpm": "sealed to this machine's TPM",
    "passphrase": "under a passphrase",
}
_CLOCK_OFF_NS = 500_000_000
_URGENT = ("waiting_for_you", "release_paused")
_FOR_MACHINES = ("faults", "figures", "store", "recipients")
_STYLES = {"recording": "green", "down": "bold red", "connecting": "yellow"}
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
    """Print the status once, or again and again; 0 if both processes answer, 1 otherwise."""
    config = load_config(args.config)
    while True:
        status: dict[str, dict[str, Any]] = {name: _ask(config, name) for name in _PROCESSES}
        if args.json:
            print_json(status)
        else:
            # ECMA-48: cursor home, then erase the page.
            if args.watch:
                print("\x1b[H\x1b[2J", end="")
            _print(status, config)
        if not args.watch:
            return 0 if all("error" not in part for part in status.values()) else 1
        time.sleep(REFRESH_S)


def _ask(config: Config, name: _Process) -> dict[str, Any]:
    try:
        answer = call(config.control_path(name), "status")
    except EdgeAgentError as error:
        # Asked only now: each sealed key costs the TPM a second, and a process that runs has opened its own.
        closed = find_closed_keys(config, name) if os.geteuid() == 0 else []
        return {"error": str(error)} | ({"closed_keys": closed} if closed else {})
    answer.pop("done", None)
    return answer


def _print(status: Mapping[str, Mapping[str, Any]], config: Config) -> None:
    zone, texts = ZoneInfo(config.gateway.time_zone), load_texts(config.gateway.language)
    recorder, releaser = status["recorder"], status["releaser"]
    for fault in releaser.get("faults", []):
        print_text(texts("not working: {fault}", fault=fault), style="bold red")
    if "error" in recorder:
        error = texts.translate(recorder["error"])
        print_text(texts("recorder: not running ({error})", error=error), style="bold red")
        _print_sealed(recorder, config, "recorder", texts)
    else:
        for name, camera in sorted(recorder.get("cameras", {}).items()):
            _print_camera(name, camera, config, zone, texts)
    print()
    if "error" in releaser:
        error = texts.translate(releaser["error"])
        print_text(texts("releaser: not running ({error})", error=error), style="bold red")
        _print_sealed(releaser, config, "releaser", texts)
        if "error" in recorder and not any("closed_keys" in part for part in status.values()):
            print_text(texts("To start both: sudo systemctl start edge-agent.target, or edge-agent run."))
        return
    for key, value in releaser.items():
        if key == "consents":
            for camera, consent in parse_consents(value).items():
                state = consent.say(say_until(consent, zone), texts)
                print_text(texts("consent of {camera}: {state}", camera=camera, state=state))
        elif key not in _FOR_MACHINES:
            label = texts(_LABELS.get(key, key.replace("_", " ")))
            line = texts("{fact}: {value}", fact=label, value=_plain(key, value, texts, zone))
            print_text(line, style="bold" if key in _URGENT and value else "")


def _print_sealed(part: Mapping[str, Any], config: Config, role: _Process, texts: Texts) -> None:
    """Say of a process that does not answer whether this machine opens its sealed keys; only root can try."""
    if "closed_keys" in part:
        names = ", ".join(part["closed_keys"])
        print_text(
            texts("its keys are sealed, and this machine does not open: {names} (docs/recovery.md)", names=names),
            style="bold red",
            indent=2,
        )
    elif os.geteuid() != 0 and is_sealed(config, role):
        print_text(texts("its keys are sealed; whether this machine opens them: sudo edge-agent check"), indent=2)


def _print_camera(ring: str, camera: Mapping[str, Any], config: Config, zone: tzinfo, texts: Texts) -> None:
    """Print one stream: its state and since when, its figures, its warnings."""
    known = config.find_camera(ring.partition(".")[0])
    name = f"{ring} ({known.title})" if known is not None and known.title != known.id else ring
    since, state = camera.get("since"), str(camera.get("state", "unknown"))
    words = texts(state)
    if since:
        moment = _local_time(since, zone)
        line = texts("{camera}: {state} since {moment}", camera=name, state=words, moment=moment)
    else:
        line = texts("{camera}: {state}", camera=name, state=words)
    print_text(line, style=_STYLES.get(state, ""))
    if state == "recording":
        print_text(", ".join(_figures_of(camera, texts)), indent=2)
    for note in _notes_of(camera, texts):
        print_text(localise(note, zone), indent=2)


def _figures_of(camera: Mapping[str, Any], texts: Texts) -> Iterator[str]:
    bitrate, gop_ns, offset_ns = (camera.get(key) for key in ("bitrate", "gop_ns", "clock_offset_ns"))
    yield str(camera.get("codec") or texts("no codec yet"))
    if bitrate:
        yield texts("{rate} Mbit/s", rate=f"{bitrate / 1e6:.1f}")
    if gop_ns:
        yield texts("a keyframe every {seconds} s", seconds=f"{gop_ns / 1e9:.1f}")
    if offset_ns is not None and abs(offset_ns) >= _CLOCK_OFF_NS:
        yield texts("its clock {seconds} s", seconds=f"{offset_ns / 1e9:+.1f}")
    if "lost_percent" in camera:
        yield texts("lost {share}", share=f"{camera['lost_percent']:.2f}%")
    elif "lost_packets" in camera:
        yield texts("{packets} packets lost", packets=camera["lost_packets"])
    if camera.get("picture"):
        yield texts("picture {health}", health=texts.template(str(camera["picture"])))


def _local_time(text: str, zone: tzinfo) -> str:
    try:
        return encode_local(parse_rfc3339(text), zone)
    except ValueError:
        return text


def _notes_of(camera: Mapping[str, Any], texts: Texts) -> Iterator[str]:
    """Yield why a camera is not recorded, in words, and its warnings."""
    reason, detail = camera.get("reason", ""), camera.get("detail", "")
    words = texts.template(REASONS.get(reason, reason))
    if camera.get("state") == "down" and reason in REASONS:
        words = f"{reason}: {words}"
    words += f" ({texts.translate(detail)})" if detail else ""
    if words:
        yield words
    yield from map(texts.translate, camera.get("warnings", ()))


def _plain(key: str, value: Any, texts: Texts, zone: tzinfo) -> str:
    """Say a fact of the releaser: a list as its items, and for a request that waits what to type."""
    if value is None:
        return texts("none")
    if key == "clock":
        state, _, why = str(value).partition(": ")
        believed = texts.template(_CLOCK_STATES.get(state, state))
        return f"{believed}: {localise(texts.translate(why), zone)}" if why else believed
    if key == "release_paused":
        names = (texts("all cameras") if each == "*" else str(each) for each in value)
        return ", ".join(names) or texts("nothing")
    if key == "waiting_for_you" and value:
        return ", ".join(texts("request {number} (edge-agent requests show {number})", number=each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{count} × {texts.translate(reason)}" for reason, count in value.items()) or texts("nothing")
    if key == "custody":
        return texts.template(_CUSTODY.get(str(value), str(value)))
    if key == "trust_bundle":
        return _in_local_time(str(value), zone, texts)
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or texts("nothing")
    return texts.translate(value) if isinstance(value, str) and value else json.dumps(value)


def _in_local_time(text: str, zone: tzinfo, texts: Texts) -> str:
    """Say ``VERSION until MOMENT`` with the moment as people read it."""
    version, _, moment = text.partition(" until ")
    return f"{version}, {_local_time(moment, zone)}" if moment else texts.template(text)
