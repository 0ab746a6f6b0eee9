"""A gateway that is revoked: nothing more of it is taken, its connection is closed, and it does not come back."""

import json
import signal
import time
from dataclasses import replace

import pytest
from cryptography import x509

from edge_agent.demo.broker import find_free_port
from edge_agent.errors import ConfigError, EvidenceError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, TopicSubscription, wait_connected
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.revocation import Revocation, revoke
from tests.peers.wait import wait_until
from tests.rtcc.conftest import Applicant, take

LIMIT_S = 60


class Gateway:
    """An enrolled gateway with its connection."""

    def __init__(self, home, port=None):
        self.applicant = Applicant()
        enrolment = json.loads(enrol(home, self.applicant.csr, SystemClock().utc()).content)
        self.id = enrolment["gateway"]
        self._settings = BrokerSettings(
            host="127.0.0.1",
            port=port or home.settings.broker_port,
            client_id=self.id,
            tls=TlsIdentity(enrolment["ca"], enrolment["certificate"], self.applicant.tls),
            first_retry_s=1.0,
            subscriptions=(TopicSubscription(f"rtcc/1/req/g/{self.id}"),),
        )
        self.broker = Broker(self._settings, lambda message: message.ack(), SystemClock())

    def __enter__(self):
        self.broker.start()
        assert wait_connected(self.broker, 15)
        return self

    def __exit__(self, *_):
        self.broker.close()

    def comes_in(self):
        another = Broker(self._settings, lambda message: message.ack(), SystemClock())
        another.start()
        try:
            return wait_connected(another, 4)
        finally:
            another.close()


@pytest.mark.peer
@pytest.mark.needs("mosquitto")
def test_a_live_connection_is_closed_and_the_next_refused(make_city):
    """Within a minute, with mosquitto as the distribution ships it; the neighbour's connection stays as it is."""
    city = make_city()
    with Gateway(city.home) as stolen, Gateway(city.home) as neighbour:
        before = neighbour.broker.status().counts["connected"]
        began = time.monotonic()
        assert revoke(city.home, stolen.id, lambda: city.broker.signal(signal.SIGHUP)) == 1
        wait_until(lambda: not stolen.broker.is_connected(), LIMIT_S)
        assert time.monotonic() - began < LIMIT_S
        assert not stolen.comes_in()
        assert neighbour.broker.is_connected()
        assert neighbour.broker.status().counts["connected"] == before
    with Gateway(city.home):
        pass  # others can still be enrolled, and come in


@pytest.mark.peer
@pytest.mark.needs("mosquitto")
def test_a_list_that_was_not_read_again_is_noticed(make_city):
    """A broker that still lets a revoked certificate in is never said to refuse it."""
    city = make_city()
    with Gateway(city.home) as stolen:
        revocation = Revocation(city.home, stolen.id)
        revocation.record()
        with pytest.raises(UnavailableError, match="still lets in"):
            revocation.end_session(within_s=0.5)
        # Restarting it makes it read the list as well.
        city.broker.stop()
        city.start()
        revocation.end_session()
        assert not stolen.comes_in()


@pytest.mark.peer
@pytest.mark.needs("mosquitto")
def test_every_broker_must_refuse_a_revoked_gateway(make_city):
    """One that cannot be asked is named, also if it is not the last; the others close the connection all the same."""
    city = make_city()
    settings = city.home.settings
    city.home.write_settings(
        replace(settings, broker_port=find_free_port(), more_brokers=((settings.broker_host, settings.broker_port),))
    )
    with Gateway(city.home, settings.broker_port) as stolen:
        revocation = Revocation(city.home, stolen.id)
        revocation.record()
        city.broker.signal(signal.SIGHUP)
        with pytest.raises(UnavailableError, match=f"may still be open: broker={settings.broker_host}:") as error:
            revocation.end_session()
        assert f":{settings.broker_port}" not in str(error.value)
        wait_until(lambda: not stolen.broker.is_connected(), LIMIT_S)
        assert not stolen.comes_in()


def test_nothing_of_a_revoked_gateway_counts(home, applicant, now):
    """No answer is taken and no application; who is not enrolled cannot be revoked."""
    gateway = enrol(home, applicant.csr, now).gateway
    assert Revocation(home, gateway).record() == 1
    with pytest.raises(EvidenceError, match="revoked"):
        take(home, f"rtcc/1/gw/{gateway}/res", b"{}")
    with pytest.raises(EvidenceError, match="revoked"):
        enrol(home, applicant.csr, now, renew=True)
    assert home.certificates.is_revoked(home.certificates.issued(gateway)[0])
    with pytest.raises(ConfigError, match="no such gateway"):
        Revocation(home, "x" * 22)


def test_a_damaged_certificate_keeps_no_other_from_being_revoked(home, applicant, now, caplog):
    """The list has each serial number, also that of a file that cannot be read: its name tells it."""
    gateway = enrol(home, applicant.csr, now).gateway
    enrol(home, applicant.csr, now, renew=True)
    folder = home.path / "tls" / "issued" / gateway
    first, second = sorted(folder.iterdir())
    first.write_bytes(b"damaged")
    (folder / "note.pem").write_text("of somebody else")
    assert Revocation(home, gateway).record() == 2
    listed = x509.load_pem_x509_crl(home.certificates.list_path.read_bytes())
    for path in (first, second):
        assert listed.get_revoked_certificate_by_serial_number(int(path.stem, 16)) is not None
    assert str(first) in caplog.text
