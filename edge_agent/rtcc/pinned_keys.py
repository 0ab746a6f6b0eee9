"""The public keys that a gateway was enrolled with, as a row of the state keeps them.

Owns the words for a row that is damaged. Such a row costs its own gateway, and no list, reader or worker that serves
all of them.
"""

import json
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import PublicKey, load_jwk, thumbprint


def parse_keys(gateway: str, text: str, kid: str) -> dict[str, Any]:
    """Return the JWKs of a row by name.

    Args:
        gateway: Whose row it is.
        text: The JWKs as JSON.
        kid: The thumbprint of the key that the gateway signs with, as the row has it beside them.

    Raises:
        CustodyError: They cannot be read, or are of another key; the message leads to the row.
    """
    try:
        keys = json.loads(text)
    # Deeply nested JSON ends in a RecursionError: one such row must not end a worker.
    except (ValueError, TypeError, RecursionError):
        raise _damaged(gateway, "not JSON") from None
    if not isinstance(keys, dict):
        raise _damaged(gateway, "not an object")
    # With one wrong letter it is a key all the same: by it true answers would be refused, and so be lost.
    if thumbprint(read_key(gateway, keys)) != kid:
        raise _damaged(gateway, "not the key that the row's kid names")
    return keys


def read_key(gateway: str, keys: Mapping[str, Any], name: str = "gateway") -> PublicKey:
    """Return one of the public keys: ``gateway``, ``recorder`` or ``owner``.

    Raises:
        CustodyError: It cannot be read; the message leads to the row.
    """
    try:
        return load_jwk(keys[name])
    except (LookupError, TypeError, AttributeError):
        raise _damaged(gateway, f"no key: name={name}") from None
    except CustodyError as error:
        raise _damaged(gateway, f"name={name}: {error}") from error


def _damaged(gateway: str, why: str) -> CustodyError:
    return CustodyError(
        f"a gateway's row is damaged: table=gateways gateway={gateway} column=pinned_keys: {why}",
        "bring the row back from a copy of the database, then `rtcc work --retry`",
    )
