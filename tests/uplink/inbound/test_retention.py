"""Requests of long ago are forgotten, and every check says what it would have said with them."""

from pathlib import Path

import pytest

from edge_agent.errors import DenialError
from edge_agent.protocol.request import REQUEST_SKEW_NS
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339
from edge_agent.uplink.inbound.evaluator import NEWEST
from edge_agent.uplink.inbound.refusal_limits import RefusalLimits, RefusalRoom
from edge_agent.uplink.inbound.retention import KEEP_INCIDENTS, REMEMBER_NS, prune, prune_by_clock
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState, StoredRequest
from tests.support import gate
from tests.support.releaser import Delivery, House

EXP_NS = 9 * MINUTE_NS
"""How long after its arrival a request of these tests may arrive again."""


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.store.close()


def deliver(house: House) -> StoredRequest:
    """A request that ends well, with its answers sent."""
    request = house.ask()
    house.sender.turn()
    house.carry_on()
    house.sender.turn()
    assert house.state() is RequestState.DELIVERED
    return request


def pass_time(house: House, by_ns: int) -> None:
    """Let time pass, with a trust bundle of then."""
    house.clock.advance(by_ns)
    now = house.clock.utc()
    version = 1 + now // MINUTE_NS
    ends = {"issued_at": encode_rfc3339(UtcNs(now - HOUR_NS)), "expires": encode_rfc3339(UtcNs(now + DAY_NS))}
    house.intake.handle(house.trust_message(version=version, **ends))


def rows(house: House) -> dict[str, int]:
    tables = ("request", "release", "answer", "quota", "outbox", "owner_order")
    with house.store.reading() as connection:
        return {each: connection.execute(f"SELECT count(*) FROM {each}").fetchone()[0] for each in tables}


def forget(house: House, newest: int = 0) -> int:
    return prune(house.store, house.clock.utc(), newest=newest)


def test_a_request_is_kept_until_its_bound_and_gone_after_it(house: House) -> None:
    """To the nanosecond; with it go its releases, answers and quota uses, and nothing of the ledger."""
    request = deliver(house)
    entered = len(house.entries("request"))
    pass_time(house, EXP_NS + REMEMBER_NS - (house.clock.utc() - request.arrived_at))
    assert forget(house) == 0
    house.clock.advance(1)
    assert forget(house) == 1
    assert rows(house) == dict.fromkeys(rows(house), 0)
    assert len(house.entries("request")) == entered


def test_what_is_under_way_is_never_forgotten(house: House) -> None:
    """A clock that jumped, a gateway that was off for a year: an open request ends by its own rules first."""
    request = house.ask()
    pass_time(house, 2 * REMEMBER_NS)
    assert forget(house) == 0
    house.worker.turn()
    assert house.store.requests.read(request.id).state not in OPEN_STATES
    assert forget(house) == 1


def test_a_key_that_waits_to_be_sent_keeps_its_request(house: House) -> None:
    """Age headers in the outbox are withdrawn by the gate, never by oblivion."""
    house.ask()
    house.carry_on()
    pass_time(house, 2 * REMEMBER_NS)
    assert forget(house) == 0
    house.sender.turn()
    assert house.state() is RequestState.CANCELLED
    assert forget(house) == 1
    assert house.keys_out() == 0


def test_the_newest_are_kept_whatever_the_clock_says(house: House) -> None:
    """A clock that was led astray makes the house forget nothing of lately."""
    for _ in range(4):
        house.ask({"incident.category": "arson"})
    pass_time(house, 2 * REMEMBER_NS)
    assert forget(house, newest=3) == 1
    assert [each.id for each in house.store.requests.list_newest()] == [4, 3, 2]


def test_a_request_of_a_far_future_is_remembered_until_then(house: House) -> None:
    """Refused today because it is not yet valid, it must not become new on the day on which it is."""
    later = {name: gate.at(400 * DAY_NS + each) for name, each in (("iat", 0), ("nbf", 0), ("exp", 9 * MINUTE_NS))}
    request = house.ask({**later, "release_by": gate.at(400 * DAY_NS + HOUR_NS)})
    assert [each["code"] for each in request.reasons] == ["issued-in-future"]
    pass_time(house, 400 * DAY_NS - REQUEST_SKEW_NS)
    assert forget(house) == 0
    pass_time(house, REMEMBER_NS + HOUR_NS)
    assert forget(house) == 1


# Every check says what it would have said


@pytest.mark.parametrize("outcome", ["delivered", "denied"])
def test_a_replay_after_the_pruning_is_refused_as_expired_and_counted(house: House, outcome: str) -> None:
    """No new decision, no answer, no entry, no row: as often as the broker likes to repeat it."""
    request = deliver(house) if outcome == "delivered" else house.ask({"incident.category": "arson"})
    pass_time(house, REMEMBER_NS + HOUR_NS)
    house.sender.turn()
    sent = len(house.broker.taken)
    assert forget(house) == 1
    with pytest.raises(DenialError) as refused:
        outlook = house.evaluator.look()
        house.evaluator.admit(house.evaluator.verify(request.raw, outlook), outlook)
    assert refused.value.reason == "expired"
    entered = len(house.entries("request"))
    for _ in range(20):
        message = Delivery(request.raw)
        house.intake.handle(message)
        assert message.acks == 1
    house.sender.turn()
    assert house.refusal_counter.read() == {"expired": 20}
    assert house.store.requests.list_newest() == []
    assert len(house.entries("request")) == entered
    assert len(house.broker.taken) == sent


def test_a_request_that_comes_too_late_but_not_by_much_is_entered(house: House) -> None:
    """What an honest broker held back for a week is in the owner's ledger, as a refusal."""
    raw = house.sign()
    pass_time(house, 7 * DAY_NS)
    house.intake.handle(Delivery(raw))
    assert [each["code"] for each in house.newest().reasons] == ["expired"]


def test_an_incidents_facts_are_never_forgotten(house: House) -> None:
    """An old number with new facts is refused, long after the request that it was first seen in is gone."""
    deliver(house)
    pass_time(house, 2 * REMEMBER_NS)
    assert forget(house) == 1
    shift = house.clock.utc() - gate.NOW
    moved = {name: gate.at(shift + each) for name, each in (("iat", 0), ("nbf", 0), ("exp", 9 * MINUTE_NS))}
    window = {"start": gate.at(shift - 60 * MINUTE_NS), "end": gate.at(shift - 40 * MINUTE_NS)}
    house.ask(
        {
            **moved,
            "release_by": gate.at(shift + 6 * HOUR_NS),
            "incident.window": window,
            "incident.reported_at": gate.at(shift - 50 * MINUTE_NS),
            "clip.window": window,
        }
    )
    assert [each["code"] for each in house.newest().reasons] == ["incident-changed"]


def test_the_facts_of_incidents_have_a_bound_with_a_way_back(house: House) -> None:
    """The newest ones stay, and with them every one of which a request is remembered."""
    for number in ("first", "second", "third"):
        house.ask({"incident.number": number, "incident.category": "arson"})

    def known() -> list[str]:
        return [each for each in ("first", "second", "third") if house.store.requests.find_incident(gate.ISS, each)]

    prune(house.store, house.clock.utc(), newest=0, incidents=1)
    assert known() == ["first", "second", "third"]
    pass_time(house, REMEMBER_NS + HOUR_NS)
    prune(house.store, house.clock.utc(), newest=2, incidents=3)
    assert known() == ["first", "second", "third"]
    prune(house.store, house.clock.utc(), newest=2, incidents=1)
    assert known() == ["second", "third"]
    assert RefusalRoom().entered_in_all * REMEMBER_NS // HOUR_NS < KEEP_INCIDENTS


def test_the_bound_is_longer_than_any_quota_or_term_looks_back(house: House) -> None:
    """Thirty days are the most that terms count or allow; an area's request may be on its way for one more."""
    assert REMEMBER_NS > 31 * DAY_NS + REQUEST_SKEW_NS
    deliver(house)
    before = house.store.quotas.count_uses(gate.ISS, "2026-070112", before=NEWEST, now=gate.NOW)
    assert before["door"].last_month == 1
    pass_time(house, 31 * DAY_NS)
    forget(house)
    assert house.store.quotas.count_uses(gate.ISS, "2026-070112", before=NEWEST, now=gate.NOW) == before


def test_orders_of_the_owner_are_forgotten_when_they_are_worth_nothing(house: House) -> None:
    """An order is good for five minutes: later its age refuses it, remembered or not."""
    order = house.order("resume", what="release", camera="*")
    house.call("order", jws=order)
    forget(house)
    assert rows(house)["owner_order"] == 1
    pass_time(house, REMEMBER_NS + HOUR_NS)
    forget(house)
    assert rows(house)["owner_order"] == 0
    with pytest.raises(DenialError) as refused:
        house.call("order", jws=order)
    assert refused.value.reason == "expired"


def test_many_old_requests_go_at_once(house: House) -> None:
    """More than one page of them, in transactions that are short."""
    house.intake.limits = RefusalLimits(house.store, RefusalRoom(entered=1000, entered_in_all=1000))
    for _ in range(250):
        house.ask({"incident.category": "arson"})
    pass_time(house, REMEMBER_NS + HOUR_NS)
    assert forget(house, newest=5) == 245
    assert rows(house)["request"] == 5


@pytest.mark.parametrize("state", [ClockState.SYNCHRONISED, ClockState.FLOOR_ONLY])
def test_only_a_clock_that_is_believed_forgets(house: House, state: ClockState) -> None:
    """A clock that was set ahead must not make the gateway forget an incident whose facts it still needs."""
    with house.store.transaction() as connection:
        for number in ("old", "new"):
            house.store.requests.add_incident(connection, gate.ISS, number, bytes(32))
        connection.execute("UPDATE incident SET rowid = ? WHERE number = 'new'", (KEEP_INCIDENTS + 2,))
    house.clock.clock_state = state
    prune_by_clock(house.store, house.clock)
    is_forgotten = house.store.requests.find_incident(gate.ISS, "old") is None
    assert is_forgotten is (state is ClockState.SYNCHRONISED)
