"""Carrying out grants: no key leaves that was taken back between any two steps, and nothing stays behind."""

import sqlite3

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.errors import EdgeAgentError, UnavailableError
from edge_agent.protocol.answer import Status
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, ClockState
from edge_agent.uplink.release.staging import StagingFullError
from edge_agent.uplink.release.worker import FIRST_PAUSE_NS, TURN_NS
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import HEADER, Delivery, House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


def uploaded(house: House):
    """A request whose age headers wait in the outbox, and nothing else does."""
    request = house.ask()
    house.sender.turn()
    house.carry_on()
    assert house.state() is RequestState.DELIVERED
    return request


def test_a_grant_becomes_a_bundle_an_upload_and_a_key(house):
    """The plain way: queued, then delivered with the header, and nothing left on the disk."""
    house.uploader.tells = True
    house.ask()
    assert house.state() is RequestState.GRANTED
    house.worker.turn()
    assert house.builder.built == [], "cooling-off"
    house.carry_on()
    house.sender.turn()
    assert house.statuses() == [Status.QUEUED, Status.UPLOADING, Status.DELIVERED]
    assert house.keys_out() == 1
    assert house.staged() == []
    assert [each["outcome"] for each in house.entries("delivery")] == ["delivered"]
    assert all(each.header == b"" for each in house.store.releases.list_all())
    assert [each.state for each in house.ended] == [RequestState.DELIVERED]
    house.worker.turn()
    assert house.uploader.forgotten == []


# Taking back


STOPS = {
    "cancel": lambda house, request: house.call("cancel", number=request.id),
    "revoke": lambda house, _: house.call("revoke"),
    "pause": lambda house, _: house.call("pause"),
    "pause of the camera": lambda house, _: house.call("pause", camera="door"),
    "trust bundle without its keys": lambda house, _: house.intake.handle(
        Delivery(house.rtcc.sign_trust(house.rtcc.trust_payload(version=2, keys=[])), "rtcc/1/trust")
    ),
    "camera taken out of the terms": lambda house, _: house.signed.update(door=gate.terms(mode=Mode.DENY)),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
@pytest.mark.parametrize("moment", ["cooling-off", "build", "upload", "outbox"])
def test_what_is_stopped_before_its_key_left_stays_closed(house, stop, moment):
    """A stop at any moment before the key is handed over: no key leaves, nothing stays on disk or server."""
    request = house.ask()
    house.sender.turn()
    if moment == "cooling-off":
        stop(house, request)
    elif moment == "outbox":
        house.carry_on()
        stop(house, request)
    else:
        part = house.builder if moment == "build" else house.uploader
        part.before = lambda: stop(house, request)
    house.carry_on()
    for _ in range(3):
        house.worker.turn()
        house.sender.turn()
        house.clock.advance(SECOND_NS)
    assert house.keys_out() == 0
    assert house.state() in (RequestState.CANCELLED, RequestState.FAILED)
    assert [each.status.is_final for each in house.answers()].count(True) == 1
    assert house.staged() == []
    assert all(each.header == b"" for each in house.store.releases.list_all())
    assert not [path.name for path in house.folder.iterdir() if path.is_file() and HEADER in path.read_bytes()]
    assert house.uploader.forgotten == (["door"] if house.uploader.uploaded or moment == "upload" else [])
    assert len(house.ended) == 1


NARROWINGS = {
    "a camera is paused": (lambda house: house.call("pause", camera="door"), ("camera-paused", "door")),
    "a camera is left out": (lambda house: house.signed.update(door=gate.terms(mode=Mode.DENY)), ("mode-deny", "door")),
    "recipients are replaced": (
        lambda house: house.intake.handle(
            house.trust_message(version=2, recipients=[{"role": "evidence", "age": "age1" + "z" * 58}])
        ),
        ("grant-narrowed", "door"),
    ),
    "the owner is to be asked": (
        lambda house: house.signed.update(door=gate.terms(mode=Mode.ASK), yard=gate.terms(mode=Mode.ASK)),
        ("approval-missing", "door"),
    ),
}


@pytest.mark.parametrize(("narrow", "reason"), NARROWINGS.values(), ids=NARROWINGS)
def test_owner_is_told_why_a_key_was_taken_back(house, narrow, reason):
    """If less is granted than the key opens, the ledger says which camera, and why."""
    house.signed["yard"] = gate.terms()
    house.ask({"clip.cameras": ["door", "yard"]})
    house.sender.turn()
    house.carry_on()
    narrow(house)
    house.sender.turn()
    assert house.keys_out() == 0
    entries = house.entries("delivery") + house.entries("end")
    (entry,) = (each for each in entries if each["outcome"] in ("taken-back", "cancelled"))
    assert (entry["reasons"][0]["code"], entry["reasons"][0]["camera"]) == reason


@pytest.mark.parametrize("wait", [0, 1], ids=["at once", "after the broker was away"])
def test_key_that_is_taken_back_goes_on_with_the_cameras_that_are_left(house, wait):
    """The door is paused while the key waits: the yard's key leaves, and the door's is destroyed."""
    house.signed["yard"] = gate.terms()
    house.ask({"clip.cameras": ["door", "yard"]})
    house.sender.turn()
    house.carry_on()
    house.broker.connected = not wait
    house.call("pause", camera="door")
    assert house.state() is RequestState.GRANTED
    assert [each.camera for each in house.store.releases.list_all()] == ["yard"]
    house.broker.connected = True
    house.carry_on()
    house.sender.turn()
    (answer,) = house.answers(Status.DELIVERED)
    assert [file.camera for file in answer.files] == ["yard"]
    assert ("camera-not-granted", "door") in [(note.code, note.camera) for note in answer.trimmed]
    assert house.uploader.forgotten == ["door"]
    assert house.staged() == []
    assert all(each.header == b"" for each in house.store.releases.list_all())


def test_key_cancelled_while_an_earlier_message_is_under_way_is_not_sent(house):
    """A slow broker holds up a message; the key behind it is cancelled meanwhile, and does not leave."""
    request = house.ask()  # its answer `queued` waits as well, because the broker was away
    house.carry_on()

    def cancel_once(_payload: bytes) -> None:
        if house.state() is RequestState.DELIVERED:
            assert house.call("cancel", number=request.id)["state"] == "cancelled"

    house.broker.before = cancel_once
    house.sender.turn()
    house.sender.turn()
    assert house.keys_out() == 0
    assert house.answers()[-1].status is Status.CANCELLED


def test_key_that_the_broker_may_have_is_not_called_cancelled(house):
    """A broker that takes the key and never acknowledges it: the owner is told the truth, and it is not sent again."""
    request = uploaded(house)
    house.broker.acknowledges = False
    with pytest.raises(UnavailableError):
        house.sender.turn()
    assert house.keys_out() == 1
    house.restart()
    with pytest.raises(EdgeAgentError, match="too late"):
        house.call("cancel", number=request.id)
    house.broker.acknowledges = True
    house.sender.turn()
    house.intake.handle(Delivery(request.raw))
    house.sender.turn()
    assert house.keys_out() == 1
    assert house.state() is RequestState.DELIVERED
    assert Status.CANCELLED not in house.statuses()
    assert [each["outcome"] for each in house.entries("end")] == ["too-late"]


def test_key_cancelled_while_it_is_being_published_is_not_called_cancelled(house):
    """From the moment at which the broker is handed the key, a cancel says that it is too late."""
    request = uploaded(house)
    said = []

    def cancel(_payload: bytes) -> None:
        try:
            said.append(house.call("cancel", number=request.id))
        except EdgeAgentError as error:
            said.append(str(error))

    house.broker.before = cancel
    house.sender.turn()
    assert "too late" in said[0]
    assert house.state() is RequestState.DELIVERED


def test_key_waits_for_a_broker_that_is_away_and_can_be_cancelled(house):
    """Nothing is handed to a broker that is not there: a cancel is still a real one."""
    request = uploaded(house)
    house.broker.connected = False
    for _ in range(3):
        with pytest.raises(UnavailableError):
            house.sender.turn()
    assert house.call("cancel", number=request.id)["state"] == "cancelled"
    house.broker.connected = True
    house.sender.turn()
    assert house.keys_out() == 0


# The request again


def test_request_that_comes_again_gets_no_key_past_the_gate(house):
    """A duplicate puts no second copy of the key into the outbox that a cancel would miss."""
    request = uploaded(house)
    house.intake.handle(Delivery(request.raw))
    house.call("cancel", number=request.id)
    house.sender.turn()
    assert house.keys_out() == 0


def test_key_that_was_never_sent_does_not_leave_after_its_time(house):
    """A broker that is away until ``release_by``: the request fails, and a duplicate a day later gets no key."""
    request = uploaded(house)
    house.clock.advance(7 * HOUR_NS)
    house.sender.turn()
    house.clock.advance(DAY_NS)
    house.intake.handle(Delivery(request.raw))
    house.sender.turn()
    assert house.keys_out() == 0
    assert house.state() is RequestState.FAILED


def test_delivered_key_is_repeated_only_while_it_is_still_granted(house):
    """An RTCC that lost the answer gets it again, byte for byte; not after the owner revoked."""
    request = uploaded(house)
    house.sender.turn()
    house.intake.handle(Delivery(request.raw))
    house.sender.turn()
    assert house.keys_out() == 2
    assert house.broker.taken[-1] == house.broker.taken[-2]
    house.call("revoke")
    house.intake.handle(Delivery(request.raw))
    house.sender.turn()
    assert house.keys_out() == 2
    assert house.store.outbox.list_waiting_keys() == []
    assert house.state() is RequestState.DELIVERED
    assert house.entries("end") == []


def test_duplicates_do_not_fill_the_outbox(house):
    """A broker that repeats a request and takes no answer cannot fill the disk."""
    request = house.ask()
    for _ in range(20):
        house.intake.handle(Delivery(request.raw))
    assert len(house.store.outbox.list_due(house.clock.utc(), limit=100)) == 1


# A new decision that differs


def test_bundle_that_holds_more_than_is_granted_now_is_built_again(house):
    """A file made tighter during the upload: what was built under wider terms never gets its key."""
    house.signed["door"] = gate.terms({"escrow": True})
    house.ask()

    def tighten() -> None:
        house.house_reader.file["door"] = gate.terms({"escrow": False})

    house.uploader.before = tighten
    house.carry_on()
    house.worker.turn()
    house.sender.turn()
    assert [grant.escrow for grant, _ in house.builder.built] == [True, False]
    assert house.keys_out() == 1
    house.worker.turn()
    assert house.uploader.forgotten == ["door"], "what was uploaded of the wider one"


def test_what_is_tightened_while_it_is_built_is_not_uploaded(house):
    """The terms of the moment of upload count: not a byte leaves of what was built under wider ones."""
    house.signed["door"] = gate.terms({"escrow": True})
    house.ask()

    def tighten() -> None:
        house.house_reader.file["door"] = gate.terms({"escrow": False})

    house.builder.before = tighten
    house.carry_on()
    assert house.uploader.uploaded == []
    house.worker.turn()
    house.sender.turn()
    assert [grant.escrow for grant, _ in house.builder.built] == [True, False]
    assert house.keys_out() == 1


def test_bundle_sealed_to_a_recipient_that_was_replaced_gets_no_key(house):
    """A new trust bundle names another evidence key: the bundle for the old one is built again."""
    house.ask()
    other = "age1" + "z" * 58
    recipients = [{"role": "evidence", "age": other}]
    payload = house.rtcc.trust_payload(version=2, recipients=recipients)
    house.uploader.before = lambda: house.intake.handle(Delivery(house.rtcc.sign_trust(payload), "rtcc/1/trust"))
    house.carry_on()
    house.uploader.before = lambda: None
    house.worker.turn()
    assert len(house.builder.built) == 2
    house.sender.turn()
    assert house.keys_out() == 1


def test_what_is_compared_is_to_whom_it_was_sealed(house):
    """The trust bundle changes while a clip is cut: what is noted of the clip names those who can open that clip."""
    request, other = house.ask(), "age1" + "z" * 58
    house.builder.before = lambda: house.intake.handle(
        house.trust_message(version=2, recipients=[{"role": "evidence", "age": age} for age in (gate.EVIDENCE, other)])
    )
    house.carry_on()
    (release,) = house.store.releases.list_of(request.id)
    assert release.info.granted["recipients"] == [each.age for each in house.builder.sealed_to]
    assert other not in release.info.granted["recipients"]


@pytest.mark.parametrize("is_rebuilt", [True, False], ids=["a narrower answer waits", "none yet"])
def test_a_key_that_is_taken_back_while_the_answer_before_it_is_sent_stays(house, is_rebuilt):
    """The sender has read both before; the narrower answer has the number of the one that was taken back."""
    house.signed["yard"] = gate.terms()
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    paused = []

    def slow(_payload):
        if not paused:
            paused.append(house.call("pause", camera="door"))
            if is_rebuilt:
                house.worker.turn()

    house.broker.before = slow
    house.sender.turn()
    assert [each.status for each in house.answers()] == [Status.QUEUED]
    house.worker.turn()
    house.sender.turn()
    last = house.answers()[-1]
    assert (last.status, [each.camera for each in last.files]) == (Status.DELIVERED, ["yard"])


OTHER = "age1" + "z" * 58


def test_a_camera_that_is_paused_while_another_is_built_is_not_opened(house):
    """Its grant was read before the first bundle, minutes ago: neither entered nor cut."""
    house.signed["yard"] = gate.terms()
    house.ask({"clip.cameras": ["door", "yard"]})
    house.builder.before = lambda: house.call("pause", camera="yard")
    house.carry_on()
    house.builder.before = lambda: None
    house.carry_on()
    house.sender.turn()
    assert [each["cameras"][0]["camera"] for each in house.entries("grant")] == ["door"]
    assert list(house.builder.tries) == ["door"]
    assert [each.camera for each in house.answers()[-1].files] == ["door"]


def test_a_camera_that_is_to_be_built_anew_is_no_missing_footage(house):
    """The door's clip opens for somebody replaced while the yard was found empty: the request goes on with the door."""
    house.signed |= {name: gate.terms() for name in ("yard", "shed")}
    house.ask({"clip.cameras": ["door", "yard"]})

    def narrow_the_door() -> None:
        house.builder.delivers = house.builder.trying == "door"
        if house.builder.trying == "yard" and house.trust.bundle.version == 1:
            house.intake.handle(house.trust_message(version=2, recipients=[{"role": "evidence", "age": OTHER}]))
            house.call("pause", camera="shed")

    house.builder.before = narrow_the_door
    house.carry_on()
    assert house.state() is not RequestState.NO_FOOTAGE
    house.carry_on()
    house.sender.turn()
    assert [each.camera for each in house.answers()[-1].files] == ["door"]


def test_key_of_a_bundle_that_opens_for_somebody_replaced_is_taken_back(house):
    """The evidence key is replaced after the last byte: the bundle is built and sealed anew."""
    uploaded(house)
    payload = house.rtcc.trust_payload(version=2, recipients=[{"role": "evidence", "age": "age1" + "z" * 58}])
    house.intake.handle(Delivery(house.rtcc.sign_trust(payload), "rtcc/1/trust"))
    for _ in range(2):
        house.sender.turn()
    assert (house.keys_out(), house.state()) == (0, RequestState.GRANTED)
    house.carry_on()
    house.sender.turn()
    assert (house.keys_out(), len(house.builder.built)) == (1, 2)


# Faults


def test_a_reboot_without_time_ends_no_release(house):
    """Until the clock is synchronised nothing is decided: granted requests and waiting keys wait."""
    house.ask()
    house.clock.clock_state = ClockState.FLOOR_ONLY
    house.carry_on()
    assert house.state() is RequestState.GRANTED
    house.clock.clock_state = ClockState.SYNCHRONISED
    house.carry_on()
    house.clock.clock_state = ClockState.FLOOR_ONLY
    house.sender.turn()
    assert (house.state(), house.keys_out()) == (RequestState.DELIVERED, 0)
    house.clock.clock_state = ClockState.SYNCHRONISED
    house.sender.turn()
    assert house.keys_out() == 1


def test_a_clock_that_is_lost_ends_nothing_however_late_it_says_it_is(house):
    """The clock is lost after the last byte, and while the key waits, and says that the time is over: both wait."""

    def lose_time() -> None:
        house.clock.clock_state = ClockState.FLOOR_ONLY
        house.clock.advance(7 * HOUR_NS)

    def find_time() -> None:
        house.clock.step(-7 * HOUR_NS)
        house.clock.clock_state = ClockState.SYNCHRONISED

    house.uploader.after = lose_time
    house.ask()
    house.carry_on()
    assert house.state() is RequestState.UPLOADING
    find_time()
    house.clock.advance(FIRST_PAUSE_NS)
    house.worker.turn()
    assert house.state() is RequestState.DELIVERED
    lose_time()
    house.sender.turn()
    assert (house.state(), house.keys_out()) == (RequestState.DELIVERED, 0)
    find_time()
    house.sender.turn()
    assert house.keys_out() == 1


def test_many_granted_requests_are_all_carried_out_and_survive_a_restart(house):
    """More open requests than one page of a list: none is forgotten, and no payload of theirs is swept away."""
    house.signed["door"] = gate.terms(
        requests_per_day=100, requests_per_month=1000, requests_per_incident=100, minutes_per_month=43200
    )
    house.signed["yard"] = house.signed["door"]
    first = house.ask()
    for number in range(101):
        house.ask({"clip.cameras": ["yard"]} if number > 60 else None)
    house.clock.advance(11 * MINUTE_NS)
    house.worker.turn()
    assert house.store.requests.read(first.id).state is RequestState.DELIVERED
    assert house.call("request", number=first.id)["request"]["jti"] == first.jti


def test_hostile_upload_server_does_not_end_the_worker(house):
    """Whatever an attempt to delete an upload raises, the next release is carried out."""
    request, other = house.ask(), house.ask()

    def cancel() -> None:
        house.uploader.before = lambda: None
        house.call("cancel", number=request.id)

    def crash() -> None:
        raise ValueError("Invalid IPv6 URL")

    house.uploader.before, house.uploader.on_forget = cancel, crash
    house.carry_on()
    house.worker.turn()
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED
    assert house.store.requests.read(other.id).state is RequestState.DELIVERED


def test_slow_upload_lets_others_have_their_turn(house):
    """An upload that goes on and on stops after a while where another release is due, and goes on after it."""
    slow, other = house.ask(), house.ask()

    def crawl() -> None:
        house.clock.advance(TURN_NS)
        house.uploader.before = lambda: None

    house.uploader.before = crawl
    house.carry_on()
    assert house.store.requests.read(slow.id).state is RequestState.UPLOADING
    assert house.store.requests.read(other.id).state is RequestState.DELIVERED
    house.worker.turn()
    assert house.store.requests.read(slow.id).state is RequestState.DELIVERED


def test_partly_dropped_release_delivers_what_is_left_or_ends_without_footage(house):
    """A camera is taken away after its upload, and the other could not be built: there is nothing to deliver."""
    house.signed["yard"] = gate.terms()
    house.ask({"clip.cameras": ["door", "yard"]})

    def fail_yard() -> None:
        if house.builder.trying == "yard":
            raise StagingFullError("no room", is_final=True)

    house.builder.before = fail_yard
    house.uploader.before = lambda: house.house_reader.file.update(door=gate.terms(mode=Mode.DENY))
    house.carry_on()
    for _ in range(3):
        house.worker.turn()
    assert house.state() is RequestState.FAILED
    assert house.keys_out() == 0


# A kill between any two steps


class Killed(BaseException):
    """The process is gone: nothing of ours may catch it."""


class KillingStore:
    """Counts transactions of a store and ends the process before or after the n-th commit."""

    def __init__(self, house: House, at: int, *, after: bool) -> None:
        self.count, self.at, self.after = 0, at, after
        self.whole = house.store.transaction
        house.store.transaction = self.transaction  # type: ignore[method-assign]

    def transaction(self):
        return _KillingTransaction(self)


class _KillingTransaction:
    def __init__(self, killer: KillingStore) -> None:
        self.killer, self.inner = killer, killer.whole()

    def __enter__(self):
        self.depth_before = self.killer.count
        return self.inner.__enter__()

    def __exit__(self, *problem):
        if problem[0] is not None:
            return self.inner.__exit__(*problem)
        self.killer.count += 1
        if self.killer.count == self.killer.at and not self.killer.after:
            try:
                self.inner.__exit__(Killed, Killed(), None)
            finally:
                raise Killed
        self.inner.__exit__(None, None, None)
        if self.killer.count == self.killer.at:
            raise Killed
        return None


def drive(house: House, raw: bytes) -> None:
    """The broker repeats the request until it is acknowledged; the house does all it has to do."""
    house.intake.handle(Delivery(raw))
    house.sender.turn()
    house.clock.advance(11 * MINUTE_NS)
    house.worker.turn()
    house.sender.turn()


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, 13))
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(house, at, after):
    """Killed at the n-th commit and started again, the request ends as if nothing had been, and is entered once."""
    raw = house.sign()
    KillingStore(house, at, after=after)
    try:
        drive(house, raw)
    except Killed:
        house.restart()
        drive(house, raw)
        drive(house, raw)
    assert house.state() is RequestState.DELIVERED
    assert house.keys_out() >= 1
    assert [each["outcome"] for each in house.entries("decision")] == ["grant"]
    assert len(house.entries("delivery")) == 1
    assert len(house.entries("request")) == 1
    finals = [answer for answer in house.answers() if answer.status.is_final]
    assert {answer.seq for answer in finals} == {finals[0].seq}
    assert house.staged() == []


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_kill_during_a_cancel_leaves_it_whole_or_undone(house, at, after):
    """Killed while the owner cancels: either the key leaves and nobody called it cancelled, or it never leaves."""
    request = uploaded(house)
    KillingStore(house, at, after=after)
    try:
        house.call("cancel", number=request.id)
        house.sender.turn()
        house.sender.turn()
    except Killed:
        pass
    house.restart()
    house.sender.turn()
    is_cancelled = house.state() is RequestState.CANCELLED
    assert house.keys_out() == (0 if is_cancelled else 1)
    assert (Status.CANCELLED in house.statuses()) is is_cancelled


def test_full_disk_at_a_commit_is_an_error_and_not_the_end(house):
    """A transaction that cannot be written is undone; the next one works once there is room."""
    pages = house.store._connection.execute("PRAGMA page_count").fetchone()[0]
    house.store._connection.execute(f"PRAGMA max_page_count={pages}")
    message = Delivery(house.sign())
    with pytest.raises(sqlite3.Error):
        for _ in range(50):
            message = Delivery(house.sign())
            house.intake.handle(message)
    assert message.acks == 0
    house.store._connection.execute("PRAGMA max_page_count=100000")
    before = len(house.store.requests.list_newest())
    house.intake.handle(message)
    assert (message.acks, len(house.store.requests.list_newest())) == (1, before + 1)


def test_failing_commit_leaves_no_open_transaction(house):
    """Where COMMIT itself fails, the store goes on."""
    connection = house.store._connection
    connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT")
    connection.execute(
        "CREATE TABLE child (of INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED) STRICT"
    )  # fails at the commit
    with pytest.raises(sqlite3.IntegrityError), house.store.transaction() as open_connection:
        open_connection.execute("INSERT INTO child VALUES (7)")
    house.ask()
    assert house.state() is RequestState.GRANTED
