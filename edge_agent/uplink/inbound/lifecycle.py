"""The life of a request, as two tables: of the request, and of each camera of it.

Owns which event may follow which state, and everything that follows from it: the next state, the kinds of ledger
entries, the answer, the notice, and the fate of each camera's key and payload (PROTOCOL 9.1 is printed from here:
``python -m edge_agent.uplink.inbound.lifecycle``). ``register.apply`` records a row in one transaction. An event
without a cell cannot happen: a caller that tries it is too late, and goes no further. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from edge_agent.consent.policy import Occasion
from edge_agent.ledger.entries import LedgerEntry
from edge_agent.ledger.request_kinds import (
    ApprovalEntry,
    BundleEntry,
    DecisionEntry,
    DeliveryEntry,
    DenialEntry,
    EndEntry,
    GivenUpEntry,
    GrantEntry,
    NarrowedEntry,
    RequestEntry,
    TakenBackEntry,
)
from edge_agent.protocol.answer import Status

LedgerKind = type[LedgerEntry]
_State = TypeVar("_State", bound=Enum)
_What = TypeVar("_What", bound=Enum)


class Phase(Enum):
    """The state of a request; a request that is delivered has its keys waiting in the outbox, or given away."""

    NEW = "new"
    ASKED = "asked"
    GRANTED = "granted"
    UPLOADING = "uploading"
    KEY_WAITS = "key-waits"
    KEY_GIVEN = "key-given"
    DENIED = "denied"
    NO_FOOTAGE = "no-footage"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = frozenset({Phase.DENIED, Phase.NO_FOOTAGE, Phase.CANCELLED, Phase.FAILED})
"""Nothing leaves any more, and nothing has."""


class Event(Enum):
    """The events of a request."""

    ASK = "decided: ask"
    GRANT = "decided: grant"
    DENIAL = "denied"
    """By an evaluation, by the owner's no, or by their silence."""
    STOP = "owner stops it"
    """Cancels, erases, or pauses or revokes what it needs."""
    OVERDUE = "overdue"
    """``release_by`` has passed, and nothing else is against it."""
    APPROVAL = "approval recorded"
    CAMERAS_LEFT = "cameras left"
    """A later evaluation took cameras out of the bound."""
    LESS = "less, or anew"
    """Less of the bound's cameras than before, or a bundle that holds more than is granted now."""
    CAMERA = "camera goes on"
    UPLOAD = "upload begins"
    PROGRESS = "upload goes on"
    REST_WAITS = "rest waits"
    """Every bundle that could be built is uploaded; the rest cannot be built yet."""
    FAILURE = "failure"
    """No bundle can be made, or the target will never take one."""
    NOTHING = "nothing recorded"
    WHOLE = "all uploaded"
    PART = "part uploaded"
    """And the rest will never be."""
    TAKEN_BACK = "taken back"
    """The broker was not given the keys, and they open more than is granted now."""
    KEY_LEAVES = "key leaves"


class CameraState(Enum):
    """The state of one camera of a granted request."""

    NONE = "none"
    """In the bound, and nothing is entered for it; or it has left the bound."""
    WAITING = "waiting"
    BUILT = "built"
    UPLOADED = "uploaded"
    KEY_WAITS = "key-waits"
    KEY_GIVEN = "key-given"
    NO_FOOTAGE = "no-footage"
    FAILED = "failed"


class CameraEvent(Enum):
    """The events of one camera of a granted request."""

    ENTER = "grant entered"
    BUILD = "built"
    EMPTY = "nothing recorded"
    NOT_HERE = "not recorded"
    """The stream is not recorded here: found before anything is read."""
    PUT_OFF = "put off"
    GIVE_UP = "given up"
    UPLOAD = "uploaded"
    LOSE = "payload lost"
    LEAVE = "leaves"
    """The bound, or holds more than is granted now: the rest is built anew."""
    QUEUE = "key queued"
    RECALL = "recalled"
    """The answer is taken back because of another camera."""
    KEY_LEAVES = "key leaves"
    TOO_LATE = "too late"
    END = "request ends"


class KeyFate(Enum):
    """The fate of a camera's age header."""

    KEEP = "keep"
    QUEUE = "queue"
    """Into the outbox, in an answer."""
    RECALL = "recall"
    """Out of the outbox; it stays stored."""
    GIVE = "give"
    """To the broker; the stored copy is destroyed."""
    DESTROY = "destroy"
    """Out of the outbox and the store, the journal included."""
    TOO_LATE = "too late"
    """The broker had it; it is not sent again."""


class PayloadFate(Enum):
    """The fate of a camera's ciphertext."""

    KEEP = "keep"
    DELETE_HERE = "delete here"
    DELETE_EVERYWHERE = "delete everywhere"
    """Here and, as far as it goes, at the upload server."""


@dataclass(frozen=True, slots=True)
class Row:
    """The consequences of an event of a request."""

    phase: Phase
    entries: tuple[LedgerKind, ...] = ()
    answer: Status | None = None
    notice: Occasion | None = None
    """The occasion that the owner is told of; the text is made as it is sent, of the request as it is then."""
    cameras: CameraEvent | None = None
    """The event of each of its cameras, unless the step names another one."""


@dataclass(frozen=True, slots=True)
class CameraRow:
    """The consequences of an event of a camera."""

    state: CameraState
    key: KeyFate = KeyFate.KEEP
    payload: PayloadFate = PayloadFate.KEEP
    entry: LedgerKind | None = None


def _ended(phase: Phase, answer: Status) -> Row:
    return Row(phase, (EndEntry,), answer, Occasion.REFUSAL, CameraEvent.END)


_RequestTable = dict[tuple[Phase, Event], Row]
_DENIED = Row(Phase.DENIED, (DenialEntry,), Status.DECLINED, Occasion.REFUSAL)
_DECISION: _RequestTable = {
    (Phase.NEW, Event.ASK): Row(Phase.ASKED, (RequestEntry, DecisionEntry), None, Occasion.ASK),
    (Phase.NEW, Event.GRANT): Row(Phase.GRANTED, (RequestEntry, DecisionEntry), Status.QUEUED, Occasion.RELEASE),
    (Phase.NEW, Event.DENIAL): Row(Phase.DENIED, (RequestEntry, DenialEntry), Status.DECLINED, Occasion.REFUSAL),
    (Phase.ASKED, Event.APPROVAL): Row(Phase.ASKED, (ApprovalEntry,)),
    (Phase.ASKED, Event.GRANT): Row(Phase.GRANTED, (DecisionEntry,), Status.QUEUED, Occasion.RELEASE),
    **{(Phase.ASKED, event): _DENIED for event in (Event.DENIAL, Event.STOP, Event.OVERDUE)},
}
"""From arrival to the grant or the denial."""
_UPLOAD: _RequestTable = {
    (Phase.UPLOADING, Event.PROGRESS): Row(Phase.UPLOADING, (), Status.UPLOADING),
    # No answer: the RTCC has heard of no upload yet, so there is nothing to take back.
    (Phase.GRANTED, Event.REST_WAITS): Row(Phase.GRANTED),
    (Phase.UPLOADING, Event.REST_WAITS): Row(Phase.GRANTED, (), Status.QUEUED),
}
_KEY: _RequestTable = {
    (Phase.KEY_WAITS, Event.TAKEN_BACK): Row(Phase.GRANTED, (TakenBackEntry,), cameras=CameraEvent.RECALL),
    (Phase.KEY_WAITS, Event.KEY_LEAVES): Row(Phase.KEY_GIVEN, (), None, Occasion.RELEASE, CameraEvent.KEY_LEAVES),
    # Again: the broker did not acknowledge it, or the request came again.
    (Phase.KEY_GIVEN, Event.KEY_LEAVES): Row(Phase.KEY_GIVEN, cameras=CameraEvent.KEY_LEAVES),
    (Phase.KEY_GIVEN, Event.STOP): Row(Phase.KEY_GIVEN, (EndEntry,), cameras=CameraEvent.TOO_LATE),
    (Phase.KEY_GIVEN, Event.DENIAL): Row(Phase.KEY_GIVEN, cameras=CameraEvent.TOO_LATE),
    (Phase.KEY_GIVEN, Event.OVERDUE): Row(Phase.KEY_GIVEN, cameras=CameraEvent.TOO_LATE),
}
"""The key waits, leaves, is called back, or has left."""


def _work(phase: Phase) -> _RequestTable:
    """Return the rows that are the same before the first byte is uploaded and after it."""
    return {
        (phase, Event.CAMERA): Row(phase),
        (phase, Event.UPLOAD): Row(Phase.UPLOADING),
        (phase, Event.FAILURE): _ended(Phase.FAILED, Status.FAILED),
        (phase, Event.NOTHING): _ended(Phase.NO_FOOTAGE, Status.NO_FOOTAGE),
        (phase, Event.WHOLE): Row(Phase.KEY_WAITS, (DeliveryEntry,), Status.DELIVERED, cameras=CameraEvent.QUEUE),
        (phase, Event.PART): Row(Phase.KEY_WAITS, (DeliveryEntry,), Status.PARTIAL, cameras=CameraEvent.QUEUE),
    }


def _stops(phase: Phase) -> _RequestTable:
    """Return the rows of a granted request whose key is still here."""
    return {
        (phase, Event.DENIAL): _ended(Phase.CANCELLED, Status.CANCELLED),
        (phase, Event.STOP): _ended(Phase.CANCELLED, Status.CANCELLED),
        (phase, Event.OVERDUE): _ended(Phase.FAILED, Status.FAILED),
    }


def _narrows(phase: Phase) -> _RequestTable:
    return {(phase, Event.CAMERAS_LEFT): Row(phase, (NarrowedEntry,)), (phase, Event.LESS): Row(phase)}


def _camera_table() -> dict[tuple[CameraState, CameraEvent], CameraRow]:
    state, event, key, payload = CameraState, CameraEvent, KeyFate, PayloadFate
    gone = CameraRow(state.NONE, key.DESTROY, payload.DELETE_EVERYWHERE)
    table = {
        (state.NONE, event.ENTER): CameraRow(state.WAITING, entry=GrantEntry),
        (state.WAITING, event.ENTER): CameraRow(state.WAITING, entry=GrantEntry),
        (state.WAITING, event.BUILD): CameraRow(state.BUILT, entry=BundleEntry),
        (state.WAITING, event.EMPTY): CameraRow(state.NO_FOOTAGE, key.DESTROY, payload.DELETE_HERE, BundleEntry),
        (state.WAITING, event.NOT_HERE): CameraRow(state.NO_FOOTAGE, key.DESTROY, payload.DELETE_HERE, GivenUpEntry),
        (state.WAITING, event.PUT_OFF): CameraRow(state.WAITING, key.DESTROY, payload.DELETE_HERE),
        (state.WAITING, event.GIVE_UP): CameraRow(state.FAILED, key.DESTROY, payload.DELETE_HERE, GivenUpEntry),
        (state.BUILT, event.UPLOAD): CameraRow(state.UPLOADED, key.KEEP, payload.DELETE_HERE),
        (state.UPLOADED, event.QUEUE): CameraRow(state.KEY_WAITS, key.QUEUE),
        (state.KEY_WAITS, event.RECALL): CameraRow(state.UPLOADED, key.RECALL),
        (state.KEY_WAITS, event.KEY_LEAVES): CameraRow(state.KEY_GIVEN, key.GIVE),
        (state.KEY_GIVEN, event.KEY_LEAVES): CameraRow(state.KEY_GIVEN, key.GIVE),
        (state.KEY_GIVEN, event.TOO_LATE): CameraRow(state.KEY_GIVEN, key.TOO_LATE),
    }
    table |= {(each, event.LOSE): gone for each in (state.BUILT, state.UPLOADED)}
    for each in (state.NO_FOOTAGE, state.FAILED):  # nothing of it can leave
        follows = (event.QUEUE, event.RECALL, event.KEY_LEAVES, event.TOO_LATE, event.END)
        table |= {(each, one): CameraRow(each) for one in follows}
        table[each, event.LEAVE] = CameraRow(state.NONE)
    for each in (state.WAITING, state.BUILT, state.UPLOADED, state.KEY_WAITS):
        table[each, event.LEAVE] = gone
        was = state.UPLOADED if each is state.KEY_WAITS else each
        table[each, event.END] = CameraRow(was, key.DESTROY, payload.DELETE_EVERYWHERE)
    return table


REQUEST: Mapping[tuple[Phase, Event], Row] = {
    **_DECISION,
    **_work(Phase.GRANTED),
    **_work(Phase.UPLOADING),
    **_UPLOAD,
    **_KEY,
    **_stops(Phase.GRANTED),
    **_stops(Phase.UPLOADING),
    **_stops(Phase.KEY_WAITS),
    **_narrows(Phase.ASKED),
    **_narrows(Phase.GRANTED),
    **_narrows(Phase.UPLOADING),
    **_narrows(Phase.KEY_WAITS),
    **_narrows(Phase.KEY_GIVEN),
}
"""Every cell of the request's table; an event without a cell cannot happen."""
CAMERA: Mapping[tuple[CameraState, CameraEvent], CameraRow] = _camera_table()
"""Every cell of a camera's table."""


def _in_order(cells: Iterable[tuple[_State, _What]]) -> list[tuple[_State, _What]]:
    """Sort cells as their states and events are declared."""
    order = {each: number for kind in (Phase, Event, CameraState, CameraEvent) for number, each in enumerate(kind)}
    return sorted(cells, key=lambda cell: [order[one] for one in cell])


def main() -> None:
    """Print the two tables of PROTOCOL 9.1."""
    print(
        "| request | event | becomes | ledger | answer | owner is told | each camera |\n|---|---|---|---|---|---|---|"
    )
    for phase, event in _in_order(REQUEST):
        row = REQUEST[phase, event]
        kinds = ", ".join(f"`{kind.kind}`" for kind in row.entries)
        answer = f"`{row.answer.value}`" if row.answer else ""
        notice, cameras = (one.value if one else "" for one in (row.notice, row.cameras))
        print(f"| {phase.value} | {event.value} | {row.phase.value} | {kinds} | {answer} | {notice} | {cameras} |")
    print("\n| camera | event | becomes | ledger | key | payload |\n|---|---|---|---|---|---|")
    for state, happens in _in_order(CAMERA):
        cell = CAMERA[state, happens]
        kind = f"`{cell.entry.kind}`" if cell.entry else ""
        fates = f"{cell.key.value} | {cell.payload.value}"
        print(f"| {state.value} | {happens.value} | {cell.state.value} | {kind} | {fates} |")


if __name__ == "__main__":
    main()
