"""A reader, its standby and workers over one PostgreSQL, killed at every moment: no row twice, no message lost."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, wait_connected
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.announced import is_announced
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.cli import main
from edge_agent.rtcc.deliveries import deliveries
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.request import SignedRequest
from edge_agent.rtcc.session import RtccSession
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import answers as answers_table
from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339
from tests.peers.city_process import MOMENTS
from tests.peers.wait import wait_until
from tests.rtcc.conftest import Applicant, take

pytestmark = [pytest.mark.peer, pytest.mark.city, pytest.mark.needs("mosquitto")]
ROOT = Path(__file__).parents[2]
LIMIT_S = 60
REQUESTS = 12


class Program:
    """A program of the city in a process of its own."""

    def __init__(self, kind, home, moment=""):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.city_process", kind, home.path, moment],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = self.process.stdout.readline().strip()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
        self.process.stdout.close()


@pytest.fixture
def programs():
    running = []

    def start(*words):
        running.append(Program(*words))
        return running[-1]

    yield start
    for each in running:
        each.kill()


@pytest.fixture
def city(make_city, postgresql):
    city = make_city()
    url = postgresql.make_database()
    CityDatabase(url).create()
    city.home.write_settings(dataclasses.replace(city.home.settings, database=url))
    yield city
    city.home.state.database.close()


class Gateway:
    """An enrolled gateway with its connection, and what it says."""

    def __init__(self, home):
        self.home, self.applicant = home, Applicant()
        enrolment = json.loads(enrol(home, self.applicant.csr, SystemClock().utc()).content)
        self.id = enrolment["gateway"]
        settings = BrokerSettings(
            host="127.0.0.1", port=home.settings.broker_port, client_id=self.id, subscriptions=(), first_retry_s=0.2,
            tls=TlsIdentity(enrolment["ca"], enrolment["certificate"], self.applicant.tls),
        )  # fmt: skip
        self.broker = Broker(settings, lambda message: message.ack(), SystemClock())
        self.broker.start()
        assert wait_connected(self.broker, LIMIT_S)

    def sign(self, jti, seq, status, **members):
        answer = Answer(self.id, self.home.settings.iss, jti, seq, SystemClock().utc(), status, **members)
        return encode_answer(answer, self.applicant.gateway)

    def say(self, raw):
        self.broker.publish(f"rtcc/1/gw/{self.id}/res", raw, expiry_s=600)

    def carry_out(self, jti):
        """Answer a request as a gateway does: granted, under way, delivered."""
        file = DeliveredFile("door", upload_name(self.id, jti, "door"), b"\x01" * 32, 4096, b"age-header\n")
        self.say(self.sign(jti, 0, Status.QUEUED, cameras=("door",), not_before=SystemClock().utc()))
        self.say(self.sign(jti, 1, Status.UPLOADING, sent_bytes=1, total_bytes=4096))
        self.say(self.sign(jti, 2, Status.DELIVERED, files=(file,)))


@pytest.fixture
def gateway(city):
    gateway = Gateway(city.home)
    yield gateway
    gateway.broker.close()


def ask(home, count=REQUESTS):
    key = home.people.load_key("operator-1", Role.OPERATOR)
    release_by = encode_rfc3339(UtcNs(SystemClock().utc() + HOUR_NS))
    jtis = [make_id() for _ in range(count)]
    for jti in jtis:
        home.write_request(jti, jws.sign(TYP, {"aud": {"cells": ["dr5rs"]}, "release_by": release_by}, [key]))
    return jtis


def count_rows(home):
    with home.state.database.read() as connection:
        return connection.execute(select(func.count()).select_from(answers_table)).scalar()


def assert_everything_is_kept(home, jtis):
    """Each exchange has its queued and its delivered, once and in order; each key is there; nothing waits."""
    wait_until(lambda: len(list(deliveries(home))) == len(jtis), LIMIT_S)
    wait_until(lambda: home.state.inbound.count() == (0, 0), LIMIT_S)
    for jti in jtis:
        assert [(each.seq, each.status) for each in Inbox(home).answers(jti)] == [
            (0, Status.QUEUED), (2, Status.DELIVERED),
        ]  # fmt: skip
    assert count_rows(home) == 2 * len(jtis)
    assert list(home.state.exchanges.conflicts()) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_reader_that_is_killed_loses_nothing_and_doubles_nothing(city, gateway, programs, moment):
    """A standby takes its session over, within its lease and a little; two workers judge meanwhile."""
    jtis = ask(city.home)
    reader = programs("reader", city.home, moment)
    assert reader.said.startswith("reading")
    standby = programs("reader", city.home)
    assert standby.said.startswith("standing by")
    for _ in range(2):
        programs("worker", city.home)
    wait_until(lambda: city.home.state.readers.read_at(f"127.0.0.1:{city.home.settings.rtcc_port}") is not None)
    time.sleep(1)  # A session must stand before the first message; nothing tells from outside that it does.
    gateway.carry_out(jtis[0])
    wait_until(lambda: len(list(deliveries(city.home))) == 1, LIMIT_S)  # by this reader
    for jti in jtis[1:]:
        gateway.carry_out(jti)
    assert reader.process.wait(LIMIT_S) == -9
    assert_everything_is_kept(city.home, jtis)


def test_a_killed_worker_and_a_restarted_broker_lose_nothing(city, gateway, programs):
    """One of two workers is killed in the middle, the broker and the database go and come back."""
    jtis = ask(city.home)
    programs("reader", city.home)
    doomed, _ = programs("worker", city.home), programs("worker", city.home)
    time.sleep(1)
    for number, jti in enumerate(jtis):
        gateway.carry_out(jti)
        if number == 3:
            doomed.kill()
        if number == 6:
            time.sleep(6)  # mosquitto saves what waits every five seconds.
            city.broker.stop()
            city.start()
            assert wait_connected(gateway.broker, LIMIT_S)
    assert_everything_is_kept(city.home, jtis)


def test_whoever_watches_sees_what_workers_kept(city, gateway, programs):
    """From the state, each answer once, and the reader keeps its session; without a reader nothing is sent."""
    (jti,) = ask(city.home, 1)
    signed = SignedRequest(make_id(), b"{}", (f"rtcc/1/req/g/{gateway.id}",), UtcNs(SystemClock().utc() + HOUR_NS))
    with RtccSession(city.home) as session, pytest.raises(UnavailableError, match="nobody reads"):
        session.send(signed)
    reader = programs("reader", city.home)
    programs("worker", city.home)
    time.sleep(1)
    with RtccSession(city.home, watch=True) as session:
        session.send(signed)
        gateway.carry_out(jti)
        seen = [each.status for each in session.answers(jti, 8.0)]
    assert seen[-1] is Status.DELIVERED
    assert seen.count(Status.DELIVERED) == seen.count(Status.QUEUED) == 1
    assert reader.process.poll() is None


def test_a_home_moves_to_a_server(home, applicant, now, postgresql, capsys):
    """Typed: tables, then every row; the old file is used no more, and numbers go on."""
    if home.settings.database:
        pytest.xfail("it is there already")
    gateway = enrol(home, applicant.csr, now).gateway
    (jti,) = ask(home, 1)
    queued = Answer(gateway, home.settings.iss, jti, 0, now, Status.QUEUED, cameras=("door",), not_before=now)
    take(home, f"rtcc/1/gw/{gateway}/res", encode_answer(queued, applicant.gateway))
    url = postgresql.make_database()
    assert main(["state", "move", "--home", str(home.path), "--url", url]) == 78  # no tables yet
    assert main(["state", "create", "--url", url]) == 0
    assert main(["state", "move", "--home", str(home.path), "--url", url]) == 0
    moved = RtccHome.load(home.path)
    assert moved.state.database.is_shared
    assert [each.seq for each in Inbox(moved).answers(jti)] == [0]
    assert is_announced(moved, gateway, upload_name(gateway, jti, "door"), now)
    enrol(moved, Applicant().csr, now)
    assert len(list(moved.gateway_ids())) == 2
    moved.write_settings(dataclasses.replace(moved.settings, database=""))
    assert main(["state", "move", "--home", str(home.path), "--url", url]) == 78
    assert "was moved to a database server" in capsys.readouterr().err
    moved.state.database.close()
