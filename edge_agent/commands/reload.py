"""``edge-agent reload``: both processes take over a changed ``edge-agent.yaml``."""

import argparse
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.consent.camera_state import CameraConsent, ConsentState, parse_consents, say_until
from edge_agent.errors import UnavailableError
from edge_agent.host.control_socket import call
from edge_agent.host.language import load_texts
from edge_agent.host.terminal import print_text
from edge_agent.settings.gateway import Config, load_config

_DESCRIPTION = """\
Take over a changed edge-agent.yaml without a restart. Cameras that are not touched lose nothing; a changed one begins
anew. If a camera's source has changed, its footage is denied from now on until you sign again; each consent that does
not count any more is named. A file with a mistake changes nothing: what ran goes on.

Passwords and services (credentials.yaml, notify.yaml) are handed over by systemd when a service starts: after a change
of these, sudo systemctl restart edge-agent.target.
"""
_TIMEOUT_S = 90.0
_LOST = (ConsentState.REVOKED, ConsentState.NOT_SIGNED, ConsentState.VOID, ConsentState.ENDED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Have both processes reload, the one that lets footage out first; 1 if one of them does not run."""
    config = load_config(args.config)
    code = 0
    try:
        answer = call(config.control_path("releaser"), "reload")
        print_text("releaser: begins anew with the changed configuration")
        _tell_consents(parse_consents(answer["consents"]), config)
    except UnavailableError as error:
        print_text(f"releaser: does not run, and reads the file when it starts ({error})")
        code = 1
    try:
        _tell(call(config.control_path("recorder"), "reload", timeout_s=_TIMEOUT_S))
    except UnavailableError as error:
        print_text(f"recorder: does not run, and reads the file when it starts ({error})")
        code = 1
    return code


def _tell_consents(consents: Mapping[str, CameraConsent], config: Config) -> None:
    """Name every consent that lets nothing out although the terms would."""
    zone, texts = ZoneInfo(config.gateway.time_zone), load_texts(config.gateway.language)
    lost = {camera: each for camera, each in consents.items() if each.state in _LOST}
    for camera, each in lost.items():
        print_text(f"releaser: {camera}: {each.say(say_until(each, zone), texts)}")
    if lost:
        print_text("what waits for your signature: edge-agent consent diff; sign it: edge-agent consent sign")


def _tell(answer: Mapping[str, Any]) -> None:
    stopped, started = set(answer["stop"]), set(answer["start"])
    for words, cameras in (
        ("untouched", set(answer["untouched"])),
        ("begins anew", stopped & started),
        ("is recorded from now on", started - stopped),
        ("is not recorded any more; its ring stays", stopped - started),
    ):
        for camera in sorted(cameras):
            print_text(f"recorder: {camera}: {words}")
    if not stopped | started:
        print_text("recorder: nothing that concerns recording has changed")
