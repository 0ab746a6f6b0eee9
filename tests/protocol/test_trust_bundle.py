"""The trust bundle: thresholds, versions that only rise, ends that deny, and roots that rotate."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.protocol.trust_bundle import TYP, encode_roots, make_roots, verify_trust
from edge_agent.units import DAY_NS, ClockState, UtcNs
from tests.support.gate import ESCROW, EVIDENCE, NOW, Rtcc, at

RTCC = Rtcc()
CURRENT = RTCC.trust(version=5)


def jwks(*keys):
    return [public_jwk(key.public_key()) for key in keys]


def reason_of(raw, current=None, roots=None, now=NOW, clock_state=ClockState.SYNCHRONISED):
    with pytest.raises(DenialError) as caught:
        verify_trust(raw, roots or RTCC.pinned(), current, now, clock_state)
    return caught.value.reason


def signed(signers=None, **changes):
    return RTCC.sign_trust(RTCC.trust_payload(**changes), signers)


def test_a_bundle_of_two_roots_is_believed():
    """The bundle that the roots signed comes out as values."""
    assert (CURRENT.version, CURRENT.iss, CURRENT.roots.threshold) == (5, "rtcc.example-city", 2)
    assert set(CURRENT.keys) == {RTCC.kid(person) for person in RTCC.people}
    assert (CURRENT.recipient("evidence"), CURRENT.recipient("escrow")) == (EVIDENCE, ESCROW)
    alone = RTCC.trust(recipients=[{"role": "evidence", "age": EVIDENCE}])
    assert alone.recipient("escrow") is None


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (2, 1, 0)])
def test_any_two_of_three_roots_are_enough(pair):
    """Which of the roots signed makes no difference."""
    assert verify_trust(signed([RTCC.roots[index] for index in pair]), RTCC.pinned(), None, NOW).version == 1


def entry(**changes):
    first, *others = RTCC.trust_payload()["keys"]
    return [{**first, **changes}, *others]


STRANGER = Ed25519PrivateKey.generate()
REFUSED = {
    "one root": (signed(RTCC.roots[:1]), "trust-threshold"),
    "one root twice": (signed([RTCC.roots[0], RTCC.roots[0]]), "signature-repeated"),
    "a root and a stranger": (signed([RTCC.roots[0], STRANGER]), "key-unknown"),
    "a root and an operator": (signed([RTCC.roots[0], RTCC.people["ann"]]), "key-unknown"),
    "a request's type": (jws.sign("rtcc-request+jws", RTCC.trust_payload(), RTCC.roots[:2]), "jws-typ"),
    "unknown member": (signed(extra=1), "member-unknown"),
    "version zero": (signed(version=0), "member-invalid"),
    "version as truth": (signed(version=True), "member-invalid"),
    "31 days": (signed(issued_at=at(0), expires=at(31 * DAY_NS)), "trust-lifetime"),
    "no time at all": (signed(issued_at=at(0), expires=at(0)), "trust-lifetime"),
    "from the future": (signed(issued_at=at(2 * 60 * 10**9)), "trust-from-future"),
    "a kid of another key": (signed(keys=entry(kid="A" * 43)), "trust-key-invalid"),
    "a key twice": (signed(keys=[*entry(), entry()[0]]), "trust-key-invalid"),
    "a key of no time": (signed(keys=entry(until=at(-30 * DAY_NS))), "trust-key-invalid"),
    "an encryption key": (
        signed(
            keys=entry(
                jwk=public_jwk(X25519PrivateKey.generate().public_key()),
            )
        ),
        "trust-key-invalid",
    ),
    "a private key": (signed(keys=entry(jwk={**entry()[0]["jwk"], "d": "AA"})), "trust-key-invalid"),
    "a key of another role": (signed(keys=entry(role="chief")), "member-invalid"),
    "no recipient": (signed(recipients=[]), "member-invalid"),
    "escrow alone": (signed(recipients=[{"role": "escrow", "age": ESCROW}]), "trust-recipients"),
    "evidence twice": (signed(recipients=[{"role": "evidence", "age": EVIDENCE}] * 2), "trust-recipients"),
    "a recipient that is none": (signed(recipients=[{"role": "evidence", "age": "age1x"}]), "member-invalid"),
    "threshold of one": (signed(roots={"threshold": 1, "keys": jwks(*RTCC.roots)}), "member-invalid"),
    "threshold above the keys": (signed(roots={"threshold": 4, "keys": jwks(*RTCC.roots)}), "trust-roots-invalid"),
    "a root key twice among three": (
        signed(roots={"threshold": 2, "keys": jwks(*RTCC.roots[:2], RTCC.roots[0])}),
        "trust-roots-invalid",
    ),
    "one root key twice": (
        signed(roots={"threshold": 2, "keys": jwks(RTCC.roots[0], RTCC.roots[0])}),
        "trust-roots-invalid",
    ),
}


@pytest.mark.parametrize(("raw", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bundle_that_is_not_exactly_right_is_refused(raw, reason):
    """The bundle in use stays in use, whatever arrives."""
    assert reason_of(raw) == reason


def test_versions_only_rise():
    """An older bundle, or another one of the same version, never replaces the one in use."""
    assert reason_of(signed(version=4), CURRENT) == "trust-rollback"
    assert reason_of(signed(version=5, revoked=[RTCC.kid("ann")]), CURRENT) == "trust-rollback"
    assert verify_trust(signed(version=6), RTCC.pinned(), CURRENT, NOW).version == 6


def test_the_same_bundle_again_changes_nothing():
    """A retained message is delivered at every connection."""
    assert verify_trust(CURRENT.raw, RTCC.pinned(), CURRENT, NOW) is CURRENT
    again = signed([RTCC.roots[1], RTCC.roots[2]], version=5)
    assert verify_trust(again, RTCC.pinned(), CURRENT, NOW) is CURRENT


def test_the_issuer_never_changes():
    """A bundle of another RTCC is refused even if our roots signed it."""
    assert reason_of(signed(version=6, iss="rtcc.other-city"), CURRENT) == "trust-issuer-changed"


def test_an_expired_bundle_still_raises_the_version():
    """It denies everything, which is safe; refusing it would keep keys alive that it revokes."""
    late = UtcNs(NOW + 20 * DAY_NS)
    bundle = verify_trust(signed(version=6), RTCC.pinned(), CURRENT, late)
    assert (bundle.version, bundle.expires < late) == (6, True)
    assert reason_of(signed(version=5, issued_at=at(-2 * DAY_NS)), bundle, now=late) == "trust-rollback"


def test_a_gateway_without_the_time_takes_a_bundle_from_its_future():
    """The bundle's issue time is what raises the floor of a clock that starts in the past."""
    raw = signed(issued_at=at(3 * DAY_NS))
    assert reason_of(raw) == "trust-from-future"
    assert verify_trust(raw, RTCC.pinned(), None, NOW, ClockState.FLOOR_ONLY).version == 1
    assert verify_trust(signed(issued_at=at(60 * 10**9)), RTCC.pinned(), None, NOW).version == 1


NEW_ROOTS = [Ed25519PrivateKey.generate() for _ in range(3)]
ROTATED = {"threshold": 2, "keys": jwks(*NEW_ROOTS)}


def test_new_roots_need_the_old_threshold_and_their_own():
    """Neither the old roots nor the new ones alone can replace the roots."""
    old, new = RTCC.roots, NEW_ROOTS
    assert reason_of(signed(old[:2], version=6, roots=ROTATED), CURRENT) == "trust-new-roots-threshold"
    assert reason_of(signed(new[:2], version=6, roots=ROTATED), CURRENT) == "trust-threshold"
    assert reason_of(signed([old[0], *new[:2]], version=6, roots=ROTATED), CURRENT) == "trust-threshold"
    assert reason_of(signed([*old[:2], new[0]], version=6, roots=ROTATED), CURRENT) == "trust-new-roots-threshold"
    rotated = verify_trust(signed([*old[:2], *new[:2]], version=6, roots=ROTATED), RTCC.pinned(), CURRENT, NOW)
    assert set(rotated.roots.keys) == {thumbprint(key.public_key()) for key in new}
    # From here on the old roots are strangers, pinned or not.
    assert reason_of(signed(old[:2], version=7), rotated) == "trust-threshold"
    assert verify_trust(signed(new[1:], version=7, roots=ROTATED), RTCC.pinned(), rotated, NOW).version == 7


def test_one_root_may_be_exchanged():
    """A key in both sets counts for both thresholds."""
    kept, lost, fresh = RTCC.roots[:2], RTCC.roots[2], NEW_ROOTS[0]
    roots = {"threshold": 2, "keys": jwks(*kept, fresh)}
    bundle = verify_trust(signed(kept, version=6, roots=roots), RTCC.pinned(), CURRENT, NOW)
    assert thumbprint(lost.public_key()) not in bundle.roots.keys


def test_a_stored_bundle_is_read_again_with_the_roots_it_came_with():
    """A restart verifies what it stored; the roots travel as JSON."""
    stored = encode_roots(RTCC.pinned())
    roots = make_roots(stored["threshold"], stored["keys"])
    rotated = signed([*RTCC.roots[:2], *NEW_ROOTS[:2]], version=6, roots=ROTATED)
    assert verify_trust(rotated, roots, None, NOW) == verify_trust(rotated, RTCC.pinned(), CURRENT, NOW)


def test_the_bundle_of_128_keys_fits_into_a_message():
    """The largest bundle that is allowed is not too large to arrive."""
    many = []
    for number in range(128):
        public = Ed25519PrivateKey.generate().public_key()
        many.append({**entry()[0], "kid": thumbprint(public), "jwk": public_jwk(public), "person": f"p{number}" * 8})
    raw = jws.sign(TYP, RTCC.trust_payload(keys=many), RTCC.roots)
    assert len(verify_trust(raw, RTCC.pinned(), None, NOW).keys) == 128
