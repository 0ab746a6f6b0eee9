"""Decides with everything as it is now: the pure gate, fed from the store and the owner's files.

A request is judged on arrival and again at every later step (approval, after cooling-off, before the upload, before the
key is handed over): its signatures against the trust bundle of that moment, consent as it stands at that moment. Writes
nothing.
"""

import sqlite3
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.clock import Clock
from edge_agent.consent.decision import counted, decide, trace
from edge_agent.consent.household import patience_ns, refusals
from edge_agent.consent.order import verify_order
from edge_agent.consent.policy import Refusals
from edge_agent.consent.request import Admitted, Request
from edge_agent.consent.verdict import Approval, Ask, Denial, Grant, Reason, Verdict
from edge_agent.enrolment import Enrolment
from edge_agent.errors import DenialError
from edge_agent.reasons import RULES
from edge_agent.units import UtcNs
from edge_agent.uplink.admission import GatewayFacts, Replayed, SeenRequest, admit
from edge_agent.uplink.envelope import verify_request
from edge_agent.uplink.standing import Standing
from edge_agent.uplink.store import Store, StoredRequest
from edge_agent.uplink.trust_store import TrustStore, list_recipients

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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what the request uses of each camera's quota: (camera, nanoseconds)."""

    verdict: Verdict
    uses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """How the RTCC is told of a refusal: whether at all, and how long after the request's arrival."""

    how: Refusals
    after_ns: int


@dataclass(frozen=True, slots=True)
class Step:
    """One line of ``explain``: a check or rule, what it says, and why."""

    step: str
    verdict: str
    reason: str = ""
    sentence: str = ""


class _Seen:
    """What the store remembers, as ``admit`` asks for it."""

    def __init__(self, store: Store, now: UtcNs) -> None:
        self._store = store
        self._now = now

    def find(self, iss: str, jti: str) -> SeenRequest | None:
        """Look up a request, with the answer whose moment has come."""
        found = self._store.find_request(jti, iss)
        if found is None:
            return None
        return SeenRequest(found.payload_sha256, self._store.find_last_answer(found.id, self._now))

    def find_incident(self, iss: str, number: str) -> bytes | None:
        """Look up an incident's facts."""
        return self._store.find_incident(iss, number)


class Judge:
    """The gate with its inputs.

    Args:
        enrolment: Who we are, and whom we answer.
        cell: The geohash of five letters in which this gateway lies.
        owner: The owner's pinned key, for approvals.
        store: What was seen before.
        standing: The owner's word.
        trust: The RTCC's keys.
        clock: Whether the time can be believed.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        cell: str,
        owner: Ed25519PublicKey,
        store: Store,
        standing: Standing,
        trust: TrustStore,
        clock: Clock,
    ) -> None:
        self._enrolment = enrolment
        self._cell = cell
        self._owner = owner
        self._store = store
        self._standing = standing
        self._trust = trust
        self._clock = clock

    def verify(self, raw: bytes, now: UtcNs) -> Request:
        """Run checks 1 to 6; DenialError with the first reason."""
        return verify_request(raw, self._trust.bundle, now)

    def admit(self, request: Request, now: UtcNs) -> Admitted:
        """Run checks 7 to 10; DenialError with the first reason, Replayed for a request that is known."""
        standings = self._standing.household(now).cameras.values()
        padding_ns = max((each.terms.house.padding for each in standings if each.terms is not None), default=0)
        facts = GatewayFacts(self._enrolment.gateway, self._cell, self._enrolment.iss, padding_ns)
        return admit(request, facts, _Seen(self._store, now), now, self._clock.state())

    def decide(
        self, admitted: Admitted, now: UtcNs, *, request_id: int = -1, approval: Approval | None = None
    ) -> Judgement:
        """Run check 11; ``request_id`` leaves the request's own use out of the quotas."""
        household = self._standing.household(now)
        incident = (admitted.request.iss, admitted.request.incident.number)
        history = self._standing.history(household, incident, request_id, now)
        state = self._clock.state()
        return Judgement(
            decide(admitted, household, history, approval, now, state),
            counted(admitted, household, history, now, state),
        )

    def decide_again(
        self, stored: StoredRequest, now: UtcNs, approval: Approval | None = None
    ) -> Ask | Grant | tuple[Reason, ...]:
        """Verify and decide a stored request anew, with its stored approval unless one is given.

        Returns:
            What it may have now, or the reasons why it may have nothing: among them that its signatures do not verify
            any more, because a key was revoked or the trust bundle expired.
        """
        try:
            request = self.verify(stored.raw, now)
            if approval is None and stored.approval is not None:
                approval = self.read_approval(stored.approval)
        except DenialError as error:
            return (Reason(error.reason, str(error)),)
        admitted = Admitted(request, stored.arrived_at)
        verdict = self.decide(admitted, now, request_id=stored.id, approval=approval).verdict
        return verdict.reasons if isinstance(verdict, Denial) else verdict

    def revoke(self, connection: sqlite3.Connection, camera: str) -> bool:
        """Take the owner's word back for a camera, inside a transaction; False where it was never given."""
        return self._standing.revoke(connection, camera)

    def list_recipients(self, grant: Grant) -> tuple[str, ...]:
        """Return the age recipients to whom a clip is sealed under a grant of now."""
        return tuple(each.age for each in list_recipients(self._trust.bundle, escrow=grant.escrow))

    def read_approval(self, raw: bytes) -> Approval:
        """Verify a stored approval's signature again; DenialError where it is none."""
        order = verify_order(raw, self._enrolment.gateway, self._owner, None)
        if not isinstance(order.value, Approval):
            raise DenialError("approval-mismatch", "The stored order is no approval.")
        return order.value

    def telling(self, now: UtcNs) -> Telling:
        """Return how refusals are told, by the terms that count."""
        household = self._standing.household(now)
        return Telling(refusals(household), patience_ns(household))

    def explain(self, raw: bytes, now: UtcNs) -> tuple[list[Step], str]:
        """Say what every check and rule has to say of a request; remembers nothing.

        Returns:
            The steps in order, and the verdict: ``grant``, ``ask``, ``denial`` or ``repeat``.
        """
        try:
            request = self.verify(raw, now)
            admitted = self.admit(request, now)
        except DenialError as error:
            number = RULES[error.reason].check
            return [*_passed(number), Step(_name(number), "refuse", error.reason, str(error))], "denial"
        except Replayed:
            text = "This request was judged before; it gets the answer that it got."
            return [*_passed(8), Step(_name(8), "repeat", "", text)], "repeat"
        household = self._standing.household(now)
        history = self._standing.history(household, (request.iss, request.incident.number), -1, now)
        steps = _passed(11)
        for each in trace(admitted, household, history, now, self._clock.state()):
            name = f"11 {each.rule}" + (f" ({each.camera})" if each.camera else "")
            if each.reason is None:
                steps.append(Step(name, "allow"))
            else:
                steps.append(Step(name, "refuse", each.reason.code, each.reason.sentence))
        return steps, type(self.decide(admitted, now).verdict).__name__.lower()


def _passed(before: int) -> list[Step]:
    return [Step(_name(number), "pass") for number in CHECKS if number < before]


def _name(number: int) -> str:
    return f"{number} {CHECKS[number]}"
