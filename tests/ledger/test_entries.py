"""The closed list of the ledger's entries."""

import ast
import json
import sqlite3
from dataclasses import fields
from pathlib import Path

import pytest

from edge_agent.ledger import entries, table
from edge_agent.ledger.entries import SHAPES, DecisionEntry, ExportEntry, LedgerCamera, RequestEntry, UpdateEntry
from edge_agent.units import UtcNs, Window

ROOT = Path(__file__).parents[2]
AT = UtcNs(1_777_777_777_000_000_000)
SPAN = Window(AT, UtcNs(AT + 60_000_000_000))


def test_the_document_has_every_kind_and_member(capsys):
    """docs/ledger.md, "Kinds", is what ``python -m edge_agent.ledger.entries`` prints."""
    entries.main()
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "ledger.md").read_text()


def test_nothing_enters_the_ledger_but_a_kind_of_the_list():
    """No module but the ledger's own appends a leaf by hand."""
    found = []
    for path in (ROOT / "edge_agent").rglob("*.py"):
        if path.parent.name == "ledger":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_append = isinstance(node, ast.Attribute) and node.attr == "append"
            if is_append and isinstance(node.value, ast.Name) and node.value.id in ("ledger", "table"):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_shape_says_what_it_tells(shape):
    """Each has a kind that a leaf can hold, and a sentence."""
    assert shape.kind.islower()
    assert shape.__doc__.endswith(".")
    assert fields(shape)


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
