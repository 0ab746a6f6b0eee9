"""What the broker brings: every message is dealt with once, and none stops those behind it."""

import contextlib
import sqlite3

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.units import HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339
from edge_agent.uplink.inbound.intake import MAX_WAITING, TRUST_TOPIC
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import Delivery, House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


IMPOSSIBLE_TIMES = {
    "release_by at the end of time": {"release_by": "9999-12-31T23:59:59Z"},
    "release_by beyond 64 bits": {"release_by": "2263-01-01T00:00:00Z"},
    "release_by at the edge of 64 bits": {"release_by": "2262-04-11T23:47:16Z"},
    "everything in the first year": {"release_by": "0001-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("changes", IMPOSSIBLE_TIMES.values(), ids=IMPOSSIBLE_TIMES)
def test_signed_request_of_an_impossible_time_is_dealt_with(house, changes):
    """A mistake of the RTCC's clock is a refusal, not a message that comes again indefinitely."""
    message = Delivery(house.sign(changes))
    house.intake.handle(message)
    assert message.acks == 1
    house.ask()
    assert house.state() is RequestState.GRANTED


def raise_it(error: Exception) -> None:
    raise error


def test_message_that_nobody_foresaw_is_counted_and_stops_nobody(house):
    """An error of our own refuses the message that met it; it does not come again indefinitely."""
    house.house_reader.before = lambda: raise_it(ZeroDivisionError())
    message = Delivery(house.sign())
    house.intake.handle(message)
    assert message.acks == 1
    assert house.refusal_counter.read() == {"internal": 1}
    assert house.store.requests.list_newest() == []


def test_message_is_not_acknowledged_where_the_disk_fails(house):
    """A message that could not be written down comes again."""
    house.house_reader.before = lambda: raise_it(sqlite3.OperationalError("disk I/O error"))
    message = Delivery(house.sign())
    with pytest.raises(sqlite3.OperationalError):
        house.intake.handle(message)
    assert message.acks == 0


def test_retained_request_is_refused_and_counted(house):
    """A broker cannot keep a request for later."""
    message = Delivery(house.sign(), retained=True)
    house.intake.handle(message)
    assert (message.acks, house.refusal_counter.read(), house.store.requests.list_newest()) == (1, {"retained": 1}, [])


def test_request_waits_for_the_clock_and_is_judged_once(house):
    """The same message after every reconnection waits once; the others behind it are not pushed out."""
    house.clock.clock_state = ClockState.FLOOR_ONLY
    raw = house.sign()
    copies = [Delivery(raw) for _ in range(MAX_WAITING + 8)]
    for copy in copies:
        house.intake.handle(copy)
    other = Delivery(house.sign())
    house.intake.handle(other)
    assert (copies[-1].acks, other.acks) == (0, 0)
    house.clock.clock_state = ClockState.SYNCHRONISED
    house.intake.retry_waiting()
    assert (copies[-1].acks, other.acks) == (1, 1)
    assert [each.state for each in house.store.requests.list_newest()] == [RequestState.GRANTED] * 2


def test_waiting_requests_survive_a_disk_that_fails(house):
    """An error while one is judged loses none of those that wait behind it."""
    house.clock.clock_state = ClockState.FLOOR_ONLY
    waiting = [Delivery(house.sign()) for _ in range(2)]
    for message in waiting:
        house.intake.handle(message)
    house.clock.clock_state = ClockState.SYNCHRONISED
    house.house_reader.before = lambda: raise_it(sqlite3.OperationalError("full"))
    with pytest.raises(sqlite3.OperationalError):
        house.intake.retry_waiting()
    house.house_reader.before = lambda: None
    house.intake.retry_waiting()
    assert [message.acks for message in waiting] == [1, 1]


# The trust bundle


def test_trust_bundle_is_not_rolled_back_by_a_restart(house):
    """An older bundle is refused before and after a restart."""
    old = house.rtcc.sign_trust(house.rtcc.trust_payload(version=1))
    house.intake.handle(Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload(version=5, keys=[])), TRUST_TOPIC))
    house.restart()
    house.intake.handle(Delivery(old, TRUST_TOPIC))
    assert house.trust.bundle.version == 5
    assert house.refusal_counter.read() == {"trust-rollback": 1}


def test_releaser_starts_with_a_clock_that_lost_the_time(house):
    """A gateway without a battery starts in the past: the bundle that it believed before, it believes again."""
    house.clock.step(-48 * HOUR_NS)
    house.clock.clock_state = ClockState.FLOOR_ONLY
    house.restart()
    assert house.trust.bundle.version == 1


def test_enrolment_with_other_roots_ends_the_trust_in_the_old_ones(house):
    """Who is enrolled anew, because the old roots are lost to somebody, believes nothing that those signed."""
    house.rtcc = gate.Rtcc()
    house.restart()
    assert house.trust.bundle is None
    house.intake.handle(Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload()), TRUST_TOPIC))
    assert house.trust.bundle.version == 1
    house.restart()
    assert house.trust.bundle.version == 1


def enrol_with(house, *roots):
    """Exchange the pinned roots, as an edit of the enrolment file does, and restart."""
    house.rtcc.roots[:] = roots
    house.restart()


def test_roots_exchanged_and_put_back_erase_no_floor(house):
    """Whose key a newer bundle revoked stays revoked: each root key remembers the newest version it led to."""
    roots = list(house.rtcc.roots)
    old = house.rtcc.sign_trust(house.rtcc.trust_payload(version=4))
    newest = house.rtcc.sign_trust(house.rtcc.trust_payload(version=5, keys=[]))
    same_version = house.rtcc.sign_trust(house.rtcc.trust_payload(version=5))
    house.intake.handle(Delivery(newest, TRUST_TOPIC))
    enrol_with(house, *gate.Rtcc().roots)
    assert house.trust.bundle is None
    enrol_with(house, *roots)
    for refused in (old, same_version):
        house.intake.handle(Delivery(refused, TRUST_TOPIC))
        assert house.trust.bundle is None
    house.intake.handle(Delivery(newest, TRUST_TOPIC))
    assert (house.trust.bundle.version, dict(house.trust.bundle.keys)) == (5, {})
    assert house.refusal_counter.read() == {"trust-rollback": 2}


def test_one_root_key_that_stays_keeps_its_floor(house):
    """A set with one new root among the old ones admits no bundle from before."""
    one, two, _ = house.rtcc.roots
    house.intake.handle(Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload(version=5)), TRUST_TOPIC))
    enrol_with(house, one, two, gate.Rtcc().roots[0])
    house.intake.handle(Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload(version=4)), TRUST_TOPIC))
    assert house.trust.bundle is None
    house.intake.handle(Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload(version=6)), TRUST_TOPIC))
    assert house.trust.bundle.version == 6


# What is counted and not entered


ELSEWHERE = {
    "another gateway": ({"aud": {"gateway": "B" * 21 + "A"}}, "audience-mismatch"),
    "another area": ({"aud": {"cells": ["9vxz0"]}}, "audience-mismatch"),
    "another crime center": ({"iss": "rtcc.other-city"}, "issuer-unknown"),
}


@pytest.mark.parametrize(("changes", "reason"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_meant_for_others_is_counted_and_leaves_no_other_trace(house, changes, reason):
    """A broker that forwards a whole city's requests fills neither ledger nor store, and nobody's request is kept."""
    for _ in range(50):
        message = Delivery(house.sign(changes))
        house.intake.handle(message)
        assert message.acks == 1
    assert house.refusal_counter.read() == {reason: 50}
    assert house.store.requests.list_newest() == []
    assert house.decided == []
    assert house.entries("request") == house.entries("decision") == []
    house.sender.turn()
    assert house.answers() == []


def test_an_id_that_is_used_again_is_entered_once_however_often_it_comes(house):
    """Two signed requests of one id: the second is entered; the broker that repeats it is counted."""
    first = house.ask()
    other = house.rtcc.sign(gate.request_payload({"jti": first.jti, "purpose": "Another."}))
    for _ in range(20):
        house.intake.handle(Delivery(other))
    assert len(house.entries("request")) == 2
    assert len(house.entries("decision")) == 2
    assert house.refusal_counter.read() == {"jti-reused": 19}


FAILING_COMMIT = """
CREATE TABLE failing (nobody INTEGER REFERENCES request (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER failing_commit AFTER INSERT ON ledger_leaves BEGIN INSERT INTO failing VALUES (-1); END;
"""


def test_an_id_that_is_used_again_is_entered_though_the_first_commit_failed(house):
    """A disk that was full at the commit leaves the refusal to be entered when it comes again, not to be counted."""
    first = house.ask()
    other = house.rtcc.sign(gate.request_payload({"jti": first.jti, "purpose": "Another."}))
    with contextlib.closing(sqlite3.connect(house.folder / "store.sqlite")) as disk:
        disk.executescript(FAILING_COMMIT)
        with pytest.raises(sqlite3.IntegrityError):
            house.intake.handle(Delivery(other))
        disk.execute("DROP TRIGGER failing_commit")
        disk.commit()
    house.intake.handle(Delivery(other))
    assert (len(house.entries("request")), house.refusal_counter.read()) == (2, {})


# Quotas, replays, and what a refusal looks like


def test_asked_granted_and_refused_requests_use_the_quota_once_each(house):
    """Two requests a day are two, and their repetitions use nothing."""
    first = house.ask()
    house.intake.handle(Delivery(first.raw))
    house.ask()
    assert house.ask().state is RequestState.DENIED
    assert [each["code"] for each in house.newest().reasons] == ["quota-day", "quota-incident"]


def test_same_id_with_another_payload_is_refused_and_answered_by_nothing(house):
    """An id is burnt with its first payload."""
    first = house.ask()
    message = Delivery(house.rtcc.sign(gate.request_payload({"jti": first.jti, "purpose": "Another."})))
    house.intake.handle(message)
    assert message.acks == 1
    assert len(house.store.requests.list_newest()) == 1
    assert [each["code"] for each in house.entries("decision")[-1]["reasons"]] == ["jti-reused"]


REFUSED = {
    "category": {"incident.category": "arson"},
    "distance": {"incident.place": {"lat": 32.4, "lon": -90.1}},
    "camera": {"clip.cameras": ["cellar"]},
    "facts of the incident": {"incident.number": "2026-070112", "incident.category": "shooting"},
    "owner": {},
}


def test_refusals_of_every_cause_look_alike(tmp_path):
    """Same size, same moment, same count, whatever the cause, the owner's own no included."""
    seen = set()
    for name, changes in REFUSED.items():
        folder = tmp_path / name
        folder.mkdir()
        house = House(folder)
        if name == "owner":
            house.signed["door"] = gate.terms(mode=Mode.ASK)
        if name.startswith("facts"):
            house.ask()
            house.sender.turn()
            house.broker.taken.clear()
        request = house.ask(changes)
        if name == "owner":
            house.clock.advance(5 * MINUTE_NS)
            house.call("deny", number=request.id)
        assert house.state() is RequestState.DENIED
        first = None
        for minute in range(60):
            house.sender.turn()
            if house.broker.taken and first is None:
                first = minute
            house.clock.advance(MINUTE_NS - (5 * MINUTE_NS if name == "owner" and minute == 0 else 0))
        moment = house.answers()[-1].at - request.arrived_at
        seen.add((len(house.broker.taken), tuple(map(len, house.broker.taken)), moment))
        house.store.close()
    assert len(seen) == 1


# The store's birth


def test_request_of_before_the_memory_began_is_refused(tmp_path):
    """What an earlier store may have refused, granted or cancelled is not taken by a new one; a later one is."""
    new = House(tmp_path)
    new.store.close()
    (tmp_path / "store.sqlite").unlink()
    new.store = None
    new.restart()
    new.intake.handle(new.trust_message())
    new.store.note_birth(UtcNs(gate.NOW - MINUTE_NS // 2))
    assert [each["code"] for each in new.ask().reasons] == ["issued-before-store"]
    later = encode_rfc3339(UtcNs(gate.NOW - MINUTE_NS // 2))
    assert new.ask({"iat": later, "nbf": later}).state is RequestState.GRANTED
    new.store.close()


def test_request_waits_until_the_memory_knows_when_it_began(house):
    """No time was believed yet: nothing is decided, and nothing is lost."""
    with house.store.transaction() as connection:
        connection.execute("UPDATE store SET born_ns = NULL")
    message = Delivery(house.sign())
    house.intake.handle(message)
    assert message.acks == 0
    house.store.note_birth(UtcNs(gate.NOW - HOUR_NS))
    house.intake.retry_waiting()
    assert (message.acks, house.state()) == (1, RequestState.GRANTED)


def test_birth_and_id_of_a_store_stay(house):
    """The first believed moment counts indefinitely; two stores have two ids, and one keeps its own over a restart."""
    known = house.store.read_id(), house.store.find_birth()
    house.store.note_birth(gate.NOW)
    house.restart()
    assert (house.store.read_id(), house.store.find_birth()) == known
    with Database(house.folder / "other.sqlite") as other:
        assert other.read_id() != known[0]
        assert other.find_birth() is None
