"""The ledger's tables: what is entered stays, and what was changed is found."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import EvidenceError
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import encode_leaf, ledger_origin, verify_checkpoint, verify_growth, verify_proof
from edge_agent.units import DAY_NS, UtcNs, parse_rfc3339
from tests.ledger.conftest import transaction

ORIGIN = ledger_origin("gw-1")
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
NOW = parse_rfc3339("2026-09-21T14:13:20Z")


def fill(conn: sqlite3.Connection, count: int) -> None:
    with transaction(conn):
        for number in range(count):
            ledger.append(conn, "decision", {"jti": str(number)}, UtcNs(NOW + number))


def seal(conn: sqlite3.Connection) -> str:
    with transaction(conn):
        return ledger.checkpoint(conn, ORIGIN, KEY, NOW)


def test_entries_come_back_in_order(conn: sqlite3.Connection) -> None:
    """Indices count from 0; a kind can be asked for; padding counts, and is not shown."""
    fill(conn, 5)
    with transaction(conn):
        assert ledger.append(conn, "pause", {"camera": "door"}, NOW) == 5
    seal(conn)
    assert [entry.entry["jti"] for entry in ledger.entries(conn, kinds=["decision"])] == ["0", "1", "2", "3", "4"]
    assert [entry.index for entry in ledger.entries(conn)] == [0, 1, 2, 3, 4, 5]
    assert ledger.read_size(conn) == 256


def test_an_entry_is_as_durable_as_what_it_tells_about(conn: sqlite3.Connection) -> None:
    """A transaction that is rolled back leaves no entry and no tree node."""
    fill(conn, 3)
    before = ledger.read_head(conn, ORIGIN)
    with pytest.raises(RuntimeError), transaction(conn):
        ledger.append(conn, "decision", {}, NOW)
        raise RuntimeError
    assert ledger.read_head(conn, ORIGIN) == before
    fill(conn, 3)
    assert ledger.verify(conn, ORIGIN, KEY.public_key()).size == 6


def test_an_entry_outside_a_transaction_is_refused(conn: sqlite3.Connection) -> None:
    """An entry on its own, without what it tells about, cannot be made by mistake."""
    with pytest.raises(ValueError, match="transaction"):
        ledger.append(conn, "decision", {}, NOW)


def test_two_writers_never_take_one_index(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """A second connection waits for the first one's commit."""
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None, timeout=5)
    fill(conn, 2)
    with transaction(other):
        assert ledger.append(other, "decision", {}, NOW) == 2
    with transaction(conn):
        assert ledger.append(conn, "decision", {}, NOW) == 3
    other.close()
    assert ledger.verify(conn, ORIGIN, KEY.public_key()).size == 4


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_leaves SET leaf = x'00'",
        "DELETE FROM ledger_leaves",
        "UPDATE ledger_nodes SET hash = x'00'",
        "DELETE FROM ledger_nodes WHERE level = 0",
        "UPDATE ledger_checkpoints SET note = ''",
        "DELETE FROM ledger_checkpoints",
        "INSERT INTO ledger_leaves VALUES (999, 'decision', 0, x'00')",
        "INSERT INTO ledger_leaves VALUES (0, 'decision', 0, x'00')",
        "INSERT OR REPLACE INTO ledger_leaves VALUES (0, 'decision', 0, x'00')",
    ],
)
def test_the_database_refuses_to_change_an_entry(conn: sqlite3.Connection, statement: str) -> None:
    """SQL that would rewrite the ledger fails, also from the sqlite3 shell."""
    fill(conn, 3)
    seal(conn)
    with pytest.raises(sqlite3.IntegrityError):
        conn.execute(statement)
    assert ledger.verify(conn, ORIGIN, KEY.public_key()).size == 256


def drop_guards(conn: sqlite3.Connection) -> None:
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")


def swap_leaf(conn: sqlite3.Connection) -> None:
    conn.execute(
        "UPDATE ledger_leaves SET leaf = ? WHERE idx = 3",
        (encode_leaf("decision", UtcNs(NOW + 3), {"jti": "x"}, b"0" * 16),),
    )


TAMPERINGS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "a leaf rewritten": swap_leaf,
    "a leaf that is no leaf": lambda conn: conn.execute("UPDATE ledger_leaves SET leaf = x'00' WHERE idx = 3"),
    "a column rewritten": lambda conn: conn.execute("UPDATE ledger_leaves SET kind = 'request' WHERE idx = 3"),
    "a time rewritten": lambda conn: conn.execute("UPDATE ledger_leaves SET at_ns = 0 WHERE idx = 3"),
    "an entry taken out": lambda conn: conn.execute("DELETE FROM ledger_leaves WHERE idx = 3"),
    "the end cut off": lambda conn: conn.execute("DELETE FROM ledger_leaves WHERE idx >= 200"),
    "everything taken out": lambda conn: conn.execute("DELETE FROM ledger_leaves"),
    "a node rewritten": lambda conn: conn.execute("UPDATE ledger_nodes SET hash = x'00' WHERE level = 2 AND idx = 0"),
    "a node taken out": lambda conn: conn.execute("DELETE FROM ledger_nodes WHERE level = 2 AND idx = 0"),
    "a node put in": lambda conn: conn.execute("INSERT INTO ledger_nodes VALUES (50, 0, x'00')"),
    "a checkpoint rewritten": lambda conn: conn.execute("UPDATE ledger_checkpoints SET note = 'x'"),
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_verify_finds_what_was_changed_on_disk(
    conn: sqlite3.Connection, tamper: Callable[[sqlite3.Connection], object]
) -> None:
    """Every change by somebody without the gateway's key is found by a verification."""
    fill(conn, 5)
    seal(conn)
    drop_guards(conn)
    tamper(conn)
    with pytest.raises(EvidenceError):
        ledger.verify(conn, ORIGIN, KEY.public_key())


def test_a_rewriting_with_the_gateways_key_is_found_by_a_remembered_head(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    """A holder of the key can make another ledger that agrees with itself, but not with a head that left the house."""
    fill(conn, 5)
    note = seal(conn)
    forged = sqlite3.connect(tmp_path / "forged.sqlite", isolation_level=None)
    ledger.create_tables(forged)
    fill(forged, 4)
    seal(forged)
    assert ledger.verify(forged, ORIGIN, KEY.public_key()).size == 256
    with pytest.raises(EvidenceError, match="not the one that was signed"):
        ledger.verify(forged, ORIGIN, KEY.public_key(), [note])
    assert ledger.verify(conn, ORIGIN, KEY.public_key(), [note]).remembered == 1
    forged.close()


def test_a_ledger_rolled_back_to_a_copy_is_found(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """An older copy put back in place is shorter than a head that left later."""
    fill(conn, 5)
    seal(conn)
    copy = sqlite3.connect(tmp_path / "copy.sqlite", isolation_level=None)
    conn.backup(copy)
    fill(conn, 1)
    note = seal(conn)
    with pytest.raises(EvidenceError, match="shorter"):
        ledger.verify(copy, ORIGIN, KEY.public_key(), [note])
    copy.close()


def test_a_checkpoint_tells_no_number_of_refusals(conn: sqlite3.Connection) -> None:
    """After any history the size that leaves is a multiple of 256; nothing new, the same note again."""
    assert verify_checkpoint(seal(conn), ORIGIN, KEY.public_key()).size == 256
    first = seal(conn)
    assert seal(conn) == first
    fill(conn, 1)
    assert verify_checkpoint(seal(conn), ORIGIN, KEY.public_key()).size == 512


def test_every_entry_can_be_proved_to_a_stranger(conn: sqlite3.Connection) -> None:
    """The proof of an entry verifies with the public key alone."""
    fill(conn, 3)
    seal(conn)
    fill(conn, 300)
    with pytest.raises(ValueError, match="no checkpoint holds"):
        ledger.prove(conn, 256)
    seal(conn)
    for index in (0, 2, 256, 555):
        proved = verify_proof(ledger.prove(conn, index), ORIGIN, KEY.public_key())
        assert (proved.index, proved.leaf.kind) == (index, "decision")


def test_growth_is_proved_to_who_kept_a_checkpoint(conn: sqlite3.Connection) -> None:
    """From each older checkpoint to the newest, the newest included, with the public key and no entry at all."""
    kept = []
    for _ in range(3):
        fill(conn, 300)
        kept.append(seal(conn))
    for note in kept:
        size = verify_checkpoint(note, ORIGIN, KEY.public_key()).size
        old, new = verify_growth(ledger.prove_growth(conn, size), note, ORIGIN, KEY.public_key())
        assert (old.size, new.size) == (size, 1536)


def test_growth_of_a_rewritten_ledger_cannot_be_proved(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """A key's holder who made another ledger of the same sizes has no proof for a checkpoint that left."""
    fill(conn, 5)
    note = seal(conn)
    forged = sqlite3.connect(tmp_path / "forged.sqlite", isolation_level=None)
    ledger.create_tables(forged)
    fill(forged, 4)
    for _ in range(2):
        seal(forged)
        with pytest.raises(EvidenceError):
            verify_growth(ledger.prove_growth(forged, 256), note, ORIGIN, KEY.public_key())
        fill(forged, 1)
    with pytest.raises(EvidenceError, match="shorter"):
        ledger.prove_growth(conn, 512)
    forged.close()


def test_verify_reads_one_snapshot_while_entries_are_made(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """Verification by another process never trips over an entry that is being appended."""
    conn.execute("PRAGMA journal_mode=WAL")
    fill(conn, 5)
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    conn.execute("BEGIN IMMEDIATE")
    ledger.append(conn, "decision", {}, NOW)
    assert ledger.verify(other, ORIGIN, KEY.public_key()).size == 5
    conn.commit()
    assert ledger.verify(other, ORIGIN, KEY.public_key()).size == 6
    other.close()


def test_equal_entries_have_unequal_hashes(conn: sqlite3.Connection) -> None:
    """The salt keeps a neighbour's hash in a path from being guessed back into its entry."""
    with transaction(conn):
        for _ in range(2):
            ledger.append(conn, "decision", {"outcome": "deny"}, NOW)
    first, second = (row[0] for row in conn.execute("SELECT hash FROM ledger_nodes WHERE level = 0"))
    assert first != second


def test_report_counts_by_month_agency_category_and_outcome(conn: sqlite3.Connection) -> None:
    """The owner's and the public's figures: whole months, tallies as what they count, no padding."""
    with transaction(conn):
        for at in (NOW, NOW, NOW + 30 * DAY_NS):
            entry = {"iss": "rtcc.a", "category": "robbery", "outcome": "deny"}
            ledger.append(conn, "decision", entry, UtcNs(at))
        ledger.append(conn, ledger.UNVERIFIED, {"reason": "size", "count": 7}, NOW)
    seal(conn)
    lines = ledger.report(conn)
    assert [(line.month, line.kind, line.count) for line in lines] == [
        ("2026-09", "decision", 2),
        ("2026-09", "unverified", 7),
        ("2026-10", "decision", 1),
    ]
    assert (lines[0].agency, lines[0].category, lines[0].outcome) == ("rtcc.a", "robbery", "deny")
