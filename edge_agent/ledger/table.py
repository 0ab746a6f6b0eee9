"""The ledger: every request, verdict, release and refusal, in SQLite tables that only grow.

Owns the tables ``ledger_*`` of the releaser's database and appends to them inside the caller's transaction, so that an
entry and its event become durable together. Leaves and tree nodes are written once; triggers refuse every update and
delete. It must never open a database, read a clock, or give out a checkpoint that is not padded. How a rewritten ledger
is found out: docs/ledger.md.
"""

import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.errors import EvidenceError
from edge_agent.protocol import merkle
from edge_agent.protocol.checkpoint import (
    PAD_TO,
    SALT_BYTES,
    Checkpoint,
    encode_growth,
    encode_leaf,
    encode_proof,
    ledger_origin,
    parse_leaf,
    read_origin,
    sign_checkpoint,
    verify_checkpoint,
)
from edge_agent.protocol.enrolment import name_unenrolled
from edge_agent.units import UtcNs, encode_rfc3339

PADDING = "padding"
"""Kind of the leaves that fill a tree up before its head leaves the house."""
UNVERIFIED = "unverified"
"""Kind of the one entry per reason and hour that counts the refusals without an entry of their own
(``edge_agent.ledger.refusal_counts``)."""

_TABLES = """
CREATE TABLE IF NOT EXISTS ledger_leaves (
    idx INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ns INTEGER NOT NULL, leaf BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS ledger_leaves_kind ON ledger_leaves (kind, idx);
CREATE TABLE IF NOT EXISTS ledger_nodes (
    level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_checkpoints (
    size INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS ledger_leaves_in_order BEFORE INSERT ON ledger_leaves
    WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM ledger_leaves)
    BEGIN SELECT RAISE(ABORT, 'ledger entries are appended one by one'); END;
"""
_GUARDED = ("ledger_leaves", "ledger_nodes", "ledger_checkpoints")
# Against mistakes of our own programs. Root can drop a trigger: the signed heads that others keep
# are for that (docs/ledger.md).
_GUARD = """
CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}
    BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, with its place."""

    index: int
    kind: str
    at: UtcNs
    entry: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Verified:
    """The findings of a verification of the whole ledger: all of it agrees, up to this head."""

    size: int
    root: bytes
    checkpoints: int
    remembered: int


@dataclass(frozen=True, slots=True)
class ReportLine:
    """How many entries of one kind a month holds, by agency, category and outcome (empty if an entry has none)."""

    month: str
    kind: str
    agency: str
    category: str
    outcome: str
    count: int


def create_tables(conn: sqlite3.Connection) -> None:
    """Create the ledger's tables and guards if they are missing. Commits, as SQLite scripts do."""
    guards = (_GUARD.format(table=table, verb=verb) for table in _GUARDED for verb in ("update", "delete"))
    conn.executescript(_TABLES + "".join(guards))


def append(conn: sqlite3.Connection, kind: str, entry: Mapping[str, object], at: UtcNs) -> int:
    """Append one entry and the tree nodes that it completes.

    Durable with the caller's transaction, which must be open already: ``BEGIN IMMEDIATE``, so that two writers never
    read the same size.

    Args:
        conn: A connection with an open transaction.
        kind: ``request``, ``decision``, ``release`` …: lower-case letters and hyphens.
        entry: JSON members without floats. Nothing that the owner may not be shown in full.
        at: When it happened.

    Returns:
        The entry's index, counted from 0.

    Raises:
        ValueError: No open transaction, or an entry that a leaf cannot hold.
    """
    if not conn.in_transaction:
        raise ValueError("a ledger entry belongs inside a transaction")
    # Salted: the published root of a small tree must not let a reader guess its entries.
    leaf = encode_leaf(kind, at, entry, secrets.token_bytes(SALT_BYTES))
    index = read_size(conn)
    conn.execute("INSERT INTO ledger_leaves VALUES (?, ?, ?, ?)", (index, kind, at, leaf))
    nodes = merkle.append(index, merkle.leaf_hash(leaf), _node_reader(conn))
    conn.executemany("INSERT INTO ledger_nodes VALUES (?, ?, ?)", [(*node, hashed) for node, hashed in nodes])
    return index


def read_size(conn: sqlite3.Connection) -> int:
    """Return the number of entries, padding included."""
    (size,) = conn.execute("SELECT coalesce(max(idx) + 1, 0) FROM ledger_leaves").fetchone()
    return int(size)


def read_head(conn: sqlite3.Connection, origin: str) -> Checkpoint:
    """Return the head as it is now, unsigned and unpadded: for the owner's eyes only."""
    size = read_size(conn)
    return Checkpoint(origin, size, merkle.root(size, _node_reader(conn)))


def entries(conn: sqlite3.Connection, *, kinds: Collection[str] = (), last: int | None = None) -> Iterator[Entry]:
    """Yield entries in order: those of these kinds, or all but padding; the caller keeps the connection meanwhile.

    Of the ``last`` ones alone nothing else is read.
    """
    where = f"kind IN ({','.join('?' * len(kinds))})" if kinds else f"kind != '{PADDING}'"
    query = f"SELECT idx, leaf FROM ledger_leaves WHERE {where} ORDER BY idx"  # noqa: S608  (no outside text)
    values: tuple[object, ...] = tuple(kinds)
    if last is not None:
        query = f"SELECT * FROM ({query} DESC LIMIT ?) ORDER BY idx"  # noqa: S608
        values = (*values, last)
    for index, raw in conn.execute(query, values):
        leaf = parse_leaf(raw)
        yield Entry(index, leaf.kind, leaf.at, leaf.entry)


def read_entry(conn: sqlite3.Connection, index: int) -> Mapping[str, object]:
    """Return the members of an entry that is known to exist."""
    (raw,) = conn.execute("SELECT leaf FROM ledger_leaves WHERE idx = ?", (index,)).fetchone()
    return parse_leaf(raw).entry


def checkpoint(conn: sqlite3.Connection, origin: str, key: Ed25519PrivateKey, at: UtcNs) -> str:
    """Fill the tree up to a multiple of ``PAD_TO`` leaves, sign its head and store the note.

    Inside the caller's transaction: the note may leave the house only after its commit. A ledger that has not grown
    since its last checkpoint gets the same note again.

    Raises:
        ValueError: No open transaction.
    """
    # The size leaves the house with the head: padded, it does not tell how many requests there
    # were.
    while not (size := read_size(conn)) or size % PAD_TO:
        append(conn, PADDING, {}, at)
    stored = conn.execute("SELECT note FROM ledger_checkpoints WHERE size = ?", (size,)).fetchone()
    if stored:
        return str(stored[0])
    note = sign_checkpoint(read_head(conn, origin), key)
    conn.execute("INSERT INTO ledger_checkpoints VALUES (?, ?, ?)", (size, at, note))
    return note


def prove(conn: sqlite3.Connection, index: int) -> dict[str, object]:
    """Return the proof of one entry against the newest checkpoint, as a JSON value.

    ``checkpoint.verify_proof`` checks it with the gateway's public key alone.

    Raises:
        ValueError: No signed checkpoint holds the entry yet: make one first.
    """
    size, note = newest_checkpoint(conn)
    if not 0 <= index < size:
        raise ValueError(f"no checkpoint holds this entry: index={index} checkpoint={size}")
    (leaf,) = conn.execute("SELECT leaf FROM ledger_leaves WHERE idx = ?", (index,)).fetchone()
    return encode_proof(index, leaf, merkle.inclusion_proof(index, size, _node_reader(conn)), note)


def prove_growth(conn: sqlite3.Connection, from_size: int) -> dict[str, object]:
    """Return the proof that the ledger of the newest checkpoint begins with its first ``from_size`` entries, as JSON.

    For readers of a checkpoint of that size: ``checkpoint.verify_growth`` needs the gateway's public key alone.

    Raises:
        EvidenceError: The ledger is shorter than that.
    """
    size, note = newest_checkpoint(conn)
    if not 0 < from_size <= size:
        raise EvidenceError(f"ledger is shorter than a signed checkpoint: size={size} checkpoint={from_size}")
    return encode_growth(from_size, merkle.consistency_proof(from_size, size, _node_reader(conn)), note)


def newest_checkpoint(conn: sqlite3.Connection) -> tuple[int, str]:
    """Return size and note of the newest checkpoint; 0 if none was ever made."""
    row = conn.execute("SELECT size, note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    return (int(row[0]), str(row[1])) if row else (0, "")


def verify(conn: sqlite3.Connection, origin: str, key: Ed25519PublicKey, remembered: Iterable[str] = ()) -> Verified:
    """Recompute the whole ledger from its leaves and compare it with everything stored beside them.

    Every leaf's spelling and columns, every tree node, every checkpoint's signature and root; then the remembered
    notes, which no rewriting passes, not even by somebody who holds the gateway's key. One pass, flat memory.

    Args:
        conn: Any connection; read only is enough.
        origin: ``ledger_origin`` of this gateway. Notes from before its enrolment are under its own name, and count.
        key: The gateway's public key.
        remembered: Signed notes kept outside of this machine: by the RTCC, in bundles, in the owner's mail.

    Raises:
        EvidenceError: The first disagreement, with its index or size.
    """
    own_transaction = not conn.in_transaction
    if own_transaction:
        conn.execute("BEGIN")  # one snapshot for all that is read, while the releaser goes on appending
    try:
        return _verify(conn, origin, key, list(remembered))
    finally:
        if own_transaction:
            conn.rollback()


def _verify(conn: sqlite3.Connection, origin: str, key: Ed25519PublicKey, outside: list[str]) -> Verified:
    stored = [note for (note,) in conn.execute("SELECT note FROM ledger_checkpoints ORDER BY size")]
    own = ledger_origin(name_unenrolled(key))
    heads = [verify_checkpoint(n, own if read_origin(n) == own else origin, key) for n in (*stored, *outside)]
    due: dict[int, set[bytes]] = {}
    for head in heads:
        due.setdefault(head.size, set()).add(head.root)
    peaks: dict[int, tuple[int, bytes]] = {}

    def read_peak(level: int, index: int) -> bytes:
        position, hashed = peaks[level]
        assert position == index
        return hashed

    size = 0
    for index, hashed in _recomputed_leaves(conn):
        for (level, position), node in merkle.append(index, hashed, read_peak):
            peaks[level] = (position, node)
            _check_node(conn, level, position, node)
        size = index + 1
        # All signed roots of one size as a set: two of them are a fork, even if one is the true
        # root.
        if size in due and due.pop(size) != {merkle.root(size, read_peak)}:
            raise EvidenceError(f"ledger is not the one that was signed: checkpoint={size}")
    if due:
        raise EvidenceError(f"ledger is shorter than a signed checkpoint: size={size} checkpoint={max(due)}")
    _check_node_count(conn, size)
    return Verified(size, merkle.root(size, read_peak), len(stored), len(outside))


def _recomputed_leaves(conn: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    rows = conn.execute("SELECT idx, kind, at_ns, leaf FROM ledger_leaves ORDER BY idx")
    for expected, (index, kind, at_ns, raw) in enumerate(rows):
        if index != expected:
            raise EvidenceError(f"ledger entry is missing: index={expected}")
        try:
            leaf = parse_leaf(raw)
        except EvidenceError as error:
            raise EvidenceError(f"{error}: index={index}") from None
        # No hash covers the columns, which are there for queries: they are held against the leaf.
        if (leaf.kind, leaf.at) != (kind, at_ns):
            raise EvidenceError(f"ledger entry disagrees with its row: index={index}")
        yield index, merkle.leaf_hash(raw)


def _check_node(conn: sqlite3.Connection, level: int, index: int, expected: bytes) -> None:
    row = conn.execute("SELECT hash FROM ledger_nodes WHERE level = ? AND idx = ?", (level, index)).fetchone()
    if row is None or row[0] != expected:
        raise EvidenceError(f"ledger entry is not the one entered: index={index << level} level={level}")


def _check_node_count(conn: sqlite3.Connection, size: int) -> None:
    """A tree of n leaves has n - popcount(n) inner full nodes; one more was put in by hand."""
    (count,) = conn.execute("SELECT count(*) FROM ledger_nodes").fetchone()
    if count != 2 * size - size.bit_count():
        raise EvidenceError(f"ledger has tree nodes that no entry made: size={size} nodes={count}")


def _node_reader(conn: sqlite3.Connection) -> merkle.ReadNode:
    def read(level: int, index: int) -> bytes:
        row = conn.execute("SELECT hash FROM ledger_nodes WHERE level = ? AND idx = ?", (level, index)).fetchone()
        if row is None:
            raise EvidenceError(f"ledger has lost a tree node: level={level} index={index}")
        return bytes(row[0])

    return read


def report(conn: sqlite3.Connection) -> list[ReportLine]:
    """Count entries per month, kind, agency, category and outcome; padding left out.

    An entry takes part with its own members ``iss``, ``category`` and ``outcome``, if it has them; an entry that
    is itself a count (``count``) counts as that many.
    """
    counts: dict[tuple[str, str, str, str, str], int] = {}
    for entry in entries(conn):
        agency, category, outcome = (str(entry.entry.get(name, "")) for name in ("iss", "category", "outcome"))
        line = (encode_rfc3339(entry.at)[:7], entry.kind, agency, category, outcome)
        count = entry.entry.get("count", 1) if entry.kind == UNVERIFIED else 1
        counts[line] = counts.get(line, 0) + (count if isinstance(count, int) else 1)
    return [ReportLine(*line, count) for line, count in sorted(counts.items())]
