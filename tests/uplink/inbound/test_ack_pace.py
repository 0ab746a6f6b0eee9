"""The time from a message's arrival to its acknowledgement says nothing about what was made of it."""

from dataclasses import dataclass, field

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.units import MonoNs
from edge_agent.uplink.inbound.ack_pace import STEP_NS, AckPace, find_step
from tests.support import gate
from tests.support.fakes import FakeClock
from tests.support.releaser import Delivery, House, InstantPace

MILLISECOND_NS = 1_000_000


class PacedHouse(House):
    """A house whose pace is the real one; waiting moves its clock."""

    def make_pace(self) -> AckPace:
        return AckPace(self.clock, self.pass_time)

    def pass_time(self, seconds: float) -> bool:
        self.clock.advance(round(seconds * 1e9))
        return self.stop.is_set()


@dataclass
class Timed(Delivery):
    """A message that notes when it is acknowledged, and what of it was durable then."""

    clock: FakeClock = field(default_factory=FakeClock)
    acked_at: list[int] = field(default_factory=list)

    def ack(self) -> None:
        super().ack()
        self.acked_at.append(self.clock.boot())


@pytest.fixture
def house(tmp_path):
    house = PacedHouse(tmp_path)
    house.signed |= {"yard": gate.terms(mode=Mode.ASK)}
    yield house
    house.store.close()


VERDICTS = {
    "grant": {},
    "ask": {"clip.cameras": ["yard"]},
    "denial by the terms": {"incident.category": "arson"},
    "denial by the time": {"exp": gate.at(-(10**12)), "nbf": gate.at(-2 * 10**12), "iat": gate.at(-2 * 10**12)},
    "denial by the incident": {"clip.window.start": gate.at(-(10**15))},
    "unknown camera": {"clip.cameras": ["attic"]},
    "for another house": {"aud": {"gateway": "T3RoZXJHYXRld2F5SWQxMQ"}},
}
COMMITS_MS = {
    "instantly": (0, 1),
    "within the first step": (499, 1),
    "just at it": (500, 1),
    "just after": (501, 2),
    "late": (1730, 4),
}


@pytest.mark.parametrize(("commit_ms", "step"), COMMITS_MS.values(), ids=COMMITS_MS)
@pytest.mark.parametrize("changes", VERDICTS.values(), ids=VERDICTS)
def test_acknowledgement_depends_on_the_arrival_alone(house, changes, commit_ms, step):
    """For every verdict: arrival + k * 500 ms, k the least that is over when the commit is done."""
    house.house_reader.before = lambda: house.clock.advance(commit_ms * MILLISECOND_NS)
    message = Timed(house.sign(changes), clock=house.clock)
    arrival = house.clock.boot()
    house.intake.handle(message)
    assert message.acked_at == [arrival + step * STEP_NS]


def test_repeated_request_is_acknowledged_at_the_same_step(house):
    """A replay, and an id that is used again, are met like everything that is judged."""
    raw = house.sign()
    house.intake.handle(Delivery(raw))
    house.numbers -= 1
    for again in (raw, house.sign({"clip.audio": True})):
        message = Timed(again, clock=house.clock)
        arrival = house.clock.boot()
        house.intake.handle(message)
        assert message.acked_at == [arrival + STEP_NS]


def test_noise_is_acknowledged_at_once(house):
    """What nothing of the house was looked up for tells nothing, and must not hold up what counts."""
    for payload, retained in ((b"noise", False), (house.rtcc.sign(gate.request_payload(), "ann"), False), (b"", True)):
        message = Timed(payload, retained=retained, clock=house.clock)
        arrival = house.clock.boot()
        house.intake.handle(message)
        assert message.acked_at == [arrival]


def test_what_waited_for_the_clock_is_paced_as_well(house):
    """Messages that waited are acknowledged one by one, each at a step of its own."""
    house.trust._bundle, bundle = None, house.trust.bundle
    waiting = [Timed(house.sign(changes), clock=house.clock) for changes in VERDICTS.values()]
    for message in waiting:
        house.intake.handle(message)
    assert not any(message.acks for message in waiting)
    house.trust._bundle = bundle
    start = house.clock.boot()
    house.intake.retry_waiting()
    assert [each.acked_at for each in waiting] == [[start + (i + 1) * STEP_NS] for i in range(len(waiting))]


def test_message_is_durable_before_it_is_acknowledged_and_comes_again_if_the_process_ends(house):
    """A stop in the middle acknowledges nothing early; the request is decided once all the same."""
    house.stop.set()
    message = Timed(house.sign(), clock=house.clock)
    house.intake.handle(message)
    assert message.acks == 0
    assert len(house.entries("decision")) == 1
    house.stop.clear()
    house.intake.handle(message)
    assert message.acks == 1
    assert len(house.entries("decision")) == 1


def test_old_order_is_found_by_this_very_test(house):
    """Without the pace the times differ: what the tests above compare is really there."""
    house.intake._pace = InstantPace(house.clock, lambda _: False)
    seen = set()
    for commit_ms, changes in ((12, VERDICTS["ask"]), (7, VERDICTS["denial by the terms"])):
        house.house_reader.before = lambda ms=commit_ms: house.clock.advance(ms * MILLISECOND_NS)
        message = Timed(house.sign(changes), clock=house.clock)
        arrival = house.clock.boot()
        house.intake.handle(message)
        seen.add(message.acked_at[0] - arrival)
    assert seen == {12 * MILLISECOND_NS, 7 * MILLISECOND_NS}


def test_steps_are_counted_from_the_arrival():
    """No step is before the commit, none is the arrival itself, and the one before it would be."""
    for done in (1000, 1001, 1000 + STEP_NS, 1001 + STEP_NS, 1000 + 3 * STEP_NS - 1):
        due = find_step(MonoNs(1000), MonoNs(done))
        assert due >= done
        assert due > 1000
        assert (due - 1000) % STEP_NS == 0
        assert due - STEP_NS < done or due == 1000 + STEP_NS
