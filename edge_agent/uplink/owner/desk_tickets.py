"""The desk's tickets: a browser begins there with one, which the page fetches for a paired device that follows a link.

Owns the tickets, in memory alone: a device that is taken off has none from that moment on, and a
restart ends them all. A ticket is no key to anything: the desk takes passphrase and code as well.
It keeps a stranger on the Wi-Fi, who has no paired device, from having codes sent to the owner
without end.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply

LIFE_S = 3600.0
MAX_OF_ONE = 16
"""Of one device: a browser that fetches without end ends its own ones."""
MAX_TICKETS = 512
"""Of all devices that the page says there are."""
MAX_ENDED = 512
"""Names of devices that were taken off: random, and never given again."""
MAX_DEVICE_LETTERS = 60


class DeskTickets:
    """The tickets. Safe from any thread.

    Args:
        now_s: A clock that no one sets.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._tickets: dict[str, tuple[str, float]] = {}
        self._ended: dict[str, None] = {}

    @property
    def page_handlers(self) -> Mapping[str, Handler]:
        """The page's commands: a ticket for a device, and the end of a device's tickets."""
        return {"desk-ticket": self._make, "end-tickets": self._end}

    @property
    def desk_handlers(self) -> Mapping[str, Handler]:
        """The desk's command: whether a ticket is good."""
        return {"ticket": self._judge}

    def _make(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        device, ticket = _read_device(members), secrets.token_urlsafe(24)
        with self._lock:
            if device in self._ended:  # the page had looked at the device before it was taken off
                raise UsageError("that device was taken off")
            now_s = self._now_s()
            self._tickets = {each: found for each, found in self._tickets.items() if found[1] > now_s}
            mine = [each for each, found in self._tickets.items() if found[0] == device]
            # The oldest of this device goes, so that one device cannot end another's tickets.
            if len(mine) >= MAX_OF_ONE:
                del self._tickets[mine[0]]
            elif len(self._tickets) >= MAX_TICKETS:
                del self._tickets[next(iter(self._tickets))]
            self._tickets[ticket] = (device, now_s + LIFE_S)
        return {"ticket": ticket}

    def _end(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        device = _read_device(members)
        with self._lock:
            self._ended[device] = None
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]
            self._tickets = {each: found for each, found in self._tickets.items() if found[0] != device}
        return {}

    def _judge(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        wanted, now_s = str(members.get("ticket", "")).encode(), self._now_s()
        with self._lock:
            # A copy: each one is compared, in constant time, outside of the lock.
            found = list(self._tickets.items())
        is_good = any(
            secrets.compare_digest(each.encode(), wanted) and end_s > now_s for each, (_, end_s) in found
        )  # fmt: skip
        return {"is_good": is_good}


def _read_device(members: Mapping[str, Any]) -> str:
    device = str(members.get("device", ""))
    if not 0 < len(device) <= MAX_DEVICE_LETTERS:
        raise UsageError("a ticket is for a device")
    return device
