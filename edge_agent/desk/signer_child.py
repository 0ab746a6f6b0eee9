"""The child that opens the owner's key, signs the messages of one act with it, prints them, and ends.

Reads one JSON object from stdin: ``key``, ``messages`` (type and payload of each), ``passphrase``. Ends with 77 if the
passphrase does not open the key, with 78 if there is no key to open. Nothing of the key is left when it has ended.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent import owner_order, signed_consent
from edge_agent.custody.keys import decode_private, is_encrypted, read_guarded
from edge_agent.errors import CustodyError
from edge_agent.host.hardening import keep_memory_from_swap
from edge_agent.protocol import jws

MAX_JOB_BYTES = 1 << 22
TYPES = (owner_order.TYP, signed_consent.TYP)
"""The desk signs orders and consents: a process that was taken over gets no signature of another
kind."""


def main() -> int:
    """Sign."""
    # Swallowed: a small RLIMIT_MEMLOCK must not keep the owner from signing.
    with suppress(OSError):
        keep_memory_from_swap()
    job = json.loads(sys.stdin.buffer.read(MAX_JOB_BYTES))
    path = Path(job["key"])
    if not all(typ in TYPES for typ, _ in job["messages"]):
        return os.EX_USAGE
    try:
        # A credential of systemd's may carry an ACL, which shows as a group bit.
        pem = read_guarded(path, forbidden=0o007)
    except CustodyError:
        return os.EX_CONFIG
    # A key in the clear would let the desk sign without the owner.
    if not is_encrypted(pem):
        return os.EX_CONFIG
    try:
        key = decode_private(pem, job["passphrase"].encode(), "owner.pem")
    except CustodyError:
        return os.EX_NOPERM
    if not isinstance(key, Ed25519PrivateKey):
        return os.EX_CONFIG
    for typ, payload in job["messages"]:
        sys.stdout.buffer.write(jws.sign_with(typ, payload.encode(), [key]) + b"\n")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
