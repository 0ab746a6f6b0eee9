"""How refusals are told follows the terms that count, never an unsigned file alone."""

from zoneinfo import ZoneInfo

from edge_agent.consent.house_state import CameraInForce, HouseState, patience_ns, refusals
from edge_agent.consent.policy import GlobalTerms, Refusal, Refusals, Terms
from edge_agent.protocol.request import Place
from edge_agent.units import MINUTE_NS


def house_state(*houses: GlobalTerms) -> HouseState:
    standings = {
        f"camera-{number}": CameraInForce(Place(0, 0), None, None, Terms(house=house))
        for number, house in enumerate(houses)
    }
    return HouseState(standings, ZoneInfo("UTC"))


def test_refusal_is_told_at_the_latest_moment_of_any_camera():
    """One moment for all causes: as late as the most patient terms allow the owner to answer."""
    impatient, patient = GlobalTerms(ask_timeout="2m"), GlobalTerms(ask_timeout="90m")
    assert patience_ns(house_state(impatient, patient)) == 90 * MINUTE_NS
    assert patience_ns(house_state()) == 30 * MINUTE_NS


def test_one_camera_that_wants_silence_silences_the_house():
    """Telling is something that every signed consent must allow."""
    loud = GlobalTerms(refusals=Refusals(area=Refusal.DECLINED, gateway=Refusal.DECLINED))
    silent = GlobalTerms(refusals=Refusals(gateway=Refusal.SILENCE))
    assert refusals(house_state(loud, loud)) == loud.refusals
    assert refusals(house_state(loud, silent)) == Refusals(area=Refusal.SILENCE, gateway=Refusal.SILENCE)
