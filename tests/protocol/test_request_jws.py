"""Checks 1 to 6 of PROTOCOL 4: every way in which an envelope can be wrong has its own reason."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.protocol.request import Category, Quality, Role
from edge_agent.protocol.request_jws import TYP, verify_request
from edge_agent.units import DAY_NS, UtcNs
from tests.support.gate import ISS, JTI, NOW, ROLES, Rtcc, at, request_payload

RTCC = Rtcc()
TRUST = RTCC.trust()
GOOD = RTCC.sign(request_payload())


def b64(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def reason_of(raw, trust=TRUST, now=NOW) -> str:
    with pytest.raises(DenialError) as caught:
        verify_request(raw, trust, now)
    assert str(caught.value)
    return caught.value.reason


def edited(edit, raw=GOOD) -> bytes:
    """Return a message after ``edit`` changed its JSON."""
    message = json.loads(raw)
    changed = edit(message)
    return json.dumps(message if changed is None else changed).encode()


def with_header(index=0, *, drop=(), **members) -> bytes:
    """Return the good message with one protected header changed (its signature no longer matters: check 3 is first)."""

    def edit(message):
        signature = message["signatures"][index]
        header = json.loads(base64.urlsafe_b64decode(signature["protected"] + "=="))
        for name in drop:
            del header[name]
        signature["protected"] = b64({**header, **members})

    return edited(edit)


def with_payload(text: bytes) -> bytes:
    """Return a message over payload bytes that are not JSON as it should be, rightly signed."""
    return jws.sign_with(TYP, text, [RTCC.people["ann"], RTCC.people["bob"]])


def test_a_good_request_verifies_and_says_who_signed():
    """The signers' request comes out as values, with their persons and roles."""
    request = verify_request(GOOD, TRUST, NOW)
    assert (request.iss, request.jti, request.raw) == (ISS, JTI, GOOD)
    assert request.payload_sha256 == jws.parse(GOOD, TYP).payload_sha256
    assert [(signer.person, signer.role) for signer in request.signers] == [
        ("ann", Role.OPERATOR),
        ("bob", Role.SUPERVISOR),
    ]
    assert [signer.kid for signer in request.signers] == [RTCC.kid("ann"), RTCC.kid("bob")]
    assert (request.incident.category, request.quality) == (Category.ROBBERY, Quality.MAIN)
    assert (request.cameras, request.audience.cells, request.audience.is_area) == (("door",), (), False)


def test_an_area_request_names_its_cells():
    """An area's audience is its cells and no gateway."""
    request = verify_request(RTCC.sign(request_payload({"aud": {"cells": ["9vxze", "9vxzg"]}})), TRUST, NOW)
    assert request.audience.is_area
    assert request.audience.cells == ("9vxze", "9vxzg")


def test_a_dispatcher_may_sign_as_well():
    """A third signature of the third role is allowed, whatever the policy asks for."""
    request = verify_request(RTCC.sign(request_payload(), "ann", "bob", "cid"), TRUST, NOW)
    assert {signer.role for signer in request.signers} == set(Role)


def test_a_message_of_exactly_the_limit_is_read():
    """The limit itself is allowed: blanks are JSON."""
    padded = GOOD + b" " * (jws.MAX_MESSAGE_BYTES - len(GOOD))
    assert verify_request(padded, TRUST, NOW).jti == JTI
    assert reason_of(padded + b" ") == "too-large"


SHAPES = {
    "empty": (b"", "json-malformed"),
    "not JSON": (b"hello", "json-malformed"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "json-malformed"),
    "not UTF-8": (b'{"payload":"\xff"}', "json-malformed"),
    "two texts": (GOOD + GOOD, "json-malformed"),
    "a list": (b"[]", "json-malformed"),
    "NaN": (b'{"payload":NaN}', "json-malformed"),
    "infinity by overflow": (b'{"payload":1e999}', "json-malformed"),
    "a huge number": (b'{"payload":' + b"9" * 5000 + b"}", "json-malformed"),
    "a lone surrogate": (b'{"payload":"\\ud800"}', "json-malformed"),
    "too deep": (b"[" * 9 + b"]" * 9, "json-too-deep"),
    "deep behind an open string": (b'"\\"', "json-malformed"),
    "far too deep": (b'{"a":' * 10000, "json-too-deep"),
    "duplicate member": (GOOD.replace(b'{"payload"', b'{"payload":"","payload"'), "json-duplicate-member"),
    "unknown member": (edited(lambda m: {**m, "extra": 1}), "member-unknown"),
    "flattened form": (edited(lambda m: {"payload": m["payload"], **m["signatures"][0]}), "member-unknown"),
    "no payload": (edited(lambda m: {"signatures": m["signatures"]}), "member-missing"),
    "payload not text": (edited(lambda m: {**m, "payload": {}}), "member-invalid"),
    "payload padded": (edited(lambda m: {**m, "payload": m["payload"] + "="}), "member-invalid"),
    "payload not ASCII": (edited(lambda m: {**m, "payload": "é"}), "member-invalid"),
    "payload with spare bits": (edited(lambda m: {**m, "payload": "Zh"}), "member-invalid"),
    "payload of one letter": (edited(lambda m: {**m, "payload": "Z"}), "member-invalid"),
    "payload not JSON": (with_payload(b"\x00"), "json-malformed"),
    "payload with a duplicate": (with_payload(b'{"iss":"a","iss":"b"}'), "json-duplicate-member"),
    "payload with a deep duplicate": (
        with_payload(json.dumps(request_payload()).encode().replace(b'{"lat"', b'{"lat":1,"lat"')),
        "json-duplicate-member",
    ),
    "payload a list": (with_payload(b"[]"), "member-invalid"),
    "no signatures": (edited(lambda m: {**m, "signatures": []}), "member-invalid"),
    "nine signatures": (edited(lambda m: {**m, "signatures": m["signatures"][:1] * 9}), "member-invalid"),
    "signatures an object": (edited(lambda m: {**m, "signatures": {}}), "member-invalid"),
    "a signature as text": (edited(lambda m: {**m, "signatures": ["x"]}), "json-malformed"),
    "a member beside a signature": (
        edited(lambda m: {**m, "signatures": [{**m["signatures"][0], "kid": "x"}]}),
        "member-unknown",
    ),
    "no signature bytes": (
        edited(lambda m: {**m, "signatures": [{"protected": m["signatures"][0]["protected"]}]}),
        "member-missing",
    ),
    "signature not base64url": (
        edited(lambda m: {**m, "signatures": [{**m["signatures"][0], "signature": "+/=="}]}),
        "member-invalid",
    ),
}


@pytest.mark.parametrize(("raw", "reason"), SHAPES.values(), ids=SHAPES.keys())
def test_a_message_of_another_shape_is_refused(raw, reason):
    """Checks 1 and 2: bounded, strict JSON with exactly the members that it must have."""
    assert reason_of(raw) == reason


def test_size_and_depth_are_bounded_before_anything_is_parsed():
    """A message that is too large or too deep is refused for that, however broken it is otherwise."""
    assert reason_of(b"\xff" * (jws.MAX_MESSAGE_BYTES + 1)) == "too-large"
    assert reason_of(b"\xff" + b"[" * 9) == "json-too-deep"


HEADERS = {
    "header beside protected": (
        edited(lambda m: m["signatures"][0].update(header={"kid": RTCC.kid("ann")})),
        "jws-unprotected-header",
    ),
    "header instead of protected": (
        edited(lambda m: {**m, "signatures": [{"header": {"alg": "Ed25519"}, "signature": ""}]}),
        "jws-unprotected-header",
    ),
    "header not an object": (edited(lambda m: m["signatures"][0].update(protected=b64([]))), "json-malformed"),
    "header with a duplicate": (
        edited(lambda m: m["signatures"][0].update(protected=b64(b'{"alg":"none","alg":"Ed25519"}'))),
        "json-duplicate-member",
    ),
    "header too large": (with_header(typ="x" * 600), "too-large"),
    "crit": (with_header(crit=["b64"], b64=False), "jws-crit"),
    "b64": (with_header(b64=False), "jws-header-unknown"),
    "cty": (with_header(cty="json"), "jws-header-unknown"),
    **{name: (with_header(**{name: {}}), "jws-key-in-header") for name in ("jwk", "jku", "x5c", "x5u", "x5t")},
    "x5t#S256": (with_header(**{"x5t#S256": "AA"}), "jws-key-in-header"),
    "no typ": (with_header(drop=["typ"]), "jws-header-missing"),
    "no kid": (with_header(drop=["kid"]), "jws-header-missing"),
    "no alg": (with_header(drop=["alg"]), "jws-header-missing"),
    "typ of a trust bundle": (with_header(typ="rtcc-trust+jws"), "jws-typ"),
    "typ of another case": (with_header(typ=TYP.upper()), "jws-typ"),
    "typ not text": (with_header(typ=1), "jws-typ"),
    **{
        f"alg {alg}": (with_header(alg=alg), "jws-alg")
        for alg in ("none", "None", "EdDSA", "HS256", "ES384", "RS256", "Ed448", None, ["Ed25519"])
    },
    "kid not a thumbprint": (with_header(kid="ann"), "member-invalid"),
    "kid not text": (with_header(kid=7), "member-invalid"),
    "second header wrong": (with_header(1, alg="none"), "jws-alg"),
}


@pytest.mark.parametrize(("raw", "reason"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_is_not_exactly_alg_kid_typ_is_refused(raw, reason):
    """Check 3: everything that joserfc would merge, follow or take as an extension."""
    assert reason_of(raw) == reason


PAYLOADS = {
    "unknown member": ({"extra": 1}, "member-unknown", "extra"),
    "unknown member deep inside": ({"incident.place.alt": 3}, "member-unknown", "incident.place.alt"),
    "unknown member that a terminal would obey": ({"\x1b[2J\u202e": 1}, "member-unknown", "?[2J?"),
    "missing member": ({"purpose": None}, "member-missing", "purpose"),
    "missing member deep inside": ({"clip.window.end": None}, "member-missing", "clip.window.end"),
    "time without Z": ({"iat": "2026-07-01T22:30:00+00:00"}, "member-invalid", "iat"),
    "time as a number": ({"iat": 1782945000}, "member-invalid", "iat"),
    "no such time": ({"exp": "2026-02-30T00:00:00Z"}, "member-invalid", "exp"),
    "an empty window": ({"clip.window": {"start": at(0), "end": at(0)}}, "member-invalid", "clip.window"),
    "an inverted window": ({"incident.window": {"start": at(1), "end": at(0)}}, "member-invalid", "incident.window"),
    "jti too short": ({"jti": "abc"}, "member-invalid", "jti"),
    "latitude out of range": ({"incident.place.lat": 91}, "member-invalid", "incident.place.lat"),
    "latitude as text": ({"incident.place.lat": "32"}, "member-invalid", "incident.place.lat"),
    "latitude as truth": ({"incident.place.lat": True}, "member-invalid", "incident.place.lat"),
    "unknown category": ({"incident.category": "loitering"}, "member-invalid", "incident.category"),
    "unknown quality": ({"clip.quality": "live"}, "member-invalid", "clip.quality"),
    "audio as text": ({"clip.audio": "yes"}, "member-invalid", "clip.audio"),
    "no camera": ({"clip.cameras": []}, "member-invalid", "clip.cameras"),
    "65 cameras": ({"clip.cameras": [f"c{n}" for n in range(65)]}, "member-invalid", "clip.cameras"),
    "a camera twice": ({"clip.cameras": ["door", "door"]}, "member-invalid", "clip"),
    "every camera and one": ({"clip.cameras": ["*", "door"]}, "member-invalid", "clip"),
    "a camera that is a path": ({"clip.cameras": ["../door"]}, "member-invalid", "clip.cameras.0"),
    "a URL to deliver to": ({"deliver": "https://example.com/"}, "member-invalid", "deliver"),
    "nobody as audience": ({"aud": {}}, "member-invalid", "aud"),
    "null as audience": ({"aud": {"gateway": json.loads("null")}}, "member-invalid", "aud"),
    "gateway and cells": ({"aud.cells": ["9vxze"]}, "member-invalid", "aud"),
    "no cell": ({"aud": {"cells": []}}, "member-invalid", "aud.cells"),
    "65 cells": ({"aud": {"cells": ["9vxze"] * 65}}, "member-invalid", "aud.cells"),
    "a cell twice": ({"aud": {"cells": ["9vxze", "9vxze"]}}, "member-invalid", "aud"),
    "a cell that is none": ({"aud": {"cells": ["9vxza"]}}, "member-invalid", "aud.cells.0"),
    "a terminal's escape": ({"purpose": "\x1b[2J"}, "member-invalid", "purpose"),
    "text that runs backwards": ({"contact": "\u202egnp.exe"}, "member-invalid", "contact"),
    "a second line": ({"purpose": "a\nb"}, "member-invalid", "purpose"),
    "blank text": ({"purpose": " "}, "member-invalid", "purpose"),
    "text too long": ({"purpose": "x" * 501}, "member-invalid", "purpose"),
    "no text": ({"incident.number": ""}, "member-invalid", "incident.number"),
}


@pytest.mark.parametrize(("changes", "reason", "member"), PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_payload_with_other_members_is_refused(changes, reason, member):
    """Check 2 again: the payload's members, at any depth, whoever signed them."""
    with pytest.raises(DenialError) as caught:
        verify_request(RTCC.sign(request_payload(changes)), TRUST, NOW)
    assert caught.value.reason == reason
    assert f"member {member}" in str(caught.value)


def test_the_payload_is_checked_before_the_headers_and_the_keys():
    """Checks come in the order of PROTOCOL 4: the first reason is the one that is given."""
    bad_payload_bad_alg = with_payload(json.dumps(request_payload({"extra": 1})).encode())
    message = json.loads(bad_payload_bad_alg)
    message["signatures"][0]["protected"] = b64({"alg": "none"})
    assert reason_of(json.dumps(message).encode()) == "member-unknown"
    assert reason_of(with_header(alg="none", kid="A" * 43)) == "jws-alg"
    assert reason_of(with_header(kid="A" * 43)) == "key-unknown"


def key_entry(person="ann", **changes):
    payload = RTCC.trust_payload()
    entry = next(entry for entry in payload["keys"] if entry["person"] == person)
    return {"keys": [{**entry, **changes}, *(e for e in payload["keys"] if e["person"] != person)]}


TRUSTS = {
    "no bundle": (None, NOW, "trust-missing"),
    "expired bundle": (TRUST, TRUST.expires, "trust-expired"),
    "unknown key": (RTCC.trust(keys=[]), NOW, "key-unknown"),
    "revoked key": (RTCC.trust(revoked=[RTCC.kid("bob")]), NOW, "key-revoked"),
    "revoked and removed key": (RTCC.trust(keys=[], revoked=[RTCC.kid("ann")]), NOW, "key-revoked"),
    "key not valid yet": (RTCC.trust(**key_entry(**{"from": at(1)})), NOW, "key-not-yet-valid"),
    "key no longer valid": (RTCC.trust(**key_entry(until=at(0))), NOW, "key-expired"),
    "another issuer's bundle": (RTCC.trust(iss="rtcc.other-city"), NOW, "issuer-unknown"),
}


@pytest.mark.parametrize(("trust", "now", "reason"), TRUSTS.values(), ids=TRUSTS.keys())
def test_a_key_that_may_not_sign_now_is_refused(trust, now, reason):
    """Check 4: keys come from the bundle alone, and only while bundle and key are valid."""
    assert reason_of(GOOD, trust, now) == reason


def test_a_key_and_a_bundle_count_until_the_nanosecond_of_their_end():
    """Validity is half open, like every window."""
    assert verify_request(GOOD, TRUST, UtcNs(TRUST.expires - 1))
    assert verify_request(GOOD, RTCC.trust(**key_entry(until=at(1))), NOW)
    assert verify_request(GOOD, RTCC.trust(**key_entry(**{"from": at(0)})), NOW)


def test_an_algorithm_that_is_not_the_keys_is_refused():
    """Check 4: the key says how it signs; the header only repeats it."""
    assert reason_of(with_header(0, alg="ES256")) == "key-alg-mismatch"
    assert reason_of(with_header(1, alg="Ed25519")) == "key-alg-mismatch"


def flip(message, index):
    raw = bytearray(base64.urlsafe_b64decode(message["signatures"][index]["signature"] + "=="))
    raw[10] ^= 1
    message["signatures"][index]["signature"] = b64(bytes(raw))


SIGNATURES = {
    "first bad": edited(lambda m: flip(m, 0)),
    "second bad": edited(lambda m: flip(m, 1)),
    "swapped": edited(
        lambda m: m.update(
            signatures=[
                {**m["signatures"][0], "signature": m["signatures"][1]["signature"]},
                {**m["signatures"][1], "signature": m["signatures"][0]["signature"]},
            ]
        )
    ),
    "empty": edited(lambda m: m["signatures"][0].update(signature="")),
    "short": edited(lambda m: m["signatures"][1].update(signature="AAAA")),
    "over another payload": edited(lambda m: m.update(payload=b64(request_payload({"clip.audio": True})))),
    "over another header": edited(
        lambda m: m["signatures"][0].update(
            protected=b64({"typ": TYP, "kid": RTCC.kid("ann"), "alg": "Ed25519"})  # the order of members is signed, too
        )
    ),
    "a bad third among good ones": edited(lambda m: flip(m, 2), RTCC.sign(request_payload(), "ann", "bob", "cid")),
}


@pytest.mark.parametrize("raw", SIGNATURES.values(), ids=SIGNATURES.keys())
def test_one_bad_signature_is_enough(raw):
    """Check 5: all signatures verify, or none counts."""
    assert reason_of(raw) == "signature-invalid"


def twins(role: str):
    """Return an RTCC of which one person holds two keys, the second in ``role``."""
    rtcc = Rtcc()
    rtcc.people["ann2"] = Ed25519PrivateKey.generate()
    payload_keys = []
    for name, key in rtcc.people.items():
        public = key.public_key()
        payload_keys.append(
            {
                "kid": thumbprint(public),
                "jwk": public_jwk(public),
                "person": name.rstrip("2"),
                "role": role if name == "ann2" else ROLES[name],
                "from": at(-DAY_NS),
                "until": at(DAY_NS),
            }
        )
    return rtcc, rtcc_trust(rtcc, payload_keys)


def rtcc_trust(rtcc, keys):
    from edge_agent.protocol.trust_bundle import verify_trust

    base = {name: value for name, value in RTCC.trust_payload().items() if name not in ("keys", "roots")}
    roots = {"threshold": 2, "keys": [public_jwk(key.public_key()) for key in rtcc.roots]}
    return verify_trust(rtcc.sign_trust({**base, "keys": keys, "roots": roots}), rtcc.pinned(), None, NOW)


def test_two_keys_of_one_person_are_one_person():
    """Check 6: nobody is operator and supervisor at once."""
    rtcc, trust = twins("supervisor")
    assert reason_of(rtcc.sign(request_payload(), "ann", "ann2"), trust) == "same-person"


PEOPLE = {
    "operator alone": (("ann",), "supervisor-missing"),
    "supervisor alone": (("bob",), "operator-missing"),
    "two operators": (("ann", "dan"), "supervisor-missing"),
    "two supervisors": (("bob", "eve"), "operator-missing"),
    "operator and dispatcher": (("ann", "cid"), "supervisor-missing"),
    "supervisor and dispatcher": (("bob", "cid"), "operator-missing"),
    "one role twice": (("ann", "dan", "bob"), "role-repeated"),
    "the same person twice": (("ann", "bob", "ann"), "signature-repeated"),
    "the same P-256 key twice": (("ann", "bob", "bob"), "same-key"),
}


@pytest.mark.parametrize(("people", "reason"), PEOPLE.values(), ids=PEOPLE.keys())
def test_one_operator_and_one_supervisor_must_have_signed(people, reason):
    """Check 6: two distinct persons and keys, in the two roles."""
    assert reason_of(RTCC.sign(request_payload(), *people)) == reason


def test_one_signature_twice_is_one_signature():
    """joserfc accepts a signature that stands there twice; the gate does not."""
    raw = edited(lambda m: {**m, "signatures": [m["signatures"][0], m["signatures"][0]]})
    assert reason_of(raw) == "signature-repeated"


def test_two_people_on_two_machines_sign_the_same_bytes():
    """A countersigned request verifies like one that was signed in one place."""
    first = jws.sign(TYP, request_payload(), [RTCC.people["ann"]])
    assert verify_request(jws.countersign(first, TYP, RTCC.people["bob"]), TRUST, NOW).jti == JTI
