"""The owner's commands to the releaser's clock: how it stands, and to believe it.

Owns the two commands of the control socket. The owner's word is their signature, and it is in the ledger before it
counts: to believe another time is to decide by it. It opens nothing by itself; every request is decided as before.
"""

import logging
from collections.abc import Mapping
from typing import Any

from edge_agent.consent.owner_order import ConfirmClock
from edge_agent.errors import UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.host.persistent_clock import KeptClock, describe_confirmed
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import ClockEntry
from edge_agent.units import encode_rfc3339
from edge_agent.uplink.owner.orders import OwnerOrders

log = logging.getLogger(__name__)


class ClockCommands:
    """The clock's commands.

    Args:
        orders: The owner's signed orders.
        clock: The releaser's own.
    """

    def __init__(self, orders: OwnerOrders, clock: KeptClock) -> None:
        self._orders, self._store, self._clock = orders, orders.store, clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {"clock": lambda *_: self._clock.facts(), "confirm-clock": self._confirm}

    def _confirm(self, members: Mapping[str, Any], peer: Peer) -> Reply:
        # By the wall clock as it is: a wrong floor must not keep the owner's word from being heard.
        now = self._clock.wall()
        order = self._orders.verify(str(members.get("jws", "")).encode(), now)
        if not isinstance(order.value, ConfirmClock):
            raise UsageError("this order is for another command")
        self._clock.demand_confirmable()
        before = self._clock.facts()
        with self._store.transaction() as connection:
            self._orders.mark_used(connection, order, now)
            entry = ClockEntry(now, before["floor"], before["why"], order.order_id)
            entries.append(connection, entry, now)
        confirmed = self._clock.confirm()
        log.warning("clock confirmed time=%s uid=%d", encode_rfc3339(confirmed.time), peer.uid)
        return describe_confirmed(confirmed)
