"""The server of the page and of the desk: TLS, sockets at the addresses of the home, and a loop that feeds systemd.

Owns uvicorn's settings and the cost of a stranger's connection.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn

from edge_agent.errors import ConfigError
from edge_agent.host.accepting import ConnectionPlaces, CountingListener, QuickHandshakeLoop
from edge_agent.host.clock import SystemClock
from edge_agent.host.systemd_notify import Notifier
from edge_agent.page.connections import MAX_IN_ALL, MAX_OF_ONE_ADDRESS, PageConnection
from edge_agent.page.guard import Guard
from edge_agent.page.settings import PageSettings

log = logging.getLogger(__name__)

MAX_THREADS = 16
"""Of handlers: with the others of this process below the unit's ``TasksMax``."""
_IP_FREEBIND = 15
"""From <linux/in.h>: an address that comes later, as DHCP brings it, can be bound now."""
_TURN_S = 1.0
"""Between two signs of life to systemd; the unit's ``WatchdogSec`` is many times that."""


def make_server(app: Guard, tls: Path) -> uvicorn.Server:
    """Return a server that does not listen yet."""
    config = uvicorn.Config(
        app,
        http=PageConnection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        # No proxy is in front: a browser's X-Forwarded-For must not become its address, by which
        # guesses are counted.
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    config.load()
    config.ssl = load_context(tls)
    return uvicorn.Server(config)


def serve(server: uvicorn.Server, settings: PageSettings, is_well: Callable[[], bool]) -> None:
    """Listen, and answer until told to stop (SIGTERM, SIGINT).

    Args:
        server: Of ``make_server``.
        settings: Addresses and port.
        is_well: Asked each second; systemd is told while it says yes.
    """
    places = ConnectionPlaces(MAX_OF_ONE_ADDRESS, MAX_IN_ALL)
    sockets = [listen(address, settings.port, places) for address in settings.addresses]
    notifier = Notifier()
    try:
        with asyncio.Runner(loop_factory=QuickHandshakeLoop) as runner:
            runner.run(_serve(server, sockets, _feed(server, settings, notifier, is_well)))
    finally:
        notifier.stopping()


async def _serve(server: uvicorn.Server, sockets: list[socket.socket], feed: Coroutine[Any, Any, None]) -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_THREADS
    watch = asyncio.ensure_future(feed)
    try:
        await server.serve(sockets)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _feed(
    server: uvicorn.Server, settings: PageSettings, notifier: Notifier, is_well: Callable[[], bool]
) -> None:  # fmt: skip
    clock = SystemClock()
    while not server.started:
        await asyncio.sleep(0.05)
    name = "desk" if settings.is_desk else "page"
    log.info("%s is served addresses=%s port=%d", name, ",".join(settings.addresses), settings.port)
    notifier.ready()
    while True:
        if is_well():
            notifier.alive(clock.boot())
        await asyncio.sleep(_TURN_S)


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
        # Each address has a socket of its own: an IPv6 one must not take IPv4 as well.
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
