"""Forgets old requests and old orders of the owner; the ledger keeps their outcome.

Owns the bound up to which everything is remembered. Forgetting changes the result of no check: a
request is refused by its time alone long before it is forgotten, quotas and terms look back less
far, the facts of an incident outlive every request that terms could still allow, and versions of
consent are never forgotten. Decides nothing about a request.
"""

import logging
from typing import Any

from edge_agent.host.clock import Clock
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP
from edge_agent.units import DAY_NS, ClockState, UtcNs, parse_rfc3339
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import StoredRequest

log = logging.getLogger(__name__)

REMEMBER_NS = 32 * DAY_NS
"""How long after its ``exp`` a request is remembered: quotas look back 30 days, an incident may have been reported 30
days before a request, and a request to an area may be on its way for a day."""
KEEP_NEWEST = 500
"""So many requests and orders are never forgotten, whatever the clock says: as many as ``requests list`` shows."""
KEEP_INCIDENTS = 250_000
"""The facts of so many incidents are never forgotten, some 50 MB: more than the 240 refusals an hour that are entered
can bring in ``REMEMBER_NS``, so that a forgotten incident was reported longer ago than any terms allow."""
_PAGE = 100


def is_forgotten(exp: UtcNs, now: UtcNs) -> bool:
    """Tell whether a request that could arrive until ``exp`` may have been forgotten by now."""
    return now > exp + REMEMBER_NS


def prune_by_clock(store: Database, clock: Clock) -> None:
    """Forget what is past its bound, if the clock is believed: one that was set ahead would forget too early."""
    if clock.state() is ClockState.SYNCHRONISED:
        prune(store, clock.utc())


def prune(store: Database, now: UtcNs, *, newest: int = KEEP_NEWEST, incidents: int = KEEP_INCIDENTS) -> int:
    """Forget what is past its bound; a page is a transaction.

    Args:
        store: The releaser's memory.
        now: Of a synchronised clock.
        newest: So many requests, and so many orders, are kept in any case.
        incidents: The facts of so many incidents are kept in any case.

    Returns:
        How many requests were forgotten.
    """
    count, after = 0, 0
    before = UtcNs(now - REMEMBER_NS)
    while page := store.requests.list_ended(before, newest, after=after, limit=_PAGE):
        old = [each.id for each in page if is_forgotten(exp_of(each), now)]
        with store.transaction() as connection:
            for request_id in old:
                store.requests.remove(connection, request_id)
        count, after = count + len(old), page[-1].id
    with store.transaction() as connection:
        store.orders.forget(connection, before, newest)
        store.requests.forget_incidents(connection, incidents)
    if count:
        log.info("requests of long ago are forgotten, the ledger keeps them count=%d", count)
    return count


def exp_of(request: StoredRequest) -> UtcNs:
    """Return until when a stored request could arrive."""
    payload: Any = jws.parse(request.raw, TYP).payload
    return parse_rfc3339(payload["exp"])
