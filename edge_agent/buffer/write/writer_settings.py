"""The keys and settings that a ring is written with."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from edge_agent.units import HOUR_NS, SECOND_NS

DEFAULT_SYNC_EVERY_NS = 3 * SECOND_NS
DEFAULT_KEEP_FOR_NS = 72 * HOUR_NS


@dataclass(frozen=True, slots=True)
class RingKeys:
    """The keys of a gateway's recorder."""

    vault_public: X25519PublicKey
    """Block keys are sealed to it."""
    recorder_key: Ed25519PrivateKey
    """Signs superblocks and header pages; must be the key that the ring was made with."""


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """The stream of a ring, and the times that its writer keeps to."""

    source: str
    """Configured address of the stream (FORMAT 3.5); each header page gets its digest."""
    sync_every_ns: int = DEFAULT_SYNC_EVERY_NS
    """Longest time between a record and its sync."""
    keep_for_ns: int = DEFAULT_KEEP_FOR_NS
    """Age at which a block loses its key."""
    ring_id: bytes | None = None
    """If given, any other ring at the path is refused: ids, not paths, decide."""
