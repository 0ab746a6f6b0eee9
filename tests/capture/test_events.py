"""Event-only cameras: recorded on a trigger, never otherwise, never too often."""

import contextlib
import errno
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.capture.event_listener import EventListener
from edge_agent.capture.event_window import EventGate
from edge_agent.capture.home_mqtt_child import MAX_PACKET_BYTES, HomeBroker, MqttTriggers, TopicTrigger
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.broker import find_free_port, find_mosquitto, start_mosquitto
from edge_agent.demo.camera import SimulatedCamera
from edge_agent.host.clock import SystemClock
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, MonoNs
from tests.capture.test_camera_tls import make_certificate

from .conftest import Recording, wait_until

FOR_NS = 30 * SECOND_NS


@given(st.lists(st.integers(1, 10 * 60), max_size=200), st.integers(1, 10), st.sampled_from([0, 20, 60]))
def test_gate_opens_at_most_so_often_an_hour(waits: list[int], per_hour: int, wake_s: int) -> None:
    """However many events come, no hour sees more openings than allowed, and each is as long as was asked."""
    gate, now, openings = EventGate(wake_s * SECOND_NS), 0, []
    for wait in waits:
        now += wait * SECOND_NS
        was_open = gate.is_open(MonoNs(now))
        recorded = gate.fire(MonoNs(now), FOR_NS, per_hour)
        assert recorded or not was_open
        assert gate.is_open(MonoNs(now + FOR_NS - 1)) == recorded
        assert not gate.is_open(MonoNs(now + max(FOR_NS, wake_s * SECOND_NS)))
        if recorded and not was_open:
            openings.append(now)
    for at in openings:
        assert sum(at - HOUR_NS < other <= at for other in openings) <= per_hour


@given(
    st.lists(st.tuples(st.integers(0, 90), st.sampled_from([5, 30, 120])), min_size=1, max_size=12),
    st.sampled_from([1, 20, 59, 200]),
)
def test_a_sleeping_camera_is_recorded_by_the_rule(events: list[tuple[int, int]], wakes_s: int) -> None:
    """Second by second: from the event until it wakes or is given up, and then for as long as was asked."""
    gate, known, stores, asked_since, due = EventGate(wake_ns=MINUTE_NS), [], False, None, 0
    for second in range(sum(wait for wait, _ in events) + 400):
        while events and second >= due + events[0][0]:
            due, (_, for_s) = second, events[0]
            events = events[1:]
            gate.fire(MonoNs(second * SECOND_NS), for_s * SECOND_NS)
            known.append([second, for_s, second if stores else None])
        is_open = gate.is_open(MonoNs(second * SECOND_NS), stores=stores)
        assert is_open == any(
            second < (at + max(60, for_s) if start is None else start + for_s) for at, for_s, start in known
        )
        asked_since = (second if asked_since is None else asked_since) if is_open else None
        if asked_since is not None and second - asked_since >= wakes_s and not stores:
            stores = True
            known = [
                [at, for_s, second if start is None and second < at + max(60, for_s) else start or -for_s]
                for at, for_s, start in known
            ]
            assert gate.is_open(MonoNs(second * SECOND_NS), stores=True)
        stores = stores and is_open


def test_an_event_while_a_camera_wakes_is_no_second_opening() -> None:
    """Two messages for one ring of the bell: the camera is woken once, and recorded for the longer of both times."""
    gate = EventGate(wake_ns=MINUTE_NS)
    assert gate.fire(MonoNs(0), FOR_NS, per_hour=1)
    assert gate.is_open(MonoNs(1))
    assert gate.fire(MonoNs(FOR_NS + 1), 2 * FOR_NS, per_hour=1)
    stored = FOR_NS + MINUTE_NS
    assert gate.is_open(MonoNs(stored), stores=True)
    assert gate.is_open(MonoNs(stored + 2 * FOR_NS - 1), stores=True)
    assert not gate.is_open(MonoNs(stored + 2 * FOR_NS), stores=True)
    assert not gate.fire(MonoNs(stored + 2 * FOR_NS), FOR_NS, per_hour=1)


def test_an_event_while_the_last_session_ends_wakes_the_camera_again() -> None:
    """Its last records are stored yet, on a slow disk, and it was told to end: they are not of the new event."""
    gate = EventGate(wake_ns=MINUTE_NS)
    assert gate.fire(MonoNs(0), FOR_NS)
    assert gate.is_open(MonoNs(1), stores=True)
    assert not gate.is_open(MonoNs(FOR_NS + 1), stores=True)
    assert gate.fire(MonoNs(FOR_NS + 2), FOR_NS)
    assert gate.is_open(MonoNs(FOR_NS + 3), stores=True)
    assert gate.is_open(MonoNs(FOR_NS + MINUTE_NS), stores=False)
    assert gate.is_open(MonoNs(FOR_NS + MINUTE_NS + 1), stores=True)
    assert gate.is_open(MonoNs(2 * FOR_NS + MINUTE_NS), stores=True)
    assert not gate.is_open(MonoNs(2 * FOR_NS + MINUTE_NS + 1), stores=True)


def test_an_event_after_the_session_was_lost_wakes_the_camera_again() -> None:
    """A bridge ends its stream by itself; somebody moves again, and the time counts from what is stored of that."""
    gate = EventGate(wake_ns=MINUTE_NS)
    gate.fire(MonoNs(0), 10 * SECOND_NS)
    assert gate.is_open(MonoNs(SECOND_NS))
    assert gate.is_open(MonoNs(12 * SECOND_NS), stores=True)
    assert gate.is_open(MonoNs(15 * SECOND_NS), stores=False)
    assert gate.fire(MonoNs(16 * SECOND_NS), 10 * SECOND_NS)
    assert gate.is_open(MonoNs(40 * SECOND_NS), stores=False)
    assert gate.is_open(MonoNs(41 * SECOND_NS), stores=True)
    assert gate.is_open(MonoNs(51 * SECOND_NS - 1), stores=True)
    assert not gate.is_open(MonoNs(51 * SECOND_NS), stores=True)


def test_a_camera_that_wakes_late_but_within_its_time_is_recorded_for_as_long() -> None:
    """Its bridge refuses for longer than `open_timeout`, and `for` is longer still."""
    gate = EventGate(wake_ns=15 * SECOND_NS)
    gate.fire(MonoNs(0), MINUTE_NS)
    assert gate.is_open(MonoNs(31 * SECOND_NS))
    assert gate.is_open(MonoNs(33 * SECOND_NS), stores=True)
    assert gate.is_open(MonoNs(93 * SECOND_NS - 1), stores=True)
    assert not gate.is_open(MonoNs(93 * SECOND_NS), stores=True)


def test_an_event_that_is_asked_for_late_counts_all_the_same() -> None:
    """A disk held the camera's thread up for longer than the event lasts; nobody forbade it."""
    gate = EventGate(wake_ns=MINUTE_NS)
    assert gate.fire(MonoNs(0), 5 * SECOND_NS, per_hour=1)
    assert gate.is_open(MonoNs(7 * SECOND_NS))
    assert not gate.fire(MonoNs(2 * MINUTE_NS), FOR_NS, per_hour=1)


def test_a_stream_that_does_not_wake_makes_no_event_an_extension() -> None:
    """A camera for one client, with a substream: an hour sees as many recordings of `main` as were allowed."""
    gate, begun = EventGate(MINUTE_NS, ("main", "sub")), 0
    for second in range(0, 3600, 40):
        begun += gate.fire(MonoNs(second * SECOND_NS), 5 * SECOND_NS, per_hour=1)
        for later in range(second, second + 40):
            gate.is_open(MonoNs(later * SECOND_NS), "sub")
            is_open = gate.is_open(MonoNs(later * SECOND_NS))
            gate.is_open(MonoNs(later * SECOND_NS), stores=is_open and later >= second + 3)
    assert begun == 1


def test_the_longest_of_the_events_just_before_a_loss_counts() -> None:
    """The camera had fallen silent before both, and nobody knew it yet."""
    gate = EventGate(wake_ns=MINUTE_NS)
    gate.fire(MonoNs(0), 3 * MINUTE_NS)
    assert gate.is_open(MonoNs(SECOND_NS), stores=True)
    gate.fire(MonoNs(100 * SECOND_NS), 2 * MINUTE_NS)
    gate.fire(MonoNs(102 * SECOND_NS), 5 * SECOND_NS)
    assert gate.is_open(MonoNs(108 * SECOND_NS), stores=False)
    assert gate.is_open(MonoNs(150 * SECOND_NS), stores=True)
    assert gate.is_open(MonoNs(270 * SECOND_NS - 1), stores=True)
    assert not gate.is_open(MonoNs(270 * SECOND_NS), stores=True)


def test_a_short_event_does_not_give_a_long_one_again() -> None:
    """The bridge ended its stream after ten minutes; somebody rings once more."""
    gate = EventGate(wake_ns=MINUTE_NS)
    gate.fire(MonoNs(0), 10 * MINUTE_NS)
    assert gate.is_open(MonoNs(SECOND_NS), stores=True)
    assert gate.is_open(MonoNs(10 * MINUTE_NS), stores=False)
    gate.fire(MonoNs(10 * MINUTE_NS), 5 * SECOND_NS)
    assert gate.is_open(MonoNs(10 * MINUTE_NS + 30 * SECOND_NS), stores=True)
    assert not gate.is_open(MonoNs(10 * MINUTE_NS + 35 * SECOND_NS), stores=True)


def test_a_trigger_counts_against_its_own_limit() -> None:
    """The bell is recorded though motion has used up its share."""
    gate = EventGate()
    for minute in range(3):
        assert gate.fire(MonoNs(minute * MINUTE_NS), FOR_NS, per_hour=3)
        assert gate.is_open(MonoNs(minute * MINUTE_NS))
    assert not gate.fire(MonoNs(3 * MINUTE_NS), FOR_NS, per_hour=3)
    assert gate.fire(MonoNs(3 * MINUTE_NS), FOR_NS, per_hour=20)


@pytest.mark.peer
def test_a_stream_that_is_told_to_end_is_not_recorded_any_more() -> None:
    """Also where an event comes at once: until something of its own is stored, the state is another."""
    clock, gate, told, states = SystemClock(), EventGate(wake_ns=MINUTE_NS), [], []

    def hold() -> str:
        is_open = gate.is_open(clock.boot(), stores=recording.status.state == "recording")
        if told and told[-1] and not is_open:
            gate.fire(clock.boot(), 5 * SECOND_NS)
        states.append(recording.status.state)
        told.append(is_open)
        return "" if is_open else "not-by-rule"

    with SimulatedCamera() as camera:
        recording = Recording(Endpoint(camera.url, open_timeout_s=60, is_patient=True), hold=hold)
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            gate.fire(clock.boot(), 5 * SECOND_NS)
            wait_until(lambda: recording.status.state == "recording")
            camera.fault("slow-open")
            wait_until(lambda: gate.events == 2)
            stored, ended = len(recording.sink.gops), len(states)
            wait_until(lambda: len(recording.sink.gops) > stored + 1, 30)
    assert "connecting" in states[ended:]


@pytest.mark.peer
def test_a_bridge_that_wakes_its_camera_for_longer_than_for_is_recorded() -> None:
    """The time of an event counts from what is stored first: not one picture came within it."""
    clock, gate = SystemClock(), EventGate(wake_ns=MINUTE_NS)

    def hold() -> str:
        is_stored = recording.status.state == "recording"
        return "" if gate.is_open(clock.boot(), stores=is_stored) else "not-by-rule"

    with SimulatedCamera() as camera:
        camera.fault("slow-open")
        recording = Recording(Endpoint(camera.url, open_timeout_s=60, is_patient=True), hold=hold)
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            gate.fire(clock.boot(), 5 * SECOND_NS)
            recording.wait_for_gops(2, 60)
            wait_until(lambda: recording.status.state == "waiting", 30)
            wait_until(lambda: not camera.has_players())


def test_further_event_extends_the_recording() -> None:
    """An event while the camera is recorded moves the end and costs no opening."""
    gate = EventGate()
    assert gate.fire(MonoNs(0), FOR_NS, per_hour=1)
    assert gate.fire(MonoNs(FOR_NS - 1), FOR_NS, per_hour=1)
    assert gate.is_open(MonoNs(2 * FOR_NS - 2))
    assert not gate.fire(MonoNs(2 * FOR_NS), FOR_NS, per_hour=1)
    assert not gate.is_open(MonoNs(MINUTE_NS * 2))


@pytest.mark.peer
def test_camera_is_recorded_during_an_event_only() -> None:
    """Outside an event nothing is asked of the camera, and the ring says: not recorded by rule."""
    clock, gate = SystemClock(), EventGate()
    with SimulatedCamera() as camera:
        recording = Recording(Endpoint(camera.url), hold=lambda: "" if gate.is_open(clock.boot()) else "not-by-rule")
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            assert not camera.has_players()
            waited_from = clock.boot()
            wait_until(lambda: clock.boot() - waited_from > SECOND_NS)
            gate.fire(clock.boot(), 6 * SECOND_NS)
            recording.wait_for_gops(2)
            wait_until(lambda: recording.status.state == "waiting")
            wait_until(lambda: not camera.has_players())
            ended = len(recording.sink.gops)
            gate.fire(clock.boot(), 20 * SECOND_NS)
            recording.wait_for_gops(ended + 1)
    assert {gap.reason for gap in recording.sink.gaps} <= {"not-by-rule", "connecting", "recorder-stopped", "stalled"}
    assert "not-by-rule" in {gap.reason for gap in recording.sink.gaps}


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """Start a home's broker: no TLS, no accounts, loopback."""
    port = find_free_port()
    config = tmp_path / "home.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = start_mosquitto(find_mosquitto(), config, (port,))
    yield port
    broker.terminate()
    broker.wait(10)


@pytest.mark.peer
def test_message_on_the_homes_broker_fires(broker_port: int) -> None:
    """The topic and payload of the configuration fire; another payload, topic, or a retained message does not."""
    fired: list[str] = []
    heard = threading.Event()

    def note(name: str) -> Callable[[], None]:
        return lambda: (fired.append(name), heard.set())[0]

    publisher = paho.Client(CallbackAPIVersion.VERSION2)
    publisher.connect("127.0.0.1", broker_port)
    publisher.loop_start()
    publisher.publish("ring/home/camera/a/motion/state", "ON", qos=1, retain=True).wait_for_publish(5)
    triggers = MqttTriggers(
        HomeBroker("127.0.0.1", broker_port),
        "edge-agent-test",
        [
            TopicTrigger("ring/home/camera/a/motion/state", b"ON", note("a")),
            TopicTrigger("ring/home/camera/b/motion/state", b"ON", note("b")),
        ],
    )
    triggers.start()
    try:
        wait_until(lambda: triggers.is_connected)
        for topic, payload in (("a", "OFF"), ("b", "on"), ("c", "ON")):
            publisher.publish(f"ring/home/camera/{topic}/motion/state", payload, qos=1).wait_for_publish(5)
        wait_until(lambda: bool(publisher.publish("ring/home/camera/b/motion/state", "ON", qos=1)) and heard.wait(1))
    finally:
        triggers.close()
        publisher.disconnect()
        publisher.loop_stop()
    assert set(fired) == {"b"}


@pytest.mark.peer
def test_listening_child_reports_events_and_is_started_again(broker_port: int) -> None:
    """The child tells the recorder of each event, and one that was killed has a successor."""
    heard: list[int] = []
    settings = {
        "broker": {"host": "127.0.0.1", "port": broker_port},
        "client_id": "edge-agent-test",
        "triggers": [{"topic": "a", "payload": "ON"}, {"topic": "b", "payload": "ON"}],
    }
    fires = [lambda: heard.append(0), lambda: heard.append(1)]
    publisher = paho.Client(CallbackAPIVersion.VERSION2)
    publisher.connect("127.0.0.1", broker_port)
    publisher.loop_start()
    listener = EventListener("edge_agent.capture.home_mqtt_child", settings, fires)
    listener.start()
    try:
        wait_until(lambda: bool(publisher.publish("b", "ON", qos=1)) and bool(heard))
        assert listener._child is not None
        listener._child.kill()
        heard.clear()
        wait_until(lambda: bool(publisher.publish("a", "ON", qos=1)) and 0 in heard)
    finally:
        listener.close()
        publisher.disconnect()
        publisher.loop_stop()
    assert not listener._thread.is_alive()


def listen(settings: dict[str, object], told: list[str]) -> EventListener:
    listener = EventListener("edge_agent.capture.home_mqtt_child", settings, [lambda: None], told.append)
    listener.start()
    return listener


def settings_for(port: int, **broker: str) -> dict[str, object]:
    where = {"host": "127.0.0.1", "port": port, **broker}
    return {"broker": where, "client_id": "edge-agent-test", "triggers": [{"topic": "a", "payload": "ON"}]}


@pytest.mark.peer
def test_broker_that_is_off_and_comes_back_is_told(tmp_path: Path) -> None:
    """While the home's broker is not there that is told, with the system's word; once it is, that events come."""
    told: list[str] = []
    port = find_free_port()
    config = tmp_path / "home.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    listener = listen(settings_for(port), told)
    try:
        wait_until(lambda: told == ["the home's broker is not reached: ECONNREFUSED"])
        broker = start_mosquitto(find_mosquitto(), config, (port,))
        wait_until(lambda: told[-1] == "")
        broker.kill()
        broker.wait(10)
        wait_until(lambda: bool(told[-1]))
    finally:
        listener.close()


BROKERS: dict[str, tuple[str, dict[str, str], str]] = {
    "another password": (
        "allow_anonymous false",
        {"username": "us", "password": "secret-word"},
        "the home's broker refuses us: Not authorized",
    ),
    "no TLS where we want it": (
        "allow_anonymous true",
        {"ca_file": "{folder}/ca.pem"},
        "the home's broker is not reached: ",
    ),
    "a CA file that is none": (
        "allow_anonymous true",
        {"ca_file": "{folder}/home.conf"},
        "the ca_file of the home's broker cannot be used",
    ),
}


@pytest.mark.peer
@pytest.mark.parametrize(("line", "ours", "words"), BROKERS.values(), ids=BROKERS.keys())
def test_broker_that_refuses_is_told(tmp_path: Path, line: str, ours: dict[str, str], words: str) -> None:
    """Each way in which no event can come has its own words, without the password."""
    told: list[str] = []
    make_certificate(tmp_path, "ca", "127.0.0.1")
    port = find_free_port()
    config = tmp_path / "home.conf"
    config.write_text(f"listener {port} 127.0.0.1\n{line}\n")
    broker = start_mosquitto(find_mosquitto(), config, (port,))
    listener = listen(settings_for(port, **{name: value.format(folder=tmp_path) for name, value in ours.items()}), told)
    try:
        wait_until(lambda: bool(told))
    finally:
        listener.close()
        broker.terminate()
        broker.wait(10)
    assert told[0].startswith(words)
    assert "secret-word" not in "".join(told)


def refuse_subscriptions(server: socket.socket) -> None:
    """Be an MQTT 5 broker that takes a client and refuses its topic (0x87); mosquitto's own lists do not refuse."""
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(bytes.fromhex("2003000000"))  # CONNACK: no session, success, no properties
        number = connection.recv(4096)[2:4]
        connection.sendall(bytes.fromhex("9004") + number + bytes.fromhex("0087"))
        connection.recv(4096)


def test_refused_topic_is_told() -> None:
    """A broker that takes us and does not let us read the topic: connected, and yet no events."""
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = threading.Thread(target=refuse_subscriptions, args=(server,), daemon=True)
        broker.start()
        listener = listen(settings_for(server.getsockname()[1]), told)
        try:
            wait_until(lambda: bool(told))
        finally:
            listener.close()
            broker.join(10)
    assert told[0] == "the home's broker refuses a topic: a: Not authorized"


def subscribed(server: socket.socket) -> tuple[socket.socket, bytes]:
    """Be an MQTT 5 broker up to the client's subscription; return the connection and the packet CONNECT."""
    connection, _ = server.accept()
    connect = connection.recv(4096)
    connection.sendall(bytes.fromhex("2003000000"))
    connection.sendall(bytes.fromhex("9004") + connection.recv(4096)[2:4] + bytes.fromhex("0000"))
    return connection, connect


def test_child_asks_for_short_messages_only() -> None:
    """The broker is told how long a message may be (MQTT 5, 3.1.2.11.4: property 0x27)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = listen(settings_for(server.getsockname()[1]), [])
        try:
            connection, connect = subscribed(server)
        finally:
            listener.close()
        connection.close()
    assert b"\x27" + MAX_PACKET_BYTES.to_bytes(4, "big") in connect


def test_message_without_end_ends_the_child_and_not_the_listening() -> None:
    """A broker that sends 200 MB in one message gets little memory for it, and the next child listens."""
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = listen(settings_for(server.getsockname()[1]), told)
        try:
            connection, _ = subscribed(server)
            wait_until(lambda: told == [""])
            child = listener._child
            assert child is not None
            with connection, contextlib.suppress(OSError):
                connection.sendall(bytes.fromhex("308084af5f") + bytes.fromhex("00016100"))  # PUBLISH of 200,000,000
                for _ in range(199):
                    connection.sendall(bytes(1_000_000))
            wait_until(lambda: child.poll() is not None)
            subscribed(server)[0].close()
        finally:
            listener.close()
    assert "the listening process ended; it is started again" in told


def test_listener_outlives_a_machine_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process can be started for once: the events of a camera must not end with it."""
    real, calls, told = subprocess.Popen, list[object](), list[str]()

    def start(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    listener = EventListener("tests.capture.talker", {}, [lambda: None] * 8, told.append)
    listener.start()
    try:
        wait_until(lambda: "" in told)
    finally:
        listener.close()


@pytest.mark.peer
def test_event_during_a_cut_of_the_line_is_not_lost(broker_port: int) -> None:
    """The broker goes on and the line to it is away for a moment: what was sent at QoS 1 comes when it is back."""
    told, fired, pairs, cut = list[str](), list[int](), list[tuple[socket.socket, socket.socket]](), threading.Event()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)

    def serve(front: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = front.accept()
                if cut.is_set():
                    one.close()
                    continue
                other = socket.create_connection(("127.0.0.1", broker_port))
                pairs.append((one, other))
                for pair in ((one, other), (other, one)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as front:
        threading.Thread(target=serve, args=(front,), daemon=True).start()
        triggers = [TopicTrigger("door", b"ON", lambda: fired.append(1))]
        broker = HomeBroker("127.0.0.1", front.getsockname()[1])
        listener = MqttTriggers(broker, "edge-agent-test", triggers, told.append)
        sender = paho.Client(CallbackAPIVersion.VERSION2)
        sender.connect("127.0.0.1", broker_port)
        sender.loop_start()
        listener.start()
        try:
            wait_until(lambda: told == [""])
            cut.set()
            for one in [each for pair in pairs for each in pair]:
                one.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: len(told) == 2)
            sender.publish("door", "ON", qos=1).wait_for_publish(5)
            cut.clear()
            wait_until(lambda: fired == [1], 20)
        finally:
            listener.close()
            sender.disconnect()
            sender.loop_stop()


def test_child_that_says_anything_is_borne() -> None:
    """Whatever a listening child prints, its words are cut and cannot steer a terminal, and nobody else fires."""
    told: list[str] = []
    fired: list[int] = []
    listener = EventListener("tests.capture.talker", {}, [lambda: fired.append(0)], told.append)
    listener.start()
    try:
        wait_until(lambda: any("the listening process ended" in words for words in told))
    finally:
        listener.close()
    assert told[0].startswith("a?[2Jb ccc")
    assert len(told[0]) <= 160
    assert not fired
