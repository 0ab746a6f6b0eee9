"""An owner who signs orders for their own footage, and the ledger that tells of them."""

import secrets

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import sign_order, window_members
from edge_agent.ledger import table as ledger
from edge_agent.units import UtcNs, Window
from edge_agent.uplink.store.database import Database
from tests.support.release import GATEWAY, House


class Owner:
    """The owner of a house with a store of its own."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.store = Database(house.folder / "store.sqlite")

    def sign(self, wanted: Window, key=None, order: str = "export", **members) -> str:
        """Sign an order for a window of the door's main stream, or for what is named."""
        named = {"camera": "door", "quality": "main", "window": window_members(wanted), **members}
        order_id, now = encode_b64url(secrets.token_bytes(16)), UtcNs(self.house.clock.utc_ns)
        return sign_order(order, named, GATEWAY, order_id, now, key or self.house.owner).decode()

    def entries(self) -> list[dict]:
        """Everything that the ledger tells."""
        with self.store.reading() as connection:
            return [dict(each.entry) for each in ledger.entries(connection)]
