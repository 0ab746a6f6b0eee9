"""The command ``edge-agent``: its commands, and the first words of its help."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from edge_agent.host import command_line
from edge_agent.host.command_line import Command

COMMANDS: Mapping[str, Command] = {
    "init": Command("make keys, folders and a commented configuration"),
    "enrol": Command("install the RTCC's enrolment file"),
    "discover": Command("find ONVIF cameras, and the lines that record them"),
    "camera": Command("a tape of how a camera speaks, for whoever mends the reader"),
    "check": Command("say what is wrong, and what was understood"),
    "run": Command(
        "start the recorder and the releaser and watch both (if there is no systemd)", "daemon", "add_run_arguments"
    ),
    "record": Command("record the cameras into their rings (one of the two processes)", "daemon"),
    "release": Command("answer requests (the other process)", "daemon"),
    "reload": Command("take over a changed edge-agent.yaml, without a restart"),
    "serve-page": Command("serve the resident's page (the third process; off until `page on`)", "page_process"),
    "serve-desk": Command("serve the desk (the fourth process)", "page_process", "add_desk_arguments"),
    "status": Command("how every camera does, and what waits for you"),
    "metrics": Command("figures for Prometheus"),
    "clock": Command("whether the gateway's clock is believed; confirm it"),
    "consent": Command("your terms: show, sign, diff"),
    "adopt": Command("take over terms that you signed at the desk (a unit starts it)"),
    "masks": Command("see what a mask covers"),
    "requests": Command("what was asked; approve, deny, cancel"),
    "explain": Command("what the gate says of a request", "requests", "add_explain_arguments"),
    "pause": Command("stop release or recording, at once", "stops", "add_pause_arguments"),
    "resume": Command("end a pause", "stops", "add_resume_arguments"),
    "revoke": Command("withdraw your consent, at once", "stops", "add_revoke_arguments"),
    "page": Command("a page for the browsers of your home: on, off, pair a device"),
    "ring": Command("what the rings hold, and whether they are whole"),
    "ledger": Command("everything that was asked, decided and released"),
    "export": Command("a copy of your own footage"),
    "keep": Command("keep a moment beyond the ring's time"),
    "doctor": Command("a report for somebody who helps, without anything of yours"),
    "backup": Command("one encrypted file with what cannot be made again"),
    "update": Command("look for a newer release, and install it"),
    "erase": Command("destroy footage permanently"),
}
"""In the order of the help: first what an installation needs. Their modules are in ``edge_agent.commands``."""

_EPILOG = """\
first steps:
  edge-agent init                     make the keys, the vault and a commented configuration
  edge-agent discover                 find ONVIF cameras, and the lines that record them
  edge-agent check                    say what is wrong, and what was understood
  edge-agent run                      record and answer requests; with systemd instead:
                                      systemctl enable --now edge-agent.target
  edge-agent status                   see how every camera does

stop it, without a passphrase:
  edge-agent pause                    nothing is released until you resume
  edge-agent revoke                   withdraw your consent permanently
"""


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command that was typed; of all if nothing is given."""
    return command_line.build_parser(
        "edge-agent",
        "edge_agent.commands",
        COMMANDS,
        words,
        description="Records your cameras into an encrypted ring at home. A clip leaves only for a signed request, "
        "a reported incident near you, and within the terms you signed.",
        epilog=_EPILOG,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if words is None else words
    return command_line.run(build_parser(words), words, log_level="INFO")
