"""``rtcc revoke``: a gateway is stolen, or its owner leaves: nothing more is taken from it."""

import argparse

from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.reload import add_reload, make_reload
from edge_agent.rtcc.revocation import revoke

_EPILOG = """\
examples:
  rtcc revoke GATEWAY                                          asks you to reload the broker
  rtcc revoke GATEWAY --reload 'systemctl reload mosquitto'

At once the receiver takes nothing more from it, and no answer counts. Its certificates go onto the list that the broker
reads (tls/crl.pem). Once the broker has read it, which is proved, the gateway's open connection is closed. It can be
enrolled again with new keys alone; what it delivered before stays to be opened.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    parser.add_argument("gateway", metavar="GATEWAY", help="its id, as `rtcc keys show` lists it")
    add_home(parser)
    add_reload(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Revoke a gateway."""
    count = revoke(open_home(args), args.gateway, make_reload(args))
    print(f"revoked: gateway={args.gateway} certificates={count}; every broker has closed its connection")
    if not count:
        print("certificates from before this version are not on record: the broker will let those in until they end")
    return 0
