"""Through every reload an event opens the gate that the camera's recording asks, and a listener that fails is told."""

from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.capture.event_listener import EventListener
from edge_agent.custody.credentials import Login
from edge_agent.demo.broker import find_free_port, find_mosquitto, start_mosquitto
from edge_agent.host.clock import SystemClock
from edge_agent.recording import event_triggers
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.recording.reload import find_changes
from edge_agent.recording.stream_addresses import Sources
from edge_agent.settings.gateway import parse_config
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs
from tests.peers.wait import wait_until
from tests.support.fakes import FakeClock

BASE = """
home_broker: {host: 127.0.0.1, credentials: home}
cameras:
  - {id: door, url: "rtsp://127.0.0.1/a", record: on_event, triggers: [{kind: mqtt, topic: door}]}
  - {id: yard, url: "rtsp://127.0.0.1/b", record: on_event, triggers: [{kind: mqtt, topic: yard}]}
  - {id: shed, url: "rtsp://127.0.0.1/c"}
"""
LOGINS = {"home": Login("a", "b")}
CHANGES = {
    "nothing": ("", "", LOGINS),
    "a camera's address": ("127.0.0.1/a", "127.0.0.1/z", LOGINS),
    "another camera": ("127.0.0.1/c", "127.0.0.1/z", LOGINS),
    "how long an event counts": ("topic: door", "topic: door, for: 3m", LOGINS),
    "a topic": ("topic: yard", "topic: garden", LOGINS),
    "one camera less": ("id: yard", "id: yard, enabled: false", LOGINS),
    "the broker": ("host: 127.0.0.1", "host: 127.0.0.2", LOGINS),
    "the broker's password": ("", "", {"home": Login("a", "c")}),
    "the broker's login comes back": ("", "", {}),
}


class Listener:
    """A listener without a child: the test fires."""

    made: list["Listener"] = []  # noqa: RUF012 (emptied by the fixture)

    def __init__(self, _module, settings, fires, tell):
        self.settings, self.fires, self.is_open = settings, fires, False
        self.made.append(self)

    def start(self):
        self.is_open = True

    def close(self):
        self.is_open = False


@pytest.fixture(autouse=True)
def listeners(monkeypatch):
    monkeypatch.setattr(event_triggers, "EventListener", Listener)
    Listener.made.clear()
    return Listener.made


def parse(text: str):
    return parse_config(text, "test", Path("/x"))


def make(logins, clock: FakeClock, tmp_path: Path) -> Triggers:
    return Triggers(
        parse(BASE),
        logins,
        Sources(logins, tmp_path, None, ReaderMemory(tmp_path / "readers.json", lambda: UtcNs(0))),
        clock,
    )


@pytest.mark.parametrize(("before", "after", "logins"), CHANGES.values(), ids=CHANGES)
def test_after_a_reload_an_event_opens_the_gate_that_counts(listeners, tmp_path, before, after, logins):
    """There and back again: one listener is open, by what the configuration says, and its events open the gates."""
    clock = FakeClock()
    triggers = make(LOGINS, clock, tmp_path)
    triggers.start()
    there, back = (parse(BASE.replace(before, after, 1)), logins), (parse(BASE), LOGINS)
    at = back
    for config, known in (there, back):
        triggers.change(config, known, find_changes(*at, config, known))
        at = config, known
        if not known:
            assert not any(each.is_open for each in listeners)
            continue
        (listener,) = [each for each in listeners if each.is_open]
        waiting = [each for each in config.cameras if each.enabled and each.triggers]
        assert [each["topic"] for each in listener.settings["triggers"]] == [c.triggers[0].topic for c in waiting]
        assert listener.settings["broker"]["host"] == config.home_broker.host
        assert listener.settings["broker"]["password"] == known["home"].password
        for camera, fire in zip(waiting, listener.fires, strict=True):
            gate = triggers.gate_of(camera.id)
            fire()
            assert gate.is_open(clock.boot(), stores=True)
            clock.advance(camera.triggers[0].for_ns - 1)
            assert gate.is_open(clock.boot())
            clock.advance(1)
            assert not gate.is_open(clock.boot())
            fire()
            assert gate.is_open(clock.boot())
            # A bridge may take a minute, and the first record has to be stored.
            clock.advance(max(MINUTE_NS + 5 * SECOND_NS, camera.triggers[0].for_ns) - 1)
            assert gate.is_open(clock.boot())
            clock.advance(1)
            assert not gate.is_open(clock.boot())


def test_a_login_that_is_missing_ends_nothing_and_is_told(listeners, tmp_path):
    """The recorder goes on without the home's broker, and says of each camera that waits for it why no events come."""
    triggers = make({}, FakeClock(), tmp_path)
    assert not listeners
    for camera in ("door", "yard"):
        assert triggers.facts(camera)["events"] == "trouble"
        assert triggers.facts(camera)["events_detail"] == "no such credentials: home"
    assert triggers.facts("shed") == {}


TWO = """
home_broker: {{host: 127.0.0.1, port: {port}}}
cameras:
  - {{id: door, url: "rtsp://127.0.0.1/a", record: on_event, triggers: [{{kind: mqtt, topic: door}}]}}
  - {{id: yard, url: "rtsp://127.0.0.1/b", record: on_event, triggers: [{{kind: mqtt, topic: {topic}}}]}}
"""


@pytest.mark.peer
def test_a_reload_of_another_camera_loses_no_event(tmp_path, monkeypatch):
    """The listener is exchanged for another; what happens meanwhile waits at the broker, and the status says so."""
    monkeypatch.setattr(event_triggers, "EventListener", EventListener)
    port = find_free_port()
    (tmp_path / "home.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    before, after = (parse_config(TWO.format(port=port, topic=topic), "t", tmp_path) for topic in ("yard", "garden"))
    sources = Sources({}, tmp_path, None, ReaderMemory(tmp_path / "readers.json", lambda: UtcNs(0)))
    broker = start_mosquitto(find_mosquitto(), tmp_path / "home.conf", (port,))
    triggers = Triggers(before, {}, sources, SystemClock())
    sender = paho.Client(CallbackAPIVersion.VERSION2)
    sender.connect("127.0.0.1", port)
    sender.loop_start()
    triggers.start()
    try:
        wait_until(lambda: triggers.facts("door")["events"] == "listening")
        gate = triggers.gate_of("door")
        triggers.change(after, {}, find_changes(before, {}, after, {}))
        assert triggers.gate_of("door") is gate
        assert triggers.facts("door")["events"] == "starting"
        for _ in range(5):
            sender.publish("door", "ON", qos=1).wait_for_publish(5)
        wait_until(lambda: gate.events == 5)
    finally:
        triggers.close()
        sender.disconnect()
        sender.loop_stop()
        broker.terminate()
        broker.wait(10)
