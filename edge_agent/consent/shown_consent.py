"""The text that the owner sees before signing: made from the payload's own bytes, and from nothing else.

Owns the lines of the prompt for one camera and for the house. A digest in the payload is shown as the text that it
stands for, and only if that text has that digest. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from edge_agent.base64url import encode_b64url
from edge_agent.consent.plain_words import describe_camera, describe_fact, describe_house
from edge_agent.consent.signed_consent import SignedConsent
from edge_agent.errors import CustodyError
from edge_agent.local_time import say_moment
from edge_agent.printable_text import show_line
from edge_agent.settings.source_digest import digest_source
from edge_agent.texts import Language

CHANGED = "*"
"""Marks a line that the last signed version did not have."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Facts that the owner sees beside the payload: they name the other end but bind nothing."""

    broker: str
    streams: Mapping[str, str]
    """Address of each recorded stream, without credentials, by quality."""
    file_name: str
    """The camera's name in ``edge-agent.yaml`` now."""
    recipients: Mapping[str, str]
    """Role → age key for which clips are sealed today; the trust bundle may bring others."""
    foreign: Mapping[str, str] = field(default_factory=dict)
    """By quality, the span of the footage in its ring that is of another source than the signed one."""


def list_camera(built: SignedConsent, beside: Unsigned, language: Language, zone: tzinfo) -> list[str]:
    """Return the lines about one camera.

    Args:
        built: Read from the payload (``read_built``).
        beside: The facts that are shown beside it.
        language: Of the sentences.
        zone: The end is told in its local time, and in UTC.

    Raises:
        CustodyError: A digest in the payload is not that of the stream's address.
    """
    if not all(_stands_for(stream, beside.streams) for stream in built.facts["streams"]):
        raise CustodyError(f"{built.camera}: the camera's address changed while its terms were made ready; sign again")
    place = built.facts["place"]
    lines = [describe_fact("name", built.name, language)]
    if beside.file_name != built.name:
        lines.append(describe_fact("file_name", beside.file_name, language))
    lines += [describe_fact(f"stream.{quality}", show_line(url), language) for quality, url in beside.streams.items()]
    lines += [describe_fact("foreign", f"{span} ({quality})", language) for quality, span in beside.foreign.items()]
    lines.append(describe_fact("place", "" if place is None else f"{place['lat']}, {place['lon']}", language))
    lines += describe_camera(built.terms, language)
    lines.append(describe_fact("until", say_moment(built.valid_until, zone), language))
    return lines


def _stands_for(stream: Mapping[str, str], addresses: Mapping[str, str]) -> bool:
    """Tell whether a stream of the payload is the one that is shown."""
    address = addresses.get(stream["quality"], "")
    return encode_b64url(digest_source(bytes.fromhex(stream["ring"]), address)) == stream["source"]


def list_house(built: SignedConsent, beside: Unsigned, language: Language) -> list[str]:
    """Return the lines about the house: whom it answers, who vouches for them, where clips go, who can open them."""
    facts = built.facts
    return [
        describe_fact("issuer", facts["issuer"], language),
        *(describe_fact("root", root, language) for root in facts["roots"]),
        describe_fact("threshold", str(facts["threshold"]), language),
        describe_fact("broker", show_line(beside.broker), language),
        *(describe_fact("upload", show_line(origin), language) for origin in facts["upload_origins"]),
        *(
            describe_fact(f"recipient.{role}", beside.recipients.get(role, "?"), language)
            for role in ("evidence", "escrow")
            if role == "evidence" or built.terms.house.escrow
        ),
        describe_fact("time_zone", facts["time_zone"], language),
        describe_fact("store", facts["store"], language),
        *describe_house(built.terms, language),
    ]


def mark_changes(lines: Sequence[str], earlier: Iterable[str] | None) -> Iterator[str]:
    """Yield the lines for a list, those marked that the last signed version did not have."""
    known = None if earlier is None else frozenset(earlier)
    for line in lines:
        yield f"  {'-' if known is None or line in known else CHANGED} {line}"
