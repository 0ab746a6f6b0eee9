"""The ledger as people read it: commands of the control socket over ``ledger``, and the entries that time brings.

Reads through a connection of its own, so that a long verification holds nothing up.
"""

import itertools
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Handler, Peer, Reply, read_int, read_texts
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin, read_origin, verify_checkpoint, verify_growth
from edge_agent.units import UtcNs, encode_rfc3339
from edge_agent.uplink.store.database import Database

_PAGE = 200
"""Entries of one answer on the socket."""
MAX_REMEMBERED = 64
"""Notes of one command: each one is a signature to verify."""


class LedgerCommands:
    """Handlers by command name: see ``handlers``.

    Args:
        store: Its file holds the ledger.
        gateway: This gateway's id: the ledger's origin.
        key: Signs checkpoints.
        clock: For padding that a proof needs.
    """

    def __init__(self, store: Database, gateway: str, key: Ed25519PrivateKey, clock: Clock) -> None:
        self._store = store
        self._origin = ledger_origin(gateway)
        self._key = key
        self._clock = clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {
            "ledger": self._entries,
            "ledger-verify": self._verify,
            "ledger-prove": self._prove,
            "ledger-checkpoint": self._checkpoint,
            "ledger-growth": self._prove_growth,
            "ledger-report": self._report,
        }

    def checkpoint(self) -> str:
        """Sign the head as it is now, padded, in a transaction of its own."""
        with self._store.transaction() as connection:
            return self.sign(connection, self._clock.utc())

    def sign(self, connection: sqlite3.Connection, now: UtcNs) -> str:
        """Sign the head, padded, in the caller's transaction."""
        return ledger.checkpoint(connection, self._origin, self._key, now)

    def _entries(self, members: Mapping[str, Any], _peer: Peer) -> Iterator[Reply]:
        kinds, last = read_texts(members, "kinds")[:32], read_int(members, "last", 0)
        with self._store.reading() as connection:
            found = ledger.entries(connection, kinds=kinds, last=last if last > 0 else None)
            while page := list(itertools.islice(found, _PAGE)):
                yield {
                    "entries": [
                        {
                            "index": each.index,
                            "at": encode_rfc3339(each.at),
                            "kind": each.kind,
                            "request": self._find_number(each.entry),
                            "entry": each.entry,
                        }
                        for each in page
                    ]
                }

    def _find_number(self, entry: Mapping[str, Any]) -> int | None:
        """Return the number of an entry's request; a grant's entry, which leaves the house, has none in it."""
        if "number" in entry or "jti" not in entry:
            return entry.get("number")
        found = self._store.requests.find(str(entry["jti"]), entry.get("iss"))
        return None if found is None else found.id

    def _verify(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        remembered = read_texts(members, "remembered")[:MAX_REMEMBERED]
        with self._store.reading() as connection:
            found = ledger.verify(connection, self._origin, self._key.public_key(), remembered)
        return {
            "size": found.size,
            "root": found.root.hex(),
            "checkpoints": found.checkpoints,
            "remembered": found.remembered,
        }

    def _prove(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        index = read_int(members, "index")
        with self._store.transaction() as connection:
            if not 0 <= index < ledger.read_size(connection):
                raise UsageError(f"the ledger has no entry {index}")
            signed, note = ledger.newest_checkpoint(connection)
            # A note from before the enrolment holds the entry under another name than a verifier asks for.
            if index >= signed or read_origin(note) != self._origin:
                self.sign(connection, self._clock.utc())
            return {"proof": ledger.prove(connection, index)}

    def _checkpoint(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        return {"checkpoint": self.checkpoint()}

    def _prove_growth(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Prove it to the owner first: a proof that this ledger does not bear out is not printed."""
        remembered, public = str(members["remembered"]), self._key.public_key()
        old = verify_checkpoint(remembered, self._origin, public)
        with self._store.transaction() as connection:
            self.sign(connection, self._clock.utc())
            proof = ledger.prove_growth(connection, old.size)
        verify_growth(proof, remembered, self._origin, public)
        return {"proof": proof}

    def _report(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        with self._store.reading() as connection:
            lines = ledger.report(connection)
        return {
            "lines": [[each.month, each.kind, each.agency, each.category, each.outcome, each.count] for each in lines]
        }
