"""The audit of the RTCC's own side: events in a Merkle tree whose head is signed daily (docs/adr/0070).

Owns the ``audit_`` tables. An event is inserted in the transaction of its own cause, by a role that
may do no more; the signing program puts the events into the tree (RFC 6962), so no worker waits for
another. The tree and its signed heads are those of a gateway's ledger:
``edge_agent.protocol.merkle`` and ``checkpoint``.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from edge_agent.protocol import merkle
from edge_agent.protocol.checkpoint import SALT_BYTES, encode_leaf
from edge_agent.rtcc.state.tables import audit_events, audit_leaves, audit_nodes
from edge_agent.units import UtcNs

# Inline: without it the insert returns the row's number, which a worker has no right to read.
_ADD = insert(audit_events).inline()


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event of the audit: its kind, and members of JSON."""

    kind: str
    entry: Mapping[str, object]


def add(connection: Connection, *events: AuditEvent) -> None:
    """Note events inside the caller's transaction, with one statement."""
    now = time.time_ns()
    rows = [{"kind": each.kind, "at_ns": now, "entry": json.dumps(each.entry, sort_keys=True)} for each in events]
    if rows:
        connection.execute(_ADD, rows)


def read_size(connection: Connection) -> int:
    """Return the number of leaves."""
    return int(connection.execute(select(func.coalesce(func.max(audit_leaves.c.idx) + 1, 0))).scalar_one())


def read_node(connection: Connection) -> merkle.ReadNode:
    """Return what reads a full node's hash."""

    def read(level: int, index: int) -> bytes:
        query = select(audit_nodes.c.hash).where(audit_nodes.c.level == level, audit_nodes.c.idx == index)
        return bytes(connection.execute(query).scalar_one())

    return read


def put(
    connection: Connection, index: int, event: int | None, kind: str, at: UtcNs, entry: Mapping[str, object]
) -> None:
    """Put one leaf at the end of the tree, and the nodes that it completes."""
    leaf = encode_leaf(kind, at, entry, secrets.token_bytes(SALT_BYTES))
    connection.execute(insert(audit_leaves).values(idx=index, event=event, leaf=leaf))
    nodes = merkle.append(index, merkle.leaf_hash(leaf), read_node(connection))
    connection.execute(
        insert(audit_nodes), [{"level": level, "idx": place, "hash": hashed} for (level, place), hashed in nodes]
    )
