"""Requests as the RTCC signs them: a gateway verifies every one, and none that it must refuse leaves."""

import dataclasses

import pytest

from edge_agent.consent.admission import GatewayFacts, admit
from edge_agent.errors import CustodyError, DenialError, UsageError
from edge_agent.protocol.geohash import geohash_encode
from edge_agent.protocol.request import Audience, Role
from edge_agent.protocol.request_jws import verify_request
from edge_agent.rtcc.office.request import RequestDraft, sign_request, to_area, to_gateway, topics_of
from edge_agent.rtcc.office.trust import load_trust, sign_trust
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, Window

GATEWAY = "g" * 22


class NothingSeen:
    def find(self, iss, jti):
        return None

    def find_incident(self, iss, number):
        return None


@pytest.fixture
def draft(incident):
    window = Window(UtcNs(incident.window.start + MINUTE_NS), UtcNs(incident.window.start + 6 * MINUTE_NS))
    return RequestDraft(to_gateway(GATEWAY), incident, window, "robbery at the corner", "desk 4, 555-0100")


@pytest.fixture
def trusted(home, now):
    sign_trust(home, now)
    return home


def sign(home, draft, now, **changes):
    people = {"operator": "operator-1", "supervisor": "supervisor-1", **changes}
    return sign_request(home, draft, now, **people)


def test_a_signed_request_passes_every_check_before_consent(trusted, draft, now):
    """A request that the RTCC signs by default, a gateway verifies and admits."""
    signed = sign(trusted, draft, now)
    request = verify_request(signed.raw, load_trust(trusted, now), now)
    facts = GatewayFacts(GATEWAY, "dr5rs", trusted.settings.iss)
    admitted = admit(request, facts, NothingSeen(), now, ClockState.SYNCHRONISED)
    assert admitted.request.jti == signed.jti
    assert {signer.role for signer in request.signers} == {Role.OPERATOR, Role.SUPERVISOR}
    assert request.incident == draft.incident
    assert request.window == draft.window
    assert signed.topics == (f"rtcc/1/req/g/{GATEWAY}",)


def test_an_area_request_reaches_every_cell_of_the_circle(trusted, draft, now):
    """One and the same message goes to all cells, the incident's own among them, and is admitted in each."""
    area = dataclasses.replace(draft, audience=to_area(draft.incident, 3000))
    signed = sign(trusted, area, now)
    request = verify_request(signed.raw, load_trust(trusted, now), now)
    place = draft.incident.place
    assert geohash_encode(place.lat, place.lon) in request.audience.cells
    assert len(request.audience.cells) > 1
    for topic, cell in zip(signed.topics, request.audience.cells, strict=True):
        assert topic == f"rtcc/1/req/a/{cell}"
        admit(request, GatewayFacts(GATEWAY, cell, trusted.settings.iss), NothingSeen(), now, ClockState.SYNCHRONISED)


def test_a_circle_too_large_is_refused(incident):
    """A request does not address half a country."""
    with pytest.raises(UsageError):
        to_area(incident, 500_000)


def test_times_never_exceed_what_a_gateway_accepts(trusted, draft, now):
    """Arrival within 15 minutes for a gateway and 24 hours for an area; release within 24 hours; expiry not later."""
    trust = load_trust(trusted, now)
    single = verify_request(sign(trusted, draft, now).raw, trust, now)
    assert (single.exp - single.iat, single.release_by - single.iat) == (15 * MINUTE_NS, 24 * HOUR_NS)
    area = dataclasses.replace(draft, audience=to_area(draft.incident, 300), release_within_ns=HOUR_NS)
    request = verify_request(sign(trusted, area, now).raw, trust, now)
    assert request.exp == request.release_by == now + HOUR_NS


def test_a_dispatcher_may_sign_as_well(trusted, draft, now):
    """Three persons, three roles."""
    signed = sign(trusted, draft, now, dispatch="dispatch-1")
    assert len(verify_request(signed.raw, load_trust(trusted, now), now).signers) == 3


def test_two_requests_never_share_an_id(trusted, draft, now):
    """Each signing draws 128 new random bits."""
    assert sign(trusted, draft, now).jti != sign(trusted, draft, now).jti


def test_one_person_cannot_be_both(trusted, draft, now):
    """The operator's name in the supervisor's place is refused before anything is signed."""
    with pytest.raises(CustodyError, match="supervisor"):
        sign(trusted, draft, now, supervisor="operator-1")


def test_a_request_that_every_gateway_refuses_is_not_signed(home, trusted, draft, now):
    """A signer who is not in the published bundle, an expired bundle, and words that are none: caught here."""
    home.people.add("ada", Role.OPERATOR, now)
    cases = {
        "key-unknown": lambda: sign(trusted, draft, now, operator="ada"),
        "trust-expired": lambda: sign(trusted, draft, UtcNs(now + 31 * DAY_NS)),
        "member-invalid": lambda: sign(trusted, dataclasses.replace(draft, purpose="two\nlines"), now),
    }
    for reason, attempt in cases.items():
        with pytest.raises(DenialError) as caught:
            attempt()
        assert caught.value.reason == reason


def test_topics_name_no_one():
    """Seven slashes at most, and only ids and cells."""
    assert topics_of(Audience(None, ("dr5re", "dr5rs"))) == ("rtcc/1/req/a/dr5re", "rtcc/1/req/a/dr5rs")
