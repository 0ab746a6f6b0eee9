"""Tighter: a partial order on terms, and the tighter of two."""

from datetime import date

from hypothesis import given

from edge_agent.consent.hours import parse_hours
from edge_agent.consent.meet import differences, meet
from edge_agent.consent.policy import CameraTerms, GlobalTerms, Mode, Refusal, Refusals, Signatures
from edge_agent.consent.signed_consent import effective
from edge_agent.protocol.request import Category, Quality
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS
from tests.consent import strategies
from tests.support.gate import ISS, terms


def is_tighter(one, other):
    """``one`` allows nothing that ``other`` does not: as a file, nothing of it would wait."""
    return not any(difference.waits for difference in differences(other, one))


@given(strategies.terms)
def test_terms_are_as_tight_as_themselves(one):
    """Reflexive."""
    assert is_tighter(one, one)
    assert meet(one, one) == one


@given(strategies.terms, strategies.terms)
def test_two_terms_as_tight_as_each_other_are_equal(one, other):
    """Antisymmetric."""
    assert not (is_tighter(one, other) and is_tighter(other, one)) or one == other


@given(strategies.terms, strategies.terms, strategies.terms)
def test_tighter_than_tighter_is_tighter(one, other, third):
    """Transitive, along a chain that is made to exist."""
    middle = meet(one, other)
    tightest = meet(middle, third)
    assert is_tighter(tightest, middle)
    assert is_tighter(middle, one)
    assert is_tighter(tightest, one)


@given(strategies.terms, strategies.terms, strategies.terms)
def test_meet_is_the_widest_common_part(one, other, third):
    """As tight as both, in whatever order and grouping; whatever else is as tight as both is tighter."""
    common = meet(one, other)
    assert is_tighter(common, one)
    assert is_tighter(common, other)
    assert common == meet(other, one)
    assert meet(common, third) == meet(one, meet(other, third))
    if is_tighter(third, one) and is_tighter(third, other):
        assert is_tighter(third, common)


@given(strategies.terms, strategies.terms)
def test_a_file_counts_where_it_is_tighter_and_waits_where_it_is_looser(signed, file):
    """The counted terms are as tight as the signed ones; the difference names the waiting part."""
    counts = effective(signed, file)
    assert is_tighter(counts, signed)
    assert is_tighter(counts, file)
    assert any(difference.waits for difference in differences(signed, file)) != (counts == file)


def test_taking_a_camera_out_of_the_file_denies_it():
    """The plainest way to say no needs no signature."""
    counts = effective(terms(), None)
    assert counts.camera.mode is Mode.DENY
    assert is_tighter(counts, terms())


EDITS = {
    "mode": (terms(mode=Mode.ASK), True),
    "categories": (terms(categories=frozenset({Category.ROBBERY})), True),
    "window": (terms(window=MINUTE_NS), True),
    "cooling_off": (terms({"cooling_off": HOUR_NS}), True),
    "signatures": (terms({"signatures": Signatures.THREE}), True),
    "distance_m": (terms(distance_m=301), False),
    "audio": (terms(audio=True), False),
    "agencies": (terms({"agencies": frozenset({ISS, "other"})}), False),
    "notify": (terms({"notify": frozenset()}), False),
    "padding": (terms({"padding": 6 * MINUTE_NS}), False),
    "escrow": (terms({"escrow": True}), False),
    "reported_within": (terms({"reported_within": 73 * HOUR_NS}), False),
    "ask_timeout": (terms({"ask_timeout": HOUR_NS}), False),
    "blackout_dates": (terms({"blackout_dates": frozenset({date(2026, 7, 4)})}), True),
    "refusals": (terms({"refusals": Refusals(gateway=Refusal.SILENCE)}), True),
    "expires_after": (terms({"expires_after": 46 * DAY_NS}), False),
    "hours": (terms(hours=parse_hours(["08:00-09:00"])), True),
    "footage_age": (terms(footage_age=HOUR_NS), True),
    "requests_per_day": (terms(requests_per_day=3), False),
    "requests_per_month": (terms(requests_per_month=9), True),
    "requests_per_incident": (terms(requests_per_incident=3), False),
    "minutes_per_month": (terms(minutes_per_month=59), True),
    "quality": (terms(quality=Quality.SUB), True),
    "masks": (terms(masks=(strategies.MASKS[0],)), True),
}


def test_each_edit_counts_or_waits():
    """One edited term is one difference; a tighter one counts at once. Every term is edited here."""
    assert set(EDITS) == {*CameraTerms.model_fields, *GlobalTerms.model_fields}
    for name, (file, counts) in EDITS.items():
        (difference,) = differences(terms(), file)
        assert difference.path.endswith(name)
        assert difference.waits != counts
        assert (effective(terms(), file) == file) == counts


def test_each_way_of_refusing_has_its_order():
    """What both sides say stays as it is, for every way in which a request can come; of two, silence counts."""
    silent, bare = (
        terms({"refusals": Refusals(**dict.fromkeys(Refusals.model_fields, says))})
        for says in (Refusal.SILENCE, Refusal.DECLINED)
    )
    assert (meet(silent, silent), meet(bare, bare), meet(silent, bare)) == (silent, bare, silent)


def test_an_edit_that_is_neither_takes_away_its_part():
    """Other hours than those signed: what both have counts, what is new waits."""
    day, evening = parse_hours(["08:00-18:00"]), parse_hours(["12:00-22:00"])
    counts = effective(terms(hours=day), terms(hours=evening))
    assert counts.camera.hours == parse_hours(["12:00-18:00"])
    (difference,) = differences(terms(hours=day), terms(hours=evening))
    assert difference.waits
    assert not is_tighter(terms(hours=day), terms(hours=evening))
    assert not is_tighter(terms(hours=evening), terms(hours=day))
