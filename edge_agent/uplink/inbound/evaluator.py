"""Feeds the pure gate from the store and the owner's files, with everything as it is now.

A request is judged on arrival and again at every later step (approval, after cooling-off, before the upload, before the
key is handed over): its signatures against the trust bundle of that moment, consent as it stands at that moment, and
never beyond the bound that the first decision set.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.consent.admission import GatewayFacts, Replayed, SeenRequest, admit
from edge_agent.consent.bound import NOTHING, Bound
from edge_agent.consent.decision import Evaluation, counted, decide, decide_again, stop, trace
from edge_agent.consent.house_state import CameraHistory, History, HouseState, patience_ns, refusals
from edge_agent.consent.policy import Refusal
from edge_agent.consent.rules import TraceStep
from edge_agent.consent.signed_consent import SignedConsent
from edge_agent.errors import DenialError
from edge_agent.host.clock import Clock
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.reasons import CAUSES, TIMED, UNKNOWN, say, say_code
from edge_agent.protocol.request import Admitted, Request
from edge_agent.protocol.request_jws import verify_request
from edge_agent.protocol.trust_bundle import TrustBundle
from edge_agent.protocol.verdict import Approval, Denial, Reason, Verdict
from edge_agent.units import ClockState, UtcNs
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import OPEN_STATES, StoredRequest

NEWEST = 2**63 - 1
"""Stands for the number of a request that is not stored yet."""
CHECKS = {
    1: "size",
    2: "strict JSON",
    3: "protected headers",
    4: "keys",
    5: "signatures",
    6: "two persons, two roles",
    7: "from whom, for whom",
    8: "replay",
    9: "time",
    10: "incident",
    11: "consent",
}
"""The eleven checks by number (PROTOCOL 4)."""
_CHECK_OF_TIME = 9


@dataclass(frozen=True, slots=True)
class Assessment:
    """A first verdict, its bound, and the request's use of each camera's quota: (camera, nanoseconds)."""

    verdict: Verdict
    bound: Bound
    uses: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """Clock and trust bundle, read once for an evaluation."""

    now: UtcNs
    clock_state: ClockState
    trust: TrustBundle | None


@dataclass(frozen=True, slots=True)
class Outlook(Moment):
    """Everything that an evaluation depends on, read once, in the transaction that records it."""

    house_state: HouseState

    def find_decline(self, stored: StoredRequest, reasons: Sequence[Reason]) -> UtcNs | None:
        """Return when a refusal is answered: at one moment for every cause; None for silence."""
        return self.find_decline_of(stored.is_area, stored.arrived_at, stored.release_by, reasons)

    def find_decline_of(
        self, is_area: bool, arrived_at: UtcNs, release_by: UtcNs, reasons: Sequence[Reason]
    ) -> UtcNs | None:
        """As ``find_decline``, of a request that is not stored."""
        told = refusals(self.house_state)
        how = told.area if is_area else told.gateway
        if how is Refusal.SILENCE or any(CAUSES[each.code].check <= _CHECK_OF_TIME for each in reasons):
            return None
        # The moment at which an owner who was asked and kept silent would have been refused: the latest of all causes.
        due = UtcNs(arrived_at + patience_ns(self.house_state))
        return due if due < release_by else None


@dataclass(frozen=True, slots=True)
class ExplainedCheck:
    """One line of ``explain``: a check or rule, what it says, and why."""

    step: str
    verdict: str
    reason: str = ""
    sentence: str = ""


class _Seen:
    """The memory of the store, in the shape that ``admit`` asks for."""

    def __init__(self, store: Database, now: UtcNs) -> None:
        self._store = store
        self._now = now

    def find(self, iss: str, jti: str) -> SeenRequest | None:
        """Look up a request, with the answer whose moment has come."""
        found = self._store.requests.find(jti, iss)
        if found is None:
            refused = self._store.refusals.find(iss, jti)
            return None if refused is None else SeenRequest(refused.payload_sha256, None)
        return SeenRequest(found.payload_sha256, self._store.outbox.find_last_answer(found.id, self._now))

    def find_incident(self, iss: str, number: str) -> bytes | None:
        """Look up an incident's facts."""
        return self._store.requests.find_incident(iss, number)


class Evaluator:
    """The gate with its inputs.

    Args:
        enrolment: This gateway's id, and the RTCC that it answers.
        cell: The geohash of five letters in which this gateway lies.
        store: The memory of earlier requests.
        house_reader: The owner's terms in force.
        trust: The RTCC's keys.
        clock: The time, and whether it can be believed.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        cell: str,
        store: Database,
        house_reader: HouseReader,
        trust: TrustStore,
        clock: Clock,
    ) -> None:
        self._enrolment = enrolment
        self._cell = cell
        self._store = store
        self._house_reader = house_reader
        self._trust = trust
        self._clock = clock

    def moment(self) -> Moment:
        """Read the clock and the trust bundle, once for an evaluation (PROTOCOL 6.2, O9)."""
        before = self._clock.state()
        now = self._clock.utc()
        # The state was read on both sides of the time: a step in between makes it a time that is
        # not believed.
        state = before if self._clock.state() is before else ClockState.FLOOR_ONLY
        return Moment(now, state, self._trust.bundle)

    def look(self, moment: Moment | None = None) -> Outlook:
        """Read the house as it is now, once for an evaluation. Writes nothing."""
        moment = self.moment() if moment is None else moment
        return Outlook(moment.now, moment.clock_state, moment.trust, self._house_reader.read(moment.now))

    def verify(self, raw: bytes, moment: Moment) -> Request:
        """Run checks 1 to 6; DenialError with the first reason."""
        return verify_request(raw, moment.trust, moment.now)

    def admit(self, request: Request, outlook: Outlook) -> Admitted:
        """Run checks 7 to 10; DenialError with the first reason, Replayed for a request that is known."""
        now, cameras = outlook.now, outlook.house_state.cameras.values()
        # The widest of the house: which camera a request is about is not decided yet.
        padding_ns = max((each.terms.house.padding for each in cameras if each.terms is not None), default=0)
        # PROTOCOL 6.1: a request from before this memory began may have been answered by the memory
        # before it.
        born_at = self._store.find_birth()
        facts = GatewayFacts(self._enrolment.gateway, self._cell, self._enrolment.iss, padding_ns, born_at)
        return admit(request, facts, _Seen(self._store, now), now, outlook.clock_state)

    def decide(self, admitted: Admitted, outlook: Outlook) -> Assessment:
        """Run check 11 on a request for the first time."""
        house_state = outlook.house_state
        history = self._read_history(house_state, admitted.request, NEWEST, outlook.now)
        verdict, bound = decide(admitted, house_state, history, outlook.now, outlook.clock_state)
        return Assessment(verdict, bound, counted(admitted, house_state, history, outlook.now, outlook.clock_state))

    def decide_again(self, stored: StoredRequest, outlook: Outlook, approval: Approval | None = None) -> Evaluation:
        """Verify and evaluate a stored request anew; never beyond its bound (PROTOCOL 6.2, O9).

        Args:
            stored: As it is in the transaction that records this evaluation.
            outlook: Read in that transaction.
            approval: The owner's verified answer, if this evaluation is about it.
        """
        bound = NOTHING if stored.bound is None else stored.bound
        house_state = outlook.house_state
        try:
            request = self.verify(stored.raw, outlook)
        except DenialError as error:
            reason = Reason(error.reason, str(error))
            believed = outlook.clock_state is ClockState.SYNCHRONISED
            waits = error.reason in UNKNOWN or (not believed and error.reason in TIMED)
            # An unknown answer is waited out until `release_by` only: then the request ends for
            # that reason.
            if waits and believed and outlook.now >= stored.release_by:
                reason = Reason("release-by-passed", say("release-by-passed"))
            elif waits:
                return stop(bound, house_state, reason, outlook.now)
            return Evaluation(Denial(None, (reason,), outlook.now), NOTHING, (reason,))
        history = self._read_history(house_state, request, stored.id, bound.decided_at)
        admitted = Admitted(request, stored.arrived_at)
        return decide_again(admitted, house_state, history, approval, bound, outlook.now, outlook.clock_state)

    def _read_history(self, house_state: HouseState, request: Request, before: int, now: UtcNs) -> History:
        """Return what requests with a smaller number than ``before`` had used of every quota at ``now``.

        ``now`` is the moment at which the request was decided first.
        """
        used = self._store.quotas.count_uses(request.iss, request.incident.number, before=before, now=now)
        return History({camera: used.get(camera, CameraHistory()) for camera in house_state.cameras})

    def name_signers(self, raw: bytes) -> list[str]:
        """Return the signers of a request and their roles by the current trust bundle; empty if it does not verify."""
        try:
            return [f"{each.person} ({each.role.value})" for each in self.verify(raw, self.moment()).signers]
        except DenialError:
            return []

    def take_consent(self, connection: sqlite3.Connection, camera: str, raw: bytes) -> SignedConsent:
        """Take in a consent that was just signed; see ``HouseReader.take``."""
        return self._house_reader.take(connection, camera, raw, self.moment().now)

    def explain(self, raw: bytes) -> tuple[list[ExplainedCheck], str]:
        """List the result of every check and rule for a request; remembers nothing.

        Returns:
            The steps in order, and the verdict: ``grant``, ``ask``, ``denial`` or ``repeat``.
        """
        outlook = self.look()
        house_state = outlook.house_state
        try:
            request = self.verify(raw, outlook)
            admitted = self.admit(request, outlook)
        except DenialError as error:
            number = CAUSES[error.reason].check
            return [*_passed(number), ExplainedCheck(_name(number), "refuse", error.reason, str(error))], "denial"
        except Replayed:
            text = "This request was judged before; it gets the answer that it got."
            return [*_passed(8), ExplainedCheck(_name(8), "repeat", "", text)], "repeat"
        history = self._read_history(house_state, request, NEWEST, outlook.now)
        found = trace(admitted, house_state, history, outlook.now, outlook.clock_state)
        return [*_passed(11), *_as_steps(found)], type(self.decide(admitted, outlook).verdict).__name__.lower()

    def explain_stored(self, stored: StoredRequest) -> tuple[list[ExplainedCheck], str]:
        """List the result of every rule now, for a request that was judged on its arrival; remembers nothing.

        Returns:
            The steps in order, and the verdict: ``grant``, ``ask``, ``wait`` or ``denial``; of a request that has
            ended its state, behind a step for each reason that it ended for.
        """
        outlook = self.look()
        house_state = outlook.house_state
        try:
            request = self.verify(stored.raw, outlook)
        except DenialError as error:
            number = CAUSES[error.reason].check
            steps = [*_passed(number), ExplainedCheck(_name(number), "refuse", error.reason, str(error))]
        else:
            decided_at = outlook.now if stored.bound is None else stored.bound.decided_at
            history = self._read_history(house_state, request, stored.id, decided_at)
            admitted = Admitted(request, stored.arrived_at)
            found = trace(admitted, house_state, history, outlook.now, outlook.clock_state)
            steps = [*_passed(11), *_as_steps(found)]
        steps += [
            ExplainedCheck("recorded" + (f" ({each['camera']})" if each.get("camera") else ""), "refuse", each["code"],
                           say_code(each["code"]))
            for each in stored.reasons
        ]  # fmt: skip
        if stored.state not in OPEN_STATES:
            return steps, stored.state.value
        return steps, type(self.decide_again(stored, outlook).verdict).__name__.lower()


def _as_steps(found: Iterable[TraceStep]) -> Iterator[ExplainedCheck]:
    for each in found:
        name = f"11 {each.rule}" + (f" ({each.camera})" if each.camera else "")
        if each.reason is None:
            yield ExplainedCheck(name, "allow")
        else:
            yield ExplainedCheck(name, "refuse", each.reason.code, each.reason.sentence)


def _passed(before: int) -> list[ExplainedCheck]:
    return [ExplainedCheck(_name(number), "pass") for number in CHECKS if number < before]


def _name(number: int) -> str:
    return f"{number} {CHECKS[number]}"
