"""Runs the child that publishes sensors to the home's broker, if the configuration asks for it.

Part of the recorder process, which already has that broker's login; the published facts come from both processes.
"""

import logging
from collections.abc import Mapping

from edge_agent.capture.event_listener import EventListener
from edge_agent.custody.credentials import Login, find_login
from edge_agent.errors import ConfigError
from edge_agent.settings.gateway import Config

log = logging.getLogger(__name__)

_MODULE = "edge_agent.capture.home_sensors_child"


class SensorPublisher:
    """The child's life, through reloads.

    Args:
        node: Names this gateway at the broker; stable, and no person's name.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._settings: Mapping[str, object] | None = None
        self._listener: EventListener | None = None

    def change(self, config: Config, logins: Mapping[str, Login]) -> None:
        """Start, restart or end the child, as a configuration says."""
        settings = self._plan(config, logins)
        if settings == self._settings:
            return
        self.close()
        self._settings = settings
        if settings is not None:
            self._listener = EventListener(_MODULE, settings, (), _tell)
            self._listener.start()

    def close(self) -> None:
        """End the child."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._settings = None

    def _plan(self, config: Config, logins: Mapping[str, Login]) -> Mapping[str, object] | None:
        home = config.home_broker
        if home is None or not home.sensors:
            return None
        try:
            login = find_login(logins, home.credentials)
        except ConfigError as error:
            log.error("no sensors for the home: %s", error)
            return None
        broker: dict[str, object] = {"host": home.host, "port": home.port, "ca_file": str(home.ca_file or "")}
        if login is not None:
            broker |= {"username": login.username, "password": login.password}
        return {
            "broker": broker,
            # A broker ends the older of two connections with one client id (MQTT 5.0, 3.1.4): each has its own.
            "client_id": f"{self._node}-sensors",
            "node": self._node,
            "cameras": [camera.id for camera in config.cameras if camera.enabled],
            "sockets": {name: str(config.control_path(name)) for name in ("recorder", "releaser")},
        }


def _tell(trouble: str) -> None:
    if trouble:
        log.warning("sensors for the home are not published: %s", trouble)
    else:
        log.info("sensors for the home are published")
