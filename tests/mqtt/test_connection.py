"""The connection to the broker, against a real mosquitto with mutual TLS that is killed, frozen and cut off."""

import itertools
import os
import queue
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.errors import CustodyError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.attempts import SHORT_LIVES
from edge_agent.mqtt.connection import (
    MAX_PACKET_BYTES,
    RECEIVE_MAXIMUM,
    Broker,
    BrokerSettings,
    TopicSubscription,
)
from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.mqtt.network_loop import backoff_s
from edge_agent.units import SECOND_NS, MonoNs
from tests.peers.mosquitto import Mosquitto
from tests.peers.pki import Pki
from tests.peers.proxy import Proxy
from tests.peers.wait import wait_until

pytestmark = pytest.mark.peer
REQUESTS = "rtcc/1/req/g/gw1"


class Client:
    """A broker connection that keeps what came in, and acknowledges it unless told otherwise."""

    def __init__(self, settings: BrokerSettings, handle: Callable[[Incoming], None] | None = None) -> None:
        self.inbox: queue.Queue[Incoming] = queue.Queue()
        self.broker = Broker(settings, handle or self._keep, SystemClock())

    def _keep(self, incoming: Incoming) -> None:
        self.inbox.put(incoming)
        incoming.ack()

    def get(self) -> Incoming:
        return self.inbox.get(timeout=10)

    def payloads(self, count: int) -> list[bytes]:
        return [self.get().payload for _ in range(count)]


@contextmanager
def connected(settings: BrokerSettings, handle: Callable[[Incoming], None] | None = None) -> Iterator[Client]:
    client = Client(settings, handle)
    client.broker.start()
    try:
        wait_until(client.broker.is_connected, what="connection")
        yield client
    finally:
        client.broker.close()


@pytest.fixture
def rtcc(mosquitto: Mosquitto) -> Iterator[Client]:
    with connected(mosquitto.rtcc()) as client:
        yield client


def test_a_request_arrives_and_an_answer_leaves(mosquitto: Mosquitto, rtcc: Client) -> None:
    """Payload, correlation data and flags come through; the answer reaches the RTCC on the gateway's topic."""
    with connected(mosquitto.gateway("gw1")) as gateway:
        rtcc.broker.publish(REQUESTS, b"request", correlation=b"c-1", expiry_s=60)
        got = gateway.get()
        assert (got.topic, got.payload, got.correlation) == (REQUESTS, b"request", b"c-1")
        assert not got.retained
        assert rtcc.get().payload == b"online"
        gateway.broker.publish("rtcc/1/gw/gw1/res", b"answer", correlation=got.correlation)
        answer = rtcc.get()
        assert (answer.topic, answer.payload, answer.correlation) == ("rtcc/1/gw/gw1/res", b"answer", b"c-1")


def test_a_clean_end_leaves_offline_behind(mosquitto: Mosquitto, rtcc: Client) -> None:
    """The retained state says offline after ``close``, and what ``set_state`` said before it."""
    with connected(mosquitto.gateway("gw1")) as gateway:
        gateway.broker.set_state(b"busy")
        assert rtcc.payloads(2) == [b"online", b"busy"]
    assert rtcc.get().payload == b"offline"
    with connected(mosquitto.rtcc("rtcc-later")) as later:
        state = later.get()
        assert (state.payload, state.retained) == (b"offline", True)


def test_a_lost_connection_leaves_the_last_will_and_is_made_again(
    mosquitto: Mosquitto, rtcc: Client, make_proxy: Callable[[int], Proxy]
) -> None:
    """A cut line shows as offline at the RTCC; the gateway comes back by itself with its state."""
    proxy = make_proxy(mosquitto.port)
    with connected(mosquitto.gateway("gw1", port=proxy.port)) as gateway:
        assert rtcc.get().payload == b"online"
        proxy.cut()
        assert rtcc.payloads(2) == [b"offline", b"online"]
        wait_until(gateway.broker.is_connected)


def test_what_was_not_acknowledged_comes_again(
    mosquitto: Mosquitto, rtcc: Client, make_proxy: Callable[[int], Proxy]
) -> None:
    """A message that was read but not committed is delivered again."""
    proxy = make_proxy(mosquitto.port)
    seen: queue.Queue[Incoming] = queue.Queue()
    with connected(mosquitto.gateway("gw1", port=proxy.port), seen.put):
        rtcc.broker.publish(REQUESTS, b"request")
        first = seen.get(timeout=10)
        proxy.cut()
        second = seen.get(timeout=10)
        assert second.payload == b"request"
        first.ack()  # of a connection that is gone: does nothing
        second.ack()
        second.ack()
        rtcc.broker.publish(REQUESTS, b"next")
        assert seen.get(timeout=10).payload == b"next"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_ends_and_comes_back_loses_nothing_accepted(mosquitto: Mosquitto, how: signal.Signals) -> None:
    """Both sides reconnect by themselves; while the broker is away, publishing says so."""
    with connected(mosquitto.gateway("gw1")) as gateway, connected(mosquitto.rtcc()) as rtcc:
        mosquitto.stop(how)
        wait_until(lambda: not gateway.broker.is_connected())
        with pytest.raises(UnavailableError):
            gateway.broker.publish("rtcc/1/gw/gw1/res", b"answer")
        assert gateway.broker.is_live(SystemClock().boot())
        mosquitto.start()
        wait_until(lambda: gateway.broker.is_connected() and rtcc.broker.is_connected())
        rtcc.broker.publish(REQUESTS, b"after")
        assert gateway.get().payload == b"after"


def test_requests_wait_for_a_gateway_that_is_away(mosquitto: Mosquitto, rtcc: Client) -> None:
    """The session is kept: what was published meanwhile arrives, unless it expired."""
    with connected(mosquitto.gateway("gw1")):
        pass
    rtcc.broker.publish(REQUESTS, b"kept", expiry_s=600)
    mosquitto.stop()
    mosquitto.start()
    with connected(mosquitto.gateway("gw1")) as gateway:
        assert gateway.get().payload == b"kept"


def test_a_frozen_broker_is_noticed(mosquitto: Mosquitto) -> None:
    """Connections that stay open on which nothing comes are given up after keepalive and patience."""
    quick = {"keepalive_s": 1, "answer_within_s": 1.0}
    with connected(mosquitto.gateway("gw1", **quick)) as gateway:
        mosquitto.freeze()
        with pytest.raises(UnavailableError, match="acknowledge"):
            gateway.broker.publish("rtcc/1/gw/gw1/res", b"answer", timeout_s=0.3)
        wait_until(lambda: not gateway.broker.is_connected())
        mosquitto.thaw()
        wait_until(gateway.broker.is_connected, 20)
        gateway.broker.publish("rtcc/1/gw/gw1/res", b"answer")


def test_a_quiet_connection_stays_alive(mosquitto: Mosquitto) -> None:
    """With nothing to say, pings alone show that the line is good."""
    with connected(mosquitto.gateway("gw1", keepalive_s=1, answer_within_s=1.0)) as gateway:
        first = gateway.broker.status().last_heard
        wait_until(lambda: gateway.broker.status().last_heard > first + SECOND_NS // 2)
        assert gateway.broker.status().counts["connected"] == 1


def test_retained_messages_are_told_apart(mosquitto: Mosquitto, rtcc: Client) -> None:
    """A retained trust bundle is delivered on connecting; a request published as retained is flagged, and not kept."""
    rtcc.broker.publish("rtcc/1/trust", b"bundle", retain=True)
    with connected(mosquitto.gateway("gw1")) as gateway:
        trust = gateway.get()
        assert (trust.topic, trust.payload, trust.retained) == ("rtcc/1/trust", b"bundle", True)
        rtcc.broker.publish(REQUESTS, b"retained", retain=True)
        assert gateway.get().retained
    with connected(mosquitto.gateway("gw1")) as gateway:
        assert gateway.get().payload == b"bundle"
        rtcc.broker.publish(REQUESTS, b"fresh")
        assert gateway.get().payload == b"fresh"


def test_an_oversize_message_never_arrives(mosquitto: Mosquitto, rtcc: Client) -> None:
    """The broker keeps back what is over our maximum; the connection and the next message are not hurt."""
    with connected(mosquitto.gateway("gw1")) as gateway:
        with suppress(UnavailableError):
            rtcc.broker.publish(REQUESTS, b"x" * (MAX_PACKET_BYTES + 1))
        rtcc.broker.publish(REQUESTS, b"x" * 65536)
        assert len(gateway.get().payload) == 65536
        assert gateway.broker.status().counts["connected"] == 1


def test_qos_0_is_not_taken(mosquitto: Mosquitto, rtcc: Client) -> None:
    """What nobody has to acknowledge is counted and dropped."""
    from paho.mqtt import publish

    files = mosquitto.pki.client_files("rtcc")
    tls: Any = {"ca_certs": str(files.ca), "certfile": str(files.certificate), "keyfile": str(files.key)}
    with connected(mosquitto.gateway("gw1")) as gateway:
        publish.single(REQUESTS, b"qos 0", qos=0, hostname=mosquitto.host, port=mosquitto.rtcc_port, tls=tls)
        wait_until(lambda: gateway.broker.status().counts.get("dropped-qos0") == 1)
        rtcc.broker.publish(REQUESTS, b"qos 1")
        assert gateway.get().payload == b"qos 1"


def test_a_slow_worker_makes_the_broker_hold_the_rest(mosquitto: Mosquitto, rtcc: Client) -> None:
    """No more than the receive maximum is ever in memory, and nothing is lost, doubled or out of order."""
    go, done = threading.Event(), []

    def slow(incoming: Incoming) -> None:
        assert go.wait(20)
        done.append(incoming.payload)
        incoming.ack()

    with connected(mosquitto.gateway("gw1"), slow) as gateway:
        for number in range(5 * RECEIVE_MAXIMUM):
            rtcc.broker.publish(REQUESTS, b"%d" % number)
        wait_until(lambda: gateway.broker.status().queued >= RECEIVE_MAXIMUM - 1)
        assert gateway.broker.status().counts["received"] <= RECEIVE_MAXIMUM + 1
        go.set()
        wait_until(lambda: len(done) == 5 * RECEIVE_MAXIMUM)
        assert done == [b"%d" % number for number in range(5 * RECEIVE_MAXIMUM)]
        assert "dropped-full" not in gateway.broker.status().counts


def test_a_handler_that_fails_gets_the_message_again(mosquitto: Mosquitto, rtcc: Client) -> None:
    """An exception in the handler ends no thread and loses no message."""
    calls: list[bytes] = []

    def fail_once(incoming: Incoming) -> None:
        calls.append(incoming.payload)
        if len(calls) == 1:
            raise RuntimeError("disk full")
        incoming.ack()

    with connected(mosquitto.gateway("gw1"), fail_once) as gateway:
        rtcc.broker.publish(REQUESTS, b"request")
        wait_until(lambda: calls == [b"request", b"request"])
        assert gateway.broker.status().counts["handler-failed"] == 1
        assert gateway.broker.is_live(SystemClock().boot())


def test_a_gateway_can_neither_speak_nor_listen_for_another(mosquitto: Mosquitto, rtcc: Client) -> None:
    """The certificate's name decides: topics of others are refused, and another's client id takes over nothing."""
    intruder = replace(
        mosquitto.gateway("gw2"), client_id="gw1", subscriptions=(TopicSubscription(REQUESTS), TopicSubscription("#"))
    )
    with connected(mosquitto.gateway("gw1")) as gateway, connected(replace(intruder, state_topic="")) as other:
        with pytest.raises(UnavailableError, match="Not authorized"):
            other.broker.publish("rtcc/1/gw/gw1/res", b"forged")
        with pytest.raises(UnavailableError, match="Not authorized"):
            other.broker.publish(REQUESTS, b"forged")
        rtcc.broker.publish(REQUESTS, b"private")
        assert gateway.get().payload == b"private"
        assert gateway.broker.status().counts["connected"] == 1
        assert other.inbox.empty()


def test_a_server_that_is_not_the_rtccs_is_not_believed(mosquitto: Mosquitto, pki: Pki, tmp_path: Any) -> None:
    """Another authority's certificate, or the right one for another name, ends the attempt."""
    stranger = Pki(tmp_path / "stranger")
    own = mosquitto.gateway("gw1")
    for wrong in (
        replace(own, tls=replace(own.tls, ca_pem=stranger.ca_pem)),
        replace(own, tls=stranger.client("gw1")),
        replace(own, host="127.0.0.2"),
    ):
        client = Client(wrong)
        client.broker.start()
        wait_until(lambda client=client: client.broker.status().counts.get("attempts", 0) >= 2)  # type: ignore[misc]
        assert not client.broker.is_connected()
        client.broker.close()


def test_a_certificate_that_is_not_the_keys_is_an_error_at_once(pki: Pki) -> None:
    """A wrong pair of certificate and key is told as such, not as a failing network."""
    one, other = pki.client("a"), pki.client("b")
    for wrong in (replace(one, key=other.key), replace(one, ca_pem="-"), replace(one, certificate_pem="-")):
        with pytest.raises(CustodyError):
            build_client_context(wrong)


class HostileBroker:
    """A TLS server with the RTCC's certificate that answers CONNECT and then sends what it is told."""

    def __init__(
        self,
        pki: Pki,
        message: bytes,
        reason: int = 0,
        properties: bytes = b"",
        *,
        wants_certificate: bool = False,
    ) -> None:
        import socket

        files = pki.server_files(label="hostile")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        if wants_certificate:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(files.ca)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(3)
        self.port = self._listener.getsockname()[1]
        self.served = 0
        self.shown: list[bytes | None] = []
        body = bytes([0, reason, len(properties)]) + properties
        self._answer = bytes([0x20, len(body)]) + body + message
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for _ in range(2):
            with suppress(OSError):
                plain, _ = self._listener.accept()
                self.served += 1
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    connection.settimeout(10)
                    self.take(connection)

    def take(self, connection: ssl.SSLSocket) -> None:
        connection.recv(4096)
        self.shown.append(connection.getpeercert(binary_form=True))
        connection.sendall(self._answer)
        while connection.recv(4096):
            pass

    def close(self) -> None:
        self._listener.close()
        self._thread.join(15)


class LockingBroker(HostileBroker):
    """One with a session for us that it cannot serve: it accepts, and cuts the connection, until it is a new one."""

    def __init__(self, pki: Pki) -> None:
        self.clean_starts: list[bool] = []
        super().__init__(pki, SUBACK)

    def _serve(self) -> None:
        for _ in range(3):
            super()._serve()

    def take(self, connection: ssl.SSLSocket) -> None:
        connect = connection.recv(4096)
        # MQTT 5, 3.1.2.4: the flags follow the protocol's name and version.
        self.clean_starts.append(bool(connect[connect.index(b"MQTT") + 5] & 2))
        connection.sendall(self._answer)
        connection.recv(4096)  # its subscription: it has read that it was accepted
        while self.clean_starts[-1] and connection.recv(4096):
            pass


def quick(port: int, pki: Pki) -> BrokerSettings:
    """Settings of a gateway with one subscription that does not wait long."""
    topics = (TopicSubscription(REQUESTS),)
    return BrokerSettings("127.0.0.1", port, "gw1", pki.client("gw1"), topics, first_retry_s=0.1)


SUBACK = b"\x90\x04\x00\x01\x00\x01"
"""Of the first packet that a client numbers: granted at QoS 1."""


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (b"\x32\xff\xff\xff\x7f", "connected"),  # PUBLISH of 256 MiB
        (b"\x32\x08\x00\x02\xff\xfe\x00\x01\x00x", "callback-failed"),  # a topic that is not UTF-8
        (b"\xf0\x00", "connected"),  # a packet type that no server sends
        (b"\x32\x02\x00\xff", "connected"),  # a topic longer than its packet
        (b"\x34\x07\x00\x01t\x00\x01\x00x", "connected"),  # QoS 2, which would be kept until it is released
    ],
    ids=["oversize", "bad topic", "bad type", "cut off", "never released"],
)
def test_a_hostile_broker_ends_no_thread(pki: Pki, message: bytes, count: str) -> None:
    """Malformed packets cost the connection at most; the client goes on trying."""
    hostile = HostileBroker(pki, message)
    settings = replace(quick(hostile.port, pki), subscriptions=())
    client = Client(settings)
    client.broker.start()
    wanted = 2 if count == "connected" else 1
    wait_until(lambda: client.broker.status().counts.get(count, 0) >= wanted, 15)
    assert client.broker.is_live(SystemClock().boot())
    client.broker.close(timeout_s=0.5)
    hostile.close()


def test_a_broker_that_refuses_us_is_asked_again(pki: Pki) -> None:
    """A refusal (not authorised, as after a revoked certificate) is counted and said, and is not a connection."""
    refusing = HostileBroker(pki, b"", reason=0x87)
    client = Client(quick(refusing.port, pki))
    client.broker.start()
    wait_until(lambda: client.broker.status().counts.get("refused", 0) >= 2)
    assert not client.broker.is_connected()
    assert client.broker.is_live(SystemClock().boot())
    client.broker.close(timeout_s=0.5)
    refusing.close()


@pytest.mark.parametrize("answer", [b"", SUBACK], ids=["not subscribed", "subscribed"])
def test_connected_is_who_is_subscribed(pki: Pki, answer: bytes) -> None:
    """Who is told that a gateway is connected may send it a request: before its subscriptions stand it is lost."""
    broker = HostileBroker(pki, answer)
    client = Client(BrokerSettings("127.0.0.1", broker.port, "gw1", pki.client("gw1"), (TopicSubscription(REQUESTS),)))
    client.broker.start()
    wait_until(lambda: client.broker.status().counts.get("connected") == 1)
    if answer:
        wait_until(client.broker.is_connected)
    assert client.broker.is_connected() is bool(answer)
    client.broker.close(timeout_s=0.5)
    broker.close()


def test_liveness_sees_a_loop_that_no_longer_turns(pki: Pki) -> None:
    """Threads that never started, or a loop that hangs, are not alive."""
    client = Client(BrokerSettings("127.0.0.1", 1, "gw1", pki.client("gw1"), ()))
    now = SystemClock().boot()
    assert not client.broker.is_live(now)
    client.broker.start()
    assert client.broker.is_live(now)
    assert not client.broker.is_live(MonoNs(now + 3600 * SECOND_NS))
    client.broker.close()


def test_reconnects_back_off_with_full_jitter() -> None:
    """Anything up to 30 s at first, then up to a minute, indefinitely; up to another time if one is given."""
    assert {backoff_s(attempt, 0.0) for attempt in (0, 1, 5, 10**9)} == {0.0}
    assert [backoff_s(attempt, 1.0) for attempt in (0, 1, 2, 10**9)] == [30, 60, 60, 60]
    assert [backoff_s(attempt, 0.5, 2.0) for attempt in (0, 1, 4, 5)] == [1, 2, 16, 30]


def test_what_a_broker_says_of_another_one_is_not_followed(pki: Pki) -> None:
    """A Server Reference ("server moved", MQTT 5, 4.13) leads nowhere: only the enrolment names brokers."""
    elsewhere = HostileBroker(pki, b"")
    reference = f"127.0.0.1:{elsewhere.port}".encode()
    for reason in (0x9C, 0x9D):
        moved = HostileBroker(pki, b"", reason, b"\x1c" + len(reference).to_bytes(2, "big") + reference)
        client = Client(quick(moved.port, pki))
        client.broker.start()
        wait_until(lambda client=client: client.broker.status().counts.get("refused", 0) >= 2)  # type: ignore[misc]
        client.broker.close(timeout_s=0.5)
        moved.close()
    assert elsewhere.served == 0
    elsewhere.close()


def test_the_brokers_of_the_enrolment_are_tried_in_turn(pki: Pki) -> None:
    """One that is away, and one that refuses, are passed over; one that accepts is kept to, also after a break."""
    refusing, working = HostileBroker(pki, b"", reason=0x87), HostileBroker(pki, SUBACK)
    others = (("127.0.0.1", refusing.port), ("127.0.0.1", working.port))
    client = Client(replace(quick(1, pki), others=others))
    client.broker.start()
    wait_until(lambda: client.broker.status().counts.get("connected", 0) == 1)
    assert refusing.served == 1
    client.broker.renew(pki.client("gw1"))
    wait_until(lambda: client.broker.status().counts.get("connected", 0) == 2)
    assert (refusing.served, working.served) == (1, 2)
    client.broker.close(timeout_s=0.5)
    for broker in (refusing, working):
        broker.close()


def test_a_session_that_a_broker_cannot_serve_is_given_up(pki: Pki) -> None:
    """Accepted and cut off each time, before anything came: after four times it begins with a new session."""
    broker = LockingBroker(pki)
    client = Client(quick(broker.port, pki))
    client.broker.start()
    wait_until(lambda: len(broker.clean_starts) > SHORT_LIVES, 20)
    assert broker.clean_starts == [False] * SHORT_LIVES + [True]
    client.broker.close(timeout_s=0.5)
    broker.close()


def test_a_session_is_kept_if_the_message_is_what_we_cannot_take(mosquitto: Mosquitto, rtcc: Client) -> None:
    """A handler that fails cuts the connection itself, as often as it takes: what waits is not thrown away for it."""
    failures = 0

    def fail(message: Incoming) -> None:
        nonlocal failures
        failures += 1
        if failures <= SHORT_LIVES + 1:
            raise OSError("disk is full")
        message.ack()

    with connected(mosquitto.gateway("gw1", first_retry_s=0.1), fail) as gateway:
        rtcc.broker.publish(REQUESTS, b"request")
        wait_until(lambda: failures == SHORT_LIVES + 2, 30)
        assert "session-given-up" not in gateway.broker.status().counts


def test_a_renewed_certificate_is_shown_without_a_restart(pki: Pki) -> None:
    """From the next connection on, which is made at once; one that does not fit changes nothing."""
    broker = HostileBroker(pki, SUBACK, wants_certificate=True)
    old, new = pki.client("gw1"), pki.client("gw1")
    client = Client(replace(quick(broker.port, pki), tls=old))
    client.broker.start()
    wait_until(lambda: len(broker.shown) == 1)
    with pytest.raises(CustodyError):
        client.broker.renew(replace(new, key=old.key))
    client.broker.renew(new)
    wait_until(lambda: len(broker.shown) == 2)
    assert broker.shown == [ssl.PEM_cert_to_DER_cert(each.certificate_pem) for each in (old, new)]
    client.broker.close(timeout_s=0.5)
    broker.close()


def test_a_renewed_certificate_survives_an_attempt_that_failed(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is free as it is loaded: the next attempt loads it, and never shows the old one indefinitely."""
    broker = HostileBroker(pki, SUBACK, wants_certificate=True)
    old, new = pki.client("gw1"), pki.client("gw1")
    client = Client(replace(quick(broker.port, pki), tls=old))
    client.broker.start()
    wait_until(lambda: len(broker.shown) == 1)
    create, calls = os.memfd_create, itertools.count(1)

    def fail_second(*arguments: Any) -> int:
        if next(calls) == 2:  # The first is the look whether certificate and key fit.
            raise OSError(24, "Too many open files")
        return create(*arguments)

    monkeypatch.setattr(os, "memfd_create", fail_second)
    client.broker.renew(new)
    wait_until(lambda: len(broker.shown) == 2)
    assert broker.shown[1] == ssl.PEM_cert_to_DER_cert(new.certificate_pem)
    client.broker.close(timeout_s=0.5)
    broker.close()
