"""``edge-agent enrol FILE``: install what the RTCC sent, once a person has compared its roots."""

import argparse
import os
import sys
from pathlib import Path

from edge_agent.commands.daemon import add_config
from edge_agent.errors import ConfigError, CustodyError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.questions import writes_yes
from edge_agent.host.terminal import print_text
from edge_agent.protocol.enrolment import MAX_ENROLMENT_BYTES, Enrolment, parse_enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.inspection import load_key

_DESCRIPTION = """\
Verify the enrolment file that the RTCC made from your gateway.csr, show whom it makes this gateway believe, and
install it.

The RTCC's root keys decide who may ask for footage. Compare their thumbprints with those that the RTCC publishes, over
another way than the one the file came by, before you answer yes.
"""
_EPILOG = """\
examples:
  sudo edge-agent enrol rtcc.json                     shows the thumbprints and asks
  edge-agent enrol rtcc.json --expect=T1 --expect=T2 --expect=T3    compares for you, for scripts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("file", type=Path, metavar="FILE", help="what the RTCC sent")
    add_config(parser)
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="THUMBPRINT",
        help="a root's thumbprint; all, and no others",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask (for trials: compares nothing)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify, show, ask, install; 0 once it is installed."""
    config = load_config(args.config)
    try:
        with args.file.open("rb") as file:
            # One byte more than is allowed: the parser refuses it, and no file of any length fills the memory.
            raw = file.read(MAX_ENROLMENT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{args.file}: file cannot be read: {error.strerror}") from error
    enrolment = parse_enrolment(raw, str(args.file))
    _check_ours(config, enrolment)
    _show(enrolment)
    if args.expect:
        if sorted(args.expect) != list(enrolment.root_thumbprints):
            raise CustodyError("the roots are not those that were expected; nothing was installed")
    elif not args.yes and not _is_confirmed():
        print("nothing was installed", file=sys.stderr)
        return os.EX_NOPERM
    _install(config.uplink.enrolment, raw)
    print_text(f"installed: {config.uplink.enrolment}")
    print_text("the releaser takes it over by itself")
    print_text(
        "next: edge-agent check; then the owner signs (edge-agent consent sign): signatures made for other roots end"
    )
    return 0


def _check_ours(config: Config, enrolment: Enrolment) -> None:
    """Refuse a certificate for another key than this gateway's: the upload would fail weeks later."""
    if thumbprint(load_key(config, "tls").public_key()) != enrolment.tls_thumbprint:
        raise CustodyError(
            "the certificate is for another TLS key than this gateway's", "send this gateway's own gateway.csr"
        )


def _show(enrolment: Enrolment) -> None:
    print_text(f"RTCC:      {enrolment.iss}")
    print_text(f"gateway:   {enrolment.gateway}")
    for host, port in ((enrolment.broker_host, enrolment.broker_port), *enrolment.more_brokers):
        print_text(f"broker:    {host}:{port}")
    for name, url in sorted(enrolment.uploads.items()):
        print_text(f"uploads:   {name} to {url}")
    print_text(f"roots:     {enrolment.threshold} of these {len(enrolment.roots)} must agree on who may ask")
    for each in enrolment.root_thumbprints:
        print_text(f"           {each}")


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to compare the thumbprints", "in a script: --expect=THUMBPRINT for each root")
    return writes_yes("if these are the RTCC's thumbprints")


def _install(path: Path, raw: bytes) -> None:
    try:
        # The bytes that were verified, not the file's as it is now.
        write_small_file(path, raw, mode=0o644)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}", "run it as root") from error
