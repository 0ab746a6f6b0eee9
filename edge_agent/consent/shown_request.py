"""A request in the owner's words: requester, purpose, footage, and the part that would leave with a yes.

Made from the bytes that the RTCC signed and from the payload that the owner is about to sign; the rest is the part that
the gate has left of it. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import tzinfo

from edge_agent.consent.bound import intersect
from edge_agent.consent.offer import Offers
from edge_agent.local_time import encode_local, say_moment
from edge_agent.printable_text import show_line
from edge_agent.protocol.request import Quality, Request
from edge_agent.protocol.verdict import Approval
from edge_agent.units import SECOND_NS, UtcNs

_SIZES = {Quality.MAIN: "full resolution", Quality.SUB: "small resolution"}


def list_request(request: Request, signers: Sequence[str], zone: tzinfo) -> Iterator[str]:
    """Yield the lines about the asking center, the reason, and the footage."""
    incident = request.incident
    cameras = "every camera" if "*" in request.cameras else ", ".join(map(show_line, request.cameras))
    sound = "with sound" if request.audio else "without sound"
    names = ", ".join(show_line(each) for each in signers)
    yield f"asked by: {show_line(request.iss)}"
    yield f"signed by: {names or 'persons whom the trust bundle of today does not name'}"
    yield f"why: {show_line(request.purpose)}"
    yield f"contact: {show_line(request.contact)}"
    yield f"incident: {show_line(incident.number)}, {incident.category.value}"
    yield f"reported: {say_moment(incident.reported_at, zone)}"
    yield f"asked for: {cameras}, {_SIZES[request.quality]}, {sound}"
    yield f"from: {say_moment(request.window.start, zone)}"
    yield f"to: {say_moment(request.window.end, zone)}"


def meet_approval(approval: Approval, offers: Offers) -> Offers:
    """Return what leaves with an approval: of each camera that it names, the part inside its window."""
    met = []
    for offer in offers.cameras:
        windows = intersect(offer.windows, (approval.window,)) if offer.camera in approval.cameras else ()
        if windows:
            met.append(replace(offer, windows=windows))
    return Offers(tuple(met), offers.escrow)


def list_leaving(offers: Offers, zone: tzinfo) -> Iterator[str]:
    """Yield a line for each camera and span that leaves, and one for its readers."""
    for offer in offers.cameras:
        sound = "with sound" if offer.audio else "without sound"
        masked = f", {len(offer.masks)} areas blacked out" if offer.masks else ""
        for window in offer.windows:
            span = f"{encode_local(window.start, zone)} to {say_moment(window.end, zone)}"
            length = say_length(window.duration_ns)
            yield f"{offer.camera}: {span}, {length}, {_SIZES[offer.quality]}, {sound}{masked}"
    yield f"can be read by: you, the crime center{', and the key that it keeps in escrow' * offers.escrow}"


def say_cancel(not_before: UtcNs, release_by: UtcNs, number: int, zone: tzinfo) -> list[str]:
    """Say from when something may be sent, and until when it can be stopped."""
    return [
        f"Nothing is sent before {say_moment(not_before, zone)}.",
        f"Until the key is handed over, at the latest {say_moment(release_by, zone)}, this stops it, and what was sent "
        f"stays closed: edge-agent requests cancel {number}",
    ]


def say_length(duration_ns: int) -> str:
    """Say a length in minutes and seconds, such as ``2 min 5 s``."""
    # Rounded up: a part of a second leaves as well.
    minutes, seconds = divmod(-(-duration_ns // SECOND_NS), 60)
    return " ".join(part for part in (f"{minutes} min" * (minutes > 0), f"{seconds} s" * (seconds > 0)) if part)
