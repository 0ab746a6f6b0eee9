"""A city on loopback comes up whole, does what an RTCC does, and leaves nothing running."""

import os

import pytest
import requests

from edge_agent.demo.city import City
from edge_agent.errors import UnavailableError
from edge_agent.rtcc.session import RtccSession

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    try:
        with City(tmp_path_factory.mktemp("city")) as city:
            yield city
    except UnavailableError as error:
        pytest.skip(f"{error}: {error.hint}")


def ask(city, pair=None):
    """Ask the receiver what it can, with a certificate or without."""
    url = city.home.settings.uploads["evidence"]
    return requests.options(url, verify=str(city.home.ca_path), cert=pair, timeout=10)


def our_pair(city):
    return tuple(str(path) for path in city.home.tls_paths("rtcc"))


def test_the_receiver_takes_our_certificates_and_no_stranger(city):
    """With a certificate of the authority, tus answers; without one, the handshake fails."""
    assert "1.0.0" in ask(city, our_pair(city)).headers["Tus-Version"]
    with pytest.raises(requests.exceptions.RequestException):
        ask(city)


def test_the_receiver_and_the_broker_can_be_killed_and_started_again(city):
    """Both come back at the addresses that gateways were told."""
    for stop, start in ((city.stop_broker, city.start_broker), (city.stop_receiver, city.start_receiver)):
        stop()
        start()
    with RtccSession(city.home) as session:
        session.publish_trust(city.home.find_bundle())  # waits until the broker has taken it
    assert "1.0.0" in ask(city, our_pair(city)).headers["Tus-Version"]


def test_nothing_is_left_running(tmp_path):
    """Leaving the context ends both processes, also after an error inside it."""
    pids = []
    with pytest.raises(RuntimeError, match="in the middle"), City(tmp_path / "city") as city:
        pids += [city._broker.pid, city._receiver.pid]
        raise RuntimeError("in the middle")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
