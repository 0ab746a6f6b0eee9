"""``rtcc broker``: prove a broker before it is trusted."""

import argparse
import os
from collections.abc import Iterator

from edge_agent.host.terminal import print_json
from edge_agent.rtcc.broker_check import BrokerCheck, ProbeResult
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.commands.reload import make_reload

_EPILOG = """\
examples:
  rtcc broker check                      nine lines for each broker of rtcc.json, about half a minute each
  rtcc broker check --across-restart     asks you to restart it, and looks whether anything was lost
  rtcc broker check --reload 'systemctl reload mosquitto'     also: what was revoked is refused

Comes as two gateways that nobody enrolled, with certificates of our authority that count for an hour and are revoked
after, and judges the broker by what arrives. Run it against every broker before the first gateway is enrolled, and
after each change of its configuration or version. Ends with 0 if every line holds, 65 if one does not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="look whether it keeps what requests depend on")
    add_home(check)
    check.add_argument("--across-restart", action="store_true", help="restart it in between, by your hand")
    check.add_argument(
        "--reload",
        metavar="COMMAND",
        help="makes it read tls/crl.pem again; then look whether it refuses what was revoked",
    )
    check.add_argument("--json", action="store_true", help="for scripts")
    check.set_defaults(run=run_check)


def _ask_for_restart() -> None:
    input("restart the broker now, then press Enter: ")


def run_check(args: argparse.Namespace) -> int:
    """Go through the checklist, line by line; both certificates are revoked after, with any outcome."""
    check = BrokerCheck(open_home(args), read_now())
    results = []
    try:
        for result in _run_all(check, args):
            results.append(result)
            if not args.json:
                _print(result)
    # Also after a Ctrl-C: the two certificates would be let in for an hour.
    finally:
        check.revoke()
    if args.json:
        print_json([{"name": each.name, "ok": not each.fault, "fault": each.fault} for each in results])
    return os.EX_DATAERR if any(each.fault for each in results) else os.EX_OK


def _run_all(check: BrokerCheck, args: argparse.Namespace) -> Iterator[ProbeResult]:
    yield from check.run()
    if args.across_restart:
        yield from check.run_across_restart(_ask_for_restart)
    if args.reload is not None:
        yield from check.run_revoked(make_reload(args))


def _print(result: ProbeResult) -> None:
    print(f"{'FAILED' if result.fault else 'ok':<7} {result.name}", flush=True)
    if result.fault:
        print(f"        {result.fault}", flush=True)
