"""Check 11: every rule has its reason, forbids win, and nothing leaves that one of the three did not allow."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import edge_agent
from edge_agent.consent.decision import counted, decide, decide_again, trace
from edge_agent.consent.hours import parse_hours
from edge_agent.consent.house_state import FOREVER, CameraInForce, History
from edge_agent.consent.meet import meet
from edge_agent.consent.offer import digest_offers, offers_of
from edge_agent.consent.policy import Mode, Signatures
from edge_agent.consent.rules import RULES
from edge_agent.protocol.reasons import CAUSES
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Approval, Ask, Denial, Grant, Mask, Wait
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, Window
from edge_agent.uplink.inbound.steps import notes_of
from tests.consent import strategies
from tests.consent.strategies import house_of, three_terms
from tests.support.consents import sign_consent
from tests.support.gate import (
    HOME,
    NOTICE,
    NOW,
    OWNER,
    SYNC,
    admitted,
    at,
    facts,
    history,
    house_state,
    stand_kept,
    standing,
    terms,
)

WINDOW = Window(UtcNs(NOW - 55 * MINUTE_NS), UtcNs(NOW - 45 * MINUTE_NS))


def first(ask, house, past, now):
    return decide(ask, house, past, now, SYNC)[0]


def verdict_of(changes=None, *people, house=None, past=None, now=NOW, clock=SYNC):
    ask, house, past = admitted(changes, *people), house or house_state(), past or history()
    return decide(ask, house, past, UtcNs(now), clock)[0]


def codes(verdict):
    assert isinstance(verdict, Denial), verdict
    return [reason.code for reason in verdict.reasons]


def test_a_request_within_the_terms_is_granted():
    """All that was asked, once the cooling-off has passed."""
    grant = verdict_of()
    assert isinstance(grant, Grant)
    (camera,) = grant.cameras
    assert (camera.camera, camera.windows, camera.quality, camera.audio) == ("door", (WINDOW,), Quality.MAIN, False)
    assert (grant.trimmed, grant.approved_by, grant.escrow) == ((), None, False)
    assert (grant.decided_at, grant.not_before) == (NOW, NOW + 10 * MINUTE_NS)
    assert camera.consent_version == 1
    assert len(camera.consent_sha256) == 32
    assert camera.source == facts().streams[0].source


def test_deciding_again_moves_no_time():
    """A grant that is decided anew begins when it would have begun."""
    again = verdict_of_later(NOW + 7 * MINUTE_NS, house=house_state())
    assert (again.decided_at, again.not_before) == (NOW + 7 * MINUTE_NS, NOW + 10 * MINUTE_NS)


def signed_at(start, **changes):
    raw = sign_consent(facts(), terms(**changes), NOTICE, 1, UtcNs(start), OWNER)
    return stand_kept(raw, facts(), terms(**changes))


def without_ring(**changes):
    """Return what stands for the door while its ring is not there: its facts are others than those that were signed."""
    signed = sign_consent(facts(), terms(), NOTICE, 1, UtcNs(NOW - HOUR_NS), OWNER)
    return stand_kept(signed, facts(streams=()), terms(), **changes)


MASK = Mask(((0, 0), (10, 0), (10, 10)))
REFUSED = {
    "no such camera": ({"clip.cameras": ["cellar"]}, {}, ["camera-unknown"]),
    "release paused": ({}, {"house": house_state(paused_until=FOREVER)}, ["release-paused"]),
    "camera paused": ({}, {"house": house_state(standing(paused_until=UtcNs(NOW + 1)))}, ["camera-paused"]),
    "no place is configured": (
        {},
        {"house": house_state(standing(place=None))},
        ["place-missing"],
    ),
    "no consent file": ({}, {"house": house_state(standing(is_file_unreadable=True))}, ["consent-file-unreadable"]),
    "a ring is away": (
        {},
        {"house": house_state(without_ring(is_ring_unreadable=True))},
        ["ring-unreadable"],
    ),
    "no consent": (
        {},
        {"house": house_state(stand_kept(None, facts(), terms()))},
        ["consent-missing"],
    ),
    "camera pointed elsewhere": (
        {},
        {"house": house_state(stand_kept(standing().consent.raw, facts(streams=()), terms()))},
        ["consent-facts-changed"],
    ),
    "revoked": ({}, {"house": house_state(standing(revoked=True))}, ["consent-revoked"]),
    "older than the highest": ({}, {"house": house_state(standing(highest_version=2))}, ["consent-superseded"]),
    "not valid yet": ({}, {"house": house_state(signed_at(NOW + 1))}, ["consent-not-yet-valid"]),
    "expired": ({}, {"house": house_state(signed_at(NOW - 45 * DAY_NS))}, ["consent-expired"]),
    "expired by the file": (
        {},
        {"house": house_state(replace(signed_at(NOW - 3 * DAY_NS), terms=terms({"expires_after": 2 * DAY_NS})))},
        ["consent-expired"],
    ),
    "file no longer names the camera": (
        {},
        {"house": house_state(stand_kept(standing().consent.raw, facts(), None))},
        ["mode-deny"],
    ),
    "mode deny": ({}, {"house": house_state(standing(terms(mode=Mode.DENY)))}, ["mode-deny"]),
    "another agency": (
        {},
        {"house": house_state(standing(terms({"agencies": frozenset()})))},
        ["agency-not-consented"],
    ),
    "no dispatcher": (
        {},
        {"house": house_state(standing(terms({"signatures": Signatures.THREE})))},
        ["dispatch-missing"],
    ),
    "reported long ago": ({"incident.reported_at": at(-73 * HOUR_NS)}, {}, ["reported-too-late"]),
    "outside this camera's padding": ({"clip.window.start": at(-66 * MINUTE_NS)}, {}, ["clip-outside-incident"]),
    "blackout": (
        {},
        {"house": house_state(standing(terms({"blackout_dates": frozenset({date(2026, 7, 1)})})))},
        ["blackout-date"],
    ),
    "another category": ({"incident.category": "theft"}, {}, ["category-not-consented"]),
    "too far": ({"incident.place": {"lat": 32.3020, "lon": -90.1848}}, {}, ["too-far"]),
    "too long": (
        {},
        {"house": house_state(standing(terms(window=9 * MINUTE_NS)))},
        ["window-too-long"],
    ),
    "too old": (
        {
            "incident.window": {"start": at(-73 * HOUR_NS), "end": at(-71 * HOUR_NS)},
            "clip.window": {"start": at(-72 * HOUR_NS - 1), "end": at(-72 * HOUR_NS + MINUTE_NS)},
        },
        {},
        ["footage-too-old"],
    ),
    # 22:30 UTC is half past five in the afternoon in Chicago's summer.
    "outside the hours": (
        {},
        {"house": house_state(standing(terms(hours=parse_hours(["22:00-06:00"]))))},
        ["outside-hours"],
    ),
    "small stream only": (
        {},
        {"house": house_state(standing(terms(quality=Quality.SUB)))},
        ["quality-not-consented"],
    ),
    "quota of the day": ({}, {"past": history(last_day=2)}, ["quota-day"]),
    "quota of the month": ({}, {"past": history(last_month=10)}, ["quota-month"]),
    "quota of the incident": ({}, {"past": history(same_incident=2)}, ["quota-incident"]),
    "quota of minutes": ({}, {"past": history(last_month_ns=50 * MINUTE_NS + 1)}, ["quota-minutes"]),
    "cooling-off ends too late": ({"release_by": at(10 * MINUTE_NS)}, {}, ["release-by-too-soon"]),
    "clock not synchronised": ({}, {"clock": ClockState.FLOOR_ONLY}, ["clock-unsynchronised"]),
    "release time passed": ({}, {"now": NOW + 6 * HOUR_NS}, ["release-by-passed"]),
    "a house without cameras": (
        {"clip.cameras": ["*"]},
        {"house": replace(house_state(), cameras={})},
        ["camera-unknown"],
    ),
}


@pytest.mark.parametrize(("changes", "how", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_each_rule_refuses_by_itself(changes, how, expected):
    """One reason is enough, and it is the one that fits."""
    verdict = verdict_of(changes, **how)
    assert codes(verdict) == expected
    assert all(reason.sentence.endswith(".") and "{" not in reason.sentence for reason in verdict.reasons)


def test_the_limits_themselves_are_granted():
    """Every limit names the last value that passes."""
    exact = terms(window=10 * MINUTE_NS, footage_age=HOUR_NS, minutes_per_month=10)
    assert isinstance(verdict_of(house=house_state(standing(exact))), Grant)
    assert isinstance(verdict_of(past=history(last_day=1, last_month=9, same_incident=1)), Grant)
    assert isinstance(verdict_of(past=history(last_month_ns=50 * MINUTE_NS)), Grant)
    assert isinstance(verdict_of({"release_by": at(10 * MINUTE_NS + 1)}), Grant)
    assert isinstance(verdict_of({"incident.reported_at": at(-MINUTE_NS - 72 * HOUR_NS)}), Grant)
    assert isinstance(verdict_of(house=house_state(standing(highest_version=1))), Grant)
    assert isinstance(verdict_of(house=house_state(standing(paused_until=NOW), paused_until=NOW)), Grant)
    assert isinstance(verdict_of(house=house_state(signed_at(NOW - 45 * DAY_NS + 1))), Grant)
    assert isinstance(verdict_of({}, "ann", "bob", "cid"), Grant)
    three = house_state(standing(terms({"signatures": Signatures.THREE})))
    assert isinstance(verdict_of({}, "ann", "bob", "cid", house=three), Grant)


def test_all_reasons_are_returned_in_the_order_of_the_list():
    """The owner sees everything that stood against a request, not only what was found first."""
    narrow = terms(mode=Mode.DENY, categories=frozenset(), distance_m=0, window=MINUTE_NS, requests_per_day=0)
    found = codes(verdict_of(house=house_state(standing(narrow), paused_until=FOREVER)))
    assert found == [
        "release-paused",
        "mode-deny",
        "category-not-consented",
        "too-far",
        "window-too-long",
        "quota-day",
    ]
    assert found == sorted(found, key=list(CAUSES).index)


def test_hours_cut_and_the_grant_says_so():
    """Only what was recorded in the hours leaves."""
    evening = terms(hours=parse_hours(["16:38-16:42", "16:44-17:00"]))
    grant = verdict_of(house=house_state(standing(evening)))
    assert isinstance(grant, Grant)
    assert grant.cameras[0].windows == (
        Window(UtcNs(NOW - 52 * MINUTE_NS), UtcNs(NOW - 48 * MINUTE_NS)),
        Window(UtcNs(NOW - 46 * MINUTE_NS), UtcNs(NOW - 45 * MINUTE_NS)),
    )
    assert [(reason.code, reason.camera) for reason in grant.trimmed] == [("hours-trimmed", "door")]
    assert [(note.code, note.camera) for note in notes_of(grant)] == [(one.code, one.camera) for one in grant.trimmed]


def test_sound_leaves_only_with_consent():
    """Asking for sound costs the sound, not the picture."""
    silent = verdict_of({"clip.audio": True})
    assert isinstance(silent, Grant)
    assert (silent.cameras[0].audio, [reason.code for reason in silent.trimmed]) == (False, ["audio-not-consented"])
    loud = verdict_of({"clip.audio": True}, house=house_state(standing(terms(audio=True))))
    assert (loud.cameras[0].audio, loud.trimmed) == (True, ())
    unasked = verdict_of(house=house_state(standing(terms(audio=True))))
    assert unasked.cameras[0].audio is False


def test_masks_and_escrow_come_from_the_terms():
    """What is blacked out, and who else may open it, is the owner's alone."""
    grant = verdict_of(house=house_state(standing(terms({"escrow": True}, masks=(MASK,)))))
    assert (grant.cameras[0].masks, grant.escrow) == ((MASK,), True)


def two(door=None, yard=None):
    return house_state(
        ("door", standing(door or terms())), ("yard", standing(yard or terms(mode=Mode.DENY), camera="yard"))
    )


@pytest.mark.parametrize("cameras", [["*"], ["yard", "door"]])
def test_the_cameras_that_consent_are_granted(cameras):
    """Others are left out, and the owner's ledger says why."""
    grant = verdict_of({"clip.cameras": cameras}, house=two())
    assert isinstance(grant, Grant)
    assert [camera.camera for camera in grant.cameras] == ["door"]
    assert [(reason.code, reason.camera) for reason in grant.trimmed] == [("mode-deny", "yard")]


def test_an_answer_never_says_why_a_camera_is_missing():
    """Of a camera that was named: that it is not granted. Of the others: nothing at all."""
    named = verdict_of({"clip.cameras": ["yard", "door", "cellar"]}, house=two())
    assert [(note.code, note.camera) for note in notes_of(named)] == [
        ("camera-not-granted", "yard"),
        ("camera-not-granted", "cellar"),
    ]
    assert notes_of(verdict_of({"clip.cameras": ["*"]}, house=two())) == ()


def test_the_longest_cooling_off_and_the_common_escrow_count():
    """A grant of two cameras waits for the more careful one, and goes to escrow only if both say so."""
    slow = terms({"cooling_off": HOUR_NS, "escrow": True})
    grant = verdict_of({"clip.cameras": ["*"]}, house=two(yard=slow))
    assert (grant.not_before, grant.escrow) == (NOW + HOUR_NS, False)


ASKING = house_state(standing(terms(mode=Mode.ASK)))


def test_a_camera_in_mode_ask_asks():
    """The owner is asked about exactly what could be granted, and silence ends it."""
    ask = verdict_of(house=ASKING)
    assert isinstance(ask, Ask)
    assert [(camera.camera, camera.windows) for camera in ask.cameras] == [("door", (WINDOW,))]
    assert (ask.decided_at, ask.until) == (NOW, NOW + 30 * MINUTE_NS)
    later = verdict_of_later(NOW + 29 * MINUTE_NS)
    assert (later.until, later.decided_at) == (ask.until, NOW + 29 * MINUTE_NS)


def verdict_of_later(now, approval=None, house=ASKING, changes=None, first=None):
    """Decide at arrival, in the house as it was ``first``; evaluate later."""
    ask = admitted(changes)
    _, bound = decide(ask, first or house, history(), NOW, SYNC)
    return decide_again(ask, house, history(), of_offer(approval, bound), bound, UtcNs(now), SYNC).verdict


def pointed_at(source, **unknown):
    """Return a house whose owner signed that the door's camera is at another address."""
    known = facts(streams=(replace(facts().streams[0], source=source),))
    raw = sign_consent(known, terms(), NOTICE, 2, UtcNs(NOW - HOUR_NS), OWNER)
    return house_state(stand_kept(raw, known, terms(), highest_version=2, **unknown))


def test_a_consent_to_another_source_adds_nothing_to_an_earlier_request():
    """The bound is of the source that the decision was about: signed anew for another, the camera leaves it."""
    later = verdict_of_later(NOW + 7 * MINUTE_NS, house=pointed_at(b"b" * 32), first=house_state())
    assert [each.code for each in later.reasons] == ["grant-narrowed"]
    moved = pointed_at(b"b" * 32)
    assert verdict_of_later(NOW + 7 * MINUTE_NS, house=moved, first=moved).cameras[0].source == b"b" * 32


@pytest.mark.parametrize("clock", [SYNC, ClockState.FLOOR_ONLY])
@pytest.mark.parametrize("is_unreadable", [False, True], ids=["file", "no file"])
def test_a_consent_to_another_source_counts_whatever_else_is_unknown(clock, is_unreadable):
    """Signed back while nobody knows the time, it would otherwise have been a camera of the bound all along."""
    moved = pointed_at(b"b" * 32, is_file_unreadable=is_unreadable)
    ask = admitted()
    _, bound = decide(ask, ASKING, history(), NOW, SYNC)
    now = UtcNs(NOW + 7 * MINUTE_NS)
    assert decide_again(ask, moved, history(), None, bound, now, clock).bound.cameras == ()
    kept = decide_again(ask, ASKING, history(), None, bound, now, clock).bound
    assert kept.cameras == bound.cameras


def test_silence_is_a_denial():
    """From the moment of the time-out on, whatever the clock of the caller does next."""
    assert codes(verdict_of_later(NOW + 30 * MINUTE_NS)) == ["owner-silent"]


def test_a_file_that_cannot_be_read_gives_no_more_time_to_answer():
    """Silence is a denial even while the file is away; before that, the request waits."""
    away = house_state(standing(terms(mode=Mode.ASK), is_file_unreadable=True))
    early = verdict_of_later(NOW + 29 * MINUTE_NS, house=away, first=ASKING)
    assert isinstance(early, Wait)
    late = verdict_of_later(NOW + 30 * MINUTE_NS, house=away, first=ASKING)
    assert codes(late) == ["consent-file-unreadable", "owner-silent"]


def test_the_owner_is_asked_only_as_long_as_a_yes_could_still_help():
    """The time-out comes early enough for the cooling-off to end before the release must be done."""
    ask = verdict_of({"release_by": at(25 * MINUTE_NS)}, house=ASKING)
    assert ask.until == NOW + 15 * MINUTE_NS


def test_one_camera_that_asks_makes_the_whole_request_a_question():
    """The owner gets one question, about all that could be granted."""
    ask = verdict_of({"clip.cameras": ["*"]}, house=two(yard=terms({"ask_timeout": MINUTE_NS}, mode=Mode.ASK)))
    assert isinstance(ask, Ask)
    assert ([camera.camera for camera in ask.cameras], ask.until) == (["door", "yard"], NOW + MINUTE_NS)


def test_taking_away_the_camera_that_asks_releases_nothing_unasked():
    """A file that denies the camera in mode ask leaves the question, about what is left."""
    asks = terms(mode=Mode.ASK)
    denied = standing(asks, terms(mode=Mode.DENY), camera="yard")
    ask = verdict_of({"clip.cameras": ["*"]}, house=house_state(standing(), ("yard", denied)))
    assert isinstance(ask, Ask)
    assert ([camera.camera for camera in ask.cameras], ask.until) == (["door"], NOW + 30 * MINUTE_NS)


def test_silence_is_a_no_for_the_cameras_that_ask():
    """Each camera waits as long as its own terms say; one in mode auto does not depend on the answer."""
    quick = terms({"ask_timeout": MINUTE_NS}, mode=Mode.ASK)
    every = {"clip.cameras": ["*"]}
    ask = verdict_of_later(NOW + MINUTE_NS, house=two(terms(mode=Mode.ASK), quick), changes=every)
    assert isinstance(ask, Ask)
    assert [camera.camera for camera in ask.cameras] == ["door"]
    assert [(reason.code, reason.camera) for reason in ask.trimmed] == [("owner-silent", "yard")]
    left = verdict_of_later(NOW + MINUTE_NS, house=two(terms(), quick), changes=every)
    assert isinstance(left, Ask), "a question was asked, and silence is no answer to it"
    assert [camera.camera for camera in left.cameras] == ["door"]
    late = approval(("door", "yard"), WINDOW, every)
    approved = verdict_of_later(NOW + 6 * MINUTE_NS, late, two(terms(mode=Mode.ASK), quick), every)
    assert [camera.camera for camera in approved.cameras] == ["door"]


def of_offer(answer, bound):
    """Let an approval name the offer that it answers, unless it names one already."""
    return (
        replace(answer, offer_sha256=digest_offers(offers_of(bound))) if answer and not answer.offer_sha256 else answer
    )


def approval(cameras=("door",), window=WINDOW, changes=None, **others):
    request = admitted(changes).request
    known = Approval(request.jti, request.payload_sha256, b"", cameras, window, "T" * 43, UtcNs(NOW + 5 * MINUTE_NS))
    return replace(known, **others)


def test_an_approval_grants_what_was_asked():
    """Cooling-off begins when the owner's answer is recorded, and deciding again does not move it."""
    ask = admitted()
    _, bound = decide(ask, ASKING, history(), NOW, SYNC)
    for answer, now in ((approval(), NOW + 7 * MINUTE_NS), (None, NOW + 40 * MINUTE_NS)):
        evaluation = decide_again(ask, ASKING, history(), of_offer(answer, bound), bound, UtcNs(now), SYNC)
        grant, bound = evaluation.verdict, evaluation.bound
        assert isinstance(grant, Grant)
        assert (grant.approved_by, grant.not_before) == ("T" * 43, NOW + 17 * MINUTE_NS)
        assert [(camera.camera, camera.windows) for camera in grant.cameras] == [("door", (WINDOW,))]
        assert grant.trimmed == ()


def test_an_approval_may_narrow():
    """Fewer cameras, a shorter window: the owner's word is the last, and it is said."""
    every = {"clip.cameras": ["*"]}
    both = two(terms(mode=Mode.ASK), terms(mode=Mode.ASK))
    shorter = Window(WINDOW.start, UtcNs(WINDOW.start + MINUTE_NS))
    grant = verdict_of_later(NOW + 6 * MINUTE_NS, approval(("yard",), shorter, every), both, every)
    assert [(camera.camera, camera.windows) for camera in grant.cameras] == [("yard", (shorter,))]
    assert [(reason.code, reason.camera) for reason in grant.trimmed] == [
        ("approval-narrowed", "door"),
        ("approval-narrowed", "yard"),
    ]


def test_an_approval_of_what_consent_has_withdrawn_adds_nothing():
    """Deciding again looks at everything as it is then."""
    stricter = house_state(standing(terms(mode=Mode.ASK), terms(mode=Mode.ASK, categories=frozenset())))
    later = verdict_of_later(NOW + 6 * MINUTE_NS, approval(), stricter, first=ASKING)
    assert codes(later) == ["category-not-consented"]
    night = house_state(standing(terms(mode=Mode.ASK, hours=parse_hours(["16:35-16:36"]))))
    late = Window(UtcNs(WINDOW.end - MINUTE_NS), WINDOW.end)
    assert codes(verdict_of_later(NOW + 6 * MINUTE_NS, approval(window=late), night)) == ["approval-narrowed"]


APPROVALS = {
    "another request's id": ({"jti": "B" * 22}, "approval-mismatch"),
    "another request's payload": ({"request_sha256": b"\0" * 32}, "approval-mismatch"),
    "a camera nobody asked for": ({"cameras": ("door", "yard")}, "approval-outside-ask"),
    "another offer": ({"offer_sha256": b"\0" * 32}, "offer-changed"),
    "a longer window": ({"window": WINDOW.widen(1)}, "approval-outside-ask"),
    "before the request": ({"signed_at": UtcNs(NOW - 61 * 10**9)}, "approval-mismatch"),
    "after the time-out, says the order": ({"signed_at": UtcNs(NOW + 30 * MINUTE_NS)}, "approval-mismatch"),
    "from the future": ({"signed_at": UtcNs(NOW + 8 * MINUTE_NS)}, "approval-mismatch"),
}


@pytest.mark.parametrize(("changes", "reason"), APPROVALS.values(), ids=APPROVALS.keys())
def test_an_approval_of_something_else_is_a_denial(changes, reason):
    """A yes to another question is no yes."""
    assert codes(verdict_of_later(NOW + 6 * MINUTE_NS, approval(**changes))) == [reason]


def test_an_approval_of_every_camera_names_them():
    """A request for every camera is approved by name; one that was not offered makes it no approval."""
    every = {"clip.cameras": ["*"]}
    grant = verdict_of_later(NOW + 6 * MINUTE_NS, approval(("door",), WINDOW, every), ASKING, every)
    assert [camera.camera for camera in grant.cameras] == ["door"]
    beyond = verdict_of_later(NOW + 6 * MINUTE_NS, approval(("door", "cellar"), WINDOW, every), ASKING, every)
    assert codes(beyond) == ["approval-outside-ask"]


def test_an_approval_covers_what_was_offered_and_no_more():
    """Of two cameras that were asked for, one was refused at arrival: no approval brings it back."""
    both = {"clip.cameras": ["door", "yard"]}
    refused = two(terms(mode=Mode.ASK), terms(mode=Mode.DENY))
    willing = two(terms(mode=Mode.ASK), terms(mode=Mode.ASK))
    for names, expected in ((("door", "yard"), ["approval-outside-ask"]), (("door",), None)):
        answer = approval(names, WINDOW, both)
        verdict = verdict_of_later(NOW + 6 * MINUTE_NS, answer, willing, both, first=refused)
        if expected is None:
            assert [camera.camera for camera in verdict.cameras] == ["door"]
        else:
            assert codes(verdict) == expected


def test_an_offer_that_shrank_meanwhile_is_looked_at_again():
    """The owner signs the digest of what was shown: what an evaluation has left since is another offer."""
    every = {"clip.cameras": ["*"]}
    ask = admitted(every)
    both = two(terms(mode=Mode.ASK), terms(mode=Mode.ASK))
    _, shown = decide(ask, both, history(), NOW, SYNC)
    answer = of_offer(approval(("door",), WINDOW, every), shown)
    fewer = two(terms(mode=Mode.ASK), terms(mode=Mode.DENY))
    left = decide_again(ask, fewer, history(), None, shown, UtcNs(NOW + MINUTE_NS), SYNC).bound
    at_once = decide_again(ask, fewer, history(), answer, shown, UtcNs(NOW + 6 * MINUTE_NS), SYNC)
    assert [camera.camera for camera in at_once.verdict.cameras] == ["door"], "narrowed in the same evaluation"
    late = decide_again(ask, both, history(), answer, left, UtcNs(NOW + 6 * MINUTE_NS), SYNC)
    assert codes(late.verdict) == ["offer-changed"]


def test_an_approval_too_late_for_the_cooling_off_is_a_denial():
    """An approval just before the time-out of a longer wait may leave no time to cool off."""
    hour = house_state(standing(terms({"cooling_off": 0}, mode=Mode.ASK), terms(mode=Mode.ASK)))
    ask = verdict_of_later(NOW, house=hour, changes={"release_by": at(20 * MINUTE_NS)})
    assert ask.until == NOW + 10 * MINUTE_NS
    short = {"release_by": at(20 * MINUTE_NS)}
    grant = verdict_of_later(NOW + 10 * MINUTE_NS - 1, approval(changes=short), hour, short)
    assert grant.not_before == NOW + 20 * MINUTE_NS - 1
    assert codes(verdict_of_later(NOW + 10 * MINUTE_NS, approval(changes=short), hour, short)) == ["owner-silent"]


def test_a_camera_of_unknown_history_is_not_decided_on():
    """A history that leaves a camera out is a fault of the caller, and never a grant."""
    with pytest.raises(KeyError):
        decide(admitted(), house_state(), History({}), NOW, SYNC)


def test_quotas_count_what_the_signed_terms_would_have_granted():
    """A file made tighter for a while must not save up requests for later."""
    tight = house_state(standing(terms(), terms(mode=Mode.DENY)))
    assert isinstance(verdict_of(house=tight), Denial)
    assert counted(admitted(), tight, history(), NOW, SYNC) == (("door", 10 * MINUTE_NS),)
    refused = house_state(standing(terms(mode=Mode.DENY), terms()))
    assert counted(admitted(), refused, history(), NOW, SYNC) == ()
    assert counted(admitted(), tight, history(), NOW, ClockState.FLOOR_ONLY) == ()


def test_the_trace_names_every_rule_for_every_camera():
    """``explain`` shows what passed as well as what did not."""
    steps = trace(admitted({"clip.cameras": ["*"]}), two(), history(), NOW, SYNC)
    assert {(step.rule, step.camera) for step in steps} == {
        (rule, camera) for rule in RULES for camera in ("door", "yard")
    }
    assert [(step.rule, step.camera, step.reason.code) for step in steps if step.reason] == [
        ("mode", "yard", "mode-deny")
    ]
    general = trace(admitted(), house_state(paused_until=FOREVER), history(), NOW, ClockState.FLOOR_ONLY)
    assert [step.reason.code for step in general if step.reason] == ["clock-unsynchronised", "release-paused"]


def test_a_grant_is_made_in_one_place():
    """``Grant(`` stands once in the whole program, in ``decision``."""
    sources = Path(edge_agent.__file__).parent.rglob("*.py")
    found = [path.name for path in sources for line in path.read_text().splitlines() if " Grant(" in line]
    assert found == ["decision.py"]


# Properties.


three_that_ask = three_terms.map(
    lambda each: tuple(
        one.model_copy(update={"camera": one.camera.model_copy(update={"mode": Mode.ASK})}) for one in each
    )
)


def offered(verdict):
    return {} if isinstance(verdict, Denial) else {camera.camera: camera for camera in verdict.cameras}


@settings(max_examples=150, deadline=None)
@given(strategies.requests, three_terms, strategies.histories)
def test_a_grant_lies_within_request_incident_and_policy(ask, signed, past):
    """All granted or offered footage was asked for, lies in the incident with the padding, and in the terms."""
    house = house_of(*signed)
    verdict = first(ask, house, past, NOW)
    request = ask.request
    for name, camera in offered(verdict).items():
        own = house.cameras[name].terms
        assert name in request.cameras or request.cameras == ("*",)
        assert own.camera.mode in (Mode.AUTO, Mode.ASK)
        assert camera.quality == request.quality
        assert not camera.audio or (request.audio and own.camera.audio)
        assert camera.masks == own.camera.masks
        assert camera.windows
        for window in camera.windows:
            assert request.window.contains(window)
            assert request.incident.window.widen(own.house.padding).contains(window)
            assert own.camera.hours.windows(window, house.time_zone) == (window,)
            assert window.duration_ns <= own.camera.window
        assert request.incident.category in own.camera.categories
    if isinstance(verdict, Denial):
        assert verdict.reasons
    if isinstance(verdict, Grant):
        assert verdict.not_before < request.release_by
        assert all(house.cameras[name].terms.camera.mode is Mode.AUTO for name in offered(verdict))


@settings(max_examples=150, deadline=None)
@given(strategies.requests, three_terms, three_terms, strategies.histories, strategies.moments)
def test_an_unsigned_file_never_admits_what_the_signed_terms_refuse(ask, signed, files, past, now):
    """At equal history, an edit of the file takes away or changes nothing: per camera, and for the whole."""
    before = first(ask, house_of(*signed), past, now)
    after = first(ask, house_of(*signed, files=files), past, now)
    if isinstance(before, Denial):
        assert isinstance(after, Denial)
    if isinstance(before, Ask):
        assert not isinstance(after, Grant)
    for name, camera in offered(after).items():
        wider = offered(before)[name]
        assert all(any(outer.contains(window) for outer in wider.windows) for window in camera.windows)
        assert camera.audio <= wider.audio
        assert set(camera.masks) >= set(wider.masks)


@settings(max_examples=150, deadline=None)
@given(strategies.requests, three_terms, three_terms, strategies.histories, strategies.moments)
def test_tightening_never_turns_a_refusal_into_a_grant(ask, signed, others, past, now):
    """Newly signed terms that are tighter never open what was closed."""
    tighter = tuple(meet(one, other) for one, other in zip(signed, others, strict=True))
    before = first(ask, house_of(*signed), past, now)
    after = first(ask, house_of(*tighter), past, now)
    assert set(offered(after)) <= set(offered(before))


@settings(max_examples=100, deadline=None)
@given(strategies.requests, three_terms, strategies.histories, strategies.moments, st.integers(1, 60 * DAY_NS))
def test_time_passing_never_makes_anything_valid(ask, signed, past, now, later):
    """A request that is refused now is refused later, all else being equal (nothing here waits to become valid)."""
    house = house_of(*signed)
    if isinstance(first(ask, house, past, now), Denial):
        assert isinstance(first(ask, house, past, UtcNs(now + later)), Denial)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    strategies.requests,
    three_that_ask,
    strategies.histories,
    st.sets(st.sampled_from([*strategies.CAMERAS, "nowhere"]), min_size=1),
    strategies.minutes(0, 20),
    strategies.minutes(1, 20),
    strategies.minutes(-5, 40),
)
def test_an_approval_never_adds(ask, signed, past, cameras, skip, length, when):
    """With any approval, what is granted was offered without it."""
    house = house_of(*signed)
    start = UtcNs(ask.request.window.start + skip)
    answer = Approval(
        ask.request.jti,
        ask.request.payload_sha256,
        b"",
        tuple(sorted(cameras)),
        Window(start, UtcNs(start + length)),
        "T" * 43,
        UtcNs(NOW + when),
    )
    verdict, bound = decide(ask, house, past, NOW, SYNC)
    assume(isinstance(verdict, Ask))
    before = offered(verdict)
    answer = of_offer(answer, bound)
    after = decide_again(ask, house, past, answer, bound, UtcNs(NOW + max(when, 0)), SYNC).verdict
    for name, camera in offered(after).items():
        assert name in cameras
        assert all(any(outer.contains(window) for outer in before[name].windows) for window in camera.windows)
        assert all(answer.window.contains(window) for window in camera.windows)


@settings(max_examples=60, deadline=None)
@given(strategies.requests, strategies.histories)
def test_the_unknown_is_denied(ask, past):
    """Without a signed consent nothing is granted, whatever the file says."""
    bare = CameraInForce(place=HOME, consent=None, problem=None, terms=None)
    house = house_state(*((camera, bare) for camera in strategies.CAMERAS))
    verdict = first(ask, house, past, NOW)
    assert isinstance(verdict, Denial)
    assert {reason.code for reason in verdict.reasons} <= {"consent-missing", "camera-unknown"}


def test_the_random_cases_reach_every_verdict():
    """The properties above would say little if everything were refused."""
    seen = Counter()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(strategies.requests, three_terms, strategies.histories)
    def collect(ask, signed, past):
        seen[type(first(ask, house_of(*signed), past, NOW))] += 1

    collect()
    assert min(seen.values()) > 30, seen
    assert set(seen) == {Grant, Ask, Denial}
