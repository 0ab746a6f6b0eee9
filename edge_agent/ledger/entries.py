"""What every entry of the ledger is: a kind with exactly its members, and how a member is written.

The kinds are in ``request_kinds``, ``owner_kinds`` and ``gateway_kinds``; ``kinds`` is their closed list. Decides
nothing; the caller chooses when an entry is made.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from edge_agent.ledger import table
from edge_agent.units import UtcNs, Window, encode_rfc3339

TIME = {"encode": encode_rfc3339}
"""Metadata of a member that is a moment: RFC 3339."""
Reasons = tuple[Mapping[str, Any], ...]
"""``{"code", "camera"}`` each; ``camera`` is null if the reason is about no single one."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry; its docstring is its meaning. Members that are None are left out."""

    kind: ClassVar[str]

    def members(self) -> dict[str, object]:
        """Write the entry as the JSON members of its leaf."""
        found = ((each, getattr(self, each.name)) for each in fields(self))
        return {
            each.name.rstrip("_"): each.metadata.get("encode", _encode)(value)
            for each, value in found
            if value is not None
        }


def append(connection: sqlite3.Connection, entry: LedgerEntry, at: UtcNs) -> int:
    """Append an entry inside an open transaction and return its index; see ``table.append``."""
    return table.append(connection, entry.kind, entry.members(), at)


def _encode(value: Any) -> object:
    match value:
        case bytes():
            return value.hex()
        case Window():
            return str(value)
        case LedgerCamera():
            return value.members()
        case tuple():
            return [_encode(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class LedgerCamera:
    """One camera's part of a decision or grant, as a member of an entry."""

    camera: str
    quality: str
    windows: tuple[Window, ...]
    audio: bool
    consent_sha256: bytes
    consent_version: int

    def members(self) -> dict[str, object]:
        """Write it as JSON members."""
        return {each.name: _encode(getattr(self, each.name)) for each in fields(self)}
