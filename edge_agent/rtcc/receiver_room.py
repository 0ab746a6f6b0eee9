"""How much an upload server has promised: bytes that were announced and are not here yet, per certificate and in all.

Owns the numbers alone, in memory; ``edge_agent.rtcc.receiver_storage`` keeps the bytes. A promise
that is not counted is made twice: two uploads that each fit on the disk would fail together in the
middle.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_UNFINISHED = 64
"""Per certificate: as many as a request may name cameras."""
MAX_ANNOUNCED_BYTES = 256 << 30
"""Per certificate, of all its unfinished uploads together."""
STALLED_S = 3600.0
"""An upload without a new byte for so long gives its room up to another one."""
CREATION_S = 60.0
"""So long a creation may take between being allowed and being on the disk."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why there is no room now, as an HTTP status."""

    status: int
    why: str


class ReservedSpace:
    """The promises of a server. Any thread.

    Args:
        monotonic: Seconds, never stepping.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._left: dict[str, dict[str, int]] = {}
        """By gateway and upload: bytes that are still to come."""
        self._moved_at: dict[tuple[str, str], float] = {}
        """By gateway and upload: when there was a new byte."""
        self._allowed: dict[tuple[str, str], list[tuple[float, int]]] = {}
        """By gateway and name: creations that are under way, with their deadline and size."""

    def allow(self, gateway: str, name: str, size: int, free_bytes: int) -> NoRoom | None:
        """Promise room for one upload, or say why there is none.

        Args:
            gateway: CN of the certificate.
            name: Of the upload.
            size: Announced, in bytes.
            free_bytes: Of the disk, less the bytes that are kept free.
        """
        with self._lock:
            self._forget_old()
            own = self._left.get(gateway, {})
            # Creations that are allowed and not on the disk yet count too: two at once would share
            # one room.
            coming = [size for (each, _), sizes in self._allowed.items() if each == gateway for _, size in sizes]
            if len(own) + len(coming) >= MAX_UNFINISHED:
                return NoRoom(429, "too many uploads under way")
            if sum(own.values()) + sum(coming) + size > MAX_ANNOUNCED_BYTES:
                return NoRoom(429, "too many bytes under way")
            # Bytes that are here already have left `free_bytes`: only those still to come are
            # added.
            if self._sum() + size > free_bytes:
                return NoRoom(503, "disk is full")
            self._allowed.setdefault((gateway, name), []).append((self._monotonic() + CREATION_S, size))
            return None

    def put(self, gateway: str, uid: str, name: str, left: int) -> None:
        """Note how many bytes of an upload are still to come; its creation is over."""
        with self._lock:
            if uid not in self._left.setdefault(gateway, {}) and (sizes := self._allowed.get((gateway, name))):
                sizes.pop()
            if self._left[gateway].get(uid) != left:
                self._moved_at[gateway, uid] = self._monotonic()
            self._left[gateway][uid] = left

    def find_stalled(self, longer_than_s: float) -> list[tuple[str, str]]:
        """Return gateway and id of each upload that is not whole, and got no new byte for so long."""
        with self._lock:
            since = self._monotonic() - longer_than_s
            found = [each for each, moved_at in self._moved_at.items() if moved_at <= since]
            return [(gateway, uid) for gateway, uid in found if self._left[gateway][uid]]

    def drop(self, gateway: str, uid: str) -> None:
        """Forget an upload that is whole, or is not wanted any more."""
        with self._lock:
            own = self._left.get(gateway, {})
            own.pop(uid, None)
            self._moved_at.pop((gateway, uid), None)
            if not own:
                self._left.pop(gateway, None)

    @property
    def announced_bytes(self) -> int:
        """All bytes that are still to come."""
        with self._lock:
            self._forget_old()
            return self._sum()

    def _sum(self) -> int:
        coming = sum(size for sizes in self._allowed.values() for _, size in sizes)
        return coming + sum(sum(own.values()) for own in self._left.values())

    def _forget_old(self) -> None:
        now = self._monotonic()
        for key, sizes in list(self._allowed.items()):
            if kept := [each for each in sizes if each[0] > now]:
                self._allowed[key] = kept
            else:
                del self._allowed[key]
