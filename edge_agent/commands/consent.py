"""``edge-agent consent``: read the terms aloud, sign them, and see what waits for a signature."""

import argparse
from pathlib import Path

from edge_agent.commands import consent_verbs
from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase
from edge_agent.consent.policy import parse_policy
from edge_agent.settings.gateway import load_config, read_text
from edge_agent.texts import LANGUAGES

_DESCRIPTION = """\
  edge-agent consent show                      your terms in plain sentences, and until when they count
  edge-agent consent show --language es        … en español (or fr: en français)
  edge-agent consent diff                      what consent.yaml says that you have not signed
  edge-agent consent sign                      sign consent.yaml as it is (asks for your passphrase)
  edge-agent consent sign --camera door --for 14d

To withdraw it, at once and without a passphrase: edge-agent revoke
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="read the terms aloud")
    sign = verbs.add_parser("sign", help="sign consent.yaml as it is")
    sign.add_argument("--for", dest="for_", metavar="DURATION", help="such as 14d [as long as expires_after allows]")
    sign.add_argument("--yes", action="store_true", help="do not ask whether you have read it")
    add_passphrase(sign)
    diff = verbs.add_parser("diff", help="what the file says that was not signed")
    for verb in (show, sign, diff):
        verb.add_argument("--camera", metavar="CAMERA", help="only this one [all]")
        verb.add_argument("--language", choices=LANGUAGES, help="[that of the gateway]")
        add_config(verb)
        verb.set_defaults(run=run)
    for verb in (show, diff):
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out one verb."""
    config = load_config(args.config)
    args.language = args.language or config.gateway.language
    path: Path = config.consent.file
    # Read once: the terms that are shown are those that are signed.
    policy = parse_policy(read_text(path), str(path))
    verbs = {"show": consent_verbs.show, "sign": consent_verbs.sign, "diff": consent_verbs.diff}
    return verbs[args.verb](config, policy, args)
