"""The ONVIF cameras that answer on an interface, and their answers to questions without a password.

Owns the search and the questions after it. Must never send a login to an address that was only discovered.
"""

import fcntl
import socket
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from edge_agent.capture.camera_tls import fetch_certificate, pin_of
from edge_agent.capture.onvif.query import OnvifDescription, OnvifDevice, ask_child, describe_device
from edge_agent.capture.reasons import CaptureError

WAIT_S = 4.0
_AT_ONCE = 4
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera, and its answers."""

    address: str
    name: str
    model: str
    description: OnvifDescription | None
    problem: str
    """Why there is no description; a code of ``capture.reasons``."""
    words: str
    was_tried: bool
    """Whether a login was sent to it, because the installer named the address."""
    pin: str = ""
    """Of the certificate that it shows, if it speaks HTTPS; it proves nothing until somebody has compared it."""


def list_interfaces() -> dict[str, IPv4Interface]:
    """Return the interfaces that have an IPv4 address, by name."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                address, netmask = (_ask_kernel(sock, what, name) for what in (_SIOCGIFADDR, _SIOCGIFNETMASK))
            except OSError:
                # It has no IPv4 address, so nobody can be asked through it.
                continue
            found[name] = IPv4Interface(f"{address}/{netmask}")
    return found


def _ask_kernel(sock: socket.socket, what: int, interface: str) -> str:
    # struct ifreq (netdevice(7)): the name in 16 bytes with its end, then a sockaddr_in: family 2, port 2, address 4.
    answer = fcntl.ioctl(sock, what, struct.pack("256s", interface.encode()[:15]))
    return socket.inet_ntoa(answer[20:24])


def discover(interface: IPv4Interface, tried: Sequence[OnvifDevice] = (), wait_s: float = WAIT_S) -> list[FoundCamera]:
    """Search on an interface, then ask each camera what it has; takes ``wait_s`` and some seconds per four cameras.

    Args:
        interface: An address of this machine and the network that it is in.
        tried: Cameras that the installer named, with the login to try; they need not be found.
        wait_s: How long to wait for answers.

    Raises:
        CaptureError: The interface cannot be searched.
    """
    request = {"interface": str(interface), "wait_s": wait_s}
    found = ask_child("discovery_child", request, threading.Event(), wait_s + 10)["cameras"]
    return describe_all({camera["address"]: (camera["name"], camera["model"]) for camera in found}, tried)


def describe_all(found: dict[str, tuple[str, str]], tried: Sequence[OnvifDevice]) -> list[FoundCamera]:
    """Ask each camera what it has: those that the installer named with a login, all others without."""
    logins = {device.address: device for device in tried}
    names = found | {address: ("", "") for address in logins if address not in found}

    def describe(address: str) -> FoundCamera:
        name, model = names[address]
        description, problem, words, pin = None, "", "", ""
        device = logins.get(address, OnvifDevice(address))
        try:
            if address.startswith("https://"):
                pin = pin_of(fetch_certificate(address))
                # Nothing secret goes to a camera that was only found: any stranger may be asked so.
                device = device if address in logins else replace(device, pin=pin)
            description = describe_device(device)
        except CaptureError as error:
            problem, words = error.reason, str(error)
        if description is not None and description.model:
            model = f"{description.maker} {description.model}".strip()
        return FoundCamera(address, name, model, description, problem, words, address in logins, pin)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="discover") as pool:
        return list(pool.map(describe, names))
