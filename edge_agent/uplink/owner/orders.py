"""The owner's signed orders, as every command that gives takes them: verified, and each used once (PROTOCOL 6.3).

Owns the common part of the owner's commands: the key that signs an order, the gateway that it
names, and the rule that it acts once.
"""

import sqlite3
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.consent.owner_order import Order, verify_order
from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database


@dataclass(frozen=True, slots=True)
class OwnerOrders:
    """Verifies orders, and marks them used."""

    gateway: str
    """This gateway's id: an order names it."""
    owner: Ed25519PublicKey
    """The key pinned at ``init``."""
    store: Database
    """Used orders, and the ledger."""
    clock: Clock
    """The moment of each command."""

    @property
    def thumbprint(self) -> str:
        """RFC 7638 thumbprint of the owner's key."""
        return thumbprint(self.owner)

    def verify(self, raw: bytes, now: UtcNs) -> Order:
        """Return the order of a JWS.

        Raises:
            DenialError: See ``verify_order``.
        """
        return verify_order(raw, self.gateway, self.owner, now)

    def mark_used(self, connection: sqlite3.Connection, order: Order, now: UtcNs) -> None:
        """Use an order up, in the transaction of its act.

        Raises:
            UsageError: It was used before.
        """
        if not self.store.orders.mark_used(connection, order.order_id, now):
            raise UsageError("this order was carried out before")
