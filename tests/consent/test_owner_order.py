"""The owner's orders: signed by the pinned key, for this gateway, just now."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import (
    MAX_AGE_NS,
    ORDER_SKEW_NS,
    TYP,
    Order,
    Resume,
    sign_order,
    verify_order,
    window_members,
)
from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Approval, ExportOrder
from edge_agent.units import UtcNs, Window

KEY = Ed25519PrivateKey.generate()
GATEWAY, ORDER_ID, JTI = "g" * 22, "o" * 22, "j" * 22
NOW = UtcNs(1_790_000_000_000_000_000)
WINDOW = Window(UtcNs(NOW - 60_000_000_000), NOW)
DIGEST = bytes(range(32))

MEMBERS = {
    "approve": {
        "jti": JTI,
        "request_sha256": encode_b64url(DIGEST),
        "offer_sha256": encode_b64url(DIGEST[::-1]),
        "cameras": ["door"],
        "window": window_members(WINDOW),
    },
    "resume": {"what": "release", "camera": "*"},
    "export": {"camera": "door", "quality": "main", "window": window_members(WINDOW)},
}
AGE = "age1" + "q" * 58
VALUES = {
    "approve": Approval(JTI, DIGEST, DIGEST[::-1], ("door",), WINDOW, thumbprint(KEY.public_key()), NOW),
    "resume": Resume("release", "*"),
    "export": ExportOrder(ORDER_ID, "door", Quality.MAIN, WINDOW, thumbprint(KEY.public_key()), NOW),
}


def sign(order: str, *, key=KEY, gateway=GATEWAY, now=NOW, **changes) -> bytes:
    return sign_order(order, {**MEMBERS[order], **changes}, gateway, ORDER_ID, now, key)


@pytest.mark.parametrize("order", MEMBERS)
def test_order_is_read_back_as_signed(order):
    """Each kind of order survives the round trip."""
    assert verify_order(sign(order), GATEWAY, KEY.public_key(), NOW) == Order(ORDER_ID, VALUES[order], NOW)


@pytest.mark.parametrize("order", MEMBERS)
def test_order_of_another_key_is_refused(order):
    """The owner alone orders."""
    with pytest.raises(DenialError) as caught:
        verify_order(sign(order, key=Ed25519PrivateKey.generate()), GATEWAY, KEY.public_key(), NOW)
    assert caught.value.reason == "key-unknown"


@pytest.mark.parametrize("recipients", [[], [AGE]])
def test_order_for_a_bundle_names_who_can_open_it(recipients):
    """Whom a bundle is sealed to is the owner's word, and so is that nobody else is named."""
    order = verify_order(sign("export", recipients=recipients), GATEWAY, KEY.public_key(), NOW)
    assert order.value == replace(VALUES["export"], recipients=tuple(recipients))


@pytest.mark.parametrize("recipients", [["ssh-ed25519 AAAA"], [AGE] * 16, AGE, [AGE.upper()]])
def test_order_for_a_bundle_to_anything_else_is_refused(recipients):
    """A recipient is an age key, and there is a bound."""
    with pytest.raises(DenialError):
        sign("export", recipients=recipients)


REFUSED = {
    "another gateway": (sign("resume", gateway="h" * 22), NOW, "audience-mismatch"),
    "a moment too old": (sign("resume"), NOW + MAX_AGE_NS + 1, "expired"),
    "from the future": (sign("resume"), NOW - ORDER_SKEW_NS - 1, "issued-in-future"),
    "a clip request": (jws.sign("rtcc-request+jws", {}, [KEY]), NOW, "jws-typ"),
    "no kind": (jws.sign(TYP, {}, [KEY]), NOW, "member-invalid"),
    "a list": (json.dumps({"payload": "W10", "signatures": []}).encode(), NOW, None),
    "an unknown kind": (jws.sign(TYP, {"order": "release"}, [KEY]), NOW, "member-invalid"),
    "a member too many": (
        jws.sign(TYP, {**json.loads(jws.parse(sign("resume"), TYP).payload_bytes), "force": True}, [KEY]),
        NOW,
        "member-unknown",
    ),
}


@pytest.mark.parametrize(("raw", "now", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_order_that_is_not_exactly_right_is_refused(raw, now, reason):
    """Unknown, late, early or for somebody else means no."""
    with pytest.raises(DenialError) as caught:
        verify_order(raw, GATEWAY, KEY.public_key(), UtcNs(now))
    assert reason in (None, caught.value.reason)


def test_order_is_good_to_the_last_nanosecond():
    """The bounds of age and skew belong to the good side."""
    for now in (NOW + MAX_AGE_NS, NOW - ORDER_SKEW_NS):
        assert verify_order(sign("resume"), GATEWAY, KEY.public_key(), UtcNs(now)).value == VALUES["resume"]


def test_order_that_nobody_would_take_is_not_signed():
    """A typing error is found at the owner's side."""
    with pytest.raises(DenialError):
        sign("export", camera="../door")


def test_stored_order_is_verified_whatever_its_age():
    """An approval that was taken in time still counts after cooling-off, and is still verified."""
    assert verify_order(sign("approve"), GATEWAY, KEY.public_key(), None).value == VALUES["approve"]
    with pytest.raises(DenialError):
        verify_order(sign("approve"), GATEWAY, Ed25519PrivateKey.generate().public_key(), None)
