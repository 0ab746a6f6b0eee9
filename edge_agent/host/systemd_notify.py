"""Tell systemd how a service does (``sd_notify``): ready, alive, stopping, and a line of status.

Owns the datagrams to ``$NOTIFY_SOCKET`` and their timing. Without systemd every call does nothing.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

from edge_agent.units import MonoNs


class Notifier:
    """The service's line to systemd; the variables are read once.

    Args:
        environment: ``os.environ`` unless given.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._address = found.get("NOTIFY_SOCKET", "")
        watchdog_us = found.get("WATCHDOG_USEC", "0")
        # sd_watchdog_enabled(3): for the process that is named alone; a child inherits the variables and must not beat.
        is_ours = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._beat_ns = int(watchdog_us) * 1000 // 3 if watchdog_us.isdecimal() and is_ours else 0
        self._beaten: MonoNs | None = None

    def ready(self) -> None:
        """Say that start-up is complete."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(f"STATUS={text}")

    def alive(self, now: MonoNs) -> None:
        """Beat the watchdog, three times as often as it asks for; call whenever all is well."""
        if self._beat_ns and (self._beaten is None or now - self._beaten >= self._beat_ns):
            self._beaten = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # sd_notify(3): "@" stands for the zero byte that an abstract name begins with (unix(7)).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1)
            line.sendto(text.encode(), address)
