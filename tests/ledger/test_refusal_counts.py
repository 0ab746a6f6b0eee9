"""The counts of refusals that are not entered one by one."""

import sqlite3

from edge_agent.ledger import table as ledger
from edge_agent.ledger.refusal_counts import MAX_KEYS, RefusalCounter
from edge_agent.units import HOUR_NS, parse_rfc3339
from tests.ledger.conftest import transaction
from tests.support.fakes import FakeClock

NOW = parse_rfc3339("2026-09-21T14:13:20Z")


def test_the_counter_enters_one_line_per_reason_and_hour(conn: sqlite3.Connection) -> None:
    """A flood is two numbers in the ledger; the running hour waits; what was not committed is not forgotten."""
    clock = FakeClock(utc=NOW)
    refusal_counter = RefusalCounter(clock)
    for _ in range(1000):
        refusal_counter.count("size")
    refusal_counter.count("json")
    clock.advance(HOUR_NS)
    refusal_counter.count("json")
    conn.execute("BEGIN IMMEDIATE")
    refusal_counter.enter(conn)
    conn.rollback()
    with transaction(conn):
        entered = refusal_counter.enter(conn)
    refusal_counter.forget(entered)
    assert [entry.entry for entry in ledger.entries(conn)] == [
        {"hour": "2026-09-21T14:00:00Z", "reason": "json", "count": 1},
        {"hour": "2026-09-21T14:00:00Z", "reason": "size", "count": 1000},
    ]
    with transaction(conn):
        assert refusal_counter.enter(conn) == {}
        rest = refusal_counter.enter(conn, running=True)
    refusal_counter.count("json")
    refusal_counter.forget(rest)
    with transaction(conn):
        assert list(refusal_counter.enter(conn, running=True).values()) == [1]


def test_the_counter_is_bounded(conn: sqlite3.Connection) -> None:
    """However many reasons somebody makes up, memory holds no more than a fixed number of counts."""
    clock = FakeClock(utc=NOW)
    refusal_counter = RefusalCounter(clock)
    for number in range(1000):
        refusal_counter.count(f"reason-{number}")
    with transaction(conn):
        entered = refusal_counter.enter(conn, running=True)
    assert len(entered) <= MAX_KEYS + 1
    assert sum(entered.values()) == 1000
