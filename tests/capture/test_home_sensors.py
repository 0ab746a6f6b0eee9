"""Sensors for Home Assistant, through a real broker: what is published, what is taken away, and what never is."""

import json

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.capture.event_listener import EventListener
from edge_agent.capture.home_sensors import encode_state, list_discovery
from edge_agent.demo.broker import find_free_port, find_mosquitto, start_mosquitto
from edge_agent.units import HOUR_NS, UtcNs
from tests.peers.wait import wait_until

NOW = UtcNs(1_790_000_000_000_000_000)
RECORDER = {
    "cameras": {
        "door.main": {"state": "recording", "storage": "ok", "oldest_ns": NOW - 36 * HOUR_NS, "detail": "Elm Street"},
        "yard.main": {"state": "down", "storage": "ok"},
    }
}
RELEASER = {
    "waiting_for_you": ["a-request"],
    "faults": ["Not recorded: Anna's room"],
    "figures": {"next_end_ns": NOW + HOUR_NS, "requests": {"denied": 3}},
}


def test_state_says_what_the_sensors_read():
    """Each template finds its value."""
    state = json.loads(encode_state(["door", "yard"], RECORDER, RELEASER, NOW))
    assert state["cameras"] == {
        "door": {"recorded": "ON", "footage_h": 36.0},
        "yard": {"recorded": "OFF", "footage_h": 0},
    }
    assert (state["requests_waiting"], state["faults"]) == (1, 1)
    assert state["next_end"] == "2026-09-21T15:13:20Z"


def test_what_a_home_is_not_shown():
    """No picture, no place, no name, no reason, and nothing that could be pressed."""
    text = encode_state(["door"], RECORDER, RELEASER, NOW).decode()
    text += "".join(topic + payload.decode() for topic, payload in list_discovery("node", ["door"], "1"))
    for word in ("Elm", "Anna", "denied", "a-request", "command_topic", "button", "camera/", "image"):
        assert word not in text


def test_processes_that_do_not_run_are_no_error():
    """Cameras are not recorded then; of the rest nothing is known."""
    state = json.loads(encode_state(["door"], None, None, NOW))
    assert state["cameras"]["door"]["recorded"] == "OFF"
    assert state["requests_waiting"] is None


@pytest.fixture
def mosquitto_plain(tmp_path):
    port = find_free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = start_mosquitto(find_mosquitto(), config, (port,))
    yield port
    broker.kill()
    broker.wait(5)


@pytest.mark.peer
def test_sensors_reach_the_homes_broker_and_those_of_old_cameras_go(mosquitto_plain, tmp_path):
    """Retained discovery, a state, a will; what a camera left behind that is there no more is taken away."""
    kept: dict[str, bytes] = {}
    home = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    home.on_message = lambda _c, _d, message: kept.update({message.topic: message.payload})
    home.connect("127.0.0.1", mosquitto_plain)
    home.subscribe("#")
    home.loop_start()
    old = "homeassistant/sensor/edge_agent_1/gone_footage/config"
    home.publish(old, b"{}", qos=1, retain=True).wait_for_publish(5)
    settings = {
        "broker": {"host": "127.0.0.1", "port": mosquitto_plain, "ca_file": ""},
        "client_id": "edge_agent_1-sensors",
        "node": "edge_agent_1",
        "cameras": ["door"],
        "sockets": {"recorder": str(tmp_path / "a"), "releaser": str(tmp_path / "b")},
    }
    listener = EventListener("edge_agent.capture.home_sensors_child", settings, ())
    listener.start()
    try:
        wait_until(lambda: "edge-agent/edge_agent_1/state" in kept, 30)
        wait_until(lambda: kept.get(old) == b"", 10)
        config = json.loads(kept["homeassistant/binary_sensor/edge_agent_1/door_recorded/config"])
        assert config["state_topic"] == "edge-agent/edge_agent_1/state"
        assert kept["edge-agent/edge_agent_1/availability"] == b"online"
    finally:
        listener.close()
    wait_until(lambda: kept["edge-agent/edge_agent_1/availability"] == b"offline", 10)
    home.loop_stop()
