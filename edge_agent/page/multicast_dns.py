"""Tells the devices of the home the addresses of the page's and the desk's names, by multicast DNS (RFC 6762).

Only names that end in ``.local`` are told (RFC 6762, 3), and only at the addresses that the page listens at. A failure
here costs the names alone, and it is tried again: the page is served at its addresses too, the desk by its name only.
"""

import errno
import ipaddress
import logging
import socket
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from zeroconf import Error, IPVersion, ServiceInfo, Zeroconf

from edge_agent.page.settings import PageSettings

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""A home gives its gateway another address, or none for a while: so often we look which are there."""
_PORT = 5353
_SERVICE = "_https._tcp.local."
"""RFC 6763, 7: an announcement belongs to a service, and this is the registered name of ours."""


class Announcer:
    """Tells the names in a thread of its own, until it is stopped.

    Args:
        settings: The page's: its addresses and names, and the desk's address.
    """

    def __init__(self, settings: PageSettings) -> None:
        self._addresses = [each for each in settings.addresses if not ipaddress.ip_address(each).is_loopback]
        desk = urlsplit(settings.desk)
        called = [(each, settings.port) for each in settings.names]
        called += [(desk.hostname, desk.port or settings.port)] if desk.hostname else []
        self._called = [(name, port) for name, port in called if name.endswith(".local")]
        self._is_refusal_told = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mdns", daemon=True)

    def start(self) -> None:
        """Begin, if there is a name to tell and a place to tell it at."""
        if self._addresses and self._called:
            self._thread.start()

    def stop(self) -> None:
        """Take the names back and end: 2 s at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        told: list[str] = []
        responder: Zeroconf | None = None
        is_over = False
        while not is_over:
            try:
                here = [each for each in self._addresses if self._is_here(each)]
                if here != told:
                    _close(responder)
                    responder, told = None, []
                    responder = self._open(here)
                    told = here if responder else []
            # Swallowed: the page works at its addresses without its names, and the next look tries
            # again.
            except Exception:
                log.exception("names are not told by multicast DNS")
            is_over = self._stop.wait(LOOK_S)
        _close(responder)

    def _open(self, addresses: Sequence[str]) -> Zeroconf | None:
        """Tell the names at these addresses; None if they cannot be told now."""
        # Messages go over IPv4, which each home network has; the addresses in them are of both kinds.
        interfaces = [each for each in addresses if ":" not in each]
        if not interfaces:
            return None
        responder = None
        try:
            responder = Zeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
            # A device that claims the name of the service is not asked for leave: browsers use the host's name, and
            # another device that claims that has no certificate for it.
            for name, port in self._called:
                responder.register_service(_describe(name, port, addresses), cooperating_responders=True)
        except (OSError, Error) as error:
            log.warning("names are not told by multicast DNS: %s", str(error) or type(error).__name__)
            _close(responder)
            return None
        names = ",".join(name for name, _ in self._called)
        log.info("names are told by multicast DNS names=%s addresses=%s", names, ",".join(interfaces))
        return responder

    def _is_here(self, address: str) -> bool:
        """Tell whether this machine has an address now; asking for the list of all would need a netlink socket.

        The port is the one that the unit lets this process bind.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, _PORT))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL and not self._is_refusal_told:
                    log.warning("names are not told by multicast DNS address=%s: %s", address, error.strerror)
                    self._is_refusal_told = True
                return False
        return True


def _describe(name: str, port: int, addresses: Sequence[str]) -> ServiceInfo:
    label = name.removesuffix(".local").replace(".", "-")
    return ServiceInfo(
        _SERVICE, f"{label}.{_SERVICE}", port=port, server=f"{name}.", parsed_addresses=list(addresses)
    )  # fmt: skip


def _close(responder: Zeroconf | None) -> None:
    if responder is not None:
        responder.close()
