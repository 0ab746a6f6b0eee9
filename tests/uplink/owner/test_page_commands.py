"""What the resident's page may ask of the releaser: to see and to stop. Everything else has no name at its socket."""

import contextlib
import itertools
import time

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.errors import ConfigError, EdgeAgentError, UsageError
from edge_agent.host.control_socket import ControlServer, call
from edge_agent.host.page_socket import PushLimit, open_page_socket
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin, verify_proof
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.owner.page_commands import PageCommands, say_direction
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import CONFIG, PEER, House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.signed["door"] = gate.terms(mode=Mode.ASK)
    yield house
    house.store.close()


def page_of(house: House, now_s=time.monotonic, **others) -> PageCommands:
    """The page's list over the owner's whole one."""

    def never(*_):
        raise AssertionError("the page reached what it must not")

    rest = dict.fromkeys(("status", "ledger", "ledger-prove", "export", "erase"), never)
    owner = {**rest, **house.desk.handlers, **others}
    reads = PageReads(CONFIG, None, house.house_reader, lambda _: {}, house.clock)  # type: ignore[arg-type]
    return PageCommands(CONFIG, house.store, house.clock, owner, reads, now_s)


def test_the_list_holds_reads_and_brakes_and_nothing_else(house):
    """No order, look, export, erasure, clock or checkpoint has a name here; a new one must be put into this test."""
    assert set(page_of(house).handlers) == {
        "status", "requests", "request", "ledger", "ledger-prove", "house", "recordings", "terms",
        "deny", "cancel", "pause", "revoke",
    }  # fmt: skip


def test_each_act_is_in_the_ledger_with_its_device(house):
    """A no from the page is a no of the owner's, and the ledger tells from which device it came."""
    request = house.ask()
    page = page_of(house).handlers
    page["deny"]({"number": request.id, "by": "kitchen tablet"}, PEER)
    page["pause"]({"camera": "door", "by": "kitchen tablet"}, PEER)
    assert house.state() is RequestState.DENIED
    assert house.entries("page") == [
        {"what": "deny", "number": request.id, "by": "page/kitchen tablet"},
        {"what": "pause", "camera": "door", "by": "page/kitchen tablet"},
    ]
    assert [each["what"] for each in house.entries("pause")] == ["release paused"]


@pytest.mark.parametrize(
    "members",
    {
        "no device": {},
        "device that reorders a line": {"by": "a\u202eb"},
        "device of two lines": {"by": "a\nb"},
        "device of 61 letters": {"by": "a" * 61},
        "no such camera": {"by": "phone", "camera": "attic"},
    }.items(),
    ids=lambda each: each[0],
)
def test_nothing_happens_for_an_act_that_is_not_well_formed(house, members):
    """Neither the act nor an entry."""
    with pytest.raises(UsageError):
        page_of(house).handlers["pause"](members[1], PEER)
    assert (house.entries("page"), house.entries("pause")) == ([], [])


def test_page_cannot_fill_the_ledger(house):
    """After a burst the page waits; the owner's own command does not."""
    page = page_of(house).handlers
    with contextlib.suppress(EdgeAgentError):
        for _ in range(200):
            page["pause"]({"by": "phone"}, PEER)
    assert 1 <= len(house.entries("page")) <= 21
    house.call("pause", camera="door")


def test_page_reads_no_more_than_a_page_shows_and_not_without_end(house):
    """However much is asked for, of whatever type; what costs the disk much is answered only so often."""
    asked = []

    def ledger(members, _peer):
        asked.append(members["last"])
        return {"entries": []}

    page = page_of(house, ledger=ledger).handlers
    for last in (0, -5, 7, 10**9):
        page["ledger"]({"last": last}, PEER)
    page["ledger"]({}, PEER)
    assert asked == [1, 1, 7, 200, 200]
    for last in ("7", None, [], 1.5, True, 2**70):
        with pytest.raises(UsageError):
            page["ledger"]({"last": last}, PEER)
    request = house.ask()
    for name, members in (("ledger", {}), ("request", {"number": request.id}), ("terms", {"language": "en"})):
        page = page_of(house, ledger=ledger).handlers
        with pytest.raises(EdgeAgentError, match="too many"):
            for _ in range(1000):
                with contextlib.suppress(KeyError):  # this house has no consents for `terms`
                    page[name](members, PEER)


def test_limit_lets_one_more_through_after_its_time():
    """A burst, then one for each interval, whatever came in between."""
    now = itertools.count()
    limit = PushLimit(2, 2.0, lambda: float(next(now)))  # every look at the clock is a second later
    passed = 0
    for _ in range(12):
        with contextlib.suppress(EdgeAgentError):
            limit.demand()
            passed += 1
    assert 6 <= passed <= 8


def test_request_is_shown_without_its_raw_bytes_and_with_its_distance(house):
    """The page is told where the incident was seen from the house; without a place of the house, nothing."""
    request = house.ask()
    shown = page_of(house).handlers["request"]({"number": request.id}, PEER)["request"]
    assert "raw" not in shown
    assert shown["distance"] is None  # this house has no place
    assert shown["signers"] == ["ann (operator)", "bob (supervisor)"]


@pytest.mark.parametrize(
    ("there", "expected"),
    {
        "same point": ((32.0, -90.0), ""),
        "north": ((32.1, -90.0), "north"),
        "east": ((32.0, -89.9), "east"),
        "south-west": ((31.9, -90.118), "south-west"),
    }.values(),
)
def test_direction_is_a_point_of_the_compass(there, expected):
    """Of eight, seen from the house."""
    assert say_direction((32.0, -90.0), there) == expected


def test_process_runs_on_without_the_pages_socket(tmp_path, house):
    """A folder that is not there or not ours costs the page, never the recording."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert open_page_socket(blocked / "x" / "sock", {}, house.stop) is None
    with pytest.raises(ConfigError):
        ControlServer(blocked / "x" / "sock", {}, house.stop).start()


def test_unknown_command_at_the_pages_socket_is_refused(house, tmp_path):
    """By the same server as everybody's: an order has no way in."""
    path = tmp_path / "p" / "sock"
    server = open_page_socket(path, page_of(house).handlers, house.stop)
    assert server is not None
    try:
        for command in ("order", "export", "erase", "clock", "ledger-checkpoint", "explain"):
            with pytest.raises(EdgeAgentError, match="unknown command"):
                call(path, command)
    finally:
        house.stop.set()
        server.join()


@pytest.mark.parametrize("number", [None, "12", 0, -1, 2**70, 99, True])
@pytest.mark.parametrize("act", ["deny", "cancel"])
def test_act_on_no_request_stops_nothing(house, act, number):
    """The owner's `cancel` without a number stops everything; the page's stops nothing, and is entered nowhere."""
    house.ask()
    with pytest.raises(UsageError):
        page_of(house).handlers[act]({"number": number, "by": "phone"}, PEER)
    assert house.state() is RequestState.ASKED
    assert house.entries("page") == []


def test_proofs_for_the_page_do_not_fill_the_disk(house):
    """An act and a proof in turn pad the ledger four times, then once an hour; an entry signed before is always proved.

    The owner's own command proves meanwhile.
    """
    now_s = [0.0]
    desk = LedgerCommands(house.store, gate.GATEWAY, house.key, house.clock).handlers
    page = page_of(house, now_s=lambda: now_s[0], **desk).handlers

    def count_checkpoints():
        house.call("pause", camera="door")
        with house.store.reading() as connection:
            index = ledger.read_size(connection) - 1
        now_s[0] += 60.0
        with contextlib.suppress(EdgeAgentError):
            page["ledger-prove"]({"index": index}, PEER)
        with house.store.reading() as connection:
            return connection.execute("SELECT count(*) FROM ledger_checkpoints").fetchone()[0]

    assert [count_checkpoints() for _ in range(7)] == [1, 2, 3, 4, 4, 4, 4]
    for _ in range(9):
        assert page["ledger-prove"]({"index": 0}, PEER)["proof"]["index"] == 0
    with house.store.reading() as connection:
        newest = ledger.read_size(connection) - 1
    with pytest.raises(EdgeAgentError, match="too new to be proved"):
        page["ledger-prove"]({"index": newest}, PEER)
    assert desk["ledger-prove"]({"index": newest}, PEER)["proof"]["index"] == newest
    now_s[0] += 3600.0
    assert count_checkpoints() == 6


def test_proof_after_the_enrolment_is_under_its_name(house):
    """A checkpoint of the time before holds the entry, and yet a new one is made."""
    own = LedgerCommands(house.store, "own-name", house.key, house.clock)
    house.call("pause", camera="door")
    own.checkpoint()
    house.call("pause", camera="door")
    desk = LedgerCommands(house.store, gate.GATEWAY, house.key, house.clock).handlers
    proof = desk["ledger-prove"]({"index": 0}, PEER)["proof"]
    assert verify_proof(proof, ledger_origin(gate.GATEWAY), house.key.public_key()).leaf


def test_page_cannot_have_the_state_worked_out_without_end(house):
    """Status and requests are made once a second, whatever number is asked for; what is entered is seen at once."""
    now_s, made = [0.0], []

    def requests(members, peer):
        made.append("requests")
        return house.desk.handlers["requests"](members, peer)

    def status(*_):
        made.append("status")
        return {"release_paused": sorted(house.store.pauses.list_current(house.clock.utc()))}

    for _ in range(3):
        house.ask()
    page = page_of(house, now_s=lambda: now_s[0], requests=requests, status=status).handlers
    for last in range(1, 100):
        found = page["requests"]({"last": last}, PEER)["requests"]
        assert [each["number"] for each in found] == [3, 2, 1][:last]
        assert page["status"]({"number": last}, PEER) == {"release_paused": []}
    assert made == ["requests", "status"]
    now_s[0] += 1.0
    page["status"]({}, PEER)
    assert made == ["requests", "status", "status"]
    page["pause"]({"camera": "door", "by": "phone"}, PEER)
    assert page["status"]({}, PEER) == {"release_paused": ["door"]}
    house.call("pause", camera="yard")
    assert page["status"]({}, PEER) == {"release_paused": ["door", "yard"]}
    house.ask()
    assert len(page["requests"]({}, PEER)["requests"]) == 4
