"""An incident out of a computer-aided dispatch system: JSON of theirs, read by a mapping file of ours. Pure.

The mapping says for each word of a request where it stands in their JSON, as a JSON Pointer (RFC 6901), and how their
words are ours::

    {"number": "/IncidentNumber", "category": {"at": "/Type/Code", "is": {"211": "robbery"}},
     "place": ["/Location/Lat", "/Location/Lon"], "reported_at": "/ReceivedUtc",
     "incident_window": ["/FirstEventUtc", "/LastEventUtc"], "purpose": "/Narrative", "contact": "/Desk"}
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from edge_agent.errors import UsageError

MAX_CAD_BYTES = 1 << 20
WORDS = ("number", "category", "place", "reported_at", "incident_window", "purpose", "contact")
"""The members that a mapping may fill in; ``incident`` on the command line is ``number`` here."""
_JOINED_BY = {"place": ",", "incident_window": "/"}
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


def read_cad(incident: bytes, mapping: bytes) -> dict[str, str]:
    """Return the words of a request that an incident gives, as a person would have typed them.

    Raises:
        UsageError: Not JSON, a word that is none, a pointer that leads nowhere, or a value that is not mapped.
    """
    values, places = _parse(incident, "incident"), _parse(mapping, "mapping")
    if not isinstance(places, dict):
        raise UsageError("mapping is no JSON object", f"its members: {', '.join(WORDS)}")
    if unknown := sorted(set(places) - set(WORDS)):
        raise UsageError(f"mapping names a word that a request does not have: {unknown[0][:40]!r}", ", ".join(WORDS))
    return {word: _read_word(word, place, values) for word, place in places.items()}


def _read_word(word: str, place: Any, values: Any) -> str:
    if isinstance(place, list):
        if word not in _JOINED_BY or len(place) != 2:
            raise UsageError(f"mapping gives {word} more than one place")
        return _JOINED_BY[word].join(_read_one(word, each, values) for each in place)
    if isinstance(place, dict):
        if set(place) != {"at", "is"} or not isinstance(place["is"], Mapping):
            raise UsageError(f'mapping of {word} should be a pointer, or {{"at": pointer, "is": {{theirs: ours}}}}')
        theirs = _read_one(word, place["at"], values)
        if theirs not in place["is"]:
            raise UsageError(f"mapping has no word of ours for {word}: {theirs[:40]!r}")
        return str(place["is"][theirs])
    return _read_one(word, place, values)


def _read_one(word: str, pointer: Any, values: Any) -> str:
    found = _follow(word, pointer, values)
    # A time, a place, a number or a name: never a list, an object, nothing, or yes and no.
    if isinstance(found, bool) or not isinstance(found, str | int | float) or not str(found).strip():
        raise UsageError(f"incident has no text and no number for {word}: {pointer}")
    return str(found).strip()


def _follow(word: str, pointer: Any, value: Any) -> Any:
    """Follow a JSON Pointer (RFC 6901, section 4)."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise UsageError(f"mapping of {word} is no JSON Pointer, such as /Incident/Number")
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise UsageError(f"incident has nothing for {word}: {pointer}")
    return value


def _parse(raw: bytes, what: str) -> Any:
    if len(raw) > MAX_CAD_BYTES:
        raise UsageError(f"{what} is too large: limit={MAX_CAD_BYTES}")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what} is no JSON: {error}") from error
