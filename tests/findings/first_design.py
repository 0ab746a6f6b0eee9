"""Proofs of what an attack found in the first design: each is red on that code, and for the reason that it says.

Written against that code's own interfaces and helpers, so that ``scripts/red-before --findings`` runs it there and
nowhere else: beside today's code nothing of it can even be imported.
"""

import contextlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edge_agent.b64 import encode_b64url
from edge_agent.config import parse_config
from edge_agent.consent.order import sign_order, window_members
from edge_agent.consent.verdict import Grant
from edge_agent.consent.waiver import sign_consent
from edge_agent.enrolment import Enrolment
from edge_agent.uplink.notify import Messenger, Notice
from edge_agent.uplink.standing import Standing, _read, load_facts
from tests.releaser import Delivery, House

from edge_agent.buffer.ring import create_ring
from edge_agent.cli import build_parser
from edge_agent.consent.decision import decide
from edge_agent.consent.hours import parse_hours
from edge_agent.consent.policy import Mode, Occasion, parse_policy
from edge_agent.errors import ConfigError, UsageError
from edge_agent.setup.provision import create_state
from edge_agent.setup.renewal import renew_vault
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, Window, parse_rfc3339
from edge_agent.uplink.store import RequestState
from tests import gate

BOTH = {"clip.cameras": ["door", "yard"], "release_by": gate.at(20 * HOUR_NS)}
WORK = Path("/nonexistent")
RTCC = gate.Rtcc()
POLICY = """\
version: 1
house: {agencies: [rtcc.example-city]}
cameras:
  door: {mode: auto, categories: [robbery], window: 20m}
"""
WINDOW = Window(UtcNs(gate.NOW - 55 * MINUTE_NS), UtcNs(gate.NOW - 45 * MINUTE_NS))


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.signed.update({"door": gate.terms(), "yard": gate.terms()})
    yield house
    house.store.close()


def decided(house) -> list[str]:
    """Name the cameras of the newest decision, as the owner was told of it."""
    return [each["camera"] for each in house.entries("decision")[-1].get("cameras", [])]


def left(house) -> set[str]:
    """Carry the newest request on, and name the cameras whose key left."""
    house.carry_on()
    house.sender.turn()
    return {file.camera for answer in house.answers() for file in answer.files}


# 1. A later decision never widens an earlier one


def test_a_quota_that_passed_lets_nothing_out(house):
    """Five requests just before the edge of a day, decided without the door, release the door behind it."""
    house.signed["door"] = gate.terms(requests_per_day=1)
    house.signed["yard"] = gate.terms(requests_per_day=9)
    house.ask()
    house.clock.advance(DAY_NS - 5 * MINUTE_NS)
    now = house.clock.utc()
    late = {
        "clip.cameras": ["door", "yard"],
        "incident.number": "24-2",
        **{name: gate.at(now - gate.NOW + by) for name, by in (("iat", -MINUTE_NS), ("nbf", -MINUTE_NS))},
        "exp": gate.at(now - gate.NOW + 9 * MINUTE_NS),
        "release_by": gate.at(now - gate.NOW + 6 * HOUR_NS),
    }
    house.ask(late)
    assert decided(house) == ["yard"], "the set-up"
    assert left(house) <= {"yard"}, "the door left, refused for its quota and counted by none"


def test_a_pause_that_ended_lets_nothing_out(house):
    """Paused when the request came, resumed within the cooling-off."""
    house.call("pause", camera="yard")
    house.ask(BOTH)
    assert decided(house) == ["door"], "the set-up"
    house.call("order", jws=house.order("resume", what="release", camera="yard"))
    assert left(house) <= {"door"}, "a camera that was paused left"


def test_trimmed_hours_do_not_grow_back(house):
    """A file that trimmed them at the decision is edited back."""
    house.standing.file["door"] = gate.terms(hours=parse_hours(["16:35-16:40"]))
    house.ask()
    house.standing.file.clear()
    house.carry_on()
    spans = [window.duration_ns for _, part in house.builder.built for window in part.windows]
    assert spans == [5 * MINUTE_NS], "hours that were trimmed at the decision are released"


def test_a_consent_signed_later_lets_no_old_request_leave(house):
    """New signatures serve new requests."""
    house.signed["yard"] = gate.terms(mode=Mode.DENY)
    house.ask(BOTH)
    assert decided(house) == ["door"], "the set-up"
    house.signed["yard"] = gate.terms()
    house.standing.version += 1
    assert left(house) <= {"door"}, "a camera whose terms were signed afterwards left"


def test_an_approval_covers_what_was_offered(house):
    """And no camera whose terms came between the offer and the answer."""
    house.signed["door"] = gate.terms(mode=Mode.ASK)
    house.signed["yard"] = gate.terms(mode=Mode.DENY)
    request = house.ask(BOTH)
    assert decided(house) == ["door"], "the set-up"
    house.signed["yard"] = gate.terms(mode=Mode.ASK)
    house.standing.version += 1
    house.approve(request, ("door", "yard"))
    assert left(house) <= {"door"}, "a camera that was never offered left by an approval"


def test_a_longer_cooling_off_counts(house):
    """The file says an hour in place of ten minutes, before the ten are over."""
    house.ask()
    house.standing.file["door"] = gate.terms({"cooling_off": HOUR_NS})
    assert left(house) == set(), "the key left after the old cooling-off"


def test_a_refused_later_request_cancels_no_earlier_grant(house):
    """Signed for two a day, one by the file: the second is refused, and counted."""
    house.signed["door"] = gate.terms(requests_per_day=2)
    house.standing.file["door"] = gate.terms(requests_per_day=1)
    first = house.ask()
    assert house.ask({"incident.number": "24-2"}).state is RequestState.DENIED, "the set-up"
    house.clock.advance(11 * MINUTE_NS)
    house.worker.turn()
    assert house.store.requests.read(first.id).state is not RequestState.CANCELLED, "cancelled by a later refusal"


def test_a_back_dated_approval_shortens_no_cooling_off(house):
    """Four minutes old by its own word."""
    house.signed["door"] = gate.terms(mode=Mode.ASK)
    request = house.ask()
    house.clock.advance(5 * MINUTE_NS)
    now = house.clock.utc()
    members = {
        "jti": request.jti, "request_sha256": encode_b64url(request.payload_sha256), "cameras": ["door"],
        "window": window_members(WINDOW),
    }  # fmt: skip
    order = sign_order("approve", members, gate.GATEWAY, "o" * 22, UtcNs(now - 4 * MINUTE_NS), gate.OWNER)
    house.call("order", jws=order.decode())
    assert house.newest().due >= now + 10 * MINUTE_NS, "the cooling-off began when the order says"


@pytest.mark.parametrize("stop", ["pause", "revoke"])
def test_a_stop_of_one_camera_stops_it(house, stop):
    """While the first of two is on its way to the server (R3 says MUST)."""
    seen: list[set[str]] = []

    def stop_it() -> None:
        if not seen:
            house.call(stop, camera="yard")
            seen.append({each.camera for each in house.store.releases.list_all() if each.header})

    house.ask(BOTH)
    house.uploader.before = stop_it
    house.clock.advance(11 * MINUTE_NS)
    house.worker.turn()
    assert seen == [{"door"}], "the age header of a stopped camera is still stored"


def test_a_camera_without_a_place_denies():
    """An incident in the Pacific is granted, while `check` says that every request is refused."""
    config = parse_config("cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n", "edge-agent.yaml", WORK)
    place = load_facts(config, enrolment(), config.cameras[0]).place
    if place is None:
        return
    admitted = gate.admitted({"incident.place": {"lat": place.lat, "lon": place.lon}})
    standing = replace(gate.standing(), place=place)
    verdict = decide(admitted, gate.household(standing), gate.history(), None, gate.NOW, gate.SYNC)
    assert not isinstance(verdict, Grant), "granted to a camera of unknown place"


def test_reading_consent_writes_nothing(house, tmp_path):
    """`explain` and `status` insert a version and a ledger entry before check 7 (PROTOCOL 4)."""
    real = real_standing(house, tmp_path)
    put_consent(real, 3)
    real.household(gate.NOW)
    assert house.store.consents.find("door")[0] == 0, "a look of the owner wrote into the store"


# 2. What is signed is what is shown


@pytest.mark.parametrize("name", ["Front door: nothing\\nBedroom", "Front\\u202edoor", "\\u200b"])
def test_a_name_that_deceives_is_refused(name):
    with pytest.raises(ConfigError):
        parse_config(f"cameras: [{{id: bed, name: \"{name}\", url: 'rtsp://127.0.0.1:1'}}]\n", "x", WORK)


def test_decimals_of_a_time_are_ascii_digits():
    with pytest.raises(ValueError):
        parse_rfc3339("2026-07-01T22:30:00.\u0661Z")


def test_a_person_sees_who_signed(house):
    """The threat model promises their names in `requests show`."""
    request = house.ask()
    shown = house.call("request", id=request.jti)["request"]
    assert shown.get("signers"), "nobody is named"


# 3. Facts, floors, sources


def test_the_substream_is_a_fact():
    """Pointed at the bedroom, it is released as the door."""
    text = "cameras: [{id: door, url: 'rtsp://127.0.0.1:1', sub: {url: 'rtsp://127.0.0.1:1/%s'}}]\n"
    door, bedroom = (parse_config(text % name, "x", WORK) for name in ("door", "bedroom"))
    before, after = (load_facts(each, enrolment(), each.cameras[0]) for each in (door, bedroom))
    assert before != after, "another substream, and the consent counts"


def test_the_threshold_is_a_fact():
    config = parse_config("cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n", "x", WORK)
    two, one = (load_facts(config, enrolment(threshold=number), config.cameras[0]) for number in (2, 1))
    assert two != one, "one root is enough now, and the consent counts"


def test_an_earlier_consent_put_back_does_not_count(house, tmp_path):
    """Before the releaser has looked at the newer one."""
    real = real_standing(house, tmp_path)
    earlier = put_consent(real, 1)
    real.household(gate.NOW)
    put_consent(real, 2)
    real.consent_path("door").write_bytes(earlier)
    found = real.household(gate.NOW).cameras["door"]
    assert found.consent is None or found.consent.version != 1, "version 1 counts, and version 2 was signed after it"


# 4. The other side's names are no handles, and its noise hides nothing


def test_two_ids_that_begin_alike_can_be_cancelled(house):
    """What the notice calls a request (its first eight letters) is what stops it."""
    house.ask({"jti": "AAAAAAAAAAAAAAAAAAAAAA"})
    house.ask({"jti": "AAAAAAAAAAAAAAAAAAAAAQ", "incident.number": "24-2"})
    try:
        house.call("cancel", id="AAAAAAAA")
    except UsageError as error:
        pytest.fail(f"cancel fails while the key leaves: {error}")


def test_an_id_that_begins_with_a_hyphen_can_be_typed():
    words = ("requests", "cancel", "-AECAwQF")
    try:
        build_parser(words).parse_args(words)
    except SystemExit:
        pytest.fail("the command line takes the id for an option")


def test_noise_drops_no_question():
    """A service that hangs, and refusals that fill its queue."""
    messenger = Messenger({"phone": "json://127.0.0.1"}, frozenset(Occasion), threading.Event())
    for number in range(200):
        messenger.tell(Notice(Occasion.REFUSAL, f"refused {number}", ""))
    assert messenger.tell(Notice(Occasion.ASK, "Your word is needed", "")), "the one notice that matters is dropped"


def test_a_refused_request_takes_bounded_room(house):
    """Each costs its whole message of up to 64 KiB, for as long as somebody sends."""
    house.signed["door"] = gate.terms(mode=Mode.DENY)
    number = 200
    for _ in range(number):
        house.intake.handle(Delivery(house.sign() + b" " * 60_000))
    size = sum(path.stat().st_size for path in house.folder.glob("store.sqlite*"))
    assert size < 10_500_000, f"{number} refused requests take {size} bytes"


def test_the_acknowledgement_tells_nothing(house):
    """It leaves at a step that is counted from the arrival, not as soon as the commit is done."""
    message, began = Delivery(house.sign()), house.clock.boot()
    acknowledged: list[int] = []
    message.ack = lambda: acknowledged.append(house.clock.boot())
    house.standing.before = lambda: house.clock.advance(120_000_000)  # a commit on a card
    house.intake.handle(message)
    assert (acknowledged[0] - began) % (SECOND_NS // 2) == 0, "its moment is that of the commit"


# 5. Local privileges


def test_a_fifo_in_place_of_a_consent_holds_up_nothing(tmp_path):
    os.mkfifo(tmp_path / "door.jws")

    def read() -> None:
        with contextlib.suppress(OSError, ConfigError):
            _read(tmp_path / "door.jws")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(3)
    is_held = reader.is_alive()
    with open(tmp_path / "door.jws", "wb"):  # lets it go
        pass
    assert not is_held, "whoever reads it waits indefinitely"


def test_an_erasure_empties_no_foreign_folder(tmp_path):
    """A link that a service planted in place of its own folder leads root elsewhere."""
    state, foreign = tmp_path / "state", tmp_path / "foreign"
    create_state(state, "a passphrase for a test")
    foreign.mkdir()
    (foreign / "precious").write_text("somebody else's")
    (state / "holds").rmdir()
    (state / "holds").symlink_to(foreign)
    text = f"gateway: {{state_dir: {state}, run_dir: {tmp_path}}}\ncameras: [{{id: door, url: 'rtsp://127.0.0.1/'}}]\n"
    renew_vault(parse_config(text, "test", tmp_path), has_services=False, sealed=tmp_path / "none")
    assert (foreign / "precious").exists(), "a foreign folder was emptied"


def test_an_erasure_that_met_something_else_is_not_left_half_way(tmp_path):
    """The vault's key is gone, the footage's other files are not, and the next call fails as well."""
    state = tmp_path / "state"
    create_state(state, "a passphrase for a test")
    (state / "holds" / "folder").mkdir()
    (state / "releaser" / "staging" / "z.age-payload").write_bytes(b"z")
    text = f"gateway: {{state_dir: {state}, run_dir: {tmp_path}}}\ncameras: [{{id: door, url: 'rtsp://127.0.0.1/'}}]\n"
    config = parse_config(text, "test", tmp_path)
    for _ in range(2):
        try:
            renew_vault(config, has_services=False, sealed=tmp_path / "none")
        except OSError:
            continue
    assert not (state / "releaser" / "staging" / "z.age-payload").exists(), "a planted folder stops the erasure"


def test_each_process_has_a_folder_of_its_own():
    """In a folder for both, a recorder that was taken over can bind the releaser's socket."""
    config = parse_config("cameras: []\n", "x", WORK)
    assert config.control_path("recorder").parent != config.control_path("releaser").parent


# Parts


def real_standing(house: House, folder: Path) -> Standing:
    """The owner's consent as on a gateway: by a ring, a policy and files."""
    text = (
        "cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n"
        f"gateway: {{state_dir: {folder / 'state'}, location: {{lat: 32.2988, lon: -90.1848}}}}\n"
    )
    config = parse_config(text, "edge-agent.yaml", folder)
    ring = config.ring_path("door", "main")
    ring.parent.mkdir(parents=True)
    key = Ed25519PrivateKey.generate()
    create_ring(ring, camera="door", quality="main", size_bytes=8 << 20, recorder_key=key, block_size=1 << 16)
    config.waivers_dir.mkdir(parents=True)
    config.consent.file.write_text(POLICY)
    return Standing(config, enrolment(), gate.OWNER.public_key(), house.store)


def put_consent(standing: Standing, version: int) -> bytes:
    """Sign the terms, as the command did, into their file."""
    config = standing._config
    facts = load_facts(config, standing._enrolment, config.cameras[0])
    terms = parse_policy(POLICY, "x").terms("door")
    raw = sign_consent(facts, terms, gate.NOTICE, version, UtcNs(gate.NOW - HOUR_NS), gate.OWNER)
    standing.consent_path("door").write_bytes(raw)
    return raw


def enrolment(threshold: int = 2) -> Enrolment:
    return Enrolment(
        gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
        uploads={}, roots=tuple(key.public_key() for key in RTCC.roots), threshold=threshold, not_after_s=2**31,
        tls_thumbprint="",
    )  # fmt: skip
