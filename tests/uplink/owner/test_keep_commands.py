"""Keeping a moment: whatever kills it in the middle, ledger and folder tell the same after the next start."""

import contextlib
from collections.abc import Callable

import pytest

from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.protocol.request import Quality
from edge_agent.units import DAY_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle.keeps import KeepFolder, KeptMoment
from edge_agent.uplink.owner.keep_commands import KeepCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from tests.support.footage import START, encode, records, window
from tests.support.footage_owner import Owner
from tests.support.gate_house import KilledError
from tests.support.release import GATEWAY, House

PEER = Peer(1, 1000, 1000)
UNTIL = UtcNs(START + 2 * DAY_NS)


class Keeping(Owner):
    """A desk over one ring; ``start`` is the next start of the process."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.start()

    def start(self) -> None:
        self.keeps = KeepFolder(self.house.folder / "keeps", 1 << 30)
        orders = OwnerOrders(GATEWAY, self.house.owner.public_key(), self.store, self.house.clock)
        self.desk = KeepCommands(orders, self)  # type: ignore[arg-type]
        self.desk.settle()

    @contextlib.contextmanager
    def open(self, camera: str, quality: Quality):
        with self.house.reader() as reader:
            yield reader

    def order(self, wanted: Window) -> str:
        return self.sign(wanted, order="keep", until=encode_rfc3339(UNTIL))

    def keep(self, wanted: Window) -> str:
        return self.call("keep", jws=self.order(wanted))["kept"]["id"]

    def call(self, command: str, **members: str) -> dict:
        return dict(self.desk.handlers[command](members, PEER))

    def told(self) -> dict[str, str]:
        """What the ledger tells last of each moment."""
        return {each["id"]: each["what"] for each in self.entries()}

    def kept(self) -> list[str]:
        return [each.keep_id for each in self.keeps.list_kept()]


@pytest.fixture
def keeping(tmp_path):
    house = House(tmp_path)
    house.record(records(encode(60)))
    keeping = Keeping(house)
    yield keeping
    keeping.store.close()


def die(*_args: object) -> KeptMoment:
    raise KilledError


def fill_disk(*_args: object) -> KeptMoment:
    raise OSError(28, "no space left on device")


STOPS: dict[str, tuple[type[Exception], Callable[..., KeptMoment]]] = {
    "killed": (KilledError, die),
    "disk is full": (OSError, fill_disk),
}


@pytest.mark.parametrize(("error", "stop"), STOPS.values(), ids=STOPS)
@pytest.mark.parametrize("is_copied", [False, True])
def test_a_copy_that_does_not_end_is_told_as_it_is(keeping, monkeypatch, error, stop, is_copied):
    """Before or after the copy: after the next start nothing is kept that is not told, and nothing told that is not."""
    copy = keeping.keeps.keep

    def keep(*args: object) -> KeptMoment:
        if is_copied:
            copy(*args)
        return stop()

    monkeypatch.setattr(keeping.keeps, "keep", keep)
    if error is KilledError:
        monkeypatch.setattr(keeping.desk, "_enter", first_only(keeping.desk._enter))
    order = keeping.order(window(1, 3))
    with pytest.raises(error):
        keeping.call("keep", jws=order)
    keeping.start()
    assert keeping.kept() == [keep_id for keep_id, what in keeping.told().items() if what == "kept"]
    assert len(keeping.told()) == 1
    with pytest.raises(UsageError, match="carried out before"):
        keeping.call("keep", jws=order)


def first_only(enter: Callable[..., None]) -> Callable[..., None]:
    """A process that lives to write one entry."""
    left = [enter]

    def write(*args: object) -> None:
        if not left:
            raise KilledError
        left.pop()(*args)

    return write


def test_an_order_that_cannot_be_entered_is_not_used_up(keeping, monkeypatch):
    """The entry and the use of the order are one: what fails together is done again together."""
    order = keeping.order(window(1, 3))
    with monkeypatch.context() as patched:
        patched.setattr(keeping.desk, "_enter", die)
        with pytest.raises(KilledError):
            keeping.call("keep", jws=order)
    assert (keeping.told(), keeping.kept()) == ({}, [])
    keeping.call("keep", jws=order)
    assert list(keeping.told().values()) == ["kept"]


def test_a_drop_that_is_killed_is_carried_out_at_the_next_start(keeping, monkeypatch):
    """It is in the ledger first: what the owner let go does not stay."""
    keep_id = keeping.keep(window(1, 3))
    monkeypatch.setattr(keeping.keeps, "drop", die)
    with pytest.raises(KilledError):
        keeping.call("drop-keep", id=keep_id)
    keeping.start()
    assert (keeping.told(), keeping.kept()) == ({keep_id: "let go"}, [])


def test_a_file_that_the_ledger_does_not_know_is_entered(keeping, tmp_path):
    """After a restored backup the ledger begins anew: what is kept stays, and is told."""
    other = tmp_path / "other"
    other.mkdir()
    keep_id = keeping.keep(window(1, 3))
    keeping.house.folder, folder = other, keeping.house.folder
    anew = Owner(keeping.house)
    keeping.store.close()
    keeping.store, keeping.house.folder = anew.store, folder
    keeping.start()
    keeping.start()
    assert [(each["id"], each["what"]) for each in keeping.entries()] == [(keep_id, "kept")]
    assert keeping.kept() == [keep_id]


def test_nothing_recorded_keeps_nothing(keeping):
    """What the ledger told as kept is let go at once."""
    with pytest.raises(EdgeAgentError):
        keeping.keep(window(-3001, -3000))
    assert (list(keeping.told().values()), keeping.kept()) == (["let go"], [])
