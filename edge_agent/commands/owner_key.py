"""The owner's passphrase at the terminal, and the orders that need it. No command of its own."""

import argparse
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import build_order, sign_order
from edge_agent.custody.enrolment_file import find_gateway_name
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.hardening import keep_memory_from_swap
from edge_agent.host.terminal import ask_secret, working
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--passphrase-file``."""
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="read your passphrase from here (- for standard input)"
    )


def read_passphrase(path: Path | None) -> bytes:
    """Return the owner's passphrase from the terminal, from a file's first line, or from standard input (``-``)."""
    # Before the passphrase is in memory: a page in the swap outlives the process.
    keep_memory_from_swap()
    if path is None:
        return ask_secret("owner's passphrase: ").encode()
    try:
        line = sys.stdin.readline() if str(path) == "-" else path.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: passphrase cannot be read: {error}") from error
    return line.rstrip("\r\n").encode()


def sign_owner_order(config: Config, order: str, members: Mapping[str, object], passphrase_file: Path | None) -> str:
    """Ask for the passphrase, sign one order for this gateway, and return the JWS as text."""
    return load_signer(config, passphrase_file)(order, members)


@dataclass(frozen=True, slots=True)
class BuiltOrder:
    """An order's payload as it will be signed, and the thumbprint of the key that it is for."""

    payload: bytes
    owner: str


def build_owner_order(config: Config, order: str, members: Mapping[str, object]) -> BuiltOrder:
    """Build one order for this gateway, to be shown before it is signed; good for five minutes from now."""
    keys = KeyStore(config.state_dir, "owner")
    gateway = find_gateway_name(config.uplink.enrolment, keys.load_public("gateway"))
    order_id = encode_b64url(secrets.token_bytes(16))
    payload = build_order(order, members, gateway, order_id, SystemClock().utc())
    return BuiltOrder(payload, thumbprint(keys.load_public("owner")))


def load_owner_key(config: Config, passphrase_file: Path | None) -> Ed25519PrivateKey:
    """Ask for the passphrase and return the owner's key."""
    passphrase = read_passphrase(passphrase_file)
    with working("opening your key"):
        return KeyStore(config.state_dir, "owner").load_private("owner", passphrase)


def load_signer(config: Config, passphrase_file: Path | None) -> Callable[[str, Mapping[str, object]], str]:
    """Ask for the passphrase once; return what signs an order of a kind, good for five minutes from then."""
    keys = KeyStore(config.state_dir, "owner")
    gateway = find_gateway_name(config.uplink.enrolment, keys.load_public("gateway"))
    passphrase = read_passphrase(passphrase_file)
    with working("opening your key"):
        key = keys.load_private("owner", passphrase)

    def sign(order: str, members: Mapping[str, object]) -> str:
        order_id = encode_b64url(secrets.token_bytes(16))
        return sign_order(order, members, gateway, order_id, SystemClock().utc(), key).decode()

    return sign
