"""Messages between a reader and its workers: in the order of their exchange, once each, and one at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select

from edge_agent.mqtt.connection import BrokerSettings
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, Status, encode_answer
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.intake import IntakeReader
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.state import inbound, tables
from edge_agent.rtcc.state.inbound import MAX_FAILURES, MAX_STUCK, MAX_WAITING, NewMessage
from edge_agent.rtcc.state.readers import LEASE_NS
from edge_agent.units import DAY_NS, UtcNs, encode_rfc3339
from tests.rtcc.conftest import NOW
from tests.support.fakes import FakeClock

EXCHANGES, LENGTH = 8, 6


def make_messages():
    return [
        NewMessage("topic", f"{exchange} {number}".encode(), f"{exchange}" * 22, "j" * 22)
        for number in range(LENGTH)
        for exchange in range(EXCHANGES)
    ]


def test_messages_are_taken_in_order_and_once(home):
    """Four takers at once; whoever fails in the middle leaves everything to the others."""
    messages = home.state.inbound
    messages.put(make_messages())
    seen, lock, fails = [], threading.Lock(), threading.Semaphore(5)

    def work(_):
        idle = 0
        while idle < 20:
            try:
                with home.state.database.begin() as connection:
                    taken = inbound.take(connection, 7)
                    inbound.remove(connection, taken)
                    if taken and fails.acquire(blocking=False):
                        raise KeyError("killed")
                    if taken:
                        with lock:
                            seen.extend(each.payload.decode() for each in taken)
                    # The commit is inside the lock's order: an exchange is nobody else's before it.
                idle = 0 if taken else idle + 1
            except KeyError:
                idle = 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert messages.count() == (0, 0)
    assert len(seen) == len(set(seen)) == EXCHANGES * LENGTH
    for exchange in range(EXCHANGES):
        order = [each for each in seen if each.startswith(f"{exchange} ")]
        assert order == [f"{exchange} {number}" for number in range(LENGTH)]


def test_nobody_takes_what_follows_a_message_that_another_has(home):
    """A second worker gets other exchanges, or nothing."""
    home.state.inbound.put([each for each in make_messages() if each.gateway[0] == "1"])
    if not home.state.database.is_shared:
        pytest.xfail("SQLite lets one transaction write at a time")
    with home.state.database.begin() as first, home.state.database.begin() as second:
        assert len(inbound.take(first, 2)) == 2
        assert inbound.take(second, 10) == []


def test_a_message_that_waits_is_one_row(home):
    """It comes again if it was not acknowledged; a different one of the same number is another."""
    message = make_messages()[0]
    for _ in range(2):
        home.state.inbound.put([message, message])
    home.state.inbound.put([NewMessage(message.topic, b"other", message.gateway, message.jti)])
    assert home.state.inbound.count() == (2, 0)


def test_a_message_that_always_fails_holds_up_its_own_exchange_alone(home, monkeypatch):
    """After some attempts it waits for a person; others are judged."""
    worker = AnswerWorker(home)
    judge = worker._inbox.judge

    def fail(connection, messages):
        if any(each.payload == b"0 0" for each in messages):
            raise RuntimeError("a fault of ours")
        return judge(connection, messages)

    monkeypatch.setattr(worker._inbox, "judge", fail)
    home.state.inbound.put(make_messages())
    for _ in range(3 * MAX_FAILURES):
        worker.turn()
    assert home.state.inbound.count() == (LENGTH, 1)


def test_failures_outlive_the_worker_until_a_person_says_otherwise(home, monkeypatch):
    """A worker that is started again and again tries a message no more often; asked to, it does, and all is judged."""
    tried = []

    def make_worker(mended=False):
        worker = AnswerWorker(home)
        judge = worker._inbox.judge

        def fail(connection, messages):
            if not mended and any(each.payload == b"0 0" for each in messages):
                tried.append(len(messages))
                raise RuntimeError("a fault of ours")
            return judge(connection, messages)

        monkeypatch.setattr(worker._inbox, "judge", fail)
        return worker

    home.state.inbound.put(make_messages())
    for _ in range(3 * MAX_FAILURES):
        make_worker().turn()
    assert (len([each for each in tried if each == 1]), home.state.inbound.count()) == (MAX_FAILURES, (LENGTH, 1))
    make_worker(mended=True).turn()
    assert home.state.inbound.count() == (LENGTH, 1)
    assert home.state.inbound.retry() == 1
    worker = make_worker(mended=True)
    while worker.turn():
        pass
    assert home.state.inbound.count() == (0, 0)


def test_an_answer_that_the_state_refuses_holds_nothing_up(home, applicant, now):
    """A worker sets it aside for a person, and judges what follows it in its exchange."""
    gateway, jti = enrol(home, applicant.csr, now).gateway, "j" * 22
    key = home.people.load_key("operator-1", Role.OPERATOR)
    asking = {"aud": {"gateway": gateway}, "release_by": encode_rfc3339(UtcNs(NOW + LEASE_NS))}
    home.write_request(jti, jws.sign(TYP, asking, [key]))
    with home.state.database.begin() as connection:
        row = {"jti": jti, "gateway": gateway, "seq": 0, "status": "queued", "raw": b"", "taken_at_ns": 0}
        connection.execute(insert(tables.answers), row)
    for seq in range(2):
        raw = encode_answer(Answer(gateway, home.settings.iss, jti, seq, NOW, Status.CANCELLED), applicant.gateway)
        home.state.inbound.put([NewMessage(f"rtcc/1/gw/{gateway}/res", raw, gateway, jti)])
    AnswerWorker(home).turn()
    assert home.state.inbound.count() == (0, 0)
    assert [each[:2] for each in home.state.exchanges.conflicts()] == [(gateway, jti)]
    with home.state.database.begin() as connection:
        assert connection.execute(select(tables.exchanges.c.last_seq)).scalar() == 1


def test_what_waits_behind_a_message_for_a_person_is_bounded(home):
    """The head and the newest stay, for the final answer brings the keys; no other exchange loses any."""
    messages = home.state.inbound
    messages.put([NewMessage("topic", b"head", "g" * 22, "j" * 22)])
    with home.state.database.begin() as connection:
        (head,) = inbound.take(connection, 1)
    for _ in range(MAX_FAILURES):
        messages.note_failure(head.number)
    messages.put([NewMessage("other", f"{n}".encode(), "h" * 22, "j" * 22) for n in range(MAX_STUCK + 5)])
    for number in range(0, 2 * MAX_STUCK, 32):
        batch = range(number, number + 32)
        messages.put([NewMessage("topic", f"{n}".encode(), "g" * 22, "j" * 22) for n in batch])
        assert messages.count() == (MAX_STUCK + 5 + min(number + 33, MAX_STUCK + 1), 1)
    with home.state.database.read() as connection:
        kept = connection.execute(
            select(tables.inbound.c.payload).where(tables.inbound.c.gateway == "g" * 22).order_by("number")
        ).scalars()
        assert [bytes(each) for each in kept] == [
            b"head",
            *(f"{n}".encode() for n in range(MAX_STUCK, 2 * MAX_STUCK)),
        ]


def test_gateways_take_turns_whatever_one_of_them_says(home):
    """A flood of one, in one exchange or in as many as it likes, is a batch later for no other; its own order stays."""
    messages = home.state.inbound
    for name, jti in (("f", "{:022}"), ("g", "j" * 22)):
        flood = [NewMessage("flood", f"{name}{n:04}".encode(), name * 22, jti.format(n)) for n in range(200)]
        for start in range(0, len(flood), 64):
            messages.put(flood[start : start + 64])
    messages.put([NewMessage("topic", f"{n}".encode(), f"{n:022}", "j" * 22) for n in range(20)])
    taken = []
    while batch := take_some(home, 32):
        taken.append([each.payload.decode() for each in batch])
    assert {f"{n}" for n in range(20)} <= set(taken[0])
    assert len(taken) < 15  # and no batch is left half empty for it
    for name in "fg":
        own = [each for batch in taken for each in batch if each.startswith(name)]
        assert own == [f"{name}{n:04}" for n in range(200)]


def test_a_gateway_that_floods_loses_what_has_no_room_and_nobody_else_does(home, caplog):
    """Bounded for each gateway, said once for each batch; with room again, it is heard again."""
    messages = home.state.inbound
    for start in range(0, MAX_WAITING + 128, 64):
        own = [NewMessage("flood", f"{n}".encode(), "f" * 22, f"{n:022}") for n in range(start, start + 64)]
        messages.put([*own, NewMessage("topic", f"{start}".encode(), "g" * 22, "j" * 22)])
    others = (MAX_WAITING + 128) // 64
    assert messages.count() == (MAX_WAITING + others, 0)
    assert [each.message for each in caplog.records].count(
        f"messages of a gateway that floods: gateway={'f' * 22} waiting={MAX_WAITING} dropped=64"
    ) == 2
    take_some(home, 2 * others)
    messages.put([NewMessage("flood", b"again", "f" * 22, "j" * 22)])
    assert messages.count() == (MAX_WAITING - others + 1, 0)


def test_messages_that_come_again_take_no_room(home, caplog):
    """A reader that was killed before it acknowledged gets old messages again, then new ones: none is lost."""
    messages = home.state.inbound
    own = [NewMessage("topic", f"{n}".encode(), "f" * 22, f"{n:022}") for n in range(MAX_WAITING)]
    for start in range(0, MAX_WAITING - 64, 64):
        messages.put(own[start : start + 64])
    messages.put([*own[128:384], *own[128:384], *own[-64:]])
    assert messages.count() == (MAX_WAITING, 0)
    assert not caplog.records


DAMAGED = {
    "a payload that is text": {"payload": "text"},
    "a payload that is a number": {"payload": 1 << 40},
    "a topic of bytes": {"topic": b"topic"},
    "a turn that is text": {"turn": "text"},
    "a turn of 63 bits": {"turn": (1 << 63) - 1},
}


@pytest.mark.parametrize("values", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_row_holds_up_its_own_exchange_alone(home, values):
    """Whatever SQLite gives back for it, the other gateways' messages are judged, and new ones are taken in."""
    if home.state.database.is_shared:
        pytest.xfail("PostgreSQL keeps no value of another type")
    home.state.inbound.put(make_messages())
    ((column, value),) = values.items()
    with home.state.database.begin() as connection:
        connection.exec_driver_sql(f"UPDATE inbound SET {column} = ? WHERE number = 1", (value,))
    home.state.inbound.put([NewMessage("topic", b"more", "0" * 22, "k" * 22)])
    worker = AnswerWorker(home)
    for _ in range(3 * MAX_FAILURES):
        worker.turn()
    assert home.state.inbound.count()[0] <= LENGTH


def take_some(home, most):
    with home.state.database.begin() as connection:
        taken = inbound.take(connection, most)
        inbound.remove(connection, taken)
    return taken


def test_one_reader_at_a_time(home):
    """A standby becomes the reader once the lease has ended, or was left; the first then is none any more."""
    readers, later = home.state.readers, UtcNs(NOW + LEASE_NS)
    assert readers.hold("b:1", "one", NOW)
    assert readers.hold("b:2", "two", NOW)
    assert not readers.hold("b:1", "two", UtcNs(later - 1))
    assert readers.hold("b:1", "two", later)
    assert not readers.hold("b:1", "one", later)
    readers.leave("b:1", "two", later)
    assert readers.hold("b:1", "one", later)
    assert readers.read_at("b:1") == later
    assert readers.read_at("b:3") is None


def test_a_lease_of_a_wrong_clock_ends(home):
    """A reader that died with its clock a day ahead does not keep the broker for a day."""
    readers = home.state.readers
    assert readers.hold("b:1", "one", UtcNs(NOW + DAY_NS))
    assert readers.hold("b:1", "two", NOW)
    assert not readers.hold("b:1", "one", UtcNs(NOW + 1))


@pytest.mark.parametrize("step_ns", [-DAY_NS, DAY_NS])
def test_a_reader_renews_whatever_the_wall_clock_does(home, monkeypatch, step_ns):
    """Its own lease is measured by the time since boot: renewed in time, and no sooner."""
    clock = FakeClock()
    settings = BrokerSettings("b", 1, "reader", tls=None, subscriptions=())
    reader = IntakeReader(settings, home.state.inbound.put, home.state.readers, clock)
    renewals = []
    hold = home.state.readers.hold
    monkeypatch.setattr(home.state.readers, "hold", lambda *words: renewals.append(words) or hold(*words))
    assert reader._hold()
    clock.step(step_ns)
    assert reader._hold()
    assert len(renewals) == 1
    clock.advance(LEASE_NS // 2)
    assert reader._hold()
    assert len(renewals) == 2
