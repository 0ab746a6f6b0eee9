"""Which configured source footage comes from, as a digest: header pages, RUN records and consents hold it. Pure."""

import hashlib

_LABEL_SOURCE = b"edge-agent/v1 source"


def digest_source(ring_id: bytes, address: str) -> bytes:
    """Digest the configured address of a ring's stream (FORMAT 3.5): 32 bytes.

    Args:
        ring_id: Of this stream's ring: 16 bytes, the only salt.
        address: As configured, without credentials; never the URL that a camera returns.
    """
    return hashlib.sha256(_LABEL_SOURCE + ring_id + address.encode()).digest()
