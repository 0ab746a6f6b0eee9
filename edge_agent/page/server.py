"""The page's process: TLS, sockets at the addresses of the home, and the devices.

Wires only. Its user reads no key but its own TLS key, no ring, no state and no configuration; it asks the two other
processes for all that it shows, at the sockets that are its own.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import ControlServer, Peer, Reply
from edge_agent.host.hardening import harden, lock_folder
from edge_agent.host.regular_file import read_regular
from edge_agent.page.app import Desk, Pages, build_app
from edge_agent.page.devices import Devices
from edge_agent.page.listening import make_server, serve
from edge_agent.page.multicast_dns import Announcer
from edge_agent.page.pairing import FIRST_LIFE_S, LIFE_S, Pairing
from edge_agent.page.processes import Processes
from edge_agent.page.settings import (
    PageSettings,
    ca_path,
    devices_path,
    first_code_path,
    load_settings,
    tls_path,
)
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)


def main(folder: Path) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(folder)
    harden()
    # Before the first file and socket of this process.
    os.umask(0o077)
    # A stranger's bytes are not worth a line each: junk, and more connections than are taken.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    with lock_folder(folder, "page"):
        Server(folder, settings).run()
    return os.EX_OK


class Server:
    """The process.

    Args:
        folder: Its own: settings, certificate, devices.
        settings: Addresses, port, and the paths of the sockets.
    """

    def __init__(self, folder: Path, settings: PageSettings) -> None:
        clock = SystemClock()
        self._settings, self._clock = settings, clock
        processes = Processes(settings)
        self._devices = Devices(devices_path(folder), clock.utc, processes.end_tickets)
        self._pairing = Pairing(time.monotonic)
        self._take_first_code(first_code_path(folder))
        self._stop = threading.Event()
        pages = Pages(
            processes, self._devices, self._pairing, clock, read_regular(ca_path(folder)), Desk(settings.desk)
        )  # fmt: skip
        self._server = make_server(build_app(pages, settings), tls_path(folder))
        handlers = {"pair": self._pair, "devices": self._list, "forget": self._forget}
        self._control = ControlServer(settings.own_socket, handlers, self._stop)
        self._announcer = Announcer(settings)

    def run(self) -> None:
        """Listen, and answer until told to stop."""
        self._control.start()
        self._announcer.start()
        try:
            serve(self._server, self._settings, self._control.is_alive)
        finally:
            self._stop.set()
            self._announcer.stop()
            self._control.join()

    def _take_first_code(self, path: Path) -> None:
        """Take the code that ``page on`` has printed, once: it is gone from the disk before it can be used."""
        try:
            found = json.loads(read_regular(path))
            path.unlink()
            code, left_s = str(found["code"]), int(found["until_s"]) - self._clock.utc() // SECOND_NS
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("code of the first device cannot be read")
            return
        if 0 < left_s <= FIRST_LIFE_S:
            self._pairing.accept(code, left_s)

    # Root's own socket: how a device is paired, and taken off

    def _pair(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        return {"code": self._pairing.offer(), "life_s": int(LIFE_S)}

    def _list(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        shown = [
            {"id": each.id, "name": each.name, "paired_at": each.paired_at, "seen_on": each.seen_on}
            for each in self._devices.list()
        ]
        return {"devices": shown}

    def _forget(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        wanted = str(members.get("device", ""))
        found = [each for each in self._devices.list() if wanted in (each.id, each.name)]
        if not found:
            raise UsageError(f"no such device: {json.dumps(wanted[:40])}", "edge-agent page devices")
        self._devices.remove(found[0].id)
        return {"name": found[0].name}
