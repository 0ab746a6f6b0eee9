"""The audit's Merkle tree: events put into it, its head signed, and looked at again as a whole.

Owns ``audit_leaves``, ``audit_nodes`` and ``audit_checkpoints``. Needs a role that may read the audit: the owner of the
tables. One program at a time changes the tree.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, func, insert, select

from edge_agent.errors import EvidenceError
from edge_agent.protocol import merkle
from edge_agent.protocol.checkpoint import (
    PAD_TO,
    Checkpoint,
    encode_growth,
    parse_leaf,
    sign_checkpoint,
    verify_checkpoint,
)
from edge_agent.rtcc.state import audit, guards
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import audit_checkpoints, audit_events, audit_leaves
from edge_agent.units import UtcNs

_PAGE = 1000
"""Rows at once: the audit of a city does not fit into memory."""
_PADDING = "padding"


@dataclass(frozen=True, slots=True)
class AuditFindings:
    """The counts of an audit that agrees in every part."""

    leaves: int
    waiting: int
    """Events that no checkpoint covers yet."""
    checkpoints: int


def origin_of(iss: str) -> str:
    """Return the name under which an RTCC's audit signs."""
    return f"edge-agent-rtcc/{iss}"


class AuditTree:
    """The audit of a state.

    Args:
        database: Its tables.
        origin: See ``origin_of``.
    """

    def __init__(self, database: CityDatabase, origin: str) -> None:
        self._database, self._origin = database, origin

    def sign(self, key: Ed25519PrivateKey, now: UtcNs) -> str:
        """Put every event into the tree that is not in it yet, and sign the head; durable on return.

        Returns:
            The checkpoint, a signed note (C2SP tlog-checkpoint). An audit that has not grown gets the same note again.
        """
        with self._database.begin() as connection:
            if self._database.is_shared:
                # Two programs that read one size would both put a leaf at that place.
                guards.exclude_others(connection)
            size = _put_events(connection, audit.read_size(connection))
            # The size is published: a multiple of PAD_TO tells no one how many events a day had.
            while not size or size % PAD_TO:
                audit.put(connection, size, None, _PADDING, now, {})
                size += 1
            known = select(audit_checkpoints.c.note).where(audit_checkpoints.c.size == size)
            if (note := connection.execute(known).scalar()) is not None:
                return str(note)
            head = Checkpoint(self._origin, size, merkle.root(size, audit.read_node(connection)))
            note = sign_checkpoint(head, key)
            connection.execute(insert(audit_checkpoints).values(size=size, at_ns=now, note=note))
            return note

    def check(self, key: Ed25519PublicKey) -> AuditFindings:
        """Look at every event, leaf and checkpoint.

        Raises:
            EvidenceError: Something was changed after it was signed; the message names the first such place.
        """
        with self._database.read() as connection:
            notes = connection.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size)).all()
            heads = [verify_checkpoint(row.note, self._origin, key) for row in notes]
            size = _check_leaves(connection, {head.size: head.root for head in heads})
            _check_events(connection)
            waiting = connection.execute(select(func.count()).select_from(_NEW.subquery())).scalar_one()
        return AuditFindings(size, int(waiting), len(heads))

    def prove_growth(self, from_size: int) -> dict[str, object]:
        """Return the proof that the newest checkpoint begins with the first ``from_size`` leaves.

        ``verify_growth`` of ``edge_agent.protocol.checkpoint`` checks it.

        Raises:
            EvidenceError: No checkpoint was signed yet, or not with so many leaves.
        """
        with self._database.read() as connection:
            newest = connection.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc())).first()
            if newest is None or not 0 < from_size <= newest.size:
                raise EvidenceError(f"no checkpoint holds so many leaves: size={from_size}")
            path = merkle.consistency_proof(from_size, newest.size, audit.read_node(connection))
            return encode_growth(from_size, path, newest.note)


_NEW = (
    select(audit_events)
    .outerjoin(audit_leaves, audit_leaves.c.event == audit_events.c.number)
    .where(audit_leaves.c.idx.is_(None))
)


def _put_events(connection: Connection, size: int) -> int:
    """Put new events into the tree, page by page; return its size.

    Numbers are given before a commit, so one below those that are in the tree may be new: every run looks at all of
    them, and looks at each once.
    """
    after = -1
    while True:
        page = _NEW.where(audit_events.c.number > after).order_by(audit_events.c.number).limit(_PAGE)
        events = connection.execute(page).all()
        if not events:
            return size
        for event in events:
            audit.put(connection, size, event.number, event.kind, UtcNs(event.at_ns), json.loads(event.entry))
            size += 1
        after = events[-1].number


def _leaves(connection: Connection) -> Iterator[bytes]:
    after = -1
    while True:
        page = select(audit_leaves).where(audit_leaves.c.idx > after).order_by(audit_leaves.c.idx).limit(_PAGE)
        rows = connection.execute(page).all()
        if not rows:
            return
        for row in rows:
            if row.idx != after + 1:
                raise EvidenceError(f"audit lacks a leaf: index={after + 1}")
            after = row.idx
            yield bytes(row.leaf)


def _check_leaves(connection: Connection, roots: dict[int, bytes]) -> int:
    """Compute the tree anew from its leaves, and compare it with every signed head; return its size."""
    nodes: dict[merkle.Node, bytes] = {}
    size = 0

    def read(level: int, index: int) -> bytes:
        return nodes[level, index]

    for leaf in _leaves(connection):
        nodes.update(merkle.append(size, merkle.leaf_hash(leaf), read))
        size += 1
        # At each signed size, and not at the last alone: the first checkpoint that fails tells
        # since when.
        if size in roots and merkle.root(size, read) != roots.pop(size):
            raise EvidenceError(f"audit was changed after it was signed: checkpoint size={size}")
    if roots:
        raise EvidenceError(f"audit lacks leaves of a checkpoint: size={min(roots)} leaves={size}")
    return size


def _check_events(connection: Connection) -> None:
    """Compare each event with its leaf."""
    both = select(audit_leaves.c.idx, audit_leaves.c.leaf, audit_events).outerjoin(
        audit_events, audit_leaves.c.event == audit_events.c.number
    )
    for row in connection.execute(both.where(audit_leaves.c.event.is_not(None)).execution_options(yield_per=_PAGE)):
        leaf = parse_leaf(bytes(row.leaf))
        if row.entry is None or (leaf.kind, leaf.at, dict(leaf.entry)) != (row.kind, row.at_ns, json.loads(row.entry)):
            raise EvidenceError(f"audit's event is not what was signed: leaf={row.idx} event={row.number}")
