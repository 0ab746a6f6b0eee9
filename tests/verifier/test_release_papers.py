"""What the RTCC finds about the papers of a release: what was asked and consented to holds, or the bundle fails."""

import hashlib
from dataclasses import replace

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.units import DAY_NS, UtcNs, encode_rfc3339
from edge_agent.verifier.findings import Proof
from tests.support.footage import START, encode, records, window
from tests.support.opened import Opened, open_release, remux
from tests.support.release import House

PIECES = records(encode(40, audio="aac"))
ZONE = [[0, 500], [500, 500], [500, 1000], [0, 1000]]


def open_under(folder, terms: dict, **options) -> Opened:
    """A release with sound, under these terms, by a gateway that does not look at them."""
    return open_release(folder, House(folder, terms=terms), window(0, 3), PIECES, audio=True, **options)


TERMS = {
    "deny": ({"mode": Mode.DENY}, "denies every release"),
    "ask": ({"mode": Mode.ASK}, "names no approval"),
    "no sound": ({"audio": False}, "allows no sound"),
    "the other stream": ({"quality": Quality.SUB}, "sub stream alone"),
    "masks": ({"masks": [ZONE]}, "is not masked"),
}


@pytest.mark.parametrize(("terms", "words"), TERMS.values(), ids=TERMS.keys())
def test_a_release_is_within_the_terms_that_the_owner_signed(tmp_path, terms, words):
    """The signed terms are read, whatever the gateway made of them."""
    findings = open_under(tmp_path, terms).open()
    assert findings.failed_parts() == {"consent"}
    assert words in findings.as_text()


@pytest.mark.parametrize("days", [-2, 60])
def test_a_consent_counts_while_it_is_valid(tmp_path, days):
    """A decision before the signature's time or after it is over leans on no consent."""
    opened = open_under(tmp_path, {})
    members = opened.manifest
    members["consent"]["decided_at"] = encode_rfc3339(UtcNs(START + days * DAY_NS))
    assert opened.open(opened.sign(opened.parts, members)).failed_parts() == {"consent"}


def test_an_approval_is_the_owners_and_stands_in_the_ledger(tmp_path):
    """Where the owner was asked the manifest names the owner's key, and so does the entry; any other fails."""
    house = House(tmp_path, terms={"mode": Mode.ASK})
    house.approved_by = thumbprint(house.owner.public_key())
    opened = open_release(tmp_path, house, window(0, 3), PIECES, audio=True)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    told = {item.sentence: item.verdict for item in findings.items if item.part == "consent"}
    assert told["That the owner approved this one release is the gateway's word."] is Proof.NOT_PROVED
    proved = [sentence for sentence, verdict in told.items() if verdict is Proof.PROVED]
    assert not any("approved this release" in sentence for sentence in proved)
    members = opened.manifest
    for approved_by, parts in ((None, {"consent", "ledger"}), ("x" * 43, {"consent", "ledger"})):
        members["consent"]["approved_by"] = approved_by
        assert opened.open(opened.sign(opened.parts, members)).failed_parts() == parts


def test_sound_is_in_the_grant(tmp_path):
    """Sound that the ledger's entry does not grant fails by the entry."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 3), PIECES)
    members = opened.manifest
    members["clips"][0]["sound"] = "as-recorded"
    assert "ledger" in opened.open(opened.sign(opened.parts, members)).failed_parts()


def test_masks_beyond_the_signed_ones_fail_nothing(tmp_path):
    """A file at home may mask more than was signed: that makes the terms tighter."""
    other = Mask(((0, 0), (100, 0), (100, 100)))
    signed = Mask(tuple((x, y) for x, y in ZONE))
    findings = open_under(tmp_path, {"masks": [ZONE]}, masks=(signed, other)).open()
    assert findings.ok, findings.as_text()


def ask_anew(opened: Opened, change) -> dict[str, bytes]:
    """The bundle as the answer to another request, which the same two persons signed, with an entry for it."""
    house = opened.house
    payload = jws.parse(opened.parts[names.REQUEST], "rtcc-request+jws").payload
    change(payload)
    raw = jws.sign("rtcc-request+jws", payload, [house.operator, house.supervisor])
    members = opened.manifest
    members["request"] |= {
        "sha256": hashlib.sha256(raw).hexdigest(),
        "payload_sha256": jws.parse(raw, "rtcc-request+jws").payload_sha256.hex(),
    }
    return opened.sign(opened.parts | {names.REQUEST: raw}, members)


LAST_YEAR = {"start": "2022-01-01T00:00:00Z", "end": "2022-01-01T01:00:00Z"}
ASKED = {
    "another gateway": (lambda payload: payload["aud"].update(gateway="B" * 22), "request", "another gateway"),
    "nobody": (lambda payload: payload.update(aud={}), "request", "another gateway"),
    "no sound": (lambda payload: payload["clip"].update(audio=False), "request", "no sound"),
    "the other stream": (lambda payload: payload["clip"].update(quality="sub"), "request", "another stream"),
    "another incident's time": (
        lambda payload: payload["incident"].update(window=LAST_YEAR), "windows", "that of the incident",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "part", "words"), ASKED.values(), ids=ASKED.keys())
def test_a_release_is_what_was_asked_for(tmp_path, change, part, words):
    """A request that was signed for something else does not carry it."""
    opened = open_under(tmp_path, {})
    findings = opened.open(ask_anew(opened, change))
    assert findings.failed_parts() == {part}
    assert words in findings.as_text()


def test_a_request_to_an_area_is_told_as_one(tmp_path):
    """Whether this house lies in the area, the request cannot say."""
    opened = open_under(tmp_path, {})
    findings = opened.open(ask_anew(opened, lambda payload: payload.update(aud={"cells": ["9vk1j"]})))
    assert findings.ok, findings.as_text()
    assert "It went to an area" in findings.as_text()


@pytest.mark.parametrize("roles", [("operator", "operator"), ("operator", "dispatch")])
def test_a_request_has_an_operator_and_a_supervisor(tmp_path, roles):
    """Two persons are not enough: each has a role of their own."""
    opened = open_under(tmp_path, {})
    known = opened.house.known()
    signers = {kid: replace(each, role=role) for (kid, each), role in zip(known.signers.items(), roles, strict=True)}
    assert opened.open(known=replace(known, signers=signers)).failed_parts() == {"request"}


def keep_pictures(packets):
    return [packet for packet in packets if packet.stream_index == 0][:20]


SILENT = {"a recording": {}, "a derivative": {"derivative_of_sha256": "ab" * 32, "offsets": []}}


@pytest.mark.parametrize("more", SILENT.values(), ids=SILENT.keys())
def test_sound_cannot_be_called_none(tmp_path, more):
    """The rules against sound believe the manifest, so what is said to have none has none in its MP4."""
    opened = open_under(tmp_path, {"audio": False})
    members = opened.manifest
    members["clips"][0] |= {"sound": "none", **more}
    findings = opened.open(opened.sign(opened.parts, members))
    assert findings.failed_parts() == {"pictures"}
    assert "the MP4 has sound, and the manifest says that it has none" in findings.as_text()


def test_nothing_is_proved_of_a_derivative(tmp_path):
    """Any MP4 could be called one: neither its pictures nor its span nor that all is there is more than a word."""
    opened = open_under(tmp_path, {})
    members = opened.manifest
    members["clips"][0] |= {"derivative_of_sha256": "ab" * 32, "offsets": [], "sound": "none"}
    forged = opened.parts | {"clips/001.mp4": remux(opened.parts["clips/001.mp4"], keep_pictures)}
    findings = opened.open(opened.sign(forged, members))
    proved = {item.part for item in findings.items if item.verdict is Proof.PROVED}
    assert not {"pictures", "windows", "completeness", "sound"} & proved
    assert "verified here, have no zone to mask" in findings.as_text()


def test_a_request_may_ask_for_more_than_the_incident(tmp_path):
    """A gateway cuts a clip to the incident and its padding: what was asked for beyond is not granted."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 900), PIECES, granted=(window(0, 3),))

    def shorten(payload):
        payload["incident"]["window"] = {"start": "2023-11-14T22:12:00Z", "end": "2023-11-14T22:14:00Z"}

    findings = opened.open(ask_anew(opened, shorten))
    assert findings.ok, findings.as_text()


def test_terms_that_nobody_vouches_for_are_not_taken_as_signed(tmp_path):
    """Where the owner's key is not known, what a release owes to the consent alone is the gateway's word."""
    opened = open_release(tmp_path, House(tmp_path, terms={"masks": [ZONE]}), window(0, 3), PIECES)
    members = opened.manifest
    members["clips"][0] |= {"derivative_of_sha256": "ab" * 32, "offsets": []}
    pinned = opened.house.known()
    for end, is_beyond in (("22:13:21Z", True), ("22:13:23Z", False)):
        span = {"start": "2023-11-14T22:13:20Z", "end": f"2023-11-14T{end}"}
        asked = ask_anew(opened, lambda payload, span=span: payload["incident"].update(window=span))
        members["request"] = jws.parse(asked[names.MANIFEST], names.TYP, max_bytes=1 << 20).payload["request"]
        parts = opened.sign(asked, members)
        assert "as far as they are verified" not in opened.open(parts).as_text()
        assert "time of the incident" not in opened.open(parts).as_text()
        findings = opened.open(parts, replace(pinned, owner=None))
        assert not {"consent", "windows"} & findings.failed_parts()
        told = [item.sentence for item in findings.items if item.verdict is Proof.NOT_PROVED]
        assert any("as far as they are verified here, have no zone to mask" in sentence for sentence in told)
        assert any("More was granted than the time of the incident" in sentence for sentence in told) is is_beyond
