"""The outbox reaches the broker in order, and nothing is lost while it is away."""

import threading
import time
from dataclasses import replace

import pytest

from edge_agent.errors import UnavailableError
from edge_agent.units import HOUR_NS, UtcNs
from edge_agent.uplink.inbound.answer_sender import Sender
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.outbox import OutboxMessage
from tests.support.fakes import FakeClock
from tests.uplink.store.test_requests import REQUEST


class FlakyBroker:
    """Takes messages, after refusing the first few."""

    def __init__(self, refuse: int) -> None:
        self.refuse = refuse
        self.taken: list[bytes] = []

    def is_connected(self):
        return True

    def publish(self, topic, payload, *, correlation=None, expiry_s=None):
        if self.refuse:
            self.refuse -= 1
            raise UnavailableError("broker is not connected")
        assert expiry_s > 0
        self.taken.append(payload)


@pytest.fixture
def run(tmp_path):
    stop, clock = threading.Event(), FakeClock()
    with Database(tmp_path / "s.sqlite") as store:

        def start(broker: FlakyBroker) -> tuple[Database, FakeClock]:
            sender = Sender(store, broker, clock, lambda _: True, stop)
            sender.start()
            start.sender = sender
            return store, clock

        yield start
        stop.set()
        start.sender.join()


def push(store: Database, clock: FakeClock, payload: bytes, after_ns: int = 0) -> None:
    with store.transaction() as connection:
        due = UtcNs(clock.utc() + after_ns)
        store.outbox.push(connection, OutboxMessage("t", payload, b"", due, UtcNs(due + HOUR_NS)))


def wait_for(condition, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "condition not reached"
        time.sleep(0.01)


def test_messages_arrive_in_order_after_the_broker_came_back(run):
    """A broker that is away delays answers and loses none."""
    broker = FlakyBroker(refuse=1)
    store, clock = run(broker)
    for payload in (b"1", b"2", b"3"):
        push(store, clock, payload)
    wait_for(lambda: len(broker.taken) == 3)
    assert broker.taken == [b"1", b"2", b"3"]
    wait_for(lambda: store.outbox.list_due(clock.utc()) == [])


def test_message_waits_for_its_moment(run):
    """A scheduled answer is not sent a second early."""
    broker = FlakyBroker(refuse=0)
    store, clock = run(broker)
    push(store, clock, b"later", after_ns=HOUR_NS)
    push(store, clock, b"now")
    wait_for(lambda: broker.taken == [b"now"])
    clock.advance(HOUR_NS)
    wait_for(lambda: broker.taken == [b"now", b"later"])


def test_keys_that_wait_hold_up_no_other_answer(tmp_path):
    """However many age headers wait for a decision, what is due behind them goes out, and they follow in order."""
    clock, broker, is_granted = FakeClock(), FlakyBroker(refuse=0), [False]
    with Database(tmp_path / "s.sqlite") as store:
        sender = Sender(store, broker, clock, lambda _: is_granted[0], threading.Event())
        keys = [b"key %d" % number for number in range(40)]
        for number, key in enumerate(keys):
            request = replace(REQUEST, jti=f"jti-{number}", arrived_at=clock.utc())
            with store.transaction() as connection:
                key_of, due = store.requests.add(connection, request), clock.utc()
                store.outbox.push(connection, OutboxMessage("t", key, b"", due, UtcNs(due + HOUR_NS), key_of=key_of))
        for answer in (b"1", b"2"):
            push(store, clock, answer)
        sender.turn()
        assert broker.taken == [b"1", b"2"]
        is_granted[0] = True
        sender.turn()
        assert broker.taken[2:] == keys
