"""The owner's signature: what is signed, what it leans on, and when it ends."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.house_state import occasions, refusals
from edge_agent.consent.policy import Occasion, Refusal, Refusals, encode_terms
from edge_agent.consent.signed_consent import TYP, Stream, verify_consent
from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Place, Quality
from edge_agent.units import DAY_NS, UtcNs
from tests.support.consents import sign_consent
from tests.support.gate import NOTICE, NOW, OWNER, facts, house_state, stand_kept, standing, terms

RAW = sign_consent(facts(), terms(), NOTICE, 3, NOW, OWNER)


def verify(raw=RAW, key=OWNER, known=None):
    return verify_consent(raw, key.public_key(), known or facts())


def refused(raw=RAW, key=OWNER, known=None):
    with pytest.raises(DenialError) as caught:
        verify(raw, key, known)
    return caught.value.reason, str(caught.value)


def test_a_consent_is_read_back_as_signed():
    """Terms, notice, version and validity come out as they went in."""
    consent = verify()
    assert (consent.camera, consent.version, consent.terms, consent.notice) == ("door", 3, terms(), NOTICE)
    assert (consent.signed_at, consent.valid_from, consent.valid_until) == (NOW, NOW, NOW + 45 * DAY_NS)
    assert consent.thumbprint == thumbprint(OWNER.public_key())
    assert consent.raw == RAW


def test_a_consent_ends_after_45_days_and_never_later_than_its_terms_say():
    """A shorter or later span may be chosen, a longer one may not."""
    later = UtcNs(NOW + DAY_NS)
    consent = verify(sign_consent(facts(), terms(), NOTICE, 1, NOW, OWNER, later, UtcNs(NOW + 3 * DAY_NS)))
    assert (consent.valid_from, consent.valid_until) == (later, NOW + 3 * DAY_NS)
    consent = verify(sign_consent(facts(), terms(), NOTICE, 1, NOW, OWNER, None, UtcNs(NOW + 300 * DAY_NS)))
    assert consent.valid_until == NOW + 45 * DAY_NS


def test_a_consent_discloses_one_camera_and_no_address():
    """The part that travels in a bundle: this camera's terms, and a digest of where it is reached."""
    payload = json.loads(jws.parse(RAW, TYP).payload_bytes)
    assert payload["camera"] == "door"
    assert "rtsp" not in json.dumps(payload)
    assert payload["event"]["entity_id"] == payload["pii_principal_id"] == thumbprint(OWNER.public_key())
    assert payload["terms"] == encode_terms(terms())
    assert payload["purposes"][0]["recipient_third_parties"] == ["evidence"]
    escrow = json.loads(
        jws.parse(sign_consent(facts(), terms({"escrow": True}), NOTICE, 1, NOW, OWNER), TYP).payload_bytes
    )
    assert escrow["purposes"][0]["recipient_third_parties"] == ["evidence", "escrow"]


CHANGED = {
    "camera": {"camera": "yard"},
    "streams": {"streams": (replace(facts().streams[0], source=bytes(32)),)},
    "place": {"place": Place(32.2988, -90.1849)},
    "time_zone": {"time_zone": "UTC"},
    "issuer": {"issuer": "rtcc.other-city"},
    "roots": {"roots": ("A" * 43, "B" * 43, "D" * 43)},
    "threshold": {"threshold": 3},
    "store": {"store": "5b" * 16},
    "upload_origins": {"upload_origins": ("https://elsewhere.example:443",)},
}


@pytest.mark.parametrize(("name", "change"), CHANGED.items(), ids=CHANGED.keys())
def test_a_fact_that_changed_ends_the_consent(name, change):
    """A camera pointed elsewhere or a house that moved denies until it is signed again, and says which."""
    reason, sentence = refused(known=facts(**{"camera": "door", **change}))
    assert reason == "consent-facts-changed"
    assert f"({name})" in sentence


def test_a_substream_pointed_elsewhere_ends_the_consent():
    """Every stream's source is a fact, not the main one's alone."""
    main = facts().streams[0]
    both = Stream(Quality.SUB, "ff" * 16, bytes(32))
    signed = sign_consent(facts(streams=(main, both)), terms(), NOTICE, 3, NOW, OWNER)
    moved = facts(streams=(main, replace(both, source=b"b" * 32)))
    with pytest.raises(DenialError) as caught:
        verify_consent(signed, OWNER.public_key(), moved)
    assert caught.value.reason == "consent-facts-changed"
    consent = verify_consent(signed, OWNER.public_key(), facts(streams=(both, main)))
    assert (consent.find_source(Quality.MAIN), consent.find_source(Quality.SUB)) == (main.source, bytes(32))


def test_a_stream_that_was_not_signed_has_no_source():
    """Zero is the digest of nothing, which no footage is granted by."""
    assert verify().find_source(Quality.SUB) == bytes(32)


def test_the_order_of_facts_does_not_matter():
    """Roots and rings are sets."""
    shuffled = replace(facts(), roots=tuple(reversed(facts().roots)))
    assert verify(known=shuffled).version == 3


def resigned(**changes):
    payload = json.loads(jws.parse(RAW, TYP).payload_bytes)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = payload
        for parent in parents:
            target = target[parent]
        target[last] = value
    return jws.sign(TYP, payload, [OWNER])


INVALID = {
    "another owner": (RAW, Ed25519PrivateKey.generate(), "key-unknown"),
    "a broken signature": (RAW.replace(b'"signature":"', b'"signature":"AAAA'), OWNER, "signature-invalid"),
    "another type": (jws.sign("owner-order+jws", {}, [OWNER]), OWNER, "member-missing"),
    "not JSON": (b"no", OWNER, "json-malformed"),
    "a member too many": (resigned(extra=1), OWNER, "member-unknown"),
    "another schema": (resigned(schema_version="edge-agent/2"), OWNER, "member-invalid"),
    "an unknown term": (resigned(terms__camera__live=True), OWNER, "terms"),
    "a term beyond its limit": (resigned(terms__camera__distance_m=651), OWNER, "terms"),
    "a term left out": (resigned(terms__camera={"mode": "auto"}), OWNER, "terms are not all said"),
    "a term in another form": (resigned(terms__camera__window="1800s"), OWNER, "terms are not all said"),
    "no time at all": (resigned(event__valid_until="2026-07-01T22:30:00Z"), OWNER, "validity"),
    "a revocation": (resigned(event__event_state="withdrawn"), OWNER, "member-invalid"),
}


@pytest.mark.parametrize(("raw", "key", "detail"), INVALID.values(), ids=INVALID.keys())
def test_a_consent_that_is_not_exactly_right_is_none(raw, key, detail):
    """With any fault, nothing is consented to."""
    reason, sentence = refused(raw, key)
    assert reason == "consent-invalid"
    assert detail in sentence


def test_what_does_not_verify_becomes_the_reason():
    """The household says why a camera has no consent, and has no terms for it."""
    missing = stand_kept(None, facts(), terms())
    assert (missing.consent, missing.terms, missing.problem.code) == (None, None, "consent-missing")
    moved = stand_kept(RAW, facts(place=Place(1, 1)), terms())
    assert (moved.consent, moved.terms, moved.problem.code) == (None, None, "consent-facts-changed")
    good = stand_kept(RAW, facts(), terms())
    assert (good.problem, good.terms, good.place) == (None, terms(), facts().place)


def test_the_house_answers_as_the_most_careful_camera_says():
    """How a refusal is answered is part of the signed terms: a file cannot make the house talk."""
    told = {"refusals": Refusals(area=Refusal.DECLINED, gateway=Refusal.DECLINED)}
    mute = {"refusals": Refusals(area=Refusal.SILENCE, gateway=Refusal.SILENCE)}
    assert refusals(house_state(standing(terms(told)))) == told["refusals"]
    assert refusals(house_state(standing(terms(), terms(told)))) == Refusals()
    assert refusals(house_state(standing(terms(told)), ("yard", standing(terms(mute))))) == mute["refusals"]
    unsigned = house_state(stand_kept(None, facts(), terms(told)))
    assert refusals(unsigned) == Refusals()


def test_the_owner_is_told_of_what_any_camera_names():
    """And of everything while nothing is signed."""
    quiet, asks = terms({"notify": frozenset()}), terms({"notify": frozenset({Occasion.ASK})})
    assert occasions(house_state(standing(quiet))) == frozenset()
    assert occasions(house_state(standing(quiet), ("yard", standing(asks)))) == {Occasion.ASK}
    assert occasions(house_state(standing(asks, quiet))) == {Occasion.ASK}
    assert occasions(house_state(stand_kept(None, facts(), quiet))) == frozenset(Occasion)
