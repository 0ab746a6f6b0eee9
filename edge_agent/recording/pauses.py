"""The owner's pauses of recording: set at once by anybody at the gateway, ended only by the owner's signature.

Owns the recorder's small file of pauses and the check of a signed ``resume``. The recorder knows nothing of consent:
of the owner's orders (PROTOCOL 6) it understands this one.
"""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import ConfigError, DenialError, UsageError
from edge_agent.small_file import write_small_file
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, parse_rfc3339

log = logging.getLogger(__name__)

ALL = "*"
ORDER_TYP = "owner-order+jws"
ORDER_MAX_AGE_NS = 5 * MINUTE_NS
ORDER_SKEW_NS = 5 * SECOND_NS
_FOR_GOOD = "for good"
_NEVER = UtcNs(2**63 - 1)
_USED_ORDERS = 256


class Pauses:
    """Which cameras are paused, across restarts. Safe from any thread.

    Args:
        path: The file; a missing one means none, an unreadable one means all: better no footage than unwanted footage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._until: dict[str, str] = {}
        self._used: list[str] = []
        try:
            found = json.loads(path.read_text())
            self._until = {str(camera): str(until) for camera, until in found["until"].items()}
            self._used = [str(order) for order in found["used"]]
            for until in self._until.values():
                _end_of(until)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            log.error("pauses cannot be read, all cameras are paused path=%s", path)
            self._until = {ALL: _FOR_GOOD}

    def is_paused(self, camera: str, now: UtcNs) -> bool:
        """Tell whether a camera is paused."""
        if not self._until:  # asked at every packet
            return False
        with self._lock:
            return any(name in self._until and self._holds(self._until[name], now) for name in (ALL, camera))

    def pause(self, camera: str, until: str | None) -> None:
        """Pause a camera, or ``*``, until a time (RFC 3339) or for good; durable on return.

        A pause is never made shorter by another one: ending it takes the owner's signature.

        Raises:
            UsageError: The time is malformed.
        """
        if until is not None:
            try:
                parse_rfc3339(until)
            except ValueError as error:
                raise UsageError(f"pause until: {error}") from error
        with self._lock:
            standing = self._until.get(camera, until or _FOR_GOOD)
            self._until[camera] = max(standing, until or _FOR_GOOD, key=_end_of)
            self._save()

    def resume(self, camera: str, order_id: str) -> None:
        """End the pause of a camera, or that of all; an order is good once.

        A pause of all cameras and those of single ones stand apart: an order ends what it names, and no more.

        Raises:
            DenialError: The order was used before.
        """
        with self._lock:
            if order_id in self._used:
                raise DenialError("order-reused", "This order was used before.")
            self._used = [*self._used, order_id][-_USED_ORDERS:]
            self._until.pop(camera, None)
            self._save()

    def standing(self, now: UtcNs) -> list[str]:
        """Return what is paused: cameras, and ``*`` where all of them are."""
        with self._lock:
            return sorted(name for name, until in self._until.items() if self._holds(until, now))

    def _holds(self, until: str, now: UtcNs) -> bool:
        return now < _end_of(until)

    def _save(self) -> None:
        content = json.dumps({"until": self._until, "used": self._used}).encode()
        try:
            write_small_file(self._path, content, durable=True)
        except OSError as error:
            raise ConfigError(f"pauses cannot be saved: {self._path}: {error.strerror}") from error


def _end_of(until: str) -> UtcNs:
    return _NEVER if until == _FOR_GOOD else parse_rfc3339(until)


def verify_resume(raw: bytes, gateway: str, owner: Ed25519PublicKey, now: UtcNs) -> tuple[str, str]:
    """Verify the owner's order to resume recording; return the camera, or ``*``, and the order's id.

    Raises:
        DenialError: Malformed, another order, another signer or gateway, too old or from the future.
    """
    from edge_agent import jws
    from edge_agent.keys import thumbprint

    message = jws.parse(raw, ORDER_TYP)
    jws.verify(message, {thumbprint(owner): owner})
    members: Mapping[str, Any] = message.payload if isinstance(message.payload, dict) else {}
    if set(members) != {"gateway", "order_id", "iat", "order", "what", "camera"}:
        raise DenialError("member-invalid", "The order's members are not those of a resume.")
    if (members["order"], members["what"]) != ("resume", "recording"):
        raise DenialError("member-invalid", "The recorder takes no order but to resume recording.")
    if members["gateway"] != gateway:
        raise DenialError("audience-mismatch", "The order is for another gateway.")
    try:
        issued = parse_rfc3339(str(members["iat"]))
    except ValueError as error:
        raise DenialError("member-invalid", "The order's time is malformed.") from error
    if not -ORDER_SKEW_NS <= now - issued <= ORDER_MAX_AGE_NS:
        raise DenialError("expired", "The order is not of just now.")
    return str(members["camera"]), str(members["order_id"])
