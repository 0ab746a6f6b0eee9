"""Terms at the desk: the notice tells every term that counts otherwise, and a signature meets what is open at once."""

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.buffer.ring import create_ring
from edge_agent.consent.policy import Mode, parse_policy
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import DenialError, EdgeAgentError, UsageError
from edge_agent.protocol import jws
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.settings.gateway import parse_config
from edge_agent.texts import ENGLISH
from edge_agent.units import HOUR_NS, MINUTE_NS
from edge_agent.uplink.inbound.consent_files import HouseReader, load_facts
from edge_agent.uplink.owner import adoption, terms_desk
from edge_agent.uplink.owner.desk_codes import DeskDraft
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.terms_desk import TermsDesk
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.consents import sign_consent
from tests.support.releaser import PEER, House

FILE = """\
version: 1
house: {agencies: [rtcc.example-city], cooling_off: 10m}
cameras:
  door: {mode: auto, categories: [robbery], distance_m: 300, window: 20m, requests_per_day: 9}
  yard: {mode: auto, categories: [robbery], distance_m: 300, window: 20m, requests_per_day: 9}
"""


class Gateway(House):
    """A house whose consents are signed, taken in and read as in the product."""

    def restart(self) -> None:
        """Read the configuration anew too."""
        super().restart()
        text = (
            "cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}, {id: yard, url: 'rtsp://127.0.0.1:2'}]\n"
            f"gateway: {{state_dir: {self.folder / 'state'}, location: {{lat: 32.2988, lon: -90.1848}}}}\n"
        )
        self.config = parse_config(text, "edge-agent.yaml", self.folder)
        self.enrolment = Enrolment(
            gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
            uploads={"evidence": "https://upload.example/files/"}, threshold=2, not_after_s=2**31, tls_thumbprint="",
            roots=tuple(key.public_key() for key in self.rtcc.roots),
        )  # fmt: skip
        self.house_reader = HouseReader(self.config, self.enrolment, gate.OWNER.public_key(), self.store)
        self.evaluator._house_reader = self.house_reader

    def take_in(self, camera: str, version: int = 1) -> None:
        """Sign what the file says for a camera, in the terminal."""
        found = self.config.demand_camera(camera)
        facts = load_facts(self.config, self.enrolment, found, self.store.read_id())
        terms = parse_policy(self.config.consent.file.read_text(), "terms").terms(camera)
        raw = sign_consent(facts, terms, gate.NOTICE, version, self.clock.utc(), gate.OWNER)
        self.call("take-consent", camera=camera, jws=raw.decode())

    def terms(self, camera: str):
        """Return what counts for a camera."""
        return self.house_reader.read(self.clock.utc()).cameras[camera].terms


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway(tmp_path)
    monkeypatch.setattr(KeyStore, "load_public", lambda _self, _name: gate.OWNER.public_key())
    monkeypatch.setattr(adoption, "find_gateway_name", lambda _path, _key: gate.GATEWAY)
    monkeypatch.setattr(terms_desk, "load_enrolment", lambda _path: made.enrolment)
    for camera in ("door", "yard"):
        ring = made.config.ring_path(camera, "main")
        ring.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        create_ring(ring, camera=camera, quality="main", size_bytes=8 << 20, recorder_key=key, block_size=1 << 16)
    made.config.consent.file.write_text(FILE)
    return made


class Desk:
    """Drafts, and signs as the owner does."""

    def __init__(self, house: Gateway) -> None:
        house.config.store_path.parent.mkdir(parents=True, exist_ok=True)
        self._desk = TermsDesk(
            house.config, OwnerOrders(gate.GATEWAY, gate.OWNER.public_key(), house.store, house.clock),
            house.house_reader, ENGLISH,
            lambda name, members: house.desk.handlers[name](members, PEER),
        )  # fmt: skip

    def draft(self, camera: str, terms: dict[str, object] | None = None, house: dict[str, object] | None = None):
        return self._desk.draft({"camera": camera, "terms": terms or {}, "house": house or {}}, gate.GATEWAY)

    def sign(self, made) -> dict[str, object]:
        signed = [jws.sign_with(each.typ, each.payload, [gate.OWNER]).decode() for each in made.messages]
        return dict(self._desk.commands["adopt-terms"]({**made.members, "signed": signed}, PEER))


def test_the_notice_tells_what_the_file_had_made_tighter(house: Gateway) -> None:
    """A term that the file took back, of whichever camera, is in the sentence of the signature that brings it again."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    tight = FILE.replace("cooling_off: 10m", "cooling_off: 4h").replace("door: {mode: auto", "door: {mode: deny")
    house.config.consent.file.write_text(tight)
    assert house.terms("door").camera.mode is Mode.DENY
    made = Desk(house).draft("door", {"mode": "auto"}, {"cooling_off": "10m"})
    assert "yard: " in made.sentence
    assert made.beside.startswith("I allow footage of the cameras named above")
    assert made.sentence.count("10 minutes") >= 2
    Desk(house).sign(made)
    assert house.terms("door").camera.mode is Mode.AUTO
    assert house.terms("yard").house.cooling_off == 10 * MINUTE_NS


def test_an_edit_after_the_draft_voids_the_order(house: Gateway) -> None:
    """What the owner tightened meanwhile stays: neither the text nor the consent of the draft counts."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    made = Desk(house).draft("door", {"distance_m": 200})
    house.config.consent.file.write_text(FILE.replace("cooling_off: 10m", "cooling_off: 4h"))
    with pytest.raises(DenialError, match="changed since"):
        Desk(house).sign(made)
    assert house.terms("yard").house.cooling_off == 4 * HOUR_NS
    assert house.store.consents.find("door").version == 1


def test_a_camera_without_a_consent_in_force_is_signed_at_the_gateway(house: Gateway) -> None:
    """Ring, sources and RTCC are shown by the terminal: a first, ended or revoked consent is not for the desk."""
    with pytest.raises(UsageError, match="no consent is in force"):
        Desk(house).draft("door", {"mode": "auto"})
    house.take_in("door")
    house.call("revoke", camera="door")
    with pytest.raises(UsageError, match="no consent is in force"):
        Desk(house).draft("door", {"mode": "auto"})


def test_terms_of_an_unread_consent_are_not_changed_unsaid(house: Gateway) -> None:
    """The house's terms are in every consent: of one that cannot be read now, nobody can say what would count."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    house.config.ring_path("yard", "main").unlink()  # what it is bound to: not told now, and may be back tomorrow
    assert house.terms("yard") is None
    with pytest.raises(UsageError, match="yard: its consent cannot be read now"):
        Desk(house).draft("door", house={"cooling_off": "4h"})
    assert "4 hours" not in Desk(house).draft("door", {"distance_m": 200}).sentence
    house.call("revoke", camera="yard")
    assert "4 hours" in Desk(house).draft("door", house={"cooling_off": "4h"}).sentence


def test_terms_signed_at_the_desk_meet_what_is_open(house: Gateway) -> None:
    """A denial ends a grant at once, and a wider signature two seconds later brings nothing back."""
    house.take_in("door")
    asked = house.ask()
    assert house.store.requests.read(asked.id).state is RequestState.GRANTED
    desk = Desk(house)
    desk.sign(desk.draft("door", {"mode": "deny"}))
    assert house.store.requests.read(asked.id).state is RequestState.CANCELLED
    house.clock.advance(2_000_000_000)
    desk.sign(desk.draft("door", {"mode": "auto"}))
    house.carry_on()
    house.worker.turn()
    house.sender.turn()
    assert house.store.requests.read(asked.id).state is RequestState.CANCELLED
    assert house.keys_out() == 0


def test_terms_that_are_signed_anew_for_their_time_leave_nothing_for_root(house: Gateway, monkeypatch) -> None:
    """The file has that text already: a note would wait for a change that never comes."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    desk = Desk(house)
    house.clock.advance(HOUR_NS)
    made = desk.draft("door", {"mode": "auto"})
    assert made.members["text"] == house.config.consent.file.read_text()
    monkeypatch.setattr(adoption.os, "access", lambda *_args, **_kwargs: False)
    desk.sign(made)
    assert not adoption.adoption_path(house.config).exists()
    assert adoption.find_missing(house.config) is None


@pytest.mark.parametrize("ends", ["full disk", "killed"])
def test_terms_that_count_and_miss_their_file_are_a_fault(house: Gateway, monkeypatch, ends: str) -> None:
    """The consent is in the store; what the file was to take away from others is not, and the owner hears of it."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    desk = Desk(house)
    house.clock.advance(HOUR_NS)
    made = desk.draft("door", {"window": "5m"})
    monkeypatch.setattr(adoption.os, "access", lambda *_args, **_kwargs: False)
    error = OSError(28, "No space left on device") if ends == "full disk" else KeyboardInterrupt()

    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(adoption, "leave", fail)
    if ends == "killed":
        with pytest.raises(KeyboardInterrupt):
            desk.sign(made)
    else:
        assert desk.sign(made) == {"state": "lost"}
    assert house.store.consents.find("door").version == 2
    assert adoption.find_missing(house.config) == house.config.consent.file.resolve()


def test_terms_that_are_refused_leave_no_fault(house: Gateway) -> None:
    """Drafted before a revocation: nothing counts, and nothing is waited for."""
    house.take_in("door")
    desk = Desk(house)
    house.clock.advance(HOUR_NS)
    made = desk.draft("door", {"window": "5m"})
    house.clock.advance(6 * MINUTE_NS)
    with pytest.raises(EdgeAgentError):
        desk.sign(made)
    assert adoption.find_missing(house.config) is None


def test_terms_that_are_refused_take_back_no_fault_of_earlier_ones(house: Gateway, monkeypatch) -> None:
    """The file of the act before is still as it was, and the owner goes on hearing of it."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    desk = Desk(house)
    house.clock.advance(HOUR_NS)
    monkeypatch.setattr(adoption.os, "access", lambda *_args, **_kwargs: False)
    assert desk.sign(desk.draft("door", {"window": "5m"})) == {"state": "left"}
    adoption.take(house.config)  # root took it, and refused it
    house.clock.advance(MINUTE_NS)
    made = desk.draft("yard", {"window": "5m"})
    house.clock.advance(6 * MINUTE_NS)
    with pytest.raises(EdgeAgentError):
        desk.sign(made)
    assert adoption.find_missing(house.config) == house.config.consent.file.resolve()


def test_two_acts_at_once_leave_one_text(house: Gateway, monkeypatch) -> None:
    """The one that comes second is told that the first is not in its file yet; nothing of the two is mixed."""
    for camera in ("door", "yard"):
        house.take_in(camera)
    desk = Desk(house)
    house.clock.advance(HOUR_NS)
    made = [desk.draft(camera, {"window": "5m"}) for camera in ("door", "yard")]
    monkeypatch.setattr(adoption.os, "access", lambda *_args, **_kwargs: False)
    told: list[object] = []

    def sign(draft: DeskDraft) -> None:
        try:
            told.append(desk.sign(draft)["state"])
        except UsageError as error:
            told.append(str(error))

    threads = [threading.Thread(target=sign, args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, told)) == ["left", "what was signed at the desk before is not in its file yet"]
    assert adoption.take(house.config)[1] in [each.members["text"] for each in made]
