"""The trust bundle as the RTCC signs it and as a gateway takes it, over its whole life."""

import pytest

from edge_agent.errors import ConfigError, CustodyError, DenialError
from edge_agent.protocol.request import Role
from edge_agent.protocol.trust_bundle import verify_trust
from edge_agent.rtcc.office.trust import load_trust, roots_to_pin, sign_trust
from edge_agent.units import DAY_NS, SECOND_NS


def test_a_gateway_takes_the_first_bundle(home, now):
    """Two of three pinned roots signed it; it names everybody, and both recipients."""
    bundle = verify_trust(sign_trust(home, now), roots_to_pin(home), None, now)
    assert bundle.version == 1
    assert {key.person for key in bundle.keys.values()} == {"operator-1", "supervisor-1", "dispatch-1"}
    assert bundle.recipient("evidence") == home.recipients()["evidence"]
    assert bundle.expires == now + 30 * DAY_NS // SECOND_NS * SECOND_NS


def test_versions_rise_and_the_older_bundle_never_comes_back(home, now):
    """Each signing is a new version, and a gateway does not go back."""
    first, second = sign_trust(home, now), sign_trust(home, now)
    current = verify_trust(second, roots_to_pin(home), None, now)
    assert (home.bundle_versions(), current.version) == ((1, 2), 2)
    with pytest.raises(DenialError) as caught:
        verify_trust(first, roots_to_pin(home), current, now)
    assert caught.value.reason == "trust-rollback"


def test_a_revoked_key_is_in_the_next_bundle_as_revoked(home, now):
    """The key is gone from the keys and stands on the list."""
    kid = home.people.revoke("operator-1")
    sign_trust(home, now)
    bundle = load_trust(home, now)
    assert kid in bundle.revoked
    assert kid not in bundle.keys


def test_a_person_added_is_in_the_next_bundle(home, now):
    """A new operator counts from the bundle after."""
    ada = home.people.add("ada", Role.OPERATOR, now)
    sign_trust(home, now)
    assert load_trust(home, now).keys[ada.kid].person == "ada"


def test_new_roots_are_handed_over_to(home, now):
    """Old gateway and new gateway follow the hand-over, and from then on the new roots sign alone."""
    old_pin = roots_to_pin(home)
    before = verify_trust(sign_trust(home, now), old_pin, None, now)
    home.roots.add()
    handover = sign_trust(home, now)
    # While the hand-over is the newest, a gateway enrolled now is led from the old roots.
    assert roots_to_pin(home) == old_pin
    enrolled_now = verify_trust(handover, roots_to_pin(home), None, now)
    moved = verify_trust(handover, old_pin, before, now)
    assert enrolled_now.roots == moved.roots != old_pin
    after = sign_trust(home, now)
    assert roots_to_pin(home) == moved.roots
    assert verify_trust(after, old_pin, moved, now).version == 3
    with pytest.raises(DenialError):
        verify_trust(after, old_pin, before, now)


def test_the_old_roots_alone_cannot_sign_any_more(home, now):
    """Once handed over, a thief of the old root keys signs nothing that counts."""
    sign_trust(home, now)
    home.roots.add()
    sign_trust(home, now)
    for index in (1, 2, 3):
        home.roots.path(2, index).unlink()
    with pytest.raises(CustodyError, match="set=2"):
        sign_trust(home, now)


@pytest.mark.parametrize("days", [0, 31])
def test_a_bundle_that_no_gateway_takes_is_not_signed(home, now, days):
    """Validity is 1 to 30 days."""
    with pytest.raises(ConfigError):
        sign_trust(home, now, days=days)
    with pytest.raises(ConfigError, match="no trust bundle"):
        load_trust(home, now)
