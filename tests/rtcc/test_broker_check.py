"""``rtcc broker check``: a broker that keeps the rules passes, and each one that breaks a rule is found by its line."""

import signal
from pathlib import Path

import pytest

from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.broker_check import BrokerCheck
from tests.rtcc.conftest import City

pytestmark = [pytest.mark.peer, pytest.mark.needs("mosquitto")]


def faults(city: City) -> dict[str, str]:
    check = BrokerCheck(city.home, SystemClock().utc())
    return {result.name.split()[0]: result.fault for result in check.run() if result.fault}


def test_the_broker_of_the_manual_keeps_the_rules(make_city):
    """As docs/rtcc.md configures it; also across a kill and a restart."""
    city = make_city()
    assert faults(city) == {}

    def restart() -> None:
        city.broker.stop()
        city.start()

    assert BrokerCheck(city.home, SystemClock().utc()).run_across_restart(restart).fault == ""


def test_the_throw_away_certificates_are_refused_after(make_city):
    """They are on the list that the broker reads; one that does not read it again is found."""
    city = make_city()
    check = BrokerCheck(city.home, SystemClock().utc())
    assert "revoked" in check.run_revoked(lambda: None).fault
    assert check.run_revoked(lambda: city.broker.signal(signal.SIGHUP)).fault == ""


def allow_all(text: str, folder: Path) -> str:
    acl = next(folder.glob("*acl*"))
    acl.write_text(acl.read_text() + "\npattern readwrite #\n")
    return text


def allow_reading(text: str, folder: Path) -> str:
    acl = next(folder.glob("*acl*"))
    acl.write_text(acl.read_text() + "\npattern read rtcc/1/#\n")
    return text


def let_in_without_certificate(text: str, _: Path) -> str:
    text = text.replace("allow_anonymous false", "allow_anonymous true")
    text = text.replace("require_certificate true", "require_certificate false")
    return text.replace("use_identity_as_username true\n", "").replace("use_username_as_clientid true\n", "")


BROKEN = {
    "a client id that is anybody's": (
        lambda text, _: text.replace("use_username_as_clientid true\n", ""), {"2", "3"},
    ),
    "topics that are everybody's": (allow_all, {"4", "5"}),
    "topics that everybody reads": (allow_reading, {"4"}),
    "no queue for who is away": (
        lambda text, _: text.replace("max_queued_messages 20000", "max_queued_messages 1"), {"7"},
    ),
    "no certificate needed": (let_in_without_certificate, {"1"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("change", "lines"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broker_that_breaks_a_rule_is_found(make_city, change, lines):
    """By the line of that rule."""
    found = faults(make_city(change))
    assert lines <= set(found), found


@pytest.mark.slow
def test_a_broker_that_forgets_across_a_restart_is_found(make_city):
    """One without persistence keeps all the other rules."""
    city = make_city(lambda text, _: text.replace("persistence true", "persistence false"))

    def restart() -> None:
        city.broker.stop()
        city.start()

    assert "lost" in BrokerCheck(city.home, SystemClock().utc()).run_across_restart(restart).fault
