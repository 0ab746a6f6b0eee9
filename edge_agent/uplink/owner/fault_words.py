"""The messages of a fault to the owner: its name, its meaning and its mend; and that it is well again.

Owns the closed list of the kinds of faults. Pure. The sentences are templates, translated as they stand here:
``{subject}`` is one camera or folder, or several of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from edge_agent.consent.policy import Occasion
from edge_agent.texts import Texts
from edge_agent.uplink.owner.faults import Fault, Turn
from edge_agent.uplink.owner.notice_words import Notice


@dataclass(frozen=True, slots=True)
class FaultWords:
    """The sentences of one kind."""

    title: str
    meaning: str
    mend: str
    well: str
    """The title once it is over."""
    occasion: Occasion | None = None
    later: tuple[str, ...] = ()
    """The titles of its further stages."""

    def title_of(self, stage: int) -> str:
        """Return the title of a stage; the last one for all that follow."""
        titles = (self.title, *self.later)
        return titles[min(stage, len(titles) - 1)]


_STATUS = "On the gateway: edge-agent status."
_REFUSED = "From then on, every request is refused."

WORDS: Mapping[str, FaultWords] = {
    "recorder": FaultWords(
        "Nothing is recorded: the recorder does not run",
        "No camera of this house is recorded.",
        "On the gateway: systemctl status edge-agent-recorder, and edge-agent check.",
        "The recorder runs again",
    ),
    "camera": FaultWords(
        "Not recorded: {subject}",
        "The camera gives no footage.",
        "Look at its power and its cable. On the gateway: edge-agent status.",
        "Recorded again: {subject}",
    ),
    "events": FaultWords(
        "No events come: {subject}",
        "This camera is recorded when something happens, and nothing says so.",
        _STATUS,
        "Events come again: {subject}",
    ),
    "ring": FaultWords(
        "Footage cannot be stored: {subject}",
        "The disk or its folder is not as it should be. Nothing of this camera is kept.",
        "Is the disk there, mounted and whole? On the gateway: edge-agent check.",
        "Footage is stored again: {subject}",
    ),
    "mirror": FaultWords(
        "Not mirrored: {subject}",
        "Recording goes on. The second disk gets no copy of it.",
        "Is the second disk or the share there, with room? On the gateway: edge-agent status.",
        "Mirrored again: {subject}",
    ),
    "disk": FaultWords(
        "A disk is nearly full: {subject}",
        "Without room nothing is decided and no clip is made. Recording goes on in the space that it has.",
        "Delete what does not belong to the edge agent, or give it a larger disk.",
        "The disk has room again: {subject}",
    ),
    "covered": FaultWords(
        "The picture is covered: {subject}",
        "Something hides the view: a hand, paint, a spider's web.",
        "Look at the camera.",
        "The picture can be seen again: {subject}",
    ),
    "frozen": FaultWords(
        "The picture is frozen: {subject}",
        "The camera sends, but always the same picture.",
        "Switch the camera off and on.",
        "The picture moves again: {subject}",
    ),
    "black": FaultWords(
        "The picture has been black for long: {subject}",
        "The lens may be covered, or the camera's light at night may have failed.",
        "Look at the camera.",
        "The picture can be seen again: {subject}",
    ),
    "moved": FaultWords(
        "The camera looks elsewhere: {subject}",
        "It was turned, and masks no longer cover what they should.",
        "Turn it back, or draw its masks anew: edge-agent masks show.",
        "The camera looks where it used to: {subject}",
    ),
    "clock": FaultWords(
        "The gateway's clock is not believed",
        "Recording goes on. No request is decided until the clock is right.",
        "On the gateway: edge-agent clock.",
        "The gateway's clock is right again",
    ),
    "broker": FaultWords(
        "The connection to the crime center is away",
        "Recording goes on. No request arrives, and no clip leaves.",
        "Look at the line to the internet. If that works, there is nothing to do but wait.",
        "The connection to the crime center is back",
    ),
    "adoption": FaultWords(
        "What you signed at the desk is not in its file",
        "The file is as it was before. Of old and new terms, those count that allow less.",
        "On the gateway: sudo edge-agent adopt. Then sign again at the desk.",
        "What you signed at the desk is in its file, or you changed the file",
    ),
    "consent": FaultWords(
        "Your consent ends within a week: {subject}",
        _REFUSED,
        "To let it go on, on the gateway: sudo edge-agent consent sign.",
        "Your consent goes on: {subject}",
        Occasion.EXPIRY,
        ("Your consent ends within a day: {subject}", "Your consent has ended: {subject}"),
    ),
    "certificate": FaultWords(
        "This gateway's certificate ends within a week",
        _REFUSED,
        "Send gateway.csr to the crime center, and install its answer: sudo edge-agent enrol FILE.",
        "This gateway's certificate was renewed",
        Occasion.EXPIRY,
        ("This gateway's certificate ends within a day", "This gateway's certificate has ended"),
    ),
    "trust": FaultWords(
        "The crime center's trust bundle ends within a week",
        _REFUSED,
        "It renews the bundle itself: tell it, if it has not.",
        "The crime center's trust bundle was renewed",
        Occasion.EXPIRY,
        ("The crime center's trust bundle ends within a day", "The crime center's trust bundle has ended"),
    ),
}
"""By kind, in the order in which they are told."""


def group_turns(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Return what is told together: all cameras with which the same is wrong, or well again."""
    order = list(WORDS)

    def place(turn: Turn) -> tuple[int, bool, int]:
        return order.index(turn.fault.kind), turn.is_over, turn.fault.stage

    return [list(group) for _, group in groupby(sorted(turns, key=place), key=place)]


def make_notices(turns: Sequence[Turn], texts: Texts) -> Iterator[Notice]:
    """Make the messages, one for each group of ``group_turns``."""
    for group in group_turns(turns):
        faults = [turn.fault for turn in group]
        kind, is_over, stage = faults[0].kind, group[0].is_over, faults[0].stage
        words = WORDS[kind]
        subjects = ", ".join(sorted(fault.subject for fault in faults))
        if is_over:
            yield Notice(words.occasion, texts(words.well, subject=subjects), texts("There is nothing to do."))
        else:
            title = texts(words.title_of(stage), subject=subjects)
            yield Notice(words.occasion, title, "\n".join(_body(words, faults, texts)))


def say_fault(fault: Fault, texts: Texts) -> str:
    """Return one line for the status: the fault, and how to mend it."""
    words = WORDS[fault.kind]
    return f"{texts(words.title_of(fault.stage), subject=fault.subject)}. {texts(words.mend)}"


def _body(words: FaultWords, faults: Sequence[Fault], texts: Texts) -> Iterator[str]:
    yield texts(words.meaning)
    for fault in faults:
        subject = f"{fault.subject}: " if fault.subject and len(faults) > 1 else ""
        since = texts("since {moment}", moment=fault.since) if fault.since else ""
        detail = ", ".join(filter(None, (texts.translate(fault.detail), since)))
        if detail:
            yield f"{subject}{detail}."
    yield texts(words.mend)
