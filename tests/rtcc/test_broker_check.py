"""``rtcc broker check``: a broker that keeps the rules passes, and each one that breaks a rule is found by its line."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.broker_check import BrokerCheck
from tests.rtcc.conftest import City

OFFSET = 7
"""From a broker's port to that of its further listener."""
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

    (result,) = BrokerCheck(city.home, SystemClock().utc()).run_across_restart(restart)
    assert result.fault == ""


def test_the_throw_away_certificates_are_refused_after(make_city):
    """They are on the list that the broker reads; one that does not read it again is found."""
    city = make_city()
    check = BrokerCheck(city.home, SystemClock().utc())
    assert ["revoked" in result.fault for result in check.run_revoked(lambda: None)] == [True]
    assert [result.fault for result in check.run_revoked(lambda: city.broker.signal(signal.SIGHUP))] == [""]


def test_every_broker_of_an_enrolment_file_is_judged(make_city):
    """A further address that breaks rules is found, by lines of its own; the first one's still hold."""
    city = make_city(open_another_door)
    port = city.home.settings.broker_port + OFFSET
    city.home.write_settings(replace(city.home.settings, more_brokers=(("127.0.0.1", port),)))
    found = [result for result in BrokerCheck(city.home, SystemClock().utc()).run() if result.fault]
    assert {result.name.split()[0] for result in found} >= {"2", "3"}
    assert all(f":{port}" in result.name for result in found)


def open_another_door(text: str, _: Path) -> str:
    """Add a listener at which a client id is anybody's."""
    block = text.split("\nlistener ")[1]
    port, _, lines = block.partition(" ")
    further = lines.replace("use_username_as_clientid true", "use_username_as_clientid false")
    return text + f"\nlistener {int(port) + OFFSET} {further}"


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

    (result,) = BrokerCheck(city.home, SystemClock().utc()).run_across_restart(restart)
    assert "lost" in result.fault
