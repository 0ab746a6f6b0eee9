"""Keeping a moment beyond the ring's time, as the releaser's control socket takes it.

To keep takes the owner's signature: it makes footage outlive what was promised. To let go takes none. Both are in the
ledger.
"""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.consent.owner_order import Keep, verify_order
from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Answer, Handler, Peer
from edge_agent.ledger import entries
from edge_agent.ledger.entries import KeepEntry
from edge_agent.units import ClockState, encode_rfc3339
from edge_agent.uplink.bundle.keeps import KeptMoment
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.store.requests import Store


class KeepDesk:
    """The handlers of ``keep``, ``keeps`` and ``drop-keep``.

    Args:
        gateway: This gateway's id: orders name it.
        owner: The pinned key.
        store: Orders that were used, and the ledger.
        footage: Opens rings, and has the folder of what is kept.
        clock: The moment of each command.
    """

    def __init__(self, gateway: str, owner: Ed25519PublicKey, store: Store, footage: Footage, clock: Clock) -> None:
        self._gateway, self._owner, self._store = gateway, owner, store
        self._footage, self._clock = footage, clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What the control socket is given."""
        return {"keep": self._keep, "keeps": self._list, "drop-keep": self._drop}

    def expire(self) -> None:
        """Let go of what has reached its end, if the clock is believed; due every hour and at start."""
        if self._clock.state() is ClockState.SYNCHRONISED:
            for each in self._footage.keeps.expire(self._clock.utc()):
                self._enter("ended", each)

    def _keep(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        order = verify_order(str(members["jws"]).encode(), self._gateway, self._owner, self._clock.utc())
        wish = order.value
        if not isinstance(wish, Keep):
            raise UsageError("this order keeps nothing")
        with self._store.transaction() as connection:
            if not self._store.burn_order(connection, order.order_id, self._clock.utc()):
                raise UsageError("this order was carried out before")
        with self._footage.open(wish.camera, wish.quality) as reader:
            kept = self._footage.keeps.keep(reader, wish.camera, wish.quality, wish.window, wish.until)
        self._enter("kept", kept)
        return {"kept": describe(kept)}

    def _list(self, _members: Mapping[str, Any], _peer: Peer) -> Answer:
        return {"keeps": [describe(each) for each in self._footage.keeps.list_kept()]}

    def _drop(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        dropped = self._footage.keeps.drop(str(members.get("id")))
        self._enter("let go", dropped)
        return {"dropped": describe(dropped)}

    def _enter(self, what: str, kept: KeptMoment) -> None:
        entry = KeepEntry(what, kept.keep_id, kept.camera, kept.quality.value, kept.window, kept.until)
        with self._store.transaction() as connection:
            entries.append(connection, entry, self._clock.utc())


def describe(kept: KeptMoment) -> dict[str, Any]:
    """Return a kept moment as JSON values."""
    return {
        "id": kept.keep_id,
        "camera": kept.camera,
        "quality": kept.quality.value,
        "window": {"start": encode_rfc3339(kept.window.start), "end": encode_rfc3339(kept.window.end)},
        "until": encode_rfc3339(kept.until),
        "bytes": kept.size_bytes,
    }
