"""Keeping a moment beyond the ring's time, as the releaser's control socket takes it.

To keep takes the owner's signature: it makes footage outlive what was promised. To let go takes none. Both are in the
ledger before the folder changes, so that no kill and no full disk leaves footage that the ledger does not tell of.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edge_agent.consent.owner_order import Keep
from edge_agent.errors import UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.owner_kinds import KeepEntry
from edge_agent.protocol.request import Quality
from edge_agent.units import ClockState, Window, encode_rfc3339, parse_rfc3339
from edge_agent.uplink.bundle.keeps import KeptMoment, plan_keep
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.owner.orders import OwnerOrders

KEPT, LET_GO, ENDED = "kept", "let go", "ended"
_MEMBERS = [each.name for each in fields(KeepEntry)]


class KeepCommands:
    """The handlers of ``keep``, ``keeps`` and ``drop-keep``.

    Args:
        orders: The owner's signed orders.
        footage: Opens rings, and has the folder of kept moments.
    """

    def __init__(self, orders: OwnerOrders, footage: Footage) -> None:
        self._orders, self._store, self._clock = orders, orders.store, orders.clock
        self._footage = footage
        self._lock = threading.Lock()  # nothing is settled while a moment is entered and not yet copied

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {"keep": self._keep, "keeps": self._list, "drop-keep": self._drop}

    def settle(self) -> None:
        """Bring ledger and folder together after a kill, and let go of moments at their end; due at start."""
        keeps, now = self._footage.keeps, self._clock.utc()
        with self._lock:
            entered, kept = self._read_entered(), {each.keep_id: each for each in keeps.list_kept()}
            for keep_id, (what, planned) in entered.items():
                if what == KEPT and keep_id not in kept:
                    self._enter(ENDED if planned.until <= now else LET_GO, planned)
            for keep_id, each in kept.items():
                if keep_id not in entered:  # of a ledger that was lost: this one has to tell of it
                    self._enter(KEPT, each)
                elif entered[keep_id][0] != KEPT:
                    keeps.drop(keep_id)
        self.expire()

    def expire(self) -> None:
        """Let go of moments that have reached their end, if the clock is believed; due every hour."""
        if self._clock.state() is ClockState.SYNCHRONISED:
            for each in self._footage.keeps.expire(self._clock.utc()):
                self._enter(ENDED, each)

    def _keep(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        order = self._orders.verify(str(members["jws"]).encode(), self._clock.utc())
        wish = order.value
        if not isinstance(wish, Keep):
            raise UsageError("this order keeps nothing")
        planned = plan_keep(wish.camera, wish.quality, wish.window, wish.until)
        with self._lock, self._footage.open(wish.camera, wish.quality) as reader:
            with self._store.transaction() as connection:
                self._orders.mark_used(connection, order, self._clock.utc())
                self._enter(KEPT, planned)
            try:
                kept = self._footage.keeps.keep(reader, planned, wish.window)
            except Exception:
                with contextlib.suppress(sqlite3.Error):  # the next start enters it
                    self._enter(LET_GO, planned)
                raise
        return {"kept": describe(kept)}

    def _list(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        return {"keeps": [describe(each) for each in self._footage.keeps.list_kept()]}

    def _drop(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        with self._lock:
            dropped = self._footage.keeps.demand(str(members.get("id")))
            self._enter(LET_GO, dropped)
            self._footage.keeps.drop(dropped.keep_id)
        return {"dropped": describe(dropped)}

    def _enter(self, what: str, kept: KeptMoment) -> None:
        entry = KeepEntry(what, kept.keep_id, kept.camera, kept.quality.value, kept.window, kept.until)
        with self._store.transaction() as connection:
            entries.append(connection, entry, self._clock.utc())

    def _read_entered(self) -> dict[str, tuple[str, KeptMoment]]:
        """Return what the ledger tells last of each moment, by its id."""
        found = {}
        with self._store.reading() as connection:
            for each in ledger.entries(connection, kinds=[KeepEntry.kind]):
                what, keep_id, camera, quality, window, until = (str(each.entry[name]) for name in _MEMBERS)
                span, ends = Window.parse(*window.split("/")), parse_rfc3339(until)
                found[keep_id] = what, KeptMoment("", keep_id, camera, Quality(quality), span, ends, 0)
        return found


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
