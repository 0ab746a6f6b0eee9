"""A house for the state machine: the releaser of ``tests.support.releaser``, each of whose exits is watched by the
model."""

import base64
import functools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from edge_agent.base64url import encode_b64url
from edge_agent.consent.offer import digest_offers, offers_of
from edge_agent.consent.owner_order import sign_order, window_members
from edge_agent.errors import DeliveryError, UnavailableError
from edge_agent.protocol.answer import Status, verify_answer
from edge_agent.units import HOUR_NS, MINUTE_NS, ClockState, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.inbound.refusal_limits import RefusalRoom
from edge_agent.uplink.store.releases import ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState
from tests.support import gate
from tests.support.consents import sign_consent
from tests.support.gate_model import CAMERAS, MASK, PLACELESS, WHOLE, Model, Part, Promise, Say
from tests.support.releaser import CONFIG, Delivery, FakeStanding, FakeUploader, House

_RAM = Path("/dev/shm")


class KilledError(Exception):
    """The process is gone."""


class Unacknowledged(Delivery):
    """A message whose acknowledgement the process does not live to send."""

    def ack(self) -> None:
        raise KilledError


SERVICES = ("phone",)
"""Who is told, and hears nothing: what is to be told stays to be seen."""


@functools.lru_cache(4096)
def _consent(camera: str, source: int, version: int, say: Say, signed_at: UtcNs) -> bytes:
    valid_from = UtcNs(gate.NOW - HOUR_NS)
    return sign_consent(_facts(camera, source), say.terms(), gate.NOTICE, version, signed_at, gate.OWNER, valid_from)


@functools.cache
def _facts(camera: str, source: int):
    facts = gate.facts(camera, **({"place": None} if camera == PLACELESS else {}))
    (stream,) = facts.streams
    return replace(facts, streams=(replace(stream, source=digest_of(source)),))


def digest_of(source: int) -> bytes:
    """Return the digest of where a camera is pointed, of the machine's few places."""
    return bytes([source + 1]) * 32


@functools.lru_cache(4096)
def _stand(camera, source, stored, file, readable, paused_until):
    return gate.stand_kept(
        None if stored is None else stored.raw, _facts(camera, source), file.terms(),
        highest_version=0 if stored is None else stored.version, revoked=stored is not None and stored.is_revoked,
        paused_until=paused_until, is_file_unreadable=not readable,
    )  # fmt: skip


class WatchedStanding(FakeStanding):
    """The owner's consent as the store has taken it in; the file and the cameras' facts as the machine has them."""

    house: "WatchedHouse"

    def __init__(self, store) -> None:
        super().__init__(store)
        self._config, self._owner = CONFIG, gate.OWNER.public_key()

    def read_facts(self, camera):
        return _facts(camera.id, self.house.model.pointed[camera.id]), True

    def _stand_of(self, name: str, paused_until: UtcNs):
        model = self.house.model
        stored = self._store.consents.find(name)
        file = model.file.get(name, model.signed[name])
        return _stand(name, model.pointed[name], stored, file, model.readable, paused_until)

    def take_all(self) -> None:
        """The machine hands every consent over itself."""


class WatchedUploader(FakeUploader):
    """Shows the model each payload before its first byte leaves."""

    house: "WatchedHouse"
    away = False

    def upload(self, release: StoredRelease, target, remember, on_progress, should_stop) -> bool:
        if self.away:
            raise DeliveryError("upload server is away")
        self.house.check_bytes(release)
        return super().upload(release, target, remember, on_progress, should_stop)


class WatchedHouse(House):
    """One gateway under watch; ``counts`` says what the machine has reached."""

    standing_type = WatchedStanding
    room = RefusalRoom(entered=3)

    def __init__(self, counts) -> None:
        self.counts = counts
        self.model = Model(signed={name: Say() for name in CAMERAS})
        self.consents: dict[str, list[bytes]] = {name: [] for name in CAMERAS}
        """Every one that was ever signed, in order."""
        self.last_number = 0
        self.built: dict[tuple[str, str], Part] = {}
        self.bounds: dict[int, object] = {}
        self.orders = 0
        self.violations: list[str] = []
        self.trust_version = 1
        super().__init__(Path(tempfile.mkdtemp(prefix="gate-", dir=_RAM if _RAM.is_dir() else None)))
        self.signed.update(dict.fromkeys(CAMERAS, gate.terms()))

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def restart(self) -> None:
        if not isinstance(self.uploader, WatchedUploader):
            self.uploader = WatchedUploader()
            self.uploader.house = self
        super().restart()
        self.store.notices.set_services(SERVICES)
        self.house_reader.house = self
        self.broker.before = self.check_keys
        inner = self.evaluator.decide_again

        def watched(stored, outlook, approval=None):
            if approval is None:  # an approval that is refused changes nothing: `approve` tells the model
                self.evaluated(stored)
            return inner(stored, outlook, approval)

        self.evaluator.decide_again = watched

    def sign_anew(self, camera: str, say: Say) -> None:
        """Sign a camera's terms, as it is pointed now, and hand them over."""
        model, known = self.model, self.consents[camera]
        known.append(_consent(camera, model.pointed[camera], len(known) + 1, say, self.clock.utc()))
        model.signed[camera], model.signed_for[camera] = say, model.pointed[camera]
        model.revoked.discard(camera)
        self.hand_over(camera, known[-1])

    def hand_over(self, camera: str, raw: bytes) -> None:
        """Give the releaser a consent."""
        self.call("take-consent", camera=camera, jws=raw.decode())

    # What the model learns

    def evaluated(self, stored) -> None:
        promise = self.model.promises.get(stored.jti)
        if promise is None:
            return
        edges = sum(
            at > promise.decided_at - 24 * HOUR_NS and at <= self.model.now - 24 * HOUR_NS
            for camera in CAMERAS
            for number, at in self.model.counted[camera]
            if number < promise.number
        )
        self.counts["edge between decision and evaluation"] += edges > promise.seen_edges
        promise.seen_edges = edges
        self.model.evaluated(promise)

    def arrived(self, jti: str, audio: bool) -> None:
        """Take down what was decided: who was announced, and what it uses of the quotas."""
        stored = self.store.requests.find(jti, gate.ISS)
        assert stored is not None
        cameras = CAMERAS if "*" in self.asked(stored.raw) else tuple(self.asked(stored.raw))
        decisions = [each for each in self.entries("decision") if each["jti"] == jti]
        (decision,) = decisions
        announced = frozenset(each["camera"] for each in decision.get("cameras", ()))
        promise = Promise(
            stored.id, self.model.now, stored.release_by, audio, announced, set(announced),
            dict.fromkeys(announced, WHOLE), starts_at=self.model.now, asked=decision["outcome"] == "ask",
            sources={each: self.model.signed_for[each] for each in announced},
        )  # fmt: skip
        assert stored.id > self.last_number, "a number is given twice"
        self.last_number = stored.id
        for camera in announced:
            assert not (why := self.model.denies(camera, promise)), f"{camera} is announced: {why}"
            assert not self.model.is_unknown(), f"{camera} is announced while nothing is known"
        self.model.count(stored.id, cameras)
        self.model.promises[jti] = promise
        self.model.evaluated(promise)
        assert promise.cameras == announced

    @staticmethod
    def asked(raw: bytes) -> list[str]:
        payload = json.loads(raw)["payload"]
        return json.loads(base64.urlsafe_b64decode(payload + "=="))["clip"]["cameras"]

    # What leaves

    def check_bytes(self, release: StoredRelease) -> None:
        jti = self.store.requests.read(release.request_id).jti
        self.check(jti, release.camera)
        self.counts["payloads that left"] += 1

    def check_keys(self, raw: bytes) -> None:
        answer = verify_answer(raw, gate.GATEWAY, self.key.public_key())
        if answer.status is Status.QUEUED:
            announced = self.model.promises[answer.jti].announced
            assert set(answer.cameras) <= announced, "more is queued than was decided"
        for file in answer.files:
            self.check(answer.jti, file.camera)
            self.counts["keys that left"] += 1

    def check(self, jti: str, camera: str) -> None:
        """Remember what the model has against it: the worker survives every error, this one included."""
        try:
            self.model.check(jti, self.part(jti, camera), recorded=self.recorded(jti))
        except AssertionError as error:
            self.violations.append(str(error))
            raise

    def part(self, jti: str, camera: str) -> Part:
        grant, part = next(
            (grant, part)
            for grant, part in reversed(self.builder.built)
            if grant.request.jti == jti and part.camera == camera
        )
        spans = [(window.start, window.end) for window in part.windows]
        return Part(camera, spans, part.audio, MASK in part.masks, grant.escrow, part.source)

    def recorded(self, jti: str) -> frozenset[str]:
        """Find the decision as a second connection sees it: only what is durable."""
        first = next(each for each in self.entries("decision") if each["jti"] == jti)
        return frozenset(each["camera"] for each in first.get("cameras", ()))

    def check_bounds(self) -> None:
        """No stored bound grows, none begins earlier, and nothing left that may not."""
        assert not self.violations
        for stored in self.store.requests.list_newest():
            bound, before = stored.bound, self.bounds.get(stored.id)
            assert bound is not None
            if before is not None and bound.cameras:
                assert set(bound.names) <= set(before.names)
                assert bound.not_before >= before.not_before
                assert bound.escrow <= before.escrow
                for camera in bound.cameras:
                    earlier = before.find(camera.camera)
                    assert all(any(a.contains(b) for a in earlier.windows) for b in camera.windows)
                    assert camera.audio <= earlier.audio
                    assert set(camera.masks) >= set(earlier.masks)
            if before is not None and not before.cameras:
                assert not bound.cameras, "what was over began again"
            self.bounds[stored.id] = bound
            told = self.store.notices.list_events_to_tell(SERVICES[0], stored.id)
            assert stored.state not in OPEN_STATES or told & {"asked", "granted"}, "nobody is told of it"
            for release in self.store.releases.list_of(stored.id):
                assert not release.header or release.camera in bound.names, "a key outlives its part of the bound"
            if stored.state in OPEN_STATES and stored.jti in self.model.promises:
                self.check_same(bound, self.model.promises[stored.jti])
            elif stored.jti in self.model.promises and stored.state in (RequestState.DENIED, RequestState.CANCELLED):
                promise = self.model.promises[stored.jti]
                assert not promise.cameras or self.model.now >= promise.release_by, "ended, and nothing was against it"

    def check_same(self, bound, promise: Promise) -> None:
        """The bound of an open request is what the rules leave of it: neither more nor less."""
        assert set(bound.names) == promise.cameras
        assert bound.escrow == promise.escrow
        assert bound.asks == (promise.asked and not promise.approved)
        assert bound.not_before == promise.starts_at + promise.cooling_min * MINUTE_NS
        for camera in bound.cameras:
            (window,) = camera.windows
            assert (window.start, window.end) == promise.spans[camera.camera]
            assert camera.source == digest_of(promise.sources[camera.camera])
            assert camera.audio == (promise.audio and camera.camera not in promise.silent)
            assert bool(camera.masks) == (camera.camera in promise.masked)

    # What happens

    def message(self, cameras, audio: bool, release_ns: int, kind=Delivery) -> tuple[str, Delivery]:
        now = self.clock.utc()
        self.numbers += 1
        jti = self.numbers.to_bytes(16, "big")
        changes = {
            "iat": encode_rfc3339(now),
            "nbf": encode_rfc3339(now),
            "exp": encode_rfc3339(UtcNs(now + min(9 * MINUTE_NS, release_ns))),
            "release_by": encode_rfc3339(UtcNs(now + release_ns)),
            "incident.number": f"24-{self.numbers}",
            "clip.cameras": cameras,
            "clip.audio": audio,
        }
        name = base64.urlsafe_b64encode(jti).decode().rstrip("=")
        return name, kind(self.rtcc.sign(gate.request_payload({"jti": name, **changes})))

    def open_promises(self) -> list[str]:
        return [each.jti for each in self.store.requests.list_newest() if each.bound is not None and each.bound.cameras]

    def wait(self, by_ns: int) -> None:
        self.clock.advance(by_ns)
        self.model.now = self.clock.utc()

    def lose_clock(self, lost: bool) -> None:
        self.clock.clock_state = ClockState.FLOOR_ONLY if lost else ClockState.SYNCHRONISED
        self.model.synchronised = not lost

    def turn(self) -> None:
        self.worker.turn()
        try:
            self.sender.turn()
        except UnavailableError:
            self.counts["key or answer without its acknowledgement"] += 1

    def approval_order(self, request, cameras, span, signed_at: int, offer: bytes | None = None) -> str:
        """An approval of the offer as it is now, or of another one's digest."""
        self.orders += 1
        offer = digest_offers(offers_of(request.bound)) if offer is None else offer
        order_id = "o" * 16 + f"{self.orders:06d}"
        members = {
            "jti": request.jti,
            "request_sha256": encode_b64url(request.payload_sha256),
            "offer_sha256": encode_b64url(offer),
            "cameras": list(cameras),
            "window": window_members(Window(UtcNs(span[0]), UtcNs(span[1]))),
        }
        return sign_order("approve", members, gate.GATEWAY, order_id, UtcNs(signed_at), gate.OWNER).decode()

    def delivered(self) -> int:
        return sum(each.state is ReleaseState.DELIVERED for each in self.store.releases.list_all())
