"""Every message to the owner: its occasion, its title and its body, in the owner's language.

Owns what a message may say: never footage, an address, or an incident's place, because most services carry it in the
clear. Pure: moments come in as local times, cameras as their ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.consent.policy import Occasion
from edge_agent.texts import ENGLISH, Texts

MAX_NUMBERS = 12
"""Requests that a summary names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to the owner. Both texts leave the house unencrypted in most services."""

    occasion: Occasion | None
    """None: a fault of the gateway, which no consent says anything about."""
    title: str
    body: str

    @property
    def kind(self) -> str:
        """The occasion's name, for the log."""
        return "fault" if self.occasion is None else self.occasion.value


def ask_notice(
    request_id: str, agency: str, category: str, cameras: Sequence[str], until: str, texts: Texts = ENGLISH
) -> Notice:
    """Tell that a request waits for the owner's word.

    Args:
        request_id: Its number in ``edge-agent requests``.
        agency: Who asks.
        category: The incident's category; neither its place nor its number is told.
        cameras: Ids.
        until: When silence becomes a no, in the gateway's time zone.
        texts: The owner's language.
    """
    return Notice(
        Occasion.ASK,
        texts("Your word is needed: request {request}", request=request_id),
        "\n".join((_asks(agency, category, cameras, texts), _how_to_answer(request_id, until, texts))),
    )


def remind_notice(request_id: str, agency: str, cameras: Sequence[str], until: str, texts: Texts = ENGLISH) -> Notice:
    """Tell once more, before silence becomes a no, that a request waits; see ``ask_notice``."""
    waits = texts("{agency} still waits for your word on {cameras}.", agency=agency, cameras=_names(cameras, texts))
    return Notice(
        Occasion.ASK,
        texts("Your word is still needed: request {request}", request=request_id),
        "\n".join((waits, _how_to_answer(request_id, until, texts))),
    )


def request_notice(
    request_id: str, agency: str, category: str, cameras: Sequence[str], texts: Texts = ENGLISH
) -> Notice:
    """Tell that a request arrived which the owner's terms decide by themselves."""
    decides = texts("Your consent decides it. On the gateway: edge-agent requests show {request}.", request=request_id)
    return Notice(
        Occasion.REQUEST,
        texts("Request {request} for footage", request=request_id),
        "\n".join((_asks(agency, category, cameras, texts), decides)),
    )


def grant_notice(
    request_id: str, agency: str, cameras: Sequence[str], leaves_at: str, texts: Texts = ENGLISH
) -> Notice:
    """Tell that a clip will leave, and until when that can be stopped."""
    goes = texts(
        "Footage of {cameras} goes to {agency}, not before {moment}.",
        cameras=_names(cameras, texts),
        agency=agency,
        moment=leaves_at,
    )
    stop = texts("To stop it: edge-agent requests cancel {request}.", request=request_id)
    return Notice(
        Occasion.RELEASE, texts("A clip will be released: request {request}", request=request_id), f"{goes}\n{stop}"
    )


def release_notice(request_id: str, agency: str, cameras: Sequence[str], texts: Texts = ENGLISH) -> Notice:
    """Tell that a clip has left and can be opened by the other side."""
    went = texts("Footage of {cameras} was handed over to {agency}.", cameras=_names(cameras, texts), agency=agency)
    return Notice(
        Occasion.RELEASE,
        texts("A clip was released: request {request}", request=request_id),
        "\n".join((went, texts("What and why: edge-agent requests show {request}.", request=request_id))),
    )


def refusal_notice(request_id: str, agency: str, reasons: Sequence[str], texts: Texts = ENGLISH) -> Notice:
    """Tell that a request was refused, and why.

    Args:
        request_id: Its number in ``edge-agent requests``.
        agency: Who asked.
        reasons: Sentences, as the gate gave them.
        texts: The owner's language.
    """
    why = " ".join(dict.fromkeys(map(texts.translate, reasons)))
    return Notice(
        Occasion.REFUSAL,
        texts("A request was refused: request {request}", request=request_id),
        texts("{agency} got nothing. Why: {reasons}", agency=agency, reasons=why),
    )


def refusals_notice(numbers: Sequence[str], reasons: Mapping[str, int], texts: Texts = ENGLISH) -> Notice:
    """Tell that several requests were refused: which, and how often for which reason (a sentence of the gate)."""
    named = ", ".join(numbers[:MAX_NUMBERS]) + (" …" if len(numbers) > MAX_NUMBERS else "")
    why = " ".join(f"{texts.translate(sentence)} ({count})" for sentence, count in reasons.items())
    nothing = texts("Requests {requests} got nothing. Why: {reasons}", requests=named, reasons=why)
    return Notice(
        Occasion.REFUSAL,
        texts("{count} requests were refused", count=len(numbers)),
        "\n".join((nothing, texts("On the gateway: edge-agent requests list."))),
    )


def update_notice(what: str, version: str, why: str, texts: Texts = ENGLISH) -> Notice:
    """Tell of a release: offered, installed, or taken back. Sent to owners who want to hear of ends."""
    if what == "offered":
        body = texts("What runs goes on. To install it, on the gateway: sudo edge-agent update")
        return Notice(Occasion.EXPIRY, texts("Release {version} of the edge agent is there", version=version), body)
    title = texts("Release {version} of the edge agent: {what}", version=version, what=texts.translate(what))
    return Notice(Occasion.EXPIRY, title, texts.translate(why) or texts("It runs."))


def code_notice(sentence: str, code: str, texts: Texts = ENGLISH) -> Notice:
    """Tell the code of one act of the desk, beside the sentence of the bytes that are signed with it."""
    only = texts("Type it at the desk only if this is what you want. It is good once, for five minutes.")
    never = texts("If you did not ask for it, somebody else is at your desk: on the gateway: edge-agent page off")
    return Notice(None, texts("Code {code} for your desk", code=code), "\n".join((f"{sentence}: {code}", only, never)))


def _asks(agency: str, category: str, cameras: Sequence[str], texts: Texts) -> str:
    return texts(
        "{agency} asks for footage of {cameras} because of: {category}.",
        agency=agency,
        cameras=_names(cameras, texts),
        category=texts.template(category.replace("-", " ")),
    )


def _how_to_answer(request_id: str, until: str, texts: Texts) -> str:
    return "\n".join(
        (
            texts("Without an answer until {moment} the request is refused.", moment=until),
            texts("On the gateway: edge-agent requests show {request}, then approve or deny.", request=request_id),
        )
    )


def _names(cameras: Sequence[str], texts: Texts) -> str:
    return texts("all cameras") if list(cameras) == ["*"] else ", ".join(cameras)
