"""The RTCC and a gateway through a real broker: requests arrive as sent, answers are kept before they are shown."""

import dataclasses
import json
import queue
import sqlite3
import threading
import time
from itertools import islice

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select, update

from edge_agent.demo.broker import BrokerFiles, find_free_port, find_mosquitto, start_mosquitto, write_config
from edge_agent.errors import ConfigError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, TopicSubscription, wait_connected
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol.answer import Answer, Status, encode_answer
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.office.enrol import enrol, enrol_server
from edge_agent.rtcc.office.request import RequestDraft, sign_request, to_area, to_gateway
from edge_agent.rtcc.office.trust import TOPIC as TRUST_TOPIC
from edge_agent.rtcc.office.trust import sign_trust
from edge_agent.rtcc.session import RtccSession
from edge_agent.rtcc.state import tables
from edge_agent.rtcc.state.copying import move_state
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.units import MINUTE_NS, UtcNs, Window
from tests.peers.flood import Flood, bogus_payloads
from tests.peers.wait import wait_until
from tests.rtcc.conftest import NOW, Applicant

pytestmark = pytest.mark.peer
LIMIT_S = 15
QUEUED = {Status.QUEUED: {"cameras": ("door",), "not_before": NOW}, Status.CANCELLED: {}}


@pytest.fixture
def database():
    """A file in the home: ``rtcc intake`` reads for a database that machines share (``test_city_intake``)."""
    return ""


@pytest.fixture
def city(home, now, tmp_path):
    """A home whose settings name a running broker with the home's own certificate."""
    try:
        program = find_mosquitto()
    except UnavailableError as error:
        pytest.skip(str(error))
    certificate, key = enrol_server(home, ("localhost", "127.0.0.1"), now)
    port, rtcc_port = find_free_port(), find_free_port()
    config = write_config(
        tmp_path / "mosquitto",
        BrokerFiles(home.ca_path, certificate, key, home.certificates.list_path),
        port=port,
        rtcc_port=rtcc_port,
    )
    home.write_settings(dataclasses.replace(home.settings, broker_port=port, rtcc_port=rtcc_port))
    sign_trust(home, now)
    process = start_mosquitto(program, config, (port, rtcc_port))
    yield home
    process.kill()
    process.wait(10)


class Gateway:
    """The gateway's end: whatever arrives is queued, whatever is said is signed."""

    def __init__(self, home, applicant, now, cell="dr5re"):
        self._home, self._key = home, applicant.gateway
        enrolment = json.loads(enrol(home, applicant.csr, now).content)
        self.id = enrolment["gateway"]
        self.heard = queue.Queue()
        topics = (TopicSubscription(f"rtcc/1/req/g/{self.id}"), TopicSubscription(f"rtcc/1/req/a/{cell}"))
        settings = BrokerSettings(
            host="localhost",
            port=home.settings.broker_port,
            client_id=self.id,
            first_retry_s=1.0,
            tls=TlsIdentity(enrolment["ca"], enrolment["certificate"], applicant.tls),
            subscriptions=(*topics, TopicSubscription(TRUST_TOPIC, retained=True)),
        )
        self._broker = Broker(settings, self._take, SystemClock())

    def __enter__(self):
        self._broker.start()
        assert wait_connected(self._broker, LIMIT_S)
        return self

    def __exit__(self, *_):
        self._broker.close()

    def _take(self, message):
        self.heard.put(message)
        message.ack()

    def say(self, jti, seq, status, **members):
        answer = Answer(self.id, self._home.settings.iss, jti, seq, UtcNs(time.time_ns()), status, **members)
        self._broker.publish(f"rtcc/1/gw/{self.id}/res", encode_answer(answer, self._key))

    def shout(self, raw):
        self._broker.publish(f"rtcc/1/gw/{self.id}/res", raw)


@pytest.fixture
def gateway(city, applicant, now):
    with Gateway(city, applicant, now) as gateway:
        yield gateway


def draft(audience, incident):
    window = Window(incident.window.start, UtcNs(incident.window.start + 5 * MINUTE_NS))
    return RequestDraft(audience, incident, window, "robbery", "desk 4")


def sign(home, draft, now):
    return sign_request(home, draft, now, operator="operator-1", supervisor="supervisor-1")


def test_a_request_and_its_answers_cross_the_broker(city, gateway, incident, now):
    """The gateway hears the very bytes that were signed; the session yields its answers up to the final one."""
    signed = sign(city, draft(to_gateway(gateway.id), incident), now)
    with RtccSession(city, watch=True) as session:
        session.send(signed)
        message = gateway.heard.get(timeout=LIMIT_S)
        assert (message.payload, message.retained, message.correlation) == (signed.raw, False, signed.jti.encode())
        gateway.shout(b"not an answer")
        gateway.say(signed.jti, 0, Status.QUEUED, cameras=("door",), not_before=now)
        gateway.say(signed.jti, 1, Status.CANCELLED)
        seen = [answer.status for answer in session.answers(signed.jti, LIMIT_S)]
    assert seen == [Status.QUEUED, Status.CANCELLED]
    assert [answer.status for answer in Inbox(city).answers(signed.jti)] == seen


def test_a_gateway_that_comes_later_finds_the_trust_bundle(city, applicant, now):
    """Trust is retained at the broker."""
    raw = city.find_bundle()
    with RtccSession(city) as session:
        session.publish_trust(raw)
    with Gateway(city, applicant, now) as late:
        message = late.heard.get(timeout=LIMIT_S)
    assert (message.topic, message.payload) == (TRUST_TOPIC, raw)


def test_an_area_request_is_one_message_in_each_cell(city, applicant, incident, now):
    """A gateway in any of the cells hears the same bytes, once."""
    signed = sign(city, draft(to_area(incident, 3000), incident), now)
    cell = signed.topics[-1].rpartition("/")[2]
    with Gateway(city, applicant, now, cell) as neighbour, RtccSession(city) as session:
        session.send(signed)
        assert neighbour.heard.get(timeout=LIMIT_S).payload == signed.raw
        with pytest.raises(queue.Empty):
            neighbour.heard.get(timeout=0.3)


def test_answers_wait_for_a_watcher_who_is_away(city, gateway, incident, now):
    """A gateway's answer without a running watch is kept by the broker and taken later."""
    signed = sign(city, draft(to_gateway(gateway.id), incident), now)
    with RtccSession(city, watch=True) as session:
        session.send(signed)
    gateway.heard.get(timeout=LIMIT_S)
    gateway.say(signed.jti, 0, Status.DECLINED)
    with RtccSession(city, watch=True) as session:
        assert [answer.status for answer in session.answers(signed.jti, LIMIT_S)] == [Status.DECLINED]


def test_answers_are_kept_for_a_first_watcher(city, gateway, incident, now):
    """Nobody has ever watched; what is answered between the first request and the first watch is not lost."""
    signed = sign(city, draft(to_gateway(gateway.id), incident), now)
    with RtccSession(city) as session:
        session.send(signed)
    gateway.say(signed.jti, 0, Status.DECLINED)
    with RtccSession(city, watch=True) as session:
        assert [answer.status for answer in session.answers(signed.jti, LIMIT_S)] == [Status.DECLINED]


def test_answers_to_one_request_do_not_cost_those_to_another(city, gateway, incident, now):
    """Two requests at a time: each is followed on its own, in any order, however the answers are mixed."""
    first, second = (sign(city, draft(to_gateway(gateway.id), incident), now) for _ in range(2))
    with RtccSession(city, watch=True) as session:
        for signed in (first, second):
            session.send(signed)
        gateway.say(second.jti, 0, Status.DECLINED)
        gateway.say(first.jti, 0, Status.CANCELLED)
        for signed, status in ((first, Status.CANCELLED), (second, Status.DECLINED), (first, Status.CANCELLED)):
            assert [answer.status for answer in session.answers(signed.jti, LIMIT_S)] == [status]
        assert len(list(session.answers(timeout_s=0))) == 2


def move_away(home):
    target = CityDatabase(f"sqlite:///{home.path}/target.sqlite3")
    target.create()
    move_state(home.state.database, target)
    target.close()


def bring_back(home):
    with sqlite3.connect(home.path / "state.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()


def read_pins(home, gateway):
    with home.state.database.read() as connection:
        query = select(tables.gateways.c.pinned_keys).where(tables.gateways.c.gateway == gateway)
        return connection.execute(query).scalar_one()


def write_pins(home, gateway, text):
    with home.state.database.begin() as connection:
        mine = tables.gateways.c.gateway == gateway
        connection.execute(update(tables.gateways).where(mine).values(pinned_keys=text))


def test_a_state_that_takes_nothing_in_ends_the_watch(city, gateway, incident, now):
    """In words, and the answer is not acknowledged: the key in it comes once. The next watch gets it."""
    signed = sign(city, draft(to_gateway(gateway.id), incident), now)
    with RtccSession(city, watch=True) as session:
        session.send(signed)
        move_away(city)
        gateway.say(signed.jti, 0, Status.DECLINED)
        with pytest.raises(ConfigError, match="moved"):
            list(session.answers(signed.jti, LIMIT_S))
    bring_back(city)
    with RtccSession(city, watch=True) as session:
        assert [answer.status for answer in session.answers(signed.jti, LIMIT_S)] == [Status.DECLINED]


SPOILT = {
    "a key of another kind": '{"gateway": {"crv": "Ed00000", "kty": "OKP", "x": ""}}',
    "no key": "{}",
    "a list": "[1]",
    "no JSON": "\x00{",
    "a number for a key": '{"gateway": 7}',
}


@pytest.mark.parametrize("row", SPOILT.values(), ids=SPOILT)
def test_a_damaged_row_costs_its_own_gateway_alone(city, gateway, incident, now, caplog, row):
    """Another's answers go on, the words lead to the row, and nothing is lost: once the row is mended, it is taken."""
    signed = sign(city, draft(to_area(incident, 3000), incident), now)
    mended = read_pins(city, gateway.id)
    with Gateway(city, Applicant(), now) as neighbour, RtccSession(city, watch=True) as session:
        session.send(signed)
        write_pins(city, gateway.id, row)
        gateway.say(signed.jti, 0, Status.DECLINED)
        wait_until(lambda: city.state.inbound.count() == (1, 1), LIMIT_S)
        for each, status in enumerate((Status.QUEUED, Status.CANCELLED)):
            neighbour.say(signed.jti, each, status, **QUEUED[status])
        seen = [(each.gateway, each.status) for each in islice(session.answers(signed.jti, LIMIT_S), 2)]
        assert seen == [(neighbour.id, Status.QUEUED), (neighbour.id, Status.CANCELLED)]
        assert f"table=gateways gateway={gateway.id} column=pinned_keys" in caplog.text
        write_pins(city, gateway.id, mended)
        city.state.inbound.retry()
        (last,) = islice(session.answers(signed.jti, LIMIT_S), 2, 3)
        assert (last.gateway, last.status) == (gateway.id, Status.DECLINED)
    assert city.state.inbound.count() == (0, 0)


RATE, FLOOD_S = 1000, 5
LATEST_S = 5.0


def sign_progress(jti, gateway, iss, key):
    """Sign a progress for each moment of a flood: one by one, each is a transaction and a sync of the disk."""
    answer = Answer(gateway, iss, jti, 0, NOW, Status.UPLOADING, sent_bytes=0, total_bytes=1 << 20)
    return iter([encode_answer(dataclasses.replace(answer, seq=seq), key) for seq in range(RATE * FLOOD_S)])


FLOODS = {"not an answer": lambda *_: bogus_payloads(), "its progress": sign_progress}


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_a_gateway_that_floods_delays_no_other(city, incident, now, tmp_path, make):
    """Another gateway's answer is there within seconds, through all of the flood, and none of it is lost."""
    signed, wild = sign(city, draft(to_area(incident, 3000), incident), now), Applicant()
    with RtccSession(city, watch=True) as session, Gateway(city, Applicant(), now) as neighbour:
        session.send(signed)
        flood, gateway = connect_flood(city, wild, now, tmp_path)
        payloads = make(signed.jti, gateway, city.settings.iss, wild.gateway)
        topic = f"rtcc/1/gw/{gateway}/res"
        thread = threading.Thread(target=flood.run, args=(topic, RATE, FLOOD_S), kwargs={"payloads": payloads})
        thread.start()
        delays = []
        while thread.is_alive():
            delays.append(say_and_wait(session, neighbour, signed.jti, len(delays)))
        thread.join()
    assert max(delays) < LATEST_S


def say_and_wait(session, gateway, jti, seq):
    """Say a progress; return after how many seconds it is durable and shown."""
    began = time.monotonic()
    gateway.say(jti, seq, Status.UPLOADING, sent_bytes=seq, total_bytes=1 << 20)
    for answer in session.answers(jti, LIMIT_S):
        if (answer.gateway, answer.seq) == (gateway.id, seq):
            return time.monotonic() - began
    pytest.fail(f"not taken within {LIMIT_S} s: seq={seq}")


def connect_flood(city, applicant, now, folder):
    """Enrol a gateway, and connect who has taken it over."""
    enrolment = json.loads(enrol(city, applicant.csr, now).content)
    key = applicant.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for name, text in (("certificate", enrolment["certificate"]), ("key", key)):
        (folder / name).write_text(text)
    flood = Flood(city.settings.broker_port, city.ca_path, folder / "certificate", folder / "key")
    return flood, enrolment["gateway"]


def test_a_broker_that_is_not_there_is_an_error_in_words(home):
    """The command ends with the host and the port, after a limit."""
    home.write_settings(dataclasses.replace(home.settings, rtcc_port=find_free_port()))
    with pytest.raises(UnavailableError, match="broker does not answer"), RtccSession(home, connect_timeout_s=0.3):
        pass
