"""The page's process: TLS, sockets at the addresses of the home, and the devices.

Wires only. Its user reads no key but its own TLS key, no ring, no state and no configuration; what it shows it asks
the two other processes at the sockets that are its own.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.accepting import ConnectionPlaces, CountingListener, QuickHandshakeLoop
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import Answer, ControlServer, Peer
from edge_agent.host.hardening import harden, lock_folder
from edge_agent.host.regular_file import read_regular
from edge_agent.host.systemd_notify import Notifier
from edge_agent.page.app import Pages, build_app
from edge_agent.page.connections import MAX_IN_ALL, MAX_OF_ONE_ADDRESS, PageConnection
from edge_agent.page.devices import Devices
from edge_agent.page.pairing import LIFE_S, Pairing
from edge_agent.page.processes import Processes
from edge_agent.page.settings import PageSettings, ca_path, devices_path, load_settings, tls_path

log = logging.getLogger(__name__)

MAX_THREADS = 16
"""Of handlers: with the others of this process below the unit's ``TasksMax``."""
_IP_FREEBIND = 15
"""From <linux/in.h>: an address that comes later, as DHCP brings it, can be bound now."""
_TURN_S = 1.0


def main(folder: Path) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(folder)
    harden()
    os.umask(0o077)
    # What a stranger sends is not worth a line each: junk, and more connections than are taken.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    with lock_folder(folder, "page"):
        Server(folder, settings).run()
    return os.EX_OK


class Server:
    """The process.

    Args:
        folder: Its own: settings, certificate, devices.
        settings: Where to listen.
    """

    def __init__(self, folder: Path, settings: PageSettings) -> None:
        clock = SystemClock()
        self._settings, self._clock = settings, clock
        self._devices = Devices(devices_path(folder), clock.utc)
        self._pairing = Pairing(time.monotonic)
        self._stop = threading.Event()
        pages = Pages(Processes(settings), self._devices, self._pairing, clock, read_regular(ca_path(folder)))
        config = uvicorn.Config(
            build_app(pages, settings),
            http=PageConnection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
        )
        config.load()
        config.ssl = load_context(tls_path(folder))
        self._server = uvicorn.Server(config)
        handlers = {"pair": self._pair, "devices": self._list, "forget": self._forget}
        self._control = ControlServer(settings.own_socket, handlers, self._stop)

    def run(self) -> None:
        """Listen, and answer until told to stop."""
        places = ConnectionPlaces(MAX_OF_ONE_ADDRESS, MAX_IN_ALL)
        sockets = [listen(address, self._settings.port, places) for address in self._settings.addresses]
        self._control.start()
        notifier = Notifier()
        try:
            with asyncio.Runner(loop_factory=QuickHandshakeLoop) as runner:
                runner.run(self._serve(sockets, notifier))
        finally:
            notifier.stopping()
            self._stop.set()
            self._control.join()

    async def _serve(self, sockets: list[socket.socket], notifier: Notifier) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_THREADS
        watch = asyncio.create_task(self._feed(notifier))
        try:
            await self._server.serve(sockets)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    async def _feed(self, notifier: Notifier) -> None:
        while not self._server.started:
            await asyncio.sleep(0.05)
        log.info("page is served addresses=%s port=%d", ",".join(self._settings.addresses), self._settings.port)
        notifier.ready()
        while True:
            if self._control.is_alive():
                notifier.alive(self._clock.boot())
            await asyncio.sleep(_TURN_S)

    # Root's own socket: how a device is paired, and taken off

    def _pair(self, _members: Mapping[str, Any], _peer: Peer) -> Answer:
        return {"code": self._pairing.offer(), "life_s": int(LIFE_S)}

    def _list(self, _members: Mapping[str, Any], _peer: Peer) -> Answer:
        shown = [
            {"id": each.id, "name": each.name, "paired_at": each.paired_at, "seen_on": each.seen_on}
            for each in self._devices.list()
        ]
        return {"devices": shown}

    def _forget(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        wanted = str(members.get("device", ""))
        found = [each for each in self._devices.list() if wanted in (each.id, each.name)]
        if not found:
            raise UsageError(f"no such device: {json.dumps(wanted[:40])}", "edge-agent page devices")
        self._devices.remove(found[0].id)
        return {"name": found[0].name}


def load_context(path: Path) -> ssl.SSLContext:
    """Return the page's TLS: version 1.3 (RFC 8446), which every browser of the last six years speaks.

    Raises:
        ConfigError: Key or certificate cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{path}: certificate cannot be read: {error}", "sudo edge-agent page on") from error
    return context


def listen(address: str, port: int, places: ConnectionPlaces) -> socket.socket:
    """Return a socket that listens at one address of the home.

    Raises:
        ConfigError: Something else listens there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    try:
        server.bind((address, port))
    except OSError as error:
        server.close()
        hint = "another program has the port: edge-agent page on --port PORT"
        raise ConfigError(f"cannot listen at {address} port {port}: {error.strerror}", hint) from error
    server.listen(128)
    counted = CountingListener(server, places)
    counted.setblocking(False)
    return counted
