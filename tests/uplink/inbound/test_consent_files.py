"""The owner's consent as the releaser has it: taken in once, kept in the store, read without leaving a trace."""

import contextlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.buffer.ring import create_ring
from edge_agent.consent.owner_order import MAX_AGE_NS, ORDER_SKEW_NS
from edge_agent.consent.policy import parse_policy
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import Config, parse_config
from edge_agent.units import DAY_NS, MINUTE_NS, ClockState
from edge_agent.uplink.inbound.consent_files import HouseReader, load_facts
from edge_agent.uplink.release.terms_watch import TermsWatch
from edge_agent.uplink.store.in_force import StoredConsent
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.consents import sign_consent
from tests.support.releaser import House

WIDE = """\
version: 1
house: {agencies: [rtcc.example-city]}
cameras:
  door: {mode: auto, categories: [robbery], distance_m: 300, window: 20m, requests_per_incident: 9}
"""
NARROW = WIDE.replace("mode: auto", "mode: deny")


class Gateway(House):
    """A house whose consents are real: signed, handed over, and judged by its rings, its file and its store."""

    config: Config

    def restart(self) -> None:
        """What a kill or a new start leaves: the files on disk."""
        super().restart()
        text = (
            "cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n"
            f"gateway: {{state_dir: {self.folder / 'state'}, location: {{lat: 32.2988, lon: -90.1848}}}}\n"
        )
        self.config = parse_config(text, "edge-agent.yaml", self.folder)
        self.enrolment = Enrolment(
            gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
            uploads={}, roots=tuple(key.public_key() for key in self.rtcc.roots), threshold=2, not_after_s=2**31,
            tls_thumbprint="",
        )  # fmt: skip
        self.house_reader = HouseReader(self.config, self.enrolment, gate.OWNER.public_key(), self.store)
        self.evaluator._house_reader = self.house_reader

    def sign_terms(self, version: int, terms: str = WIDE, key: Ed25519PrivateKey = gate.OWNER) -> bytes:
        (camera,) = self.config.cameras
        facts = load_facts(self.config, self.enrolment, camera, self.store.read_id())
        assert [each.quality for each in facts.streams] == [Quality.MAIN]
        said, now = parse_policy(terms, "test").terms("door"), self.clock.utc()
        return sign_consent(facts, said, gate.NOTICE, version, now, key)

    def hand_over(self, raw: bytes) -> None:
        self.call("take-consent", camera="door", jws=raw.decode())

    def put_file(self, raw: bytes) -> None:
        """Put a consent into the folder of copies."""
        self.config.waivers_dir.mkdir(parents=True, exist_ok=True)
        (self.config.waivers_dir / "door.jws").write_bytes(raw)

    def remove_file(self) -> None:
        (self.config.waivers_dir / "door.jws").unlink(missing_ok=True)


@pytest.fixture
def house(tmp_path):
    house = Gateway(tmp_path)
    ring = house.config.ring_path("door", "main")
    ring.parent.mkdir(parents=True)
    recorder = Ed25519PrivateKey.generate()
    create_ring(ring, camera="door", quality="main", size_bytes=8 << 20, recorder_key=recorder, block_size=1 << 16)
    house.config.consent.file.write_text(WIDE)
    yield house
    house.store.close()


def test_reading_consent_writes_nothing(house):
    """``explain``, ``status``, the page and every look of the owner leave store and ledger as they are (PROTOCOL 4)."""
    house.hand_over(house.sign_terms(3))
    changes = house.store._connection.total_changes
    found = house.house_reader.read(gate.NOW).cameras["door"]
    assert found.consent is not None
    assert found.consent.version == 3
    assert house.call("explain", raw=house.sign().decode())["verdict"] == "grant"
    house.call("requests")
    house.call("consents")
    assert house.store._connection.total_changes == changes


def test_a_consent_counts_from_when_the_releaser_has_taken_it_in(house):
    """With its entry in the ledger, once; before that nothing is granted, whatever lies in the folder."""
    signed = house.sign_terms(3)
    house.put_file(signed)
    assert [each["code"] for each in house.ask().reasons] == ["consent-missing"]
    house.hand_over(signed)
    assert house.store.consents.find("door") == StoredConsent(3, signed, False)
    assert [each["version"] for each in house.entries("consent")] == [3]
    assert house.ask().state is RequestState.GRANTED


FILES: dict[str, Callable[[Gateway], bytes | None]] = {
    "an earlier one that was signed": lambda house: house.sign_terms(1),
    "the same version with wider terms": lambda house: house.sign_terms(2),
    "a newer one that was never handed over": lambda house: house.sign_terms(7),
    "one that somebody else signed": lambda house: house.sign_terms(8, key=Ed25519PrivateKey.generate()),
    "no consent at all": lambda _: b"{}",
    "removed": lambda _: None,
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("is_down", [False, True], ids=["while it runs", "while it is down"])
def test_a_file_in_the_folder_of_copies_changes_nothing(house, what, is_down):
    """Floors never fall (G13): what was signed last counts, also if the releaser was down as the file changed."""
    house.hand_over(house.sign_terms(1))
    newest = house.sign_terms(2, NARROW)
    house.hand_over(newest)
    house.put_file(newest)
    put = FILES[what](house)
    if is_down:
        house.store.close()
    house.remove_file() if put is None else house.put_file(put)
    if is_down:
        house.restart()
    assert house.store.consents.find("door") == StoredConsent(2, newest, False)
    assert [each["code"] for each in house.ask().reasons] == ["mode-deny"]


REFUSED: dict[str, Callable[[Gateway], bytes]] = {
    "an earlier version": lambda house: house.sign_terms(1),
    "the same version with other terms": lambda house: house.sign_terms(2),
    "one that somebody else signed": lambda house: house.sign_terms(3, key=Ed25519PrivateKey.generate()),
    "one for another house": lambda house: sign_consent(
        gate.facts("door"), gate.terms(), gate.NOTICE, 3, gate.NOW, gate.OWNER
    ),
    "no consent": lambda _: b"{}",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_newer_or_would_not_count_is_not_taken_in(house, what):
    """And says so, in place of "signed": store, ledger and what counts stay as they were."""
    newest = house.sign_terms(2, NARROW)
    house.hand_over(newest)
    with pytest.raises(EdgeAgentError):
        house.hand_over(REFUSED[what](house))
    assert house.store.consents.find("door") == StoredConsent(2, newest, False)
    assert [each["version"] for each in house.entries("consent")] == [2]
    assert [each["code"] for each in house.ask().reasons] == ["mode-deny"]


def test_a_revoked_consent_is_not_taken_in_again(house):
    """Only a newer signature counts, also after a restart."""
    signed = house.sign_terms(1)
    house.hand_over(signed)
    assert house.call("revoke", camera="door")["cameras"] == ["door"]
    house.restart()
    with pytest.raises(UsageError, match="not newer"):
        house.hand_over(signed)
    assert [each["code"] for each in house.ask().reasons] == ["consent-revoked"]
    house.hand_over(house.sign_terms(2))
    assert house.ask().state is RequestState.GRANTED


KEPT = {
    "signed and revoked long ago": (10 * DAY_NS, DAY_NS),
    "signed long ago, revoked just now": (10 * DAY_NS, 0),
    "signed and revoked just now": (MINUTE_NS, MINUTE_NS),
    "kept for longer than an order is good": (MAX_AGE_NS, 1),
}


@pytest.mark.parametrize(("until_revoked", "until_handed_over"), KEPT.values(), ids=KEPT)
def test_no_consent_that_was_signed_before_a_revocation_counts_after_it(house, until_revoked, until_handed_over):
    """Also one of a newer version, which was signed and never handed over; one that is signed now counts."""
    house.clock.step(-until_revoked - until_handed_over)
    house.hand_over(house.sign_terms(1))
    kept = house.sign_terms(2)
    house.clock.advance(until_revoked)
    house.call("revoke", camera="door")
    house.clock.advance(until_handed_over)
    with pytest.raises(UsageError, match=r"five minutes|revoked after"):
        house.hand_over(kept)
    assert house.store.consents.find("door").is_revoked
    assert [each["code"] for each in house.ask().reasons] == ["consent-revoked"]
    house.hand_over(house.sign_terms(2))
    assert house.ask().state is RequestState.GRANTED


AGES = {"as old as an order may be": (MAX_AGE_NS, True), "older": (MAX_AGE_NS + 1, False)}
AGES |= {"as far ahead as an order may be": (-ORDER_SKEW_NS, True), "of the future": (-ORDER_SKEW_NS - 1, False)}


@pytest.mark.parametrize(("age_ns", "is_taken"), AGES.values(), ids=AGES)
def test_a_consent_is_taken_in_as_long_as_an_order_would_be(house, age_ns, is_taken):
    """Without a revocation too: what was signed and kept is no word of now."""
    signed = house.sign_terms(1)
    house.clock.step(age_ns)
    with contextlib.nullcontext() if is_taken else pytest.raises(UsageError, match="five minutes"):
        house.hand_over(signed)
    assert (house.store.consents.find("door") is not None) is is_taken


def test_a_narrower_signature_acts_at_once(house):
    """On what is under way, as a pause does (G5, G7); a wider one later brings nothing back."""
    house.hand_over(house.sign_terms(1))
    request = house.ask()
    assert request.state is RequestState.GRANTED
    house.hand_over(house.sign_terms(2, NARROW))
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED
    house.hand_over(house.sign_terms(3))
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED


def watch(house: Gateway) -> TermsWatch:
    return TermsWatch(house.config.consent.file, house.store, house.evaluator, house.desk._reauthorization)


@pytest.mark.parametrize("is_down", [False, True], ids=["while it runs", "while it is down"])
def test_an_edit_of_the_file_counts_before_any_step(house, is_down):
    """What it took away does not come back with the earlier words, though no step came in between (G5)."""
    house.hand_over(house.sign_terms(1))
    request = house.ask()
    looks = watch(house)
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.GRANTED
    house.config.consent.file.write_text(NARROW)
    if is_down:
        house.restart()
        looks = watch(house)
    looks.look()
    house.config.consent.file.write_text(WIDE)
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED
    assert house.ask().state is RequestState.GRANTED


def test_a_file_that_cannot_be_read_takes_nothing_away(house):
    """An editor that saves: what it says is unknown, and counts as soon as it is there."""
    house.hand_over(house.sign_terms(1))
    request = house.ask()
    looks = watch(house)
    house.config.consent.file.unlink()
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.GRANTED
    house.config.consent.file.write_text(NARROW)
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED


def test_an_edit_while_the_clock_is_not_believed_is_looked_at_again(house):
    """Then nothing is decided, and nothing leaves; as soon as the time is known, the edit counts."""
    house.hand_over(house.sign_terms(1))
    request = house.ask()
    looks = watch(house)
    house.config.consent.file.write_text(NARROW)
    house.clock.clock_state = ClockState.FLOOR_ONLY
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.GRANTED
    house.clock.clock_state = ClockState.SYNCHRONISED
    looks.look()
    assert house.store.requests.read(request.id).state is RequestState.CANCELLED


def test_an_unchanged_file_costs_no_transaction(house):
    """It is looked at every few seconds."""
    looks = watch(house)
    looks.look()
    changes = house.store._connection.total_changes
    looks.look()
    assert house.store._connection.total_changes == changes
