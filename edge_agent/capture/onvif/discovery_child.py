"""WS-Discovery on one interface, in a process of its own: JSON on standard input, JSON on standard output.

Run by ``capture.onvif.discovery``. Sends one kind of datagram, the Probe for cameras, and dials nobody. Takes
WSDiscovery's messages but not its daemon: that one listens on every interface, and follows whoever calls himself a
proxy.
"""

import contextlib
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from wsdiscovery import QName
from wsdiscovery.actions import constructProbe
from wsdiscovery.message import createSOAPMessage, parseSOAPMessage

from edge_agent.capture.onvif.addresses import split_address
from edge_agent.printable_text import show_line

# WS-Discovery 1.1, section 3.1.1.
GROUP = ("239.255.255.250", 3702)
SENT_EVERY_S = 0.8
_VIDEO = QName("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter")
_DEVICE = QName("http://www.onvif.org/ver10/device/wsdl", "Device")
_MAX_BYTES = 64 * 1024
_MAX_CAMERAS = 256
_SCOPE = "onvif://www.onvif.org/"


def search(interface: IPv4Interface, wait_s: float) -> list[dict[str, str]]:
    """Ask every camera on the interface's own network to name itself; return what they say."""
    address = str(interface.ip)
    found: dict[str, dict[str, str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        # No router passes the question on.
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        until, send_at = time.monotonic() + wait_s, 0.0
        while (now := time.monotonic()) < until and len(found) < _MAX_CAMERAS:
            if now >= send_at:
                # Some cameras answer to one of the two types only, and datagrams get lost.
                for kind in (_VIDEO, _DEVICE):
                    sock.sendto(createSOAPMessage(constructProbe([kind], [])).encode(), GROUP)
                send_at = now + SENT_EVERY_S
            sock.settimeout(max(0.01, min(until, send_at) - now))
            try:
                data, sender = sock.recvfrom(_MAX_BYTES)
            except TimeoutError:
                # Time to ask again, or to end.
                continue
            if IPv4Address(sender[0]) not in interface.network:
                continue  # whoever forges a sender must not have us dial it
            for camera in read_matches(data, sender[0]):
                found.setdefault(camera["address"], camera)
    return sorted(
        found.values(),
        key=lambda camera: socket.inet_aton(urlsplit(f"//{camera['address'].removeprefix('https://')}").hostname or ""),
    )


def read_matches(data: bytes, sender: str) -> list[dict[str, str]]:
    """Read a ProbeMatches datagram; a device speaks for the address that it sends from, and for no other.

    Anybody on the network may send one: a datagram that does not fit is passed over.
    """
    # Before any parser: entities that grow are the one way in which a small datagram costs much memory.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return []
    try:
        matches = parseSOAPMessage(data, sender).getProbeResolveMatches()
        return [
            {"address": _address_of(match.getXAddrs(), sender), **_names(match.getScopes())}
            for match in matches
            if not match.getTypes() or any(_is_camera(kind) for kind in match.getTypes())
        ]
    except Exception:
        # Anybody in the network can answer, with any XML: what cannot be read is no camera.
        return []


def _is_camera(kind: Any) -> bool:
    return kind.getLocalname() in (_VIDEO.getLocalname(), _DEVICE.getLocalname())


def _address_of(urls: list[str], sender: str) -> str:
    """Return ``host[:port]``: the sender, with the port that it names for itself, or for the address it believes in.

    With ``https://`` before it if the camera names that alone.
    """
    split = list(_split(urls))
    plain = [part for part in split if part.scheme == "http"]
    parts = plain or [part for part in split if part.scheme == "https"]
    scheme, usual = ("https://", 443) if parts and not plain else ("", 80)
    ports = [part.port for part in parts if part.hostname == sender] or [part.port for part in parts]
    return f"{scheme}{sender}:{ports[0]}" if ports and ports[0] not in (None, usual) else f"{scheme}{sender}"


def _split(urls: list[str]) -> Iterator[SplitResult]:
    """Split the addresses that are some; one that is none does not hide the others, or the camera."""
    for url in urls:
        with contextlib.suppress(ValueError):
            yield split_address(url)


def _names(scopes: list[Any]) -> dict[str, str]:
    names = {"name": "", "hardware": ""}
    for scope in scopes:
        for key in names:
            prefix = f"{_SCOPE}{key}/"
            value = scope.getValue()
            if value.lower().startswith(prefix):
                text = unquote(value[len(prefix) :]).replace("_", " ")
                names[key] = show_line(text, 40)
    return {"name": names["name"], "model": names["hardware"]}


def main() -> int:
    """Answer one request."""
    logging.disable(logging.CRITICAL)
    request = json.load(sys.stdin)
    try:
        result: dict[str, Any] = {"result": {"cameras": search(IPv4Interface(request["interface"]), request["wait_s"])}}
    except OSError as error:
        result = {"reason": "unreachable", "detail": f"WS-Discovery: {error.strerror}"}
    json.dump(result, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
