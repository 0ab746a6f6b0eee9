"""The owner's commands, as the releaser's control socket takes them: see, approve, deny, cancel, pause, resume, revoke.

A command that only takes away needs no passphrase and acts at once; one that gives needs an order that the owner's key
signed. Every command that changes something is one transaction with its ledger entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edge_agent.base64url import encode_b64url
from edge_agent.consent.offer import encode_offers, offers_of
from edge_agent.consent.owner_order import Order, Resume
from edge_agent.errors import DenialError, UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply, read_int
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import ConsentRevokedEntry, PauseEntry, ResumeEntry
from edge_agent.ledger.request_kinds import ApprovalEntry
from edge_agent.protocol import jws
from edge_agent.protocol.reasons import say, say_code
from edge_agent.protocol.request import EVERY_CAMERA
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.protocol.verdict import Approval, Denial, Reason, Wait
from edge_agent.settings.gateway import Config
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339
from edge_agent.uplink.inbound import steps
from edge_agent.uplink.inbound.evaluator import Assessment, Evaluator
from edge_agent.uplink.inbound.lifecycle import Event
from edge_agent.uplink.inbound.register import Aftermath, RequestRegister
from edge_agent.uplink.inbound.steps import RequestStep
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.store.releases import Bundle, StoredRelease
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState, StoredRequest


class Worker(Protocol):
    """Carries out what was granted; before enrolment there is none."""

    def wake(self) -> None:
        """Look at once what may go on."""


class RequestCommands:
    """Handlers by command name: see ``handlers``.

    Args:
        orders: The owner's signed orders.
        config: Which cameras there are.
        evaluator: Decides anew.
        reauthorization: Records what is decided anew.
        register: Writes down.
        worker: Carries out what was granted.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        config: Config,
        evaluator: Evaluator,
        reauthorization: Reauthorization,
        register: RequestRegister,
        worker: Worker,
    ) -> None:
        self._orders, self._store, self._clock = orders, orders.store, orders.clock
        self._config = config
        self._evaluator = evaluator
        self._reauthorization = reauthorization
        self._register = register
        self._worker = worker

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {
            "requests": self._list,
            "request": self._show,
            "order": self._order,
            "deny": self._deny,
            "cancel": self._cancel,
            "pause": self._pause,
            "revoke": self._revoke,
            "consents": self._consents,
            "take-consent": self._take_consent,
            "explain": self._explain,
        }

    # See

    def _list(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        last = min(max(1, read_int(members, "last", 20)), 500)
        return {"requests": [self._describe(each) for each in self._store.requests.list_newest(limit=last)]}

    def _show(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        request = self._find(members)
        bound = request.bound
        more = {
            "raw": request.raw.decode(),
            "signers": self._evaluator.name_signers(request.raw),
            "not_before": None if bound is None or bound.asks else encode_rfc3339(bound.not_before),
            "cooling_off_s": 0 if bound is None else bound.cooling_off // SECOND_NS,
            "offer": encode_offers(offers_of(bound)),
        }
        return {"request": self._describe(request) | more}

    def _consents(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Return the store's consent of each camera, for a caller that may not read the store."""
        found = {camera.id: self._store.consents.find(camera.id) for camera in self._config.cameras}
        return {
            "consents": {
                camera: {"version": each.version, "jws": each.raw.decode(), "revoked": each.is_revoked}
                for camera, each in found.items()
                if each is not None
            }
        }

    def _explain(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        if "number" in members:
            steps, verdict = self._evaluator.explain_stored(self._find(members))
        else:
            steps, verdict = self._evaluator.explain(str(members["raw"]).encode())
        return {
            "verdict": verdict,
            "steps": [
                {"step": each.step, "verdict": each.verdict, "reason": each.reason, "sentence": each.sentence}
                for each in steps
            ],
        }

    def _find(self, members: Mapping[str, Any]) -> StoredRequest:
        number = members.get("number")
        found = self._store.requests.find_numbered(number) if type(number) is int and 0 < number < 2**63 else None
        if found is None:
            raise UsageError(f"there is no request {str(number)[:22]}", "edge-agent requests list")
        return found

    def _describe(self, request: StoredRequest) -> dict[str, Any]:
        payload = jws.parse(request.raw, REQUEST_TYP).payload
        return {
            "number": request.id,
            "jti": request.jti,
            "iss": request.iss,
            "sha256": encode_b64url(request.payload_sha256),
            "arrived_at": encode_rfc3339(request.arrived_at),
            "release_by": encode_rfc3339(request.release_by),
            "due": encode_rfc3339(request.due),
            "state": request.state.value,
            "incident": request.incident,
            "category": payload["incident"]["category"],
            "cameras": payload["clip"]["cameras"],
            "window": payload["clip"]["window"],
            "quality": payload["clip"]["quality"],
            "purpose": payload["purpose"],
            "contact": payload["contact"],
            "reasons": [{**each, "sentence": say_code(each["code"])} for each in request.reasons],
            "releases": [
                {
                    "camera": each.camera,
                    "state": each.state.value,
                    "bytes": each.info.size if isinstance(each.info, Bundle) else None,
                    "reason": _reason_of(each),
                }
                for each in self._store.releases.list_of(request.id)
            ],
        }

    # Give: with the owner's signature

    def _order(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        raw = str(members["jws"]).encode()
        now = self._clock.utc()
        order = self._orders.verify(raw, now)
        if isinstance(order.value, Approval):
            return self._approve(order, order.value, raw, now)
        if isinstance(order.value, Resume) and order.value.what == "release":
            return self._resume(order, order.value, now)
        raise UsageError("this order is for another command")

    def _approve(self, order: Order, approval: Approval, raw: bytes, now: UtcNs) -> Reply:
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            # In the transaction of what it does: an order that comes to nothing stays good.
            self._orders.mark_used(connection, order, now)
            request = self._store.requests.find(approval.jti)
            if request is None or request.state is not RequestState.ASKED:
                where = "" if request is None else f": it is {request.state.value}"
                raise UsageError(f"request does not wait for you: {approval.jti}{where}")
            outlook = self._evaluator.look()
            evaluation = self._evaluator.decide_again(request, outlook, approval)
            verdict = evaluation.verdict
            if isinstance(verdict, Wait) or (isinstance(verdict, Denial) and is_no_approval(verdict)):
                raise _refusal(verdict)  # and nothing of it happened: the question stays open
            entry = ApprovalEntry(
                request.jti, request.iss, approval.cameras, approval.window, order.order_id, number=request.id
            )
            step = RequestStep(Event.APPROVAL, outlook.now, (entry,), approval=raw)
            self._register.apply(connection, request.id, step)
            assessment = Assessment(verdict, evaluation.bound)
            self._register.record_verdict(connection, request, assessment, outlook, aftermath=aftermath)
            state = self._store.requests.read(request.id).state
        self._reauthorization.clear_up(aftermath)
        if isinstance(verdict, Denial):
            raise _refusal(verdict)
        self._worker.wake()
        return {"state": state.value}

    def _resume(self, order: Order, resume: Resume, now: UtcNs) -> Reply:
        with self._store.transaction() as connection:
            paused_at = self._store.pauses.find_entry(connection, resume.camera)
            # A pause of the future was entered under a wrong clock.
            if paused_at is not None and order.issued_at < paused_at <= now:
                raise UsageError("it was paused again since this was drafted", "look who paused it, and begin anew")
            self._orders.mark_used(connection, order, now)
            self._store.pauses.clear(connection, resume.camera)
            entries.append(connection, ResumeEntry(resume.camera, order.order_id), now)
        return {"state": "resumed", "paused": sorted(self._store.pauses.list_current(now))}

    def _take_consent(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Take in a consent that the owner has just signed: from here alone it comes to count (PROTOCOL 6.1, O2b)."""
        camera, aftermath = str(members["camera"]), Aftermath()
        with self._store.transaction() as connection:
            try:
                consent = self._evaluator.take_consent(connection, camera, str(members["jws"]).encode())
            except DenialError as error:
                hint = "the releaser runs with another configuration? sudo edge-agent reload, and sign again"
                raise UsageError(f"{camera}: not signed, it would not count: {error}", hint) from error
            self._reauthorization.evaluate_all(connection, self._evaluator.look(), aftermath)
        return {"version": consent.version, "stopped": self._clear_up(aftermath)}

    # Take away: at once, no signature

    def _deny(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        if members.get("all") is True:
            return self._stop_all()
        request = self._find(members)
        if request.state is not RequestState.ASKED:
            raise UsageError(f"request does not wait for you: it is {request.state.value}")
        return self.refuse(request, "owner-denied")

    def _stop_all(self) -> Reply:
        """Refuse what waits for the owner, and stop releases; name the requests whose key may be out already."""
        waiting = [self._store.requests.read(each) for each in self._store.outbox.list_waiting_keys()]
        states: dict[int, RequestState | None] = {}
        for request in [*self._store.requests.list_newest(OPEN_STATES), *waiting]:
            if self._refuse(request, (Reason("owner-denied", say("owner-denied")),)):
                states[request.id] = RequestState.DENIED
            else:  # not asked, or approved at this very moment
                states[request.id] = self.withdraw(request, "owner-cancelled")
        return {
            "stopped": sorted(
                n for n, state in states.items() if state in (RequestState.DENIED, RequestState.CANCELLED)
            ),
            "too_late": sorted(number for number, state in states.items() if state is RequestState.DELIVERED),
        }

    def refuse(self, request: StoredRequest, code: str) -> Reply:
        """Deny a request that waits for the owner: they said no, or nothing in time."""
        if not self._refuse(request, (Reason(code, say(code)),)):
            raise UsageError("request does not wait for you any more")
        return {"state": RequestState.DENIED.value}

    def _refuse(self, request: StoredRequest, reasons: Sequence[Reason]) -> bool:
        """Refuse a request that waits for the owner; False if it does not any more."""
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            current = self._store.requests.read(request.id)
            if current.state is not RequestState.ASKED:
                return False
            outlook = self._evaluator.look()
            self._register.refuse(connection, current, reasons, outlook, aftermath=aftermath)
        self._reauthorization.clear_up(aftermath)
        return True

    def _cancel(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        if members.get("all") is True:
            return self._stop_all()
        request = self._find(members)
        if request.state is RequestState.ASKED:
            return self.refuse(request, "owner-denied")
        state = self.withdraw(request, "owner-cancelled")
        if state is None:
            raise UsageError(f"nothing is left to cancel: the request is {request.state.value}")
        if state is RequestState.DELIVERED:
            raise UsageError("too late: the crime center may have the key already; it is not sent again")
        return {"state": state.value}

    def withdraw(self, request: StoredRequest, code: str) -> RequestState | None:
        """Stop a release, a key that still waits to be sent included.

        Returns:
            The state of the request; ``DELIVERED`` if the broker may have the key, which is not sent again then.
            None if there was nothing to stop.
        """
        now = self._clock.utc()
        reasons = ({"code": code, "camera": None},)
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            current = self._store.requests.read(request.id)
            is_open = current.state in (RequestState.GRANTED, RequestState.UPLOADING)
            if not is_open and not self._store.outbox.has_waiting_key(connection, request.id):
                return None
            if current.is_handed_over:
                step = steps.too_late(current, reasons, now, is_stop=True)
            else:
                step = steps.end(current, Event.STOP, "cancelled", reasons, now)
            self._register.apply(connection, current.id, step, aftermath)
        self._reauthorization.clear_up(aftermath)
        self._worker.wake()
        return RequestState.DELIVERED if current.is_handed_over else RequestState.CANCELLED

    def _pause(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        camera = self._camera(members)
        try:
            until = None if members.get("until") is None else parse_rfc3339(str(members["until"]))
        except ValueError as error:
            raise UsageError(f"until: {error}") from error
        with self._store.transaction() as connection:
            self._store.pauses.extend(connection, camera, until)
            # Only now: the outlook has to see the pause (O9).
            outlook = self._evaluator.look()
            entry = PauseEntry(camera, "" if until is None else encode_rfc3339(until))
            entries.append(connection, entry, outlook.now)
            aftermath = Aftermath()
            self._reauthorization.evaluate_all(connection, outlook, aftermath)
        return {"stopped": self._clear_up(aftermath)}

    def _revoke(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        camera = self._camera(members)
        wanted = [each.id for each in self._config.cameras] if camera == EVERY_CAMERA else [camera]
        with self._store.transaction() as connection:
            signed = [each for each in wanted if self._store.consents.revoke(connection, each)]
            outlook = self._evaluator.look()
            for each in signed:
                entries.append(connection, ConsentRevokedEntry(each), outlook.now)
            aftermath = Aftermath()
            self._reauthorization.evaluate_all(connection, outlook, aftermath)
        return {"cameras": signed, "stopped": self._clear_up(aftermath)}

    def _clear_up(self, aftermath: Aftermath) -> list[int]:
        """Carry out what was recorded; return the numbers of the requests of which something was stopped."""
        self._reauthorization.clear_up(aftermath)
        self._worker.wake()
        return list(dict.fromkeys(aftermath.stopped))

    def _camera(self, members: Mapping[str, Any]) -> str:
        camera = str(members.get("camera", EVERY_CAMERA))
        return camera if camera == EVERY_CAMERA else self._config.demand_camera(camera).id


def _reason_of(release: StoredRelease) -> str | None:
    """Return why there is no bundle, if its state does not say that already."""
    reason = None if isinstance(release.info, Bundle) else release.info.reason
    return None if reason == release.state.value else reason


def is_no_approval(verdict: Denial) -> bool:
    """Tell whether an order was denied because it does not approve the request that it names."""
    return {each.code for each in verdict.reasons} <= {"approval-mismatch", "approval-outside-ask", "offer-changed"}


def _refusal(verdict: Denial | Wait) -> DenialError:
    return DenialError(verdict.reasons[0].code, " ".join(each.sentence for each in verdict.reasons))
