"""The owner's commands: those that take away act at once and permanently, those that give need the signature, once."""

import contextlib
import json

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.errors import DenialError, EdgeAgentError, UsageError
from edge_agent.protocol.answer import Status
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, encode_rfc3339
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.signed["door"] = gate.terms(mode=Mode.ASK)
    yield house
    house.store.close()


def test_approval_grants_what_was_asked(house):
    """With the owner's signature the request goes its way; the approval and its order are in the ledger."""
    request = house.ask()
    assert house.approve(request) == {"state": "granted"}
    house.carry_on()
    house.sender.turn()
    assert house.keys_out() == 1
    assert [each["outcome"] for each in house.entries("approval")] == ["approved"]


def test_an_approved_request_is_not_over(house):
    """Nobody is told that it ended: the footage that is held for it stays held until the key has left."""
    request = house.ask()
    house.approve(request)
    assert house.ended == []
    house.carry_on()
    assert house.ended == []
    house.sender.turn()
    assert [each.state for each in house.ended] == [RequestState.DELIVERED]


def test_a_request_is_shown_with_its_signers_and_what_a_yes_can_let_out(house):
    """The names come from the trust bundle; the spans are those of the bound."""
    request = house.ask()
    shown = house.call("request", number=request.id)["request"]
    assert shown["signers"] == ["ann (operator)", "bob (supervisor)"]
    asked = gate.request_payload()["clip"]["window"]
    assert [(each["camera"], each["windows"]) for each in shown["offer"]["cameras"]] == [("door", [asked])]
    assert shown["not_before"] is None
    house.approve(request)
    assert house.call("request", number=request.id)["request"]["not_before"] is not None


def test_order_is_good_once(house):
    """An order that was carried out is refused, also for another request of the same content."""
    request = house.ask()
    order = house.order("resume", what="release", camera="*")
    assert house.call("order", jws=order) == {"state": "resumed", "paused": []}
    with pytest.raises(UsageError, match="before"):
        house.call("order", jws=order)
    house.restart()
    with pytest.raises(UsageError, match="before"):
        house.call("order", jws=order)
    assert request.state is RequestState.ASKED


def test_order_of_earlier_is_refused(house):
    """An order is of just now: what somebody kept is worth nothing."""
    order = house.order("resume", what="release", camera="*")
    house.clock.advance(6 * MINUTE_NS)
    with pytest.raises(DenialError):
        house.call("order", jws=order)


@pytest.mark.parametrize(("paused", "is_refused"), [("door", True), ("yard", False), ("*", False)])
def test_order_to_resume_ends_no_pause_that_came_after_it(house, paused, is_refused):
    """Somebody paused the same camera again since the order was drafted: that pause was not what the owner read."""
    house.call("pause", camera="door")
    house.clock.advance(10 * SECOND_NS)
    order = house.order("resume", what="release", camera="door")
    house.clock.advance(SECOND_NS // 2)
    house.call("pause", camera=paused)
    if is_refused:
        with pytest.raises(UsageError, match="paused again"):
            house.call("order", jws=order)
    else:
        house.call("order", jws=order)
    assert ("door" in house.store.pauses.list_current(house.clock.utc())) is is_refused


def test_approval_that_comes_after_a_no_is_too_late(house):
    """Denied is denied."""
    request = house.ask()
    house.call("deny", number=request.id)
    with pytest.raises(UsageError):
        house.approve(request)
    assert house.state() is RequestState.DENIED


@pytest.mark.parametrize("ended", ["*", "door"])
def test_resume_ends_the_pause_of_its_name_alone(house, ended):
    """A pause of all cameras and one of a single camera end apart; the answer names what still stands."""
    house.call("pause")
    house.call("pause", camera="door")
    other = ({"*", "door"} - {ended}).pop()
    order = house.order("resume", what="release", camera=ended)
    assert house.call("order", jws=order) == {"state": "resumed", "paused": [other]}
    assert house.ask().state is RequestState.DENIED
    order = house.order("resume", what="release", camera=other)
    assert house.call("order", jws=order) == {"state": "resumed", "paused": []}
    assert house.ask().state is RequestState.ASKED


@pytest.mark.parametrize("stop", ["pause", "revoke"])
def test_stop_refuses_what_waits_for_the_owner(house, stop):
    """A request that waits is refused by a stop, once."""
    request = house.ask()
    assert house.call(stop)["stopped"] == [request.id]
    assert house.state() is RequestState.DENIED
    assert house.call(stop)["stopped"] == []
    assert len([each for each in house.entries("decision") if each["outcome"] == "denial"]) == 1


def test_stop_that_meets_an_approval_stops_the_release(house):
    """The owner approves while a stop is under way: the request is cancelled, not refused a second time."""
    request = house.ask()

    def approve() -> None:
        if house.store.pauses.list_current(house.clock.utc()):
            with house.store.transaction() as connection:
                house.store.requests.update(connection, request.id, RequestState.GRANTED)

    house.house_reader.before = approve
    house.call("pause")
    assert house.state() is RequestState.CANCELLED


def test_revoked_consent_stays_revoked_until_a_newer_signature(house):
    """The version that was revoked never counts again."""
    house.house_reader.version = 2
    assert house.call("revoke", camera="door")["cameras"] == ["door"]
    assert house.ask().state is RequestState.DENIED
    house.house_reader.version = 3
    assert house.ask().state is RequestState.ASKED


PAUSES = {
    "for good, then shortly": (None, MINUTE_NS),
    "long, then shortly": (8 * HOUR_NS, MINUTE_NS),
    "long, then into the past": (8 * HOUR_NS, -HOUR_NS),
}


@pytest.mark.parametrize(("first", "second"), PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("camera", ["*", "door"])
def test_pause_is_never_made_shorter_by_a_pause(house, camera, first, second):
    """Only the owner's signature ends a pause: a shorter one on top of it changes nothing."""
    for duration in (first, second):
        until = None if duration is None else encode_rfc3339(UtcNs(house.clock.utc() + duration))
        house.call("pause", camera=camera, until=until)
    house.clock.advance(2 * MINUTE_NS)
    assert house.ask().state is RequestState.DENIED
    house.call("order", jws=house.order("resume", what="release", camera=camera))
    assert house.ask().state is RequestState.ASKED


def test_cancel_during_cooling_off_is_answered_and_final(house):
    """Cancelled before anything was built: the RTCC hears that, and nothing else follows."""
    request = house.ask()
    house.approve(request)
    house.call("cancel", number=request.id)
    house.carry_on()
    house.sender.turn()
    assert house.statuses() == [Status.QUEUED, Status.CANCELLED]
    with pytest.raises(UsageError):
        house.call("cancel", number=request.id)


def test_letters_of_another_side_choose_no_request(house):
    """Two ids that begin alike, or with a hyphen, hinder nobody: a request is called by the gateway's own number."""
    first = house.ask({"jti": "-AECAwQFBgcICQoLDA0ODw"})
    second = house.ask({"jti": "-AECAwQFBgcICQoLDA0ODg"})
    assert second.id == first.id + 1
    house.call("deny", number=first.id)
    assert [house.store.requests.read(each.id).state.value for each in (first, second)] == ["denied", "asked"]
    for wrong in (first.jti, "", 0, -1, 2**70, True, 1.0, None):
        with pytest.raises(UsageError):
            house.call("request", number=wrong)


def test_numbers_rise_and_are_never_used_again(house):
    """Neither forgetting the newest request nor a restart makes room for a number that a notice has named."""
    house.signed["door"] = gate.terms(mode=Mode.ASK, requests_per_day=9, requests_per_incident=9)
    numbers = [house.ask().id for _ in range(3)]
    for number in numbers:
        house.call("deny", number=number)
        with house.store.transaction() as connection:
            house.store.requests.remove(connection, number)
    house.restart()
    assert house.ask().id == numbers[-1] + 1
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("verb", ["deny", "cancel"])
def test_without_a_number_all_that_is_open_is_stopped(house, verb):
    """What waits for the owner, what cools off, what is uploaded, and a key that waits to be sent; nothing twice."""
    house.signed["door"] = gate.terms(mode=Mode.ASK, requests_per_day=9, requests_per_incident=9)
    for _ in range(4):
        house.ask()
    asked, granted, with_key, ended = house.store.requests.list_newest()
    house.call("deny", number=ended.id)
    house.broker.connected = False
    house.approve(with_key)
    house.clock.advance(11 * MINUTE_NS)
    house.worker.turn()
    house.approve(granted)
    assert house.call(verb, all=True) == {"stopped": sorted([asked.id, granted.id, with_key.id]), "too_late": []}
    assert house.call(verb, all=True) == {"stopped": [], "too_late": []}
    house.broker.connected = True
    house.sender.turn()
    assert house.keys_out() == 0


def test_without_a_number_it_is_said_what_was_too_late(house):
    """A key that the broker was given, whether it acknowledged it or not, is named, and not sent again."""
    request = house.ask()
    house.approve(request)
    house.sender.turn()
    house.carry_on()
    house.broker.acknowledges = False
    with contextlib.suppress(EdgeAgentError):
        house.sender.turn()
    house.broker.acknowledges = True
    assert house.call("cancel", all=True) == {"stopped": [], "too_late": [request.id]}


MALFORMED = {
    "no order": ("order", {}),
    "order of numbers": ("order", {"jws": 7}),
    "until of nonsense": ("pause", {"until": "soon"}),
    "until of another age": ("pause", {"until": "9999-12-31T23:59:59Z"}),
    "last of nonsense": ("requests", {"last": "x"}),
    "number of a list": ("request", {"number": [1, 2]}),
    "number of nonsense": ("deny", {"number": "x"}),
    "no number and not all": ("cancel", {"id": "AAECAwQFBgcICQoLDA0ODw"}),
    "nothing said to be all": ("deny", {}),
    "camera of a list": ("pause", {"camera": ["door"]}),
    "raw of nothing": ("explain", {}),
}


@pytest.mark.parametrize(("command", "members"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_command_changes_nothing(house, command, members):
    """Whatever a caller on the socket writes, nothing is paused, resumed or left half done."""
    with contextlib.suppress(EdgeAgentError, ValueError, KeyError, TypeError):
        house.call(command, **members)
    assert house.ask().state is RequestState.ASKED
    house.clock.advance(SECOND_NS)


def test_a_number_is_explained_by_the_rules_of_now(house):
    """An open request gets the verdict of now, an ended one its state and the reasons that it ended for."""
    request = house.ask()
    before = list(house.entries("request")), house.state()
    told = house.call("explain", number=request.id)
    assert told["verdict"] == "ask"
    assert [each["step"] for each in told["steps"] if each["verdict"] == "pass"][7] == "8 replay"
    assert not [each for each in told["steps"] if each["verdict"] == "refuse"]
    house.house_reader.file["door"] = gate.terms(mode=Mode.DENY)
    told = house.call("explain", number=request.id)
    assert told["verdict"] == "denial"
    assert {each["reason"] for each in told["steps"] if each["verdict"] == "refuse"} == {"mode-deny"}
    assert (list(house.entries("request")), house.state()) == before
    house.call("deny", number=request.id)
    told = house.call("explain", number=request.id)
    assert told["verdict"] == "denied"
    with house.store.transaction() as connection:  # codes with blanks to fill in, and some that are no rule's
        codes = [{"code": code, "camera": "door"} for code in ("quota-day", "no-footage", "clip-failed")]
        connection.execute("UPDATE request SET reasons = ? WHERE id = ?", (json.dumps(codes), request.id))
    told = house.call("explain", number=request.id)
    recorded = [each for each in told["steps"] if each["step"].startswith("recorded")]
    assert recorded
    assert all(each["sentence"] for each in recorded)


def test_a_number_that_is_none_is_not_explained(house):
    """Nothing is made up for a number that no request has."""
    house.ask()
    for number in (99, 0, -1, "1", 2**63, None):
        with pytest.raises(UsageError, match="there is no request"):
            house.call("explain", number=number)
