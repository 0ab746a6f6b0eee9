"""HiveMQ CE as the city's broker: with the identity extension it keeps the rules, with none it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.demo.broker import find_free_port
from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.broker_check import BrokerCheck
from edge_agent.rtcc.office.enrol import enrol_server
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.office.roll_over import add_authority, switch_authority
from tests.peers.hivemq import HiveMq

pytestmark = [
    pytest.mark.peer, pytest.mark.city, pytest.mark.needs("mvn", "java", "keytool"), pytest.mark.timeout(300)
]  # fmt: skip


@pytest.fixture
def make_city(tmp_path: Path, hivemq_jars: str) -> Iterator[Callable[..., tuple[RtccHome, HiveMq]]]:
    running: list[HiveMq] = []

    def make(extension: str, prepare: Callable[[RtccHome], None] = lambda _: None) -> tuple[RtccHome, HiveMq]:
        ports = find_free_port(), find_free_port()
        settings = HomeSettings("rtcc.example-city", "127.0.0.1", *ports, {"evidence": "https://localhost:1/files/"})
        now = SystemClock().utc()
        home = RtccHome.create(tmp_path / "home", settings, now)
        prepare(home)
        certificate, key = (Path(each) for each in enrol_server(home, ("127.0.0.1",), now))
        files = (home.ca_path, certificate, key, home.certificates.list_path)
        running.append(HiveMq(tmp_path / "hivemq", hivemq_jars, ports, files, extension))
        running[0].start()
        return home, running[0]

    yield make
    for broker in running:
        broker.kill()


def test_with_the_identity_extension_every_line_holds(make_city) -> None:
    """All of ``rtcc broker check``: also across a restart, and for a certificate that was revoked a moment ago."""
    home, broker = make_city("identity")
    check = BrokerCheck(home, SystemClock().utc())
    results = list(check.run())

    def restart() -> None:
        broker.stop()
        broker.start()

    results.extend(check.run_across_restart(restart))
    results.extend(check.run_revoked(lambda: None))
    assert {result.name: result.fault for result in results if result.fault} == {}
    assert len(results) == 11


def test_a_revoked_certificate_of_the_authority_before_is_refused(make_city) -> None:
    """In the middle of a roll-over the file holds two lists; the one that counts here is the second."""
    checks: list[BrokerCheck] = []

    def roll_over(home: RtccHome) -> None:
        add_authority(home, SystemClock().utc())
        checks.append(BrokerCheck(home, SystemClock().utc()))
        switch_authority(home, SystemClock().utc())

    make_city("identity", roll_over)
    assert [result.fault for result in checks[0].run_revoked(lambda: None)] == [""]


def test_without_it_the_check_fails(make_city) -> None:
    """Identity (2, 3) and topics (4, 5) are what the extension is for."""
    home, _ = make_city("everybody")
    found = {result.name.split()[0] for result in BrokerCheck(home, SystemClock().utc()).run() if result.fault}
    assert {"2", "3", "4", "5"} <= found
