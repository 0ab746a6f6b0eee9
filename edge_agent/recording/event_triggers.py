"""Decides when event-only cameras are recorded: a gate for each, and the child processes that listen for events.

Knows for each camera whether its events can come, and if not, why: without events nothing of it is recorded. Motion is
seen by the child that looks at pictures (``edge_agent.recording.picture_watch``). Part of the recorder process; the
children have the libraries and parsers.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

from edge_agent.capture.event_listener import EventListener
from edge_agent.capture.event_window import EventGate
from edge_agent.capture.reasons import CaptureError
from edge_agent.custody.credentials import Login, find_login
from edge_agent.errors import ConfigError
from edge_agent.host.clock import Clock
from edge_agent.recording.reload import Changes
from edge_agent.recording.stream_addresses import Sources, open_timeout_ns, sleeps_between_events
from edge_agent.settings.gateway import Camera, Config
from edge_agent.settings.triggers import MqttTrigger, OnvifTrigger, Trigger
from edge_agent.units import SECOND_NS, encode_rfc3339

log = logging.getLogger(__name__)

_FIRST_RECORD_NS = 5 * SECOND_NS
"""From the opening of a session to its first record: a keyframe and the pictures until the next one, or two seconds."""
_HOME = ""
"""The listener at the home's broker; cameras' ids are not empty."""


class _Line:
    """The last word of one listener, and its time; written by its thread, read by any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.state, self.detail, self.since = "starting", "", clock.utc()

    def begin(self) -> None:
        """Note that another listener takes over."""
        self.state, self.detail, self.since = "starting", "", self._clock.utc()

    def tell(self, trouble: str) -> None:
        """Note why no events come; an empty text for that they do."""
        state = "trouble" if trouble else "listening"
        if state != self.state:
            self.since = self._clock.utc()
        self.state, self.detail = state, trouble


class Triggers:
    """The gates of all event-only cameras, and the listeners that open them.

    Args:
        config: Which cameras and triggers there are.
        logins: Credentials by name, for the home's broker.
        sources: Knows the cameras' ONVIF services.
        clock: The gateway's clocks.
    """

    def __init__(self, config: Config, logins: Mapping[str, Login], sources: Sources, clock: Clock) -> None:
        self._config, self._logins, self._clock, self._sources = config, logins, clock, sources
        self._gates: dict[str, EventGate] = {}
        self._listeners: dict[str, EventListener] = {}
        """By the camera that is listened to; the home's broker is under no name."""
        self._lines: dict[str, list[_Line]] = {}
        self._home_line = _Line(clock)
        # One for the life of this process: while a listener is exchanged for another, the broker keeps their events. No
        # other process has it: a broker ends the older of two connections with one id (MQTT 5, 3.1.4).
        self._client_id = f"edge-agent-{secrets.token_hex(6)}"
        for camera in config.cameras:
            self._add(camera)
        self._listen_mqtt()

    def change(self, config: Config, logins: Mapping[str, Login], changes: Changes) -> None:
        """Take over a changed configuration. Untouched cameras keep their gate and the event that opened it."""
        has_other_mqtt = _list_mqtt(self._config, changes.stop) + _list_mqtt(config, changes.start)
        self._config, self._logins = config, logins
        for camera_id in changes.stop:
            self._gates.pop(camera_id, None)
            self._lines.pop(camera_id, None)
            listener = self._listeners.pop(camera_id, None)
            if listener is not None:
                listener.close()
        for camera in config.cameras:
            if camera.id in changes.start:
                self._add(camera)
                if camera.id in self._listeners:
                    self._listeners[camera.id].start()
        if has_other_mqtt:  # a changed home's broker or login touches every camera that waits for it
            listener = self._listeners.pop(_HOME, None)
            if listener is not None:
                listener.close()
            self._home_line.begin()
            self._listen_mqtt()
            if _HOME in self._listeners:
                self._listeners[_HOME].start()

    def _add(self, camera: Camera) -> None:
        if not camera.enabled or camera.record != "on_event":
            return
        wake_ns = open_timeout_ns(camera) + _FIRST_RECORD_NS if sleeps_between_events(camera) else 0
        self._gates[camera.id] = EventGate(wake_ns, camera.qualities)
        self._lines[camera.id] = []
        if _mqtt_of(camera):
            self._lines[camera.id].append(self._home_line)
        self._listen_onvif(camera)

    def gate_of(self, camera_id: str) -> EventGate | None:
        """Return the gate of an event-only camera; None for one that is always recorded."""
        return self._gates.get(camera_id)

    def facts(self, camera_id: str) -> Mapping[str, Any]:
        """Return what the status tells of how a camera's events come; nothing if no listener is needed."""
        lines = self._lines.get(camera_id)
        if not lines:
            return {}
        worst = min(lines, key=lambda line: ("trouble", "starting", "listening").index(line.state))
        return {"events": worst.state, "events_detail": worst.detail, "events_since": encode_rfc3339(worst.since)}

    def start(self) -> None:
        """Start the listeners."""
        for listener in self._listeners.values():
            listener.start()

    def close(self) -> None:
        """End the listeners."""
        for listener in self._listeners.values():
            listener.close()

    def firing(self, camera: Camera, trigger: Trigger) -> Callable[[], None]:
        """Return a function for a trigger of an event-only camera: it opens the gate that stands when it is called."""

        def fire() -> None:
            gate = self._gates.get(camera.id)
            recorded = gate is not None and gate.fire(self._clock.boot(), trigger.for_ns, trigger.per_hour)
            log.info("event camera=%s kind=%s recorded=%s", camera.id, trigger.kind, recorded)

        return fire

    def _list_topics(self) -> list[tuple[MqttTrigger, Callable[[], None]]]:
        return [
            (trigger, self.firing(camera, trigger))
            for camera in self._config.cameras
            if camera.id in self._gates
            for trigger in _mqtt_of(camera)
        ]

    def _listen_mqtt(self) -> None:
        """Listen at the home's broker, for all cameras at once."""
        home, topics = self._config.home_broker, self._list_topics()
        if not topics or home is None:
            return
        try:
            login = find_login(self._logins, home.credentials)
        except ConfigError as error:
            log.error("home's broker is not listened to: %s", error)
            self._home_line.tell(str(error))
            return
        broker: dict[str, Any] = {"host": home.host, "port": home.port, "ca_file": str(home.ca_file or "")}
        if login is not None:
            broker |= {"username": login.username, "password": login.password}
        settings = {
            "broker": broker,
            "client_id": self._client_id,
            "triggers": [{"topic": trigger.topic, "payload": trigger.payload} for trigger, _ in topics],
        }
        fires, module = [fire for _, fire in topics], "edge_agent.capture.home_mqtt_child"
        self._listeners[_HOME] = EventListener(module, settings, fires, self._home_line.tell)

    def _listen_onvif(self, camera: Camera) -> None:
        """Listen to the camera itself."""
        triggers = [trigger for trigger in camera.triggers if isinstance(trigger, OnvifTrigger)]
        if not triggers:
            return
        line = _Line(self._clock)
        self._lines[camera.id].append(line)
        try:
            device = self._sources.onvif_device(camera)
        except CaptureError as error:
            log.error("camera is not asked for events camera=%s: %s", camera.id, error)
            line.tell(str(error))
            return
        settings = device.request(topics=[trigger.topic for trigger in triggers])
        fires = [self.firing(camera, trigger) for trigger in triggers]
        module = "edge_agent.capture.onvif.events_child"
        self._listeners[camera.id] = EventListener(module, settings, fires, line.tell)


def _mqtt_of(camera: Camera) -> list[MqttTrigger]:
    return [trigger for trigger in camera.triggers if isinstance(trigger, MqttTrigger)]


def _list_mqtt(config: Config, cameras: Collection[str]) -> list[MqttTrigger]:
    return [trigger for camera in config.cameras if camera.id in cameras for trigger in _mqtt_of(camera)]
