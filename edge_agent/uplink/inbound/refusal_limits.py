"""How much room refusals may take: in the ledger, in the store, per hour and in total (PROTOCOL 4, C5).

A holder of two keys of the RTCC can have as many requests refused as the gateway takes in. The first ones of an hour
are entered one by one; from then on those of that key are counted, per hour and key, and only the digests by which they
are known again are kept. A grant or an ask is entered after any number of refusals. Decides nothing about a request.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.consent.admission import MAX_AREA_VALIDITY_NS
from edge_agent.ledger import entries
from edge_agent.ledger.gateway_kinds import CountedEntry
from edge_agent.ledger.refusal_counts import RefusalCounter
from edge_agent.protocol.request import REQUEST_SKEW_NS, Request
from edge_agent.units import HOUR_NS, UtcNs
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.refusals import RefusedRequest
from edge_agent.uplink.store.requests import StoredRequest

EVERY_KEY = "*"
"""Stands for a key in the count of all keys together."""


@dataclass(frozen=True, slots=True)
class RefusalRoom:
    """The bounds."""

    entered: int = 60
    """Refusals an hour that are entered of one signing key."""
    entered_in_all: int = 240
    """Of all keys together: some 300 KB of ledger."""
    remembered: int = 16_384
    """Counted refusals that are remembered until they can arrive no more: some 3 MB."""
    message_bytes: int = 10_000_000
    """Signed messages of refused requests that are kept of one issuer: they prove the abuse."""
    messages: int = 5_000
    """And so many of them."""


class RefusalLimits:
    """Says which refusals are entered, counts the others, and makes room.

    Args:
        store: Counts, and the refusals that are remembered.
        room: The bounds.
    """

    def __init__(self, store: Database, room: RefusalRoom | None = None) -> None:
        self._store = store
        self._room = room or RefusalRoom()

    def find_key_over(self, request: Request, now: UtcNs) -> str | None:
        """Return the key because of which a refusal of this request is counted and not entered; None if it is entered.

        ``EVERY_KEY`` if it is because of all of them together.
        """
        hour, kids = now // HOUR_NS, [signer.kid for signer in request.signers]
        over = self._store.refusals.find_key_over(hour, kids, self._room.entered)
        return over or self._store.refusals.find_key_over(hour, [EVERY_KEY], self._room.entered_in_all)

    def make_room(self, connection: sqlite3.Connection, now: UtcNs) -> bool:
        """Forget the refused requests that can arrive no more, and tell whether one more can be remembered."""
        self._store.refusals.forget(connection, now)
        return self._store.refusals.count() < self._room.remembered

    def note_entered(
        self, connection: sqlite3.Connection, request: Request, now: UtcNs, exp_of: Callable[[StoredRequest], UtcNs]
    ) -> None:
        """Count a refusal that was entered, and drop the oldest messages of its issuer beyond the bound."""
        kids = [*(signer.kid for signer in request.signers), EVERY_KEY]
        self._store.refusals.add_entered(connection, now // HOUR_NS, kids)
        for number in self._store.refusals.list_to_drop(request.iss, self._room.message_bytes, self._room.messages):
            stored = self._store.requests.read(number)
            until = _until(exp_of(stored), stored.arrived_at)
            declined_at = self._store.outbox.find_answer_due(number)
            self._store.notices.sum_up(connection, number)
            self._store.requests.remove(connection, number)
            if until >= now:
                known = RefusedRequest(stored.iss, stored.jti, stored.payload_sha256, until, declined_at)
                self._store.refusals.add(connection, known)

    def note_counted(
        self, connection: sqlite3.Connection, request: Request, over: str, declined_at: UtcNs, now: UtcNs
    ) -> None:
        """Count a refusal that is not entered, and remember its request until it can arrive no more."""
        until = _until(request.exp, now)
        known = RefusedRequest(request.iss, request.jti, request.payload_sha256, until, declined_at)
        self._store.refusals.add(connection, known)
        self._store.refusals.add_counted(connection, now // HOUR_NS, over)

    def note_unkept(self, connection: sqlite3.Connection, over: str, now: UtcNs) -> None:
        """Count a refusal of which nothing is remembered."""
        self._store.refusals.add_counted(connection, now // HOUR_NS, over)

    def count(self) -> int:
        """Return how many refusals were only counted, and are not in the ledger yet: those of this hour."""
        return self._store.refusals.count_counted()

    def enter_all(self, unread: RefusalCounter, now: UtcNs, *, running: bool = False) -> None:
        """Append what is counted here, and what was refused unread, of the hours that are over; one transaction.

        ``running``: the running hour of what was refused unread as well, which a stop would lose.
        """
        with self._store.transaction() as connection:
            entered = unread.enter(connection, running=running)
            self.enter_counts(connection, now)
        unread.forget(entered)

    def enter_counts(self, connection: sqlite3.Connection, now: UtcNs) -> None:
        """Append one ledger entry per key and hour that is over."""
        for hour, kid, count in self._store.refusals.take_counts(connection, now // HOUR_NS):
            reason = "refusals beyond the limit, " + ("all keys" if kid == EVERY_KEY else f"key {kid}")
            entries.append(connection, CountedEntry(UtcNs(hour * HOUR_NS), reason, count), now)


def _until(exp: UtcNs, arrived_at: UtcNs) -> UtcNs:
    """Return until when a request could pass check 9: one that may arrive for longer than a day never does."""
    return UtcNs(min(exp, arrived_at + MAX_AREA_VALIDITY_NS) + REQUEST_SKEW_NS)
