"""What the owner is told: every turn of a request, every end that comes near, each once, and nothing not wanted."""

from zoneinfo import ZoneInfo

import pytest

from edge_agent.consent.house_state import Household
from edge_agent.consent.policy import Occasion
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.owner.notifier import Notice

NOW = UtcNs(1_790_000_000_000_000_000)
NOBODY = Household({}, ZoneInfo("UTC"))


@pytest.fixture
def told():
    return []


def make(told: list[Notice], wanted=frozenset(Occasion)) -> News:
    return News(told.append, lambda: wanted, ZoneInfo("America/Chicago"))


def test_certificate_is_warned_of_seven_days_and_one_day_before_each_once(told):
    """A daily or hourly check tells twice in all, whatever the number of checks."""
    news = make(told)
    end = UtcNs(NOW + 10 * DAY_NS)
    for hour in range(11 * 24):
        news.warn_of_ends(NOBODY, None, end, UtcNs(NOW + hour * DAY_NS // 24))
    assert [notice.title for notice in told] == [
        "This gateway's certificate ends in 7 days",
        "This gateway's certificate ends tomorrow",
    ]


def test_what_ended_is_not_warned_of(told):
    """After the end there is nothing to warn of: everything is denied, and says so."""
    make(told).warn_of_ends(NOBODY, None, UtcNs(NOW - 1), NOW)
    assert told == []


def test_occasion_that_is_not_wanted_is_not_told(told):
    """The owner's signed terms say what is told."""
    news = make(told, frozenset({Occasion.ASK}))
    news.warn_of_ends(NOBODY, None, UtcNs(NOW + DAY_NS // 2), NOW)
    assert told == []
