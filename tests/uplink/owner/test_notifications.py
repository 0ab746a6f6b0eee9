"""What the owner is told of requests: every turn, in their language and local time, and nothing that is not wanted."""

from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from edge_agent.consent.policy import Occasion
from edge_agent.host.language import load_texts
from edge_agent.protocol.reasons import say
from edge_agent.protocol.verdict import Denial, Reason
from edge_agent.units import HOUR_NS, UtcNs
from edge_agent.uplink.owner import notifications
from edge_agent.uplink.owner.notice_words import Notice
from edge_agent.uplink.owner.notifications import News

NOW = UtcNs(1_790_000_000_000_000_000)
REQUEST = SimpleNamespace(jti="0123456789abcdef", iss="rtcc.a", category="robbery", due=UtcNs(NOW + HOUR_NS), raw=b"")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Notice]:
    monkeypatch.setattr(notifications, "_cameras", lambda _: ["door"])
    return []


def make(told: list[Notice], wanted=frozenset(Occasion), language="en") -> News:
    return News(told.append, lambda: wanted, ZoneInfo("America/Chicago"), load_texts(language))


def test_occasion_that_is_not_wanted_is_not_told(told):
    """The owner's signed terms say what is told."""
    make(told, frozenset({Occasion.REFUSAL})).remind(REQUEST)
    assert told == []


def test_a_reminder_says_until_when_in_local_time(told):
    """The owner's clock, to the second."""
    make(told).remind(REQUEST)
    assert "2026-09-21 10:13:20" in told[0].body
    assert "01234567" in told[0].title
    assert "requests show 01234567" in told[0].body


def test_a_refusal_says_why_in_the_owners_language(told):
    """The values of the gate's sentence stand in the translated one; each reason once."""
    reason = Reason("too-far", say("too-far", limit=500), "door")
    make(told, language="es").decided(REQUEST, Denial(None, (reason, reason), NOW))
    assert told[-1].body.count("500 m") == 1
    assert "incidente" in told[-1].body


def test_a_reason_of_another_version_is_told_as_it_stands(told):
    """After an update a stored sentence may be no code's any more: it is shown, not lost, and raises nothing."""
    make(told, language="fr").decided(REQUEST, Denial(None, (Reason("too-far", "Too {far} away.", ""),), NOW))
    assert "Too {far} away." in told[-1].body
