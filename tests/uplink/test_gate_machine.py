"""The gate under a long random life: no evaluation widens an earlier one, and nothing leaves that a rule forbids.

Real store, gate, docket, worker, sender and owner's desk; footage, network and clock are stand-ins that show the model
(``tests.support.gate_model``) each byte of a bundle and each key before it leaves. CI makes the same few
thousand runs each time; ``GATE_STEPS=200000`` makes so many steps at random instead.
"""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edge_agent.consent.offer import digest_offers, offers_of
from edge_agent.consent.policy import Mode
from edge_agent.errors import DenialError, UsageError
from edge_agent.ledger import table as ledger
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, UtcNs, encode_rfc3339
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.gate_house import KilledError, Unacknowledged, WatchedHouse
from tests.support.gate_model import ASK_TIMEOUT_NS, CAMERAS, HALF, PLACELESS, WHOLE, Promise, Say
from tests.support.releaser import Delivery

STEPS = int(os.environ.get("GATE_STEPS", "0"))
IS_MUTANT = "GATE_MUTANT" in os.environ
"""The gate is broken on purpose (``tests.mutate_rules``): only what leaves or is recorded tells, and time does not."""
STEPS_OF_A_RUN = 14
PARTS = 4
RUNS = max(1, STEPS // (STEPS_OF_A_RUN - 4) // PARTS) if STEPS else 500
"""Of one part."""
LEAST = 50 // PARTS + 1
"""So often each part reaches each of these, all together 50 times, or this proves less than it says."""
REACHED = (
    "edge between decision and evaluation",
    "pause and resume of a request's camera",
    "consent signed anew over a request",
    "file narrowed and back over a request",
    "restart between commit and acknowledgement",
    "payloads that left",
    "keys that left",
    "approvals",
    "approvals of something else",
    "bundles that wait when a camera is paused",
    "cameras pointed elsewhere over a request",
    "earlier consents put back",
    "orders that come again",
    "noise",
    "refusals that are only counted",
    "earlier trust bundles",
    "pauses while an answer is sent",
)
counts: Counter[str] = Counter()

one_change = st.sampled_from(
    [
        {"mode": Mode.ASK},
        {"mode": Mode.DENY},
        {"half": True},
        {"audio": False},
        {"robbery": False},
        {"cooling_min": 20},
        {"per_day": 1},
        {"masked": True},
        {"escrow": False},
    ]
)
terms = st.lists(one_change, max_size=2).map(lambda changes: Say(**{k: v for each in changes for k, v in each.items()}))
rarely = st.sampled_from([False, False, False, False, True])
cameras = st.sampled_from(["door", "yard"])
wanted = st.sampled_from([["door", "yard"], ["*"], ["door"], ["shed", "yard"]])
named = st.sampled_from([("door",), ("yard",), ("door", "yard"), CAMERAS])
spans = st.sampled_from([WHOLE, WHOLE, HALF])
PLENTY = 50
"""Requests a day: more than a run has."""
LAST = gate.NOW + 2 * DAY_NS + 20 * HOUR_NS
"""Afterwards the clip would be too old for every camera."""


class GateMachine(RuleBasedStateMachine):
    """A house, its owner, its crime center, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.house = WatchedHouse(counts)
        self.model = self.house.model
        self.paused_over: set[tuple[str, str]] = set()
        self.narrowed_over: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        counts["runs"] += 1
        self.house.close()

    # The crime center

    @initialize(
        asking=st.sampled_from([(), (), ("door",), ("yard",), ("door", "yard")]), per_day=st.sampled_from([1, 2])
    )
    def the_owner_signs(self, asking, per_day) -> None:
        for camera in CAMERAS:
            mode = Mode.ASK if camera in asking else Mode.AUTO
            self.house.sign_anew(camera, Say(mode=mode, per_day=per_day))

    @rule(cameras=wanted, audio=st.booleans())
    def a_request_is_carried_out(self, cameras, audio) -> None:
        """Unless something is against it."""
        self.a_request_arrives(cameras, audio, 6, False)
        self.the_worker_has_its_turn(11)

    @rule(
        cameras=wanted,
        audio=st.booleans(),
        named=named,
        span=spans,
        late_min=st.sampled_from([0, 0, 0, 31]),
        signed_before_min=st.sampled_from([0, 4]),
    )
    def a_request_is_approved(self, cameras, audio, named, span, late_min, signed_before_min) -> None:
        """By an order that may say that it was signed earlier; the worker looks a little before and after it may."""
        self.a_request_arrives(cameras, audio, 6, False)
        self.time_passes(5)
        self.the_owner_approves(named, span, late_min, signed_before_min)
        self.the_worker_has_its_turn(9)
        self.the_worker_has_its_turn(2)

    @rule(cameras=wanted, audio=st.booleans(), hours=st.sampled_from([1, 6, 24]), killed=rarely)
    def a_request_arrives(self, cameras, audio, hours, killed) -> None:
        """And perhaps the process is killed between the commit and the acknowledgement."""
        jti, message = self.house.message(cameras, audio, hours * HOUR_NS, Unacknowledged if killed else Delivery)
        if not self.model.synchronised:
            assert self._is_left_waiting(jti, message)
            return
        if not killed:
            self.house.intake.handle(message)
        else:
            with pytest.raises(KilledError):
                self.house.intake.handle(message)
            self.house.restart()
            counts["restart between commit and acknowledgement"] += 1
            if jti not in self.model.promises and self.house.store.requests.find(jti) is not None:
                self.house.arrived(jti, audio)
            before = self.house.store.requests.list_newest(), self.house.entries("decision")
            again = Delivery(message.payload)
            self.house.intake.handle(again)
            assert again.acks == 1
            assert (self.house.store.requests.list_newest(), self.house.entries("decision")) == before, "decided twice"
            return
        assert message.acks == 1
        if self.house.store.requests.find(jti) is not None:
            self.house.arrived(jti, audio)
        else:
            self._was_only_counted(cameras)

    def _was_only_counted(self, cameras) -> None:
        """Nobody's word, or one refusal too many: nothing is announced of it, and it used no quota."""
        names = CAMERAS if "*" in cameras else tuple(cameras)
        plain = Promise(2**62, self.model.now, 0, False, frozenset(), set(), {}, asked=True)
        refused = self.model.is_unknown() or all(self.model.denies(each, plain) for each in names)
        assert not self.model.trusted or (refused and not self.model.list_counted(2**62, names))
        counts["refusals that are only counted"] += 1

    @rule(again=st.booleans())
    def noise_arrives(self, again) -> None:
        """More refusals than are entered one by one, and one of them again: counted, and known."""
        if not self.model.synchronised or not self.model.trusted:
            return
        store, before = self.house.store, len(self.house.entries("decision"))
        messages = [self.house.message([PLACELESS], False, 6 * HOUR_NS)[1] for _ in range(5)]
        for message in messages:
            self.house.intake.handle(message)
            assert message.acks == 1
        assert len(self.house.entries("decision")) <= before + self.house.room.entered, "noise fills the ledger"
        known = store.refusals.count_counted(), store.requests.list_newest(), self.house.entries("decision")
        self.house.intake.handle(Delivery(messages[-1 if again else 0].payload))
        found = store.refusals.count_counted(), store.requests.list_newest(), self.house.entries("decision")
        assert found == known, "a refused request is judged again"
        counts["noise"] += 1

    @rule(cameras=wanted, audio=st.booleans())
    def a_request_arrives_and_the_process_is_killed(self, cameras, audio) -> None:
        """After the commit, before the acknowledgement; it comes again."""
        self.a_request_arrives(cameras, audio, 6, True)
        self.the_worker_has_its_turn(11)

    def _is_left_waiting(self, jti: str, message: Delivery) -> bool:
        """Nothing is recorded, and the message comes again by itself: a restart forgets it here."""
        if isinstance(message, Unacknowledged):
            message = Delivery(message.payload)
        self.house.intake.handle(message)
        self.house.restart()
        return message.acks == (not self.model.trusted) and self.house.store.requests.find(jti) is None

    @rule(camera=cameras, before_min=st.sampled_from([3, 12]), tightens=st.booleans())
    def a_request_arrives_just_before_the_edge_of_a_day(self, camera, before_min, tightens) -> None:
        """Decided while an earlier request still counts, evaluated when it does not any more."""
        times = self._still_counted(camera, before_min)
        if not times:
            self.a_request_arrives([camera], False, 6, False)
            times = self._still_counted(camera, before_min)
        if not times or times[0] + DAY_NS > LAST or not self.model.synchronised:
            return
        self.house.wait(times[0] + DAY_NS - before_min * MINUTE_NS - self.model.now)
        self.a_request_arrives(["door", "yard"], False, 6, False)
        if tightens:
            self.the_file_says_something_else(camera, Say(per_day=1))
        self.house.wait(21 * MINUTE_NS)
        self.house.turn()
        if tightens:
            self.the_file_says_again_what_was_signed(camera)

    def _still_counted(self, camera: str, before_min: int) -> list[int]:
        found = self.model.counted[camera]
        return [at for _, at in found if at + DAY_NS - before_min * MINUTE_NS > self.model.now]

    @precondition(lambda self: not self.model.trusted)
    @rule()
    def an_earlier_trust_bundle_comes_back(self) -> None:
        """In which the revoked keys still count."""
        self.house.intake.handle(self.house.trust_message(version=1))
        counts["earlier trust bundles"] += 1
        self.a_request_arrives(["door"], False, 6, False)

    @precondition(lambda self: self.model.trusted)
    @rule(chance=st.integers(0, 9))
    def a_key_is_revoked(self, chance) -> None:
        if chance == 0 and self.model.synchronised:
            self.house.intake.handle(self.house.trust_message(version=2, keys=[]))
            self.model.trusted = False
            self.an_earlier_trust_bundle_comes_back()

    # Time and the process

    @rule(minutes=st.sampled_from([1, 5, 11, 11, 21, 31, 61]))
    def time_passes(self, minutes) -> None:
        if self.model.now + minutes * MINUTE_NS < LAST:
            self.house.wait(minutes * MINUTE_NS)

    @rule(minutes=st.sampled_from([0, 11, 11, 21]))
    def the_worker_has_its_turn(self, minutes) -> None:
        self.time_passes(minutes)
        self.house.turn()
        self.house.turn()

    @rule()
    def the_process_is_killed(self) -> None:
        self.house.restart()

    @rule(lost=rarely)
    def the_clock_is_lost_or_found(self, lost) -> None:
        self.house.lose_clock(lost)

    @rule(silent=rarely, away=rarely)
    def the_broker_changes(self, silent, away) -> None:
        self.house.broker.acknowledges, self.house.broker.connected = not silent, not away

    # The owner

    @rule(camera=st.sampled_from(["door", "yard", "*"]), minutes=st.sampled_from([None, 5, 60]))
    def the_owner_pauses(self, camera, minutes) -> None:
        until = None if minutes is None else UtcNs(self.model.now + minutes * MINUTE_NS)
        self._remember_open(self.paused_over, camera)
        known = self.model.pauses.get(camera, 0)
        self.model.pauses[camera] = max(known if known > self.model.now else 0, until or 2**62)
        self.house.call("pause", camera=camera, until=None if until is None else encode_rfc3339(until))
        self.model.stopped()

    @rule(camera=st.sampled_from(["door", "yard", "*"]), looks=st.booleans())
    def the_owner_pauses_for_a_while(self, camera, looks) -> None:
        """A request that arrives meanwhile is decided without the camera."""
        self.the_owner_pauses(camera, None)
        if looks:
            self.a_request_arrives(["door", "yard"], False, 6, False)
        self.the_owner_resumes(camera)
        self.the_worker_has_its_turn(11)

    @rule(camera=cameras, rebuilds=st.booleans())
    def the_owner_pauses_while_an_answer_is_sent(self, camera, rebuilds) -> None:
        """The sender has read what is due behind it; a narrower answer may take the place of one of these."""
        for name in ("door", "yard"):
            self.the_owner_signs_anew(name, Say())
        self.house.broker.connected = False
        self.a_request_arrives(["door", "yard"], False, 6, False)
        self.the_worker_has_its_turn(11)
        self.house.broker.connected = True
        check = self.house.broker.before

        def pause(payload: bytes) -> None:
            check(payload)
            self.house.broker.before = check
            self.the_owner_pauses(camera, None)
            if rebuilds:
                self.house.worker.turn()

        self.house.broker.before = pause
        self.the_worker_has_its_turn(0)
        self.house.broker.before = check
        counts["pauses while an answer is sent"] += bool(self.model.is_paused(camera))

    @rule(camera=cameras, resumes=st.booleans())
    def the_owner_pauses_while_a_bundle_waits(self, camera, resumes) -> None:
        """The upload server is away: the bundles are built, and stay at home."""
        for name in ("door", "yard"):
            self.the_owner_signs_anew(name, Say())
        self.a_request_arrives(["door", "yard"], False, 6, False)
        self.house.uploader.away = True
        self.the_worker_has_its_turn(11)
        counts["bundles that wait when a camera is paused"] += bool(self.house.staged())
        self.the_owner_pauses(camera, None)
        self.no_bound_grows()
        self.house.uploader.away = False
        if resumes:
            self.the_owner_resumes(camera)
        self.the_worker_has_its_turn(11)

    @rule(camera=st.sampled_from(["door", "yard", "*"]))
    def the_owner_resumes(self, camera) -> None:
        self.house.call("order", jws=self.house.order("resume", what="release", camera=camera))
        self.model.pauses.pop(camera, None)
        counts["pause and resume of a request's camera"] += bool(self._take_over(self.paused_over, camera))

    @rule(camera=cameras, say=terms)
    def the_owner_signs_anew(self, camera, say) -> None:
        self.house.sign_anew(camera, say)
        counts["consent signed anew over a request"] += bool(self.house.open_promises())

    @rule(camera=cameras, revokes=st.booleans(), which=st.integers(0, 3))
    def an_earlier_consent_is_put_back(self, camera, revokes, which) -> None:
        """Handed over once more, by whoever kept it: it was signed, and never counts again."""
        if revokes:
            self.the_owner_revokes(camera)
        known = self.house.consents[camera]
        with pytest.raises(UsageError):
            self.house.hand_over(camera, known[max(0, len(known) - 1 - which)])
        counts["earlier consents put back"] += 1
        self.a_request_arrives([camera], False, 6, False)

    @rule(camera=cameras, signs=st.booleans(), minutes=st.sampled_from([0, 5, 11]))
    def a_camera_is_pointed_elsewhere(self, camera, signs, minutes) -> None:
        """Over a request; a consent to the other source counts for new requests only."""
        self.a_request_arrives(["door", "yard"], False, 6, False)
        self.model.pointed[camera] = 1 - self.model.pointed[camera]
        if signs:
            self.the_owner_signs_anew(camera, self.model.signed[camera])
        self.the_worker_has_its_turn(minutes)
        counts["cameras pointed elsewhere over a request"] += bool(self.house.open_promises())
        if not signs:
            self.model.pointed[camera] = 1 - self.model.pointed[camera]
        self.the_worker_has_its_turn(11)

    @rule(camera=st.sampled_from(["door", "yard", "*"]))
    def an_order_comes_again(self, camera) -> None:
        """Whoever kept the owner's last order sends it once more, within its five minutes."""
        self.the_owner_pauses(camera, None)
        order = self.house.order("resume", what="release", camera=camera)
        self.house.call("order", jws=order)
        self.model.pauses.pop(camera, None)
        self.the_owner_pauses(camera, 60)
        with pytest.raises(UsageError):
            self.house.call("order", jws=order)
        counts["orders that come again"] += 1
        self.a_request_arrives(["door", "yard"], False, 6, False)

    @rule(camera=st.sampled_from(["door", "door", "yard", "yard", "*"]))
    def the_owner_revokes(self, camera) -> None:
        self.model.revoked |= set(CAMERAS) if camera == "*" else {camera}
        self.house.call("revoke", camera=camera)
        self.model.stopped()

    @rule(camera=cameras, say=terms)
    def the_file_says_something_else(self, camera, say) -> None:
        self.model.file[camera] = say
        self._remember_open(self.narrowed_over, camera)

    @rule(camera=cameras)
    def the_file_says_again_what_was_signed(self, camera) -> None:
        self.model.file.pop(camera, None)
        counts["file narrowed and back over a request"] += bool(self._take_over(self.narrowed_over, camera))

    @rule(camera=cameras, change=one_change, minutes=st.sampled_from([0, 5, 11, None]), fresh=st.booleans())
    def the_file_narrows_for_a_while(self, camera, change, minutes, fresh) -> None:
        """Before a request arrives (None), or over one; with or without an evaluation in between."""
        self._make_whole(fresh)
        if minutes is not None:
            self.a_request_arrives(["door", "yard"], True, 6, False)
        self.the_file_says_something_else(camera, Say(**({"per_day": PLENTY} | change)))
        if minutes is None:
            self.a_request_arrives(["door", "yard"], True, 6, False)
        else:
            self.the_worker_has_its_turn(minutes)
        self.the_file_says_again_what_was_signed(camera)
        self.the_worker_has_its_turn(11)

    @rule(camera=cameras)
    def the_cooling_off_grows_while_it_runs(self, camera) -> None:
        """The worker's first look is after the old end, and before the new one."""
        self._make_whole(True)
        self.a_request_arrives(["door", "yard"], True, 6, False)
        self.the_file_says_something_else(camera, Say(per_day=PLENTY, cooling_min=20))
        self.the_worker_has_its_turn(11)
        self.the_worker_has_its_turn(11)

    @rule(camera=cameras, change=one_change, fresh=st.booleans())
    def the_owner_signs_anew_over_a_request(self, camera, change, fresh) -> None:
        """Less, and later everything again."""
        self._make_whole(fresh)
        self.a_request_arrives(["door", "yard"], True, 6, False)
        self.the_owner_signs_anew(camera, Say(**({"per_day": PLENTY} | change)))
        self.the_worker_has_its_turn(11)
        self.the_owner_signs_anew(camera, Say())
        self.the_worker_has_its_turn(11)

    @rule(away=rarely)
    def the_file_is_away_or_back(self, away) -> None:
        self.model.readable = not away

    @rule(named=named, span=spans, late_min=st.sampled_from([0, 0, 0, 31]), signed_before_min=st.sampled_from([0, 4]))
    def the_owner_approves(self, named, span, late_min, signed_before_min) -> None:
        """All of it, a part, too late, or with an order that says that it is older."""
        asked = self.house.store.requests.list_newest([RequestState.ASKED])
        if not asked:
            return
        request = asked[0]
        self.time_passes(late_min)
        promise = self.model.promises[request.jti]
        names = [each for each in named if each in request.bound.names] or list(request.bound.names[:1])
        order = self.house.approval_order(request, names, span, self.model.now - signed_before_min * MINUTE_NS)
        try:
            self.house.call("order", jws=order)
        except (DenialError, UsageError):
            state = self.house.store.requests.read(request.id).state
            assert state in (RequestState.ASKED, RequestState.DENIED)
            if state is RequestState.DENIED:  # it was an answer, and left nothing
                is_late = self.model.now >= promise.decided_at + ASK_TIMEOUT_NS
                left = {each for each in promise.cameras & set(names) if not self.model.denies(each, promise)}
                assert is_late or not left
                promise.cameras.clear()
            return
        assert self.model.now < promise.decided_at + ASK_TIMEOUT_NS, "approved after the time to answer"
        promise.cameras &= set(names)
        for camera in promise.cameras:
            low, high = promise.spans[camera]
            promise.spans[camera] = (max(low, span[0]), min(high, span[1]))
        promise.approved, promise.starts_at = True, self.model.now
        self.model.evaluated(promise)
        counts["approvals"] += 1

    @rule(camera=cameras, beyond=st.booleans())
    def the_owner_approves_something_else(self, camera, beyond) -> None:
        """What they were shown before the offer shrank, or a camera that was never offered: neither is an answer."""
        for name in ("door", "yard"):
            self.the_owner_signs_anew(name, Say(mode=Mode.ASK))
        if beyond:
            self.the_file_says_something_else(camera, Say(mode=Mode.DENY))
        self.a_request_arrives(["door", "yard"], False, 6, False)
        asked = self.house.store.requests.list_newest([RequestState.ASKED])
        if not asked:
            return
        shown = asked[0]
        offer = digest_offers(offers_of(shown.bound))
        self.the_file_says_something_else(camera, Say(mode=Mode.ASK, half=True))
        self.house.call("pause", camera="shed", until=None)  # everything is evaluated, and nothing else happens
        self.house.call("order", jws=self.house.order("resume", what="release", camera="shed"))
        current = self.house.store.requests.read(shown.id)
        if current.state is not RequestState.ASKED:
            return
        names = ("door", "yard") if beyond else current.bound.names
        order = self.house.approval_order(current, names, WHOLE, self.model.now, None if beyond else offer)
        if (set(names) <= set(current.bound.names)) if beyond else digest_offers(offers_of(current.bound)) == offer:
            return
        with pytest.raises(DenialError):
            self.house.call("order", jws=order)
        assert self.house.store.requests.read(shown.id).state in (RequestState.ASKED, RequestState.DENIED)
        counts["approvals of something else"] += 1
        self.the_file_says_again_what_was_signed(camera)

    @rule(what=st.sampled_from(["cancel", "deny"]), chance=st.integers(0, 3))
    def the_owner_says_no(self, what, chance) -> None:
        found = self.house.open_promises()
        if not found or chance:
            return
        try:
            state = self.house.call(what, number=self.house.store.requests.find(found[0]).id)["state"]
        except UsageError:
            return
        assert state in ("cancelled", "denied")
        self.model.promises[found[0]].cameras.clear()

    # What always holds

    @invariant()
    def no_bound_grows(self) -> None:
        """After each step."""
        counts["steps"] += 1
        self.house.check_bounds()

    def _make_whole(self, fresh: bool) -> None:
        """End all that is against a request, or leave it: what is denied already cannot be narrowed."""
        if not fresh:
            return
        self.house.lose_clock(False)
        self.model.readable = True
        for camera in list(self.model.pauses):
            self.the_owner_resumes(camera)
        for camera in ("door", "yard"):
            self.model.file.pop(camera, None)
            self.the_owner_signs_anew(camera, Say(per_day=PLENTY))

    def _asked_of(self, request) -> list[str]:
        names = self.house.asked(request.raw)
        return list(CAMERAS) if "*" in names else names

    def _remember_open(self, over: set[tuple[str, str]], camera: str) -> None:
        names = CAMERAS if camera == "*" else (camera,)
        for jti in self.house.open_promises():
            announced = self.model.promises[jti].announced
            over |= {(jti, camera) for name in names if name in announced}

    def _take_over(self, over: set[tuple[str, str]], camera: str) -> set[tuple[str, str]]:
        found = {each for each in over if each[1] == camera}
        over -= found
        return found


@pytest.mark.slow
@pytest.mark.timeout(0 if STEPS or IS_MUTANT else 400)
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_leaves_that_any_rule_forbids(part, monkeypatch) -> None:
    """All that leaves in any run is in the bound, allowed now, announced, counted, and never early."""
    monkeypatch.setattr(ledger, "PAD_TO", 1)  # padding to 256 entries is not what is tested here
    counts.clear()
    machine = type(f"GateMachine{part}", (GateMachine,), {})
    run_state_machine_as_test(
        machine if STEPS else seed(part)(machine),
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS_OF_A_RUN,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(part, dict(counts))
    assert counts["steps"] >= STEPS // PARTS
    assert IS_MUTANT or {name: counts[name] for name in REACHED if counts[name] < LEAST} == {}
