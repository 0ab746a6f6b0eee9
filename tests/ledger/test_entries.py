"""An entry's members, as they are written into its leaf."""

import json
import sqlite3

import pytest

from edge_agent.ledger import entries, table
from edge_agent.ledger.entries import LedgerCamera
from edge_agent.ledger.gateway_kinds import UpdateEntry
from edge_agent.ledger.owner_kinds import ExportEntry
from edge_agent.ledger.request_kinds import DecisionEntry, RequestEntry
from edge_agent.units import UtcNs, Window

AT = UtcNs(1_777_777_777_000_000_000)
SPAN = Window(AT, UtcNs(AT + 60_000_000_000))


WRITTEN = {
    "a request": (
        RequestEntry("j", "i", "24-1", "robbery", b"\1\2", "gateway", ("a (operator)",), ("door",), AT, AT, "why"),
        {
            "jti": "j", "iss": "i", "incident": "24-1", "category": "robbery", "request_sha256": "0102",
            "to": "gateway", "signers": ["a (operator)"], "cameras": ["door"],
            "start": "2026-05-03T03:09:37Z", "end": "2026-05-03T03:09:37Z", "purpose": "why",
        },
    ),
    "an ask has no terms of a grant": (
        DecisionEntry("j", "i", "24-1", "robbery", "ask", (LedgerCamera("door", "main", (SPAN,), True, b"\3", 7),), ()),
        {
            "jti": "j", "iss": "i", "incident": "24-1", "category": "robbery", "outcome": "ask", "reasons": [],
            "cameras": [
                {
                    "camera": "door", "quality": "main", "windows": [str(SPAN)], "audio": True,
                    "consent_sha256": "03", "consent_version": 7,
                }
            ],
        },
    ),
    "a copy has no recipients": (
        ExportEntry("local export", "door", "main", SPAN, "o"),
        {"what": "local export", "camera": "door", "quality": "main", "window": str(SPAN), "order_id": "o"},
    ),
    "a bundle for the owner alone has none either, and says so": (
        ExportEntry("bundle", "door", "main", SPAN, "o", b"\4", ()),
        {
            "what": "bundle", "camera": "door", "quality": "main", "window": str(SPAN), "order_id": "o",
            "order_sha256": "04", "recipients": [],
        },
    ),
    "a member that Python has a word for": (
        UpdateEntry("n", "installed", "0.1", "0.2"),
        {"note": "n", "what": "installed", "from": "0.1", "to": "0.2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", WRITTEN)
def test_members_are_written_as_they_always_were(entry):
    """Digests in hexadecimal, moments in RFC 3339, spans as text, and nothing for what an entry does not have."""
    value, expected = WRITTEN[entry]
    conn = sqlite3.connect(":memory:")
    table.create_tables(conn)
    conn.execute("BEGIN")
    index = entries.append(conn, value, AT)
    assert json.loads(json.dumps(dict(table.read_entry(conn, index)))) == expected
    assert next(table.entries(conn)).kind == value.kind
