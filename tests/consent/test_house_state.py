"""How refusals are told follows the terms that count, never an unsigned file alone."""

from zoneinfo import ZoneInfo

from edge_agent.consent.house_state import CameraStanding, Household, patience_ns, refusals
from edge_agent.consent.policy import GlobalTerms, Refusal, Refusals, Terms
from edge_agent.protocol.request import Place
from edge_agent.units import MINUTE_NS


def household(*houses: GlobalTerms) -> Household:
    standings = {
        f"camera-{number}": CameraStanding(Place(0, 0), None, None, Terms(house=house))
        for number, house in enumerate(houses)
    }
    return Household(standings, ZoneInfo("UTC"))


def test_refusal_is_told_at_the_latest_moment_of_any_camera():
    """One moment for all causes: as late as the most patient terms allow the owner to answer."""
    impatient, patient = GlobalTerms(ask_timeout="2m"), GlobalTerms(ask_timeout="90m")
    assert patience_ns(household(impatient, patient)) == 90 * MINUTE_NS
    assert patience_ns(household()) == 30 * MINUTE_NS


def test_one_camera_that_wants_silence_silences_the_house():
    """Telling is something that every signed consent must allow."""
    loud = GlobalTerms(refusals=Refusals(area=Refusal.DECLINED, gateway=Refusal.DECLINED))
    silent = GlobalTerms(refusals=Refusals(gateway=Refusal.SILENCE))
    assert refusals(household(loud, loud)) == loud.refusals
    assert refusals(household(loud, silent)) == Refusals(area=Refusal.SILENCE, gateway=Refusal.SILENCE)
