"""What a message to the owner may say: never footage, an address, or an incident's place. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.consent.policy import Occasion

MAX_NUMBERS = 12
"""Requests that a summary names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to the owner. Both texts leave the house unencrypted in most services."""

    occasion: Occasion
    title: str
    body: str


def ask_notice(number: int, agency: str, category: str, cameras: Sequence[str], until: str) -> Notice:
    """Say that a request waits for the owner's answer.

    Args:
        number: What ``edge-agent requests`` calls it.
        agency: Who asks.
        category: The incident's category; neither its place nor its number is told.
        cameras: Ids of those that can leave.
        until: When silence becomes a no, in the gateway's time zone.
    """
    return Notice(
        Occasion.ASK,
        f"Your answer is needed: request {number}",
        f"{agency} asks for footage of {_names(cameras)} because of: {_words(category)}.\n"
        f"Without an answer until {until} the request is refused.\n"
        f"On the gateway: edge-agent requests show {number}, then approve or deny.",
    )


def request_notice(number: int, agency: str, category: str, cameras: Sequence[str]) -> Notice:
    """Say that a request arrived which the owner's terms decide by themselves."""
    return Notice(
        Occasion.REQUEST,
        f"Request {number} for footage",
        f"{agency} asks for footage of {_names(cameras)} because of: {_words(category)}.\n"
        f"Your consent decides it. On the gateway: edge-agent requests show {number}.",
    )


def grant_notice(number: int, agency: str, category: str, cameras: Sequence[str], leaves_at: str) -> Notice:
    """Say that a clip will leave, and until when that can be stopped."""
    return Notice(
        Occasion.RELEASE,
        f"A clip will be released: request {number}",
        f"Footage of {_names(cameras)} goes to {agency} because of: {_words(category)}. Not before {leaves_at}.\n"
        f"To stop it: edge-agent requests cancel {number}.",
    )


def release_notice(number: int, agency: str, cameras: Sequence[str]) -> Notice:
    """Say that a clip has left and can be opened by the other side."""
    return Notice(
        Occasion.RELEASE,
        f"A clip was released: request {number}",
        f"Footage of {_names(cameras)} was handed over to {agency}.\nWhat and why: edge-agent requests show {number}.",
    )


def refusal_notice(number: int, agency: str, reasons: Sequence[str]) -> Notice:
    """Say that a request was refused, and by which of the owner's terms; or that a release ended without one."""
    return Notice(
        Occasion.REFUSAL,
        f"A request was refused: request {number}",
        f"{agency} got nothing. Why: {', '.join(_words(reason) for reason in reasons)}.",
    )


def refusals_notice(numbers: Sequence[int], reasons: Mapping[str, int]) -> Notice:
    """Say that several requests were refused: which, and how often for which reason."""
    named = ", ".join(map(str, numbers[:MAX_NUMBERS]))
    more = f" and {len(numbers) - MAX_NUMBERS} more" if len(numbers) > MAX_NUMBERS else ""
    why = ", ".join(f"{_words(code)} ({count})" for code, count in reasons.items())
    return Notice(
        Occasion.REFUSAL,
        f"{len(numbers)} requests were refused",
        f"Requests {named}{more} got nothing. Why: {why}.\nOn the gateway: edge-agent requests list.",
    )


def expiry_notice(what: str, days: int) -> Notice:
    """Say that something ends soon: the owner's consent, the RTCC's trust bundle, a certificate."""
    when = "today" if days <= 0 else "tomorrow" if days == 1 else f"in {days} days"
    return Notice(Occasion.EXPIRY, f"{what} ends {when}", f"{what} ends {when}. After that, every request is refused.")


def update_notice(what: str, version: str, why: str) -> Notice:
    """Say what became of a release: offered, installed, or taken back. For whoever wants to hear of what ends."""
    if what == "offered":
        body = "What runs goes on. To install it, on the gateway: sudo edge-agent update"
        return Notice(Occasion.EXPIRY, f"Release {version} of the edge agent is there", body)
    return Notice(Occasion.EXPIRY, f"Release {version} of the edge agent: {what}", why or "It runs.")


def _names(cameras: Sequence[str]) -> str:
    return "all cameras" if list(cameras) == ["*"] else ", ".join(cameras)


def _words(code: str) -> str:
    return code.replace("-", " ")
