"""Checks 7 to 10 of PROTOCOL 4: for us, new, in time, inside its incident."""

from dataclasses import replace

import pytest

from edge_agent.consent.admission import Replayed, SeenRequest, admit, incident_digest
from edge_agent.errors import DenialError
from edge_agent.protocol.request_jws import verify_request
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, ClockState, UtcNs, Window
from tests.support.gate import ISS, JTI, ME, NOW, SYNC, Rtcc, SeenBefore, at, request_payload

RTCC = Rtcc()
TRUST = RTCC.trust()


def request(changes=None):
    return verify_request(RTCC.sign(request_payload(changes)), TRUST, NOW)


def reason_of(changes=None, *, me=ME, seen=None, now=NOW, clock_state=SYNC):
    with pytest.raises(DenialError) as caught:
        admit(request(changes), me, seen or SeenBefore(), UtcNs(now), clock_state)
    return caught.value.reason


def passes(changes=None, *, me=ME, now=NOW):
    return admit(request(changes), me, SeenBefore(), UtcNs(now), SYNC).arrived_at == now


def test_a_request_for_this_gateway_is_admitted():
    """The moment of arrival is kept: later terms are counted from it."""
    assert passes()


def test_a_request_for_the_gateways_cell_is_admitted():
    """One of many cells is enough."""
    assert passes({"aud": {"cells": ["9vxzg", ME.cell]}})


WRONG = {
    # Check 7
    "another issuer": ({"iss": "rtcc.example-city"}, {"me": replace(ME, iss="rtcc.other")}, "issuer-unknown"),
    "another gateway": ({"aud": {"gateway": "B" * 22}}, {}, "audience-mismatch"),
    "another cell": ({"aud": {"cells": ["9vxz0"]}}, {}, "audience-mismatch"),
    # Check 9
    "clock not synchronised": ({}, {"clock_state": ClockState.FLOOR_ONLY}, "clock-unsynchronised"),
    "issued before the memory began": (
        {},
        {"me": replace(ME, born_at=UtcNs(NOW - MINUTE_NS + 1))},
        "issued-before-store",
    ),
    "a memory that knows no time": ({}, {"me": replace(ME, born_at=None)}, "clock-unsynchronised"),
    "nbf before iat": ({"nbf": at(-2 * MINUTE_NS)}, {}, "validity-inverted"),
    "exp at nbf": ({"exp": at(-MINUTE_NS)}, {}, "validity-inverted"),
    "release before exp": ({"release_by": at(8 * MINUTE_NS)}, {}, "validity-inverted"),
    "16 minutes for a gateway": ({"exp": at(14 * MINUTE_NS + 1)}, {}, "validity-too-long"),
    "25 hours for an area": (
        {"aud": {"cells": [ME.cell]}, "exp": at(DAY_NS - MINUTE_NS + 1), "release_by": at(DAY_NS)},
        {},
        "validity-too-long",
    ),
    "release after a day": ({"release_by": at(DAY_NS - MINUTE_NS + 1)}, {}, "release-by-too-late"),
    "issued in the future": (
        {"iat": at(61 * SECOND_NS), "nbf": at(61 * SECOND_NS)},
        {},
        "issued-in-future",
    ),
    "not yet valid": ({"nbf": at(61 * SECOND_NS)}, {}, "not-yet-valid"),
    "expired": ({}, {"now": NOW + 10 * MINUTE_NS}, "expired"),
    "release time passed": (
        {"exp": at(0), "release_by": at(0)},
        {"now": NOW + 30 * SECOND_NS},
        "release-by-passed",
    ),
    # Check 10
    "incident of more than a day": (
        {"incident.window.start": at(-25 * HOUR_NS)},
        {},
        "incident-window-too-long",
    ),
    "clip before the incident": ({"clip.window.start": at(-65 * MINUTE_NS - 1)}, {}, "clip-outside-incident"),
    "clip after the incident": ({"clip.window.end": at(-35 * MINUTE_NS + 1)}, {}, "clip-outside-incident"),
    "clip of another day": (
        {"clip.window": {"start": at(-DAY_NS), "end": at(-DAY_NS + MINUTE_NS)}},
        {},
        "clip-outside-incident",
    ),
    "incident ends in the future": ({"incident.window.end": at(1)}, {}, "incident-in-future"),
    "clip ends in the future": (
        {"incident.window.end": at(0), "clip.window.end": at(1)},
        {},
        "clip-in-future",
    ),
    "reported after the request": ({"incident.reported_at": at(-MINUTE_NS + 1)}, {}, "incident-reported-late"),
}


@pytest.mark.parametrize(("changes", "how", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_request_that_is_not_for_us_now_is_refused(changes, how, reason):
    """Each condition of checks 7, 9 and 10 has its own reason."""
    assert reason_of(changes, **how) == reason


EDGES = {
    "15 minutes for a gateway": ({"exp": at(14 * MINUTE_NS)}, NOW),
    "24 hours for an area": (
        {"aud": {"cells": [ME.cell]}, "exp": at(DAY_NS - MINUTE_NS), "release_by": at(DAY_NS - MINUTE_NS)},
        NOW,
    ),
    "issued 60 s ahead of our clock": ({"iat": at(60 * SECOND_NS), "nbf": at(60 * SECOND_NS)}, NOW),
    "arrived 60 s late by our clock": ({"exp": at(MINUTE_NS)}, NOW + 2 * MINUTE_NS - 1),
    "an incident of a whole day": ({"incident.window.start": at(-DAY_NS - 40 * MINUTE_NS)}, NOW),
    "padding used to the end": (
        {"clip.window": {"start": at(-65 * MINUTE_NS), "end": at(-35 * MINUTE_NS)}},
        NOW,
    ),
    "an incident that ended just now": ({"incident.window.end": at(0), "clip.window.end": at(0)}, NOW),
    "reported with the request": ({"incident.reported_at": at(-MINUTE_NS)}, NOW),
}


@pytest.mark.parametrize(("changes", "now"), EDGES.values(), ids=EDGES.keys())
def test_the_limits_themselves_are_allowed(changes, now):
    """A limit names the last value that passes."""
    assert passes(changes, now=now)


def test_a_known_request_gets_the_answer_it_got():
    """The same payload again is answered as before, without a decision: also long after its time."""
    for answer in (b"queued", None):
        seen = SeenBefore({(ISS, JTI): SeenRequest(request().payload_sha256, answer)})
        for now, state in ((NOW, SYNC), (NOW + DAY_NS, SYNC), (NOW, ClockState.FLOOR_ONLY)):
            with pytest.raises(Replayed) as caught:
                admit(request(), ME, seen, UtcNs(now), state)
            assert caught.value.answer == answer


def test_a_known_id_with_another_payload_is_refused_whatever_the_time():
    """Replay comes before time: a reused id is told as such even when it came too late."""
    seen = SeenBefore({(ISS, JTI): SeenRequest(b"\0" * 32, b"queued")})
    assert reason_of(seen=seen) == "jti-reused"
    assert reason_of(seen=seen, now=NOW + DAY_NS) == "jti-reused"


def test_the_audience_comes_before_replay():
    """A request for another house is not looked up."""
    seen = SeenBefore({(ISS, JTI): SeenRequest(b"\0" * 32, None)})
    assert reason_of({"aud": {"gateway": "B" * 22}}, seen=seen) == "audience-mismatch"


def test_the_same_id_of_another_issuer_is_another_request():
    """Ids are the issuer's own."""
    seen = SeenBefore({("rtcc.other", JTI): SeenRequest(b"\0" * 32, None)})
    assert admit(request(), ME, seen, NOW, SYNC)


CHANGED = {
    "category": {"incident.category": "theft"},
    "report": {"incident.reported_at": at(-51 * MINUTE_NS)},
    "latitude": {"incident.place.lat": 32.2994},
    "longitude": {"incident.place.lon": -90.1842},
    "start": {"incident.window.start": at(-61 * MINUTE_NS)},
    "end": {"incident.window.end": at(-39 * MINUTE_NS)},
}


@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED.keys())
def test_the_facts_of_an_incident_never_change(changes):
    """An incident number stands for the incident that was first reported under it."""
    seen = SeenBefore(incidents={(ISS, "2026-070112"): incident_digest(request().incident)})
    assert admit(request({"jti": "B" * 22}), ME, seen, NOW, SYNC)
    assert reason_of(changes, seen=seen) == "incident-changed"


def test_without_padding_the_clip_lies_inside_the_incident():
    """The padding is the policy's; there is none by itself."""
    assert reason_of({"clip.window.start": at(-60 * MINUTE_NS - 1)}, me=replace(ME, padding_ns=0)) == (
        "clip-outside-incident"
    )


def test_time_passing_never_makes_an_expired_request_valid():
    """Once refused for being late, always refused."""
    late = [NOW + step * MINUTE_NS for step in range(10, 3000, 97)]
    assert {reason_of(now=now) for now in late} == {"expired"}


def test_a_window_is_half_open_in_the_incident():
    """The clip may end exactly where the incident ends."""
    window = Window(UtcNs(NOW - 60 * MINUTE_NS), UtcNs(NOW - 40 * MINUTE_NS))
    whole = {"clip.window": {"start": at(-60 * MINUTE_NS), "end": at(-40 * MINUTE_NS)}}
    assert admit(request(whole), replace(ME, padding_ns=0), SeenBefore(), NOW, SYNC).request.window == window


@pytest.mark.parametrize("after_ns", [0, -1])
def test_a_request_that_was_issued_when_the_memory_began_is_taken(after_ns):
    """To the nanosecond, by the moment at which it was issued."""
    assert passes(me=replace(ME, born_at=UtcNs(request().iat + after_ns)))
