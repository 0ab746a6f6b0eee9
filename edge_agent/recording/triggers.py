"""What decides when event-only cameras are recorded: a gate for each, and the child processes that listen for events.

Motion is seen by the child that looks at pictures (``edge_agent.recording.views``). Part of the recorder process; the
children have the libraries and parsers.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.capture.events import EventGate
from edge_agent.capture.listener import EventListener
from edge_agent.capture.reasons import CaptureError
from edge_agent.clock import Clock
from edge_agent.config import Camera, Config, MqttTrigger, OnvifTrigger, Trigger
from edge_agent.credentials import Login, find_login
from edge_agent.recording.sources import Sources

log = logging.getLogger(__name__)


class Triggers:
    """The gates of all event-only cameras, and the listeners that open them.

    Args:
        config: Which cameras and triggers there are.
        logins: Credentials by name, for the home's broker.
        sources: Knows the cameras' ONVIF services.
        clock: The gateway's clocks.
    """

    def __init__(self, config: Config, logins: Mapping[str, Login], sources: Sources, clock: Clock) -> None:
        self._config, self._logins, self._clock = config, logins, clock
        self._gates: dict[str, EventGate] = {}
        self._listeners: list[EventListener] = []
        topics: list[tuple[MqttTrigger, Callable[[], None]]] = []
        for camera in config.cameras:
            if not camera.enabled or camera.record != "on_event":
                continue
            self._gates[camera.id] = EventGate(min(trigger.per_hour for trigger in camera.triggers))
            topics += [(t, self.firing(camera, t)) for t in camera.triggers if isinstance(t, MqttTrigger)]
            self._listen_onvif(camera, sources)
        self._listen_mqtt(topics)

    def gate_of(self, camera_id: str) -> EventGate | None:
        """Return the gate of an event-only camera; None for one that is always recorded."""
        return self._gates.get(camera_id)

    def start(self) -> None:
        """Start the listeners."""
        for listener in self._listeners:
            listener.start()

    def close(self) -> None:
        """End the listeners."""
        for listener in self._listeners:
            listener.close()

    def firing(self, camera: Camera, trigger: Trigger) -> Callable[[], None]:
        """Return what a trigger of an event-only camera does when it fires."""
        gate = self._gates[camera.id]

        def fire() -> None:
            recorded = gate.fire(self._clock.boot(), trigger.for_ns)
            log.info("event camera=%s kind=%s recorded=%s", camera.id, trigger.kind, recorded)

        return fire

    def _listen_mqtt(self, topics: list[tuple[MqttTrigger, Callable[[], None]]]) -> None:
        """Listen at the home's broker, for all cameras at once."""
        home = self._config.home_broker
        if not topics or home is None:
            return
        login = find_login(self._logins, home.credentials)
        broker: dict[str, Any] = {"host": home.host, "port": home.port, "ca_file": str(home.ca_file or "")}
        if login is not None:
            broker |= {"username": login.username, "password": login.password}
        settings = {
            "broker": broker,
            "client_id": f"edge-agent-{secrets.token_hex(6)}",
            "triggers": [{"topic": trigger.topic, "payload": trigger.payload} for trigger, _ in topics],
        }
        self._listeners.append(EventListener("edge_agent.capture.trigger", settings, [fire for _, fire in topics]))

    def _listen_onvif(self, camera: Camera, sources: Sources) -> None:
        """Listen to the camera itself."""
        triggers = [trigger for trigger in camera.triggers if isinstance(trigger, OnvifTrigger)]
        if not triggers:
            return
        try:
            device = sources.onvif_device(camera)
        except CaptureError as error:
            log.error("camera is not asked for events camera=%s: %s", camera.id, error)
            return
        settings = device.request(topics=[trigger.topic for trigger in triggers])
        fires = [self.firing(camera, trigger) for trigger in triggers]
        self._listeners.append(EventListener("edge_agent.capture.onvif_events", settings, fires))
