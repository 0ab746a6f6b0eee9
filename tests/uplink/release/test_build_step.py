"""Bundles that cannot be made now: tried again while it may mend, told truthfully, and never in the way of others."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.errors import DeliveryError, RingError
from edge_agent.protocol.answer import Note, Status
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, encode_rfc3339
from edge_agent.uplink.clip.cutter import ClipError
from edge_agent.uplink.release.build_step import LAST_CALL_NS
from edge_agent.uplink.release.staging import StagingFullError
from edge_agent.uplink.release.worker import FIRST_PAUSE_NS, LONGEST_PAUSE_NS
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import House

LIMIT_BYTES = 1 << 20
"""Of the house's staging folder."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.signed["yard"] = gate.terms()
    yield house
    house.store.close()


def failing(*errors: Exception | None) -> Callable[[], None]:
    """Fail the builds with these errors, one after the other, and the rest with the last."""
    left = list(errors)

    def fail() -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return fail


def fill(house: House, size: int = LIMIT_BYTES) -> None:
    with house.staging.create("other") as other:
        other.write(bytes(size))


def turns(house: House, count: int) -> None:
    """So many turns with the longest pause between them."""
    for _ in range(count):
        house.clock.advance(LONGEST_PAUSE_NS)
        house.worker.turn()
        house.sender.turn()


def to_last_call(house: House) -> None:
    house.clock.advance(house.newest().release_by - LAST_CALL_NS - house.clock.utc())
    house.worker.turn()
    house.sender.turn()


def ledger_size(house: House) -> int:
    with house.store.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM ledger_leaves").fetchone()[0])


MENDING = {
    "staging folder is full": StagingFullError("no room"),
    "ring cannot be read": RingError("ring is being moved"),
    "disk fails": OSError(5, "Input/output error"),
    "nobody to encrypt to": DeliveryError("there is no trust bundle that names an evidence recipient"),
    "child crashed once": ClipError("clip child ended before its job"),
}


@pytest.mark.parametrize("error", MENDING.values(), ids=MENDING.keys())
def test_what_mends_by_itself_is_delivered_in_the_end(house: House, error: Exception) -> None:
    """The first try fails, a later one does not: queued, and then delivered; never failed in between."""
    house.builder.before = failing(error, None)
    house.ask()
    house.carry_on()
    house.sender.turn()
    assert house.state() is RequestState.GRANTED
    assert house.statuses() == [Status.QUEUED]
    assert house.staged() == []
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED
    assert house.statuses() == [Status.QUEUED, Status.DELIVERED]


REASONS = {
    "staging folder is full": (StagingFullError("no room"), "staging-full"),
    "ring cannot be read": (RingError("ring is being moved"), "clip-failed"),
    "disk fails": (OSError(5, "Input/output error"), "clip-failed"),
    "nobody to encrypt to": (DeliveryError("nobody"), "release-by-passed"),
}


@pytest.mark.parametrize(("error", "code"), REASONS.values(), ids=REASONS.keys())
def test_what_does_not_mend_fails_with_its_reason_at_the_last_call(house: House, error: Exception, code: str) -> None:
    """Tried until a minute before ``release_by``; then failed, entered once, with the reason of the last try."""
    house.builder.before = failing(error)
    house.ask()
    house.carry_on()
    turns(house, 5)
    assert house.state() is RequestState.GRANTED
    assert house.entries("release") == []
    tries = dict(house.builder.tries)
    to_last_call(house)
    assert house.builder.tries == tries, "a long try might now cost the others their time"
    assert house.state() is RequestState.FAILED
    assert house.answers()[-1].reason == code
    assert house.newest().reasons[0]["code"] == code
    assert [each["outcome"] for each in house.entries("release")] == [code]
    assert house.keys_out() == 0
    assert house.staged() == []


def test_first_try_that_fails_after_the_last_call_is_the_last(house: House) -> None:
    """A request whose time is almost over is tried once, and told at once what was wrong."""
    house.ask()
    house.builder.before = failing(StagingFullError("no room"))
    to_last_call(house)
    assert house.answers()[-1].reason == "staging-full"


def test_pauses_grow_and_never_jump_over_the_last_call(house: House) -> None:
    """2 s doubling to 5 min between tries, the last one not after the last call."""
    tried = []

    def fail() -> None:
        tried.append(house.clock.utc())
        raise RingError("ring cannot be read")

    house.builder.before = fail
    house.ask({"release_by": encode_rfc3339(UtcNs(gate.NOW + 45 * MINUTE_NS))})
    house.carry_on()
    while house.state() is RequestState.GRANTED:
        house.clock.advance(SECOND_NS)
        house.worker.turn()
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses[:3] == [FIRST_PAUSE_NS, 2 * FIRST_PAUSE_NS, 4 * FIRST_PAUSE_NS]
    assert max(pauses) == LONGEST_PAUSE_NS
    assert 0 <= house.newest().release_by - LAST_CALL_NS - tried[-1] <= LONGEST_PAUSE_NS
    assert house.clock.utc() < house.newest().release_by


def test_clip_that_crashes_twice_costs_its_camera_and_no_other(house: House) -> None:
    """The same footage twice is no accident: that camera is missing from what is delivered, long before the end."""

    def crash() -> None:
        if house.builder.trying == "yard":
            raise ClipError("clip child ended before its job")

    house.builder.before = crash
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    house.sender.turn()
    assert house.keys_out() == 0
    turns(house, 1)
    (answer,) = house.answers(Status.PARTIAL)
    assert [file.camera for file in answer.files] == ["door"]
    assert answer.missing == (Note("clip-failed", "yard"),)
    assert house.builder.tries == {"door": 1, "yard": 2}


def test_crashes_are_counted_across_a_restart(house: House) -> None:
    """A kill between the two does not buy the footage a third try."""
    house.builder.before = failing(ClipError("clip child ended before its job"))
    house.ask()
    house.carry_on()
    house.restart()
    turns(house, 3)
    assert house.state() is RequestState.FAILED
    assert house.builder.tries == {"door": 2}


# The ledger


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted each time"])
def test_a_retry_uses_the_same_grant(house: House, restarts: bool) -> None:
    """Ten tries, one grant entry, not a leaf more than after the first; the bundle's proof is of that entry."""
    house.builder.before = failing(OSError(5, "Input/output error"))
    house.ask()
    house.carry_on()
    size = ledger_size(house)
    for _ in range(9):
        if restarts:
            house.restart()
        turns(house, 1)
    assert house.builder.tries == {"door": 10}
    assert ledger_size(house) == size
    assert len(house.entries("grant")) == 1
    house.builder.before = lambda: None
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED
    assert len(house.entries("grant")) == 1


def test_a_retry_under_other_terms_is_entered_anew(house: House) -> None:
    """What is granted now is another thing than what was entered: the bundle must carry a proof of what it holds."""
    house.builder.before = failing(OSError(5, "Input/output error"), None)
    house.ask()
    house.carry_on()
    house.house_reader.version = 2
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED
    versions = [each["cameras"][0]["consent_version"] for each in house.entries("grant")]
    assert versions == [1, 2]


# The staging folder


def test_a_full_folder_is_waited_for_without_building(house: House) -> None:
    """As long as there is no room nothing is built; once there is, the clip is."""
    fill(house)
    house.ask()
    house.carry_on()
    turns(house, 3)
    assert house.state() is RequestState.GRANTED
    assert house.builder.tries == {}
    house.staging.remove("other")
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED


def test_a_payload_that_did_not_fit_is_not_written_again_before_there_is_more_room(house: House) -> None:
    """The disk is not worn by writing again and again what is known not to fit."""
    fill(house, LIMIT_BYTES - 100_000)
    house.builder.sizes["door"] = 200_000
    house.ask()
    house.carry_on()
    turns(house, 5)
    assert house.builder.tries == {"door": 1}
    assert house.staged() == ["other.age-payload"]
    house.staging.remove("other")
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED


def test_a_payload_larger_than_the_whole_folder_fails_at_once(house: House) -> None:
    """It cannot mend: the RTCC is told now and not hours later."""
    house.builder.sizes["door"] = LIMIT_BYTES + 1
    house.ask()
    house.carry_on()
    house.sender.turn()
    assert house.state() is RequestState.FAILED
    assert house.answers()[-1].reason == "staging-full"


def test_cameras_that_do_not_fit_together_go_one_after_the_other(house: House) -> None:
    """What is uploaded makes room for the next; the RTCC is told that the rest is queued; one answer has both keys."""
    house.signed["shed"] = gate.terms()
    house.builder.sizes |= {"door": 600_000, "shed": 600_000, "yard": 700_000}
    house.uploader.tells = True
    house.ask({"clip.cameras": ["door", "shed", "yard"]})
    house.carry_on()
    house.sender.turn()
    assert house.state() is RequestState.GRANTED
    for _ in range(2):  # each upload makes room, and the next is tried soon
        assert house.statuses()[-2:] == [Status.UPLOADING, Status.QUEUED]
        assert house.keys_out() == 0
        house.clock.advance(FIRST_PAUSE_NS)
        house.worker.turn()
        house.sender.turn()
    assert house.statuses()[-2:] == [Status.UPLOADING, Status.DELIVERED]
    assert house.keys_out() == 3
    assert house.uploader.uploaded == ["door", "shed", "yard"]


def test_two_requests_that_need_each_others_room_both_arrive(house: House) -> None:
    """Neither holds room while it waits for more: no two of them can wait for each other."""
    house.builder.sizes |= {"door": 600_000, "yard": 600_000}
    requests = [house.ask({"clip.cameras": ["door", "yard"]}) for _ in range(2)]
    house.carry_on()
    turns(house, 3)
    assert [house.store.requests.read(each.id).state for each in requests] == [RequestState.DELIVERED] * 2


def test_a_request_that_waits_for_room_holds_up_no_other(house: House) -> None:
    """A large clip waits; a small one of a later request that fits is delivered meanwhile."""
    fill(house, LIMIT_BYTES - 100_000)
    house.builder.sizes |= {"door": 900_000, "yard": 10_000}
    large = house.ask({"clip.cameras": ["door"]})
    small = house.ask({"clip.cameras": ["yard"]})
    house.carry_on()
    assert house.store.requests.read(large.id).state is RequestState.GRANTED
    assert house.store.requests.read(small.id).state is RequestState.DELIVERED


def test_a_camera_that_waits_costs_the_others_nothing_at_the_last_call(house: House) -> None:
    """What is uploaded is delivered in time; the camera that never found room is named with the reason."""

    def crash() -> None:
        if house.builder.trying == "yard":
            raise StagingFullError("no room")

    house.builder.before = crash
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    turns(house, 2)
    assert house.keys_out() == 0
    to_last_call(house)
    (answer,) = house.answers(Status.PARTIAL)
    assert answer.missing == (Note("staging-full", "yard"),)
    assert house.clock.utc() < house.newest().release_by


# The owner


@pytest.mark.parametrize("stop", ["pause", "revoke", "cancel"])
def test_what_waits_is_stopped_like_anything_else(house: House, stop: str) -> None:
    """A stop between two tries ends it: nothing is built any more."""
    house.builder.before = failing(RingError("ring cannot be read"))
    request = house.ask()
    house.carry_on()
    house.call(stop, **({"number": request.id} if stop == "cancel" else {}))
    assert house.state() is RequestState.CANCELLED
    turns(house, 2)
    assert house.builder.tries == {"door": 1}


def test_a_camera_that_waits_and_is_taken_out_is_waited_for_no_more(house: House) -> None:
    """The owner withdraws the camera that waits: the other is delivered."""

    def crash() -> None:
        if house.builder.trying == "yard":
            raise RingError("ring cannot be read")

    house.builder.before = crash
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    house.call("pause", camera="yard")
    turns(house, 1)
    assert house.state() is RequestState.DELIVERED


def test_the_owner_sees_what_is_waited_for(house: House) -> None:
    """``requests show`` names the camera that waits and why."""
    house.builder.before = failing(StagingFullError("no room"))
    request = house.ask()
    house.carry_on()
    (release,) = house.call("request", number=request.id)["request"]["releases"]
    assert (release["camera"], release["state"], release["reason"]) == ("door", "waiting", "staging-full")


def test_a_trust_bundle_that_is_missing_for_a_while_ends_nothing(house: House) -> None:
    """Enrolled anew: until the new bundle is here a granted release waits, and a key that is due as well."""
    house.ask()
    house.store.trust.forget()
    house.restart()
    house.carry_on()
    house.sender.turn()
    assert house.state() is RequestState.GRANTED
    house.clock.advance(MINUTE_NS)
    house.intake.handle(house.trust_message())
    house.clock.advance(LONGEST_PAUSE_NS)
    house.worker.turn()
    assert house.state() is RequestState.DELIVERED
    house.store.trust.forget()
    house.restart()
    house.sender.turn()
    assert (house.state(), house.keys_out()) == (RequestState.DELIVERED, 0)
    assert house.ended == [], "nobody is told of an end that was none"
    house.intake.handle(house.trust_message())
    house.sender.turn()
    assert house.keys_out() == 1


@pytest.mark.parametrize("is_uploaded", [False, True], ids=["not built yet", "key is due"])
def test_a_trust_bundle_that_stays_missing_ends_a_release_in_time(house: House, is_uploaded: bool) -> None:
    """Waiting for it ends with ``release_by``: failed, and no key left."""
    house.ask()
    if is_uploaded:
        house.carry_on()
    house.store.trust.forget()
    house.restart()
    house.clock.advance(house.newest().release_by - house.clock.utc())
    house.worker.turn()
    for _ in range(2):
        house.sender.turn()
    assert house.state() is RequestState.FAILED
    assert house.answers()[-1].reason == "release-by-passed"
    assert house.keys_out() == 0
    assert house.staged() == []
