"""The owner's word about the releaser's clock: theirs alone, once, in the ledger, and not against the time source."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.owner_order import sign_order
from edge_agent.errors import DenialError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.ledger import table as ledger
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339
from edge_agent.uplink.owner.clock_commands import ClockCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.store.database import Database
from tests.support.fakes import FakeKernel

GATEWAY = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")
OWNER = Ed25519PrivateKey.generate()
PEER = Peer(1, 1000, 1000)


class Desk:
    """A desk over a real store and a clock that has stepped by eight hours."""

    def __init__(self, folder: Path, store: Database) -> None:
        self.kernel, self.store = FakeKernel(), store
        self.path = folder / "clock.json"
        self.clock = KeptClock(self.path, b"a" * 16, self.kernel.system(), doubts_steps=True)
        self.clock.keep()
        self.kernel.step(8 * HOUR_NS)
        self.desk = ClockCommands(OwnerOrders(GATEWAY, OWNER.public_key(), store, self.clock), self.clock)

    def order(self, kind: str = "confirm-clock", *, key: Ed25519PrivateKey = OWNER, **members: object) -> str:
        order_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        return sign_order(kind, members, GATEWAY, order_id, UtcNs(self.kernel.wall), key).decode()

    def confirm(self, jws: str | None = None) -> dict[str, object]:
        return dict(self.desk.handlers["confirm-clock"]({"jws": jws or self.order()}, PEER))

    def entries(self) -> list[dict[str, object]]:
        with self.store.reading() as connection:
            return [dict(each.entry) for each in ledger.entries(connection, kinds=["clock"])]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Database(tmp_path / "store.sqlite") as store:
        yield Desk(tmp_path, store)


def test_owners_word_is_entered_and_counts(desk: Desk) -> None:
    """The clock is believed from then on; the ledger says when, what was doubted, and by which order."""
    assert desk.clock.state() is ClockState.FLOOR_ONLY
    answer = desk.confirm()
    assert desk.clock.state() is ClockState.SYNCHRONISED
    assert answer["step_ns"] == 8 * HOUR_NS
    (entry,) = desk.entries()
    assert entry["what"] == "clock confirmed"
    assert entry["time"] == encode_rfc3339(UtcNs(desk.kernel.wall))
    assert "+28800 s" in str(entry["why"])


def test_word_that_cannot_be_entered_does_not_count(desk: Desk) -> None:
    """The ledger comes first: without it the clock is doubted as before."""
    jws = desk.order()
    desk.store.close()
    with pytest.raises(Exception, match="closed"):
        desk.confirm(jws)
    assert desk.clock.state() is ClockState.FLOOR_ONLY


def test_order_counts_once(desk: Desk) -> None:
    """Whoever kept the order of before cannot confirm the next step with it."""
    jws = desk.order()
    desk.confirm(jws)
    desk.kernel.step(2 * MINUTE_NS)
    with pytest.raises(UsageError, match="before"):
        desk.confirm(jws)
    assert desk.clock.state() is ClockState.FLOOR_ONLY
    assert len(desk.entries()) == 1


def test_order_of_another_time_does_not_count(desk: Desk) -> None:
    """The owner confirmed the time that they saw: not the one to which the clock is set afterwards."""
    jws = desk.order()
    desk.kernel.step(DAY_NS)
    with pytest.raises(DenialError):
        desk.confirm(jws)
    desk.kernel.step(-2 * DAY_NS)
    with pytest.raises(DenialError):
        desk.confirm(jws)
    assert desk.entries() == []


@pytest.mark.parametrize("wrong", ["another key", "another order", "no order"])
def test_nobody_else_confirms(desk: Desk, wrong: str) -> None:
    """Who may use the control socket is not the owner."""
    jws = {
        "another key": desk.order(key=Ed25519PrivateKey.generate()),
        "another order": desk.order("resume", what="release", camera="*"),
        "no order": "{}",
    }[wrong]
    with pytest.raises((DenialError, UsageError)):
        desk.confirm(jws)
    assert desk.clock.state() is ClockState.FLOOR_ONLY
    assert desk.entries() == []


def test_time_source_has_to_agree(desk: Desk) -> None:
    """Without one nothing is entered, and the order can be given again once there is one."""
    jws = desk.order()
    desk.kernel.kernel_state = ClockState.FLOOR_ONLY
    with pytest.raises(UsageError, match="no time source"):
        desk.confirm(jws)
    assert desk.entries() == []
    desk.kernel.kernel_state = ClockState.SYNCHRONISED
    desk.confirm(jws)
    assert desk.clock.state() is ClockState.SYNCHRONISED
