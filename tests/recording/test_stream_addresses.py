"""What the configuration makes of a stream: how long it may take to open, and how patiently it is tried."""

import threading
from pathlib import Path

import pytest

from edge_agent.capture.status import StreamStatus
from edge_agent.host.clock import SystemClock
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.recording.stream_addresses import Sources
from edge_agent.settings.gateway import Camera
from edge_agent.units import UtcNs

MQTT = {"kind": "mqtt", "topic": "a/b"}
PACES = {
    "always": ({}, 10, False),
    "always, a slow bridge": ({"open_timeout": "30s"}, 30, False),
    "on event": ({"record": "on_event", "triggers": [MQTT]}, 60, True),
    "on event, and told how long": ({"record": "on_event", "triggers": [MQTT], "open_timeout": "5s"}, 5, True),
    "on motion, always open": ({"record": "on_event", "triggers": [{"kind": "motion"}]}, 60, False),
}


@pytest.mark.parametrize(("settings", "timeout_s", "is_patient"), PACES.values(), ids=PACES.keys())
def test_pace_of_a_stream(settings: dict[str, object], timeout_s: float, is_patient: bool, tmp_path: Path) -> None:
    """An event has to wake most bridges first, and nothing wakes them every second."""
    camera = Camera.model_validate({"id": "door", "url": "rtsp://127.0.0.1/a", **settings})
    sources = Sources({}, tmp_path, threading.Event(), ReaderMemory(tmp_path / "readers.json", lambda: UtcNs(0)))
    endpoint = sources.resolver(camera, "main", lambda: StreamStatus(SystemClock()))()
    assert (endpoint.open_timeout_s, endpoint.is_patient) == (timeout_s, is_patient)


def test_reader_is_the_configured_one(tmp_path: Path) -> None:
    """Left open unless the owner says which."""
    sources = Sources({}, tmp_path, threading.Event(), ReaderMemory(tmp_path / "readers.json", lambda: UtcNs(0)))
    for settings, reader in (({}, "auto"), ({"reader": "ffmpeg"}, "ffmpeg")):
        camera = Camera.model_validate({"id": "door", "url": "rtsp://127.0.0.1/a", **settings})
        assert sources.resolver(camera, "main", lambda: StreamStatus(SystemClock()))().reader == reader
