"""However many requests are refused: what they take of disk and ledger is bounded, none is decided twice, all count."""

import json
from pathlib import Path

import pytest

from edge_agent.base64url import encode_b64url
from edge_agent.consent.policy import Mode
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request_jws import TYP
from edge_agent.units import HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339
from edge_agent.uplink.inbound.evaluator import NEWEST
from edge_agent.uplink.inbound.refusal_limits import RefusalLimits, RefusalRoom
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import Delivery, House

SMALL = RefusalRoom(entered=4, entered_in_all=10, remembered=6, message_bytes=300_000, messages=100)
KILOBYTES = 40
OTHER = "Q2FtZXJhR2F0ZXdheUlkMg"
"""Another gateway's id."""


class SmallHouse(House):
    room = SMALL


@pytest.fixture
def house(tmp_path: Path):
    house = SmallHouse(tmp_path)
    house.signed["door"] = gate.terms(mode=Mode.ASK, requests_per_day=100, requests_per_incident=100)
    yield house
    house.store.close()


def refused(house: House, *people: str, padded: bool = False, **changes: object) -> bytes:
    """Sign a request that the terms refuse, as large as one may be if it is padded."""
    house.numbers += 1
    now = house.clock.utc()
    payload = gate.request_payload(
        {
            "jti": encode_b64url(house.numbers.to_bytes(16, "big")),
            "incident.category": "arson",
            "incident.number": "of another kind",
            "iat": encode_rfc3339(now),
            "nbf": encode_rfc3339(now),
            "exp": encode_rfc3339(UtcNs(now + 9 * MINUTE_NS)),
            **changes,
        }
    )
    keys = [house.rtcc.people[name] for name in people or ("ann", "bob")]
    blanks = b" " * (KILOBYTES * 1024 if padded else 0)
    return jws.sign_with(TYP, json.dumps(payload).encode() + blanks, keys)


def deliver(house: House, raw: bytes) -> None:
    message = Delivery(raw)
    house.intake.handle(message)
    assert message.acks == 1


def denials(house: House) -> int:
    return sum(entry["outcome"] == "denial" for entry in house.entries("decision"))


def counted(house: House) -> list[int]:
    """Let the hour end; return the counts that the ledger then has."""
    house.clock.advance(HOUR_NS)
    with house.store.transaction() as connection:
        house.intake.limits.enter_counts(connection, house.clock.utc())
    return [entry["count"] for entry in house.entries("unverified")]


def size_bytes(house: House) -> int:
    """Return the size of the store's file, with everything in it."""
    house.store.note_remains()
    house.store.destroy_remains()
    return (house.folder / "store.sqlite").stat().st_size


def test_a_flood_of_refusals_takes_bounded_room_and_is_counted(tmp_path):
    """Three hundred of the largest size: sixty are entered; the others take their answer's room until it is sent."""
    house = House(tmp_path)
    sizes = [size_bytes(house)]
    for part in (60, 120, 120):
        for _ in range(part):
            deliver(house, refused(house, padded=True))
        sizes.append(size_bytes(house))
    assert (denials(house), len(house.store.requests.list_newest())) == (60, 60)
    assert sizes[1] - sizes[0] > 60 * KILOBYTES * 1024, "what is entered is kept whole"
    assert sizes[2] - sizes[1] < 120 * 4096
    assert sizes[3] - sizes[2] < 120 * 4096
    house.clock.advance(30 * MINUTE_NS)
    house.sender.turn()
    assert len(house.answers()) == 300
    assert counted(house) == [240]
    house.store.close()


def test_messages_are_kept_within_a_bound_for_each_issuer(house):
    """Hour after hour: the newest messages stay as proof, the older ones go, and their entries stay in the ledger."""
    for _ in range(8):
        for _ in range(3):
            deliver(house, refused(house, padded=True))
        house.clock.advance(HOUR_NS)
    kept = house.store.requests.list_newest()
    assert sum(len(each.raw) for each in kept) <= SMALL.message_bytes + 56 * 1024
    assert [each.id for each in kept] == list(range(24, 24 - len(kept), -1))
    assert len(house.entries("request")) == denials(house) == 24


def test_a_message_that_was_dropped_is_not_decided_again(house):
    """What no longer lies in the store is known until it can arrive no more, and silence stays silence."""
    house.signed["door"] = gate.terms(
        {"refusals": gate.terms().house.refusals.model_copy(update={"gateway": gate.terms().house.refusals.area})}
    )
    first = refused(house, "ann", "bob", padded=True)
    deliver(house, first)
    for people in (("ann", "bob"), ("dan", "eve")):
        for _ in range(3):
            deliver(house, refused(house, *people, padded=True))
    assert house.store.requests.find_numbered(1) is None
    before = denials(house)
    deliver(house, first)
    assert denials(house) == before


def test_what_is_only_counted_is_answered_like_what_is_entered(house):
    """The same answer at the same moment, and the same bytes when it comes again: the RTCC sees no limit."""
    raws = [refused(house) for _ in range(7)]
    for raw in raws:
        deliver(house, raw)
    assert denials(house) == 4
    house.clock.advance(HOUR_NS // 2)
    house.sender.turn()
    assert [each.status for each in house.answers()] == [Status.DECLINED] * 7
    assert len({(each.at, each.seq) for each in house.answers()}) == 1
    assert len({len(raw) for raw in house.broker.taken}) == 1
    first_time = list(house.broker.taken)
    for raw in raws:
        deliver(house, raw)
    house.sender.turn()
    assert house.broker.taken[7:] == first_time
    assert denials(house) == 4


def test_what_is_granted_or_asked_is_entered_whatever_was_refused(house):
    """The limit hides nothing that can leave: neither in the ledger, nor from the owner."""
    for _ in range(6):
        deliver(house, refused(house))
    asked = house.ask()
    assert asked.state is RequestState.ASKED
    assert house.entries("decision")[-1]["outcome"] == "ask"


def test_another_key_is_not_limited_by_the_first(house):
    """Whoever floods has their own refusals counted, and nobody else's, until all together are too many."""
    for _ in range(8):
        deliver(house, refused(house, "ann", "bob"))
    for _ in range(4):
        deliver(house, refused(house, "dan", "eve"))
    assert denials(house) == 8
    assert counted(house) == [4]


def test_all_keys_together_have_a_limit(house):
    """More keys make no more room."""
    for operator, supervisor in (("ann", "bob"), ("dan", "eve")):
        for _ in range(4):
            deliver(house, refused(house, operator, supervisor))
    house.clock.advance(HOUR_NS)
    for people in (("ann", "bob"), ("dan", "eve"), ("ann", "eve"), ("dan", "bob")):
        for _ in range(4):
            deliver(house, refused(house, *people))
    assert denials(house) == 16
    house.intake.limits._room = RefusalRoom(entered=4, entered_in_all=6)
    house.clock.advance(HOUR_NS)
    for people in (("ann", "bob"), ("dan", "eve")):
        for _ in range(4):
            deliver(house, refused(house, *people))
    assert denials(house) == 22


def test_the_next_hour_is_entered_again(house):
    """The limit is of an hour, by the clock that is believed, and is remembered over a restart within it."""
    for _ in range(5):
        deliver(house, refused(house))
    house.restart()
    deliver(house, refused(house))
    assert denials(house) == 4
    assert counted(house) == [2]
    deliver(house, refused(house))
    assert denials(house) == 5


def test_a_refusal_that_cannot_be_remembered_is_counted_and_silent(house):
    """With no room to know it again a refusal is not answered, and is never released."""
    for _ in range(SMALL.entered + SMALL.remembered):
        deliver(house, refused(house))
    unseen = refused(house)
    deliver(house, unseen)
    assert all(each.state is RequestState.DENIED for each in house.store.requests.list_newest())
    assert denials(house) == SMALL.entered
    deliver(house, house.rtcc.sign(gate.request_payload({"jti": gate.JTI}), "dan", "eve"))
    assert house.newest().state is RequestState.ASKED, "another key is judged"
    assert counted(house) == [SMALL.remembered + 1]
    house.sender.turn()
    assert len(house.answers(Status.DECLINED)) == SMALL.entered + SMALL.remembered


def fill(house: House, key: str) -> None:
    """Refuse until nothing more can be remembered: of one key, or of all without one that has had too many."""
    if key == "own":
        for _ in range(SMALL.entered + SMALL.remembered):
            deliver(house, refused(house))
        return
    house.intake.limits = RefusalLimits(house.store, RefusalRoom(entered=100, entered_in_all=4, remembered=6))
    for _ in range(4 + 6):
        deliver(house, refused(house, "dan", "eve"))


@pytest.mark.parametrize("key", ["own", "every"])
def test_no_number_of_refusals_hides_what_is_none(house, key):
    """A question, and a granted request that comes again, go their usual way with nothing left to remember refusals."""
    asked = house.ask()
    house.approve(asked)
    house.sender.turn()
    fill(house, key)
    assert house.ask().state is RequestState.ASKED
    sent = len(house.broker.taken)
    deliver(house, asked.raw)
    house.sender.turn()
    assert [each.status for each in house.answers()[sent:]] == [Status.QUEUED]


@pytest.mark.parametrize("key", ["own", "every"])
def test_a_request_for_another_house_or_time_is_no_refusal_of_the_key(house, key):
    """What is for others is counted as such, and what needs a believed clock waits for it."""
    fill(house, key)
    deliver(house, house.sign({"aud": {"gateway": OTHER}}))
    assert house.refusal_counter.read() == {"audience-mismatch": 1}
    house.clock.clock_state = ClockState.FLOOR_ONLY
    waits = Delivery(house.sign())
    house.intake.handle(waits)
    assert waits.acks == 0
    house.clock.clock_state = ClockState.SYNCHRONISED
    house.intake.retry_waiting()
    assert (waits.acks, house.newest().state) == (1, RequestState.ASKED)


def test_room_comes_back_as_what_filled_it_can_arrive_no_more(house):
    """The first refusal after that is remembered and answered again, whatever else arrived meanwhile."""
    fill(house, "own")
    house.clock.advance(20 * MINUTE_NS)
    deliver(house, refused(house))
    assert house.store.refusals.count() == 1


def test_what_is_only_counted_leaves_no_incident_behind(house):
    """Numbers that nobody entered take no room that is kept."""
    for number in range(SMALL.entered + 5):
        deliver(house, refused(house, **{"incident.number": f"number {number}"}))
    found = [house.store.requests.find_incident(gate.ISS, f"number {number}") is not None for number in range(9)]
    assert found == [True] * SMALL.entered + [False] * 5


def test_what_uses_a_quota_is_entered_beyond_the_limit(house):
    """A request that the signed terms would have granted counts against the quota, be it refused by the file."""
    for _ in range(5):
        deliver(house, refused(house))
    house.house_reader.file["door"] = gate.terms(mode=Mode.DENY)
    request = house.ask()
    assert request.state is RequestState.DENIED
    assert list(house.store.quotas.count_uses(gate.ISS, "24-1", before=NEWEST, now=gate.NOW)) == ["door"]


def test_an_id_that_is_used_again_is_counted_beyond_the_limit(house):
    """The same id with another content fills neither ledger nor memory."""
    for _ in range(4):
        deliver(house, refused(house))
    for number in range(5):
        deliver(house, refused(house, jti=encode_b64url((1).to_bytes(16, "big")), purpose=f"again {number}"))
    assert denials(house) == 4
    assert counted(house) == [5]


def test_both_kinds_of_counts_are_entered_of_hours_that_are_over(house):
    """What was refused unread and what was only counted go in together; a stop takes the running hour as well."""
    for _ in range(SMALL.entered + 2):
        deliver(house, refused(house))
    deliver(house, b"no request")
    limits, now = house.intake.limits, house.clock.utc()
    limits.enter_all(house.refusal_counter, now)
    assert house.entries("unverified") == []
    limits.enter_all(house.refusal_counter, now, running=True)
    assert [entry["count"] for entry in house.entries("unverified")] == [1]
    house.clock.advance(HOUR_NS)
    deliver(house, b"no request")
    house.clock.advance(HOUR_NS)
    limits.enter_all(house.refusal_counter, house.clock.utc())
    assert sorted(entry["count"] for entry in house.entries("unverified")) == [1, 1, 2]
    limits.enter_all(house.refusal_counter, house.clock.utc(), running=True)
    assert len(house.entries("unverified")) == 3
