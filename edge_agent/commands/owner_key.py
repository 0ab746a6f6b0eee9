"""The owner's passphrase at the terminal, and the orders that need it. No command of its own."""

import argparse
import secrets
import sys
from collections.abc import Callable, Mapping
from getpass import getpass
from pathlib import Path

from edge_agent.b64 import encode_b64url
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.consent.order import sign_order
from edge_agent.enrolment import load_enrolment
from edge_agent.errors import UsageError
from edge_agent.keys import KeyStore
from edge_agent.process import keep_memory_from_swap


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--passphrase-file``."""
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="read your passphrase from here (- for standard input)"
    )


def read_passphrase(path: Path | None) -> bytes:
    """Return the owner's passphrase from the terminal, from a file's first line, or from standard input (``-``)."""
    keep_memory_from_swap()
    if path is None:
        return getpass("owner's passphrase: ").encode()
    try:
        line = sys.stdin.readline() if str(path) == "-" else path.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: passphrase cannot be read: {error}") from error
    return line.rstrip("\r\n").encode()


def sign_owner_order(config: Config, order: str, members: Mapping[str, object], passphrase_file: Path | None) -> str:
    """Ask for the passphrase, sign one order for this gateway, and return the JWS as text."""
    return load_signer(config, passphrase_file)(order, members)


def load_signer(config: Config, passphrase_file: Path | None) -> Callable[[str, Mapping[str, object]], str]:
    """Ask for the passphrase once; return what signs an order of a kind, good for five minutes from then."""
    gateway = load_enrolment(config.uplink.enrolment).gateway
    key = KeyStore(config.state_dir, "owner").load_private("owner", read_passphrase(passphrase_file))

    def sign(order: str, members: Mapping[str, object]) -> str:
        order_id = encode_b64url(secrets.token_bytes(16))
        return sign_order(order, members, gateway, order_id, SystemClock().utc(), key).decode()

    return sign
