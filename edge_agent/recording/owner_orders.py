"""The owner's signed orders to the recorder: to end a pause of recording, to confirm the clock.

Owns the check that the owner's pinned key signed one for this gateway, just now, and the list of those that were
carried out. The recorder knows nothing of consent: of the orders of PROTOCOL 6 it understands these two.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import ConfigError, DenialError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, parse_rfc3339

log = logging.getLogger(__name__)

ORDER_TYP = "owner-order+jws"
ORDER_MAX_AGE_NS = 5 * MINUTE_NS
ORDER_SKEW_NS = 5 * SECOND_NS
_MEMBERS = frozenset({"gateway", "order_id", "iat", "order"})
# Only the owner's own get here, and each counts for five minutes: nobody signs so many meanwhile.
_USED_ORDERS = 256


@dataclass(frozen=True, slots=True)
class ResumeOrder:
    """End the pause of recording of a camera, or that of all (``*``)."""

    order_id: str
    camera: str


@dataclass(frozen=True, slots=True)
class ClockOrder:
    """Believe the wall clock."""

    order_id: str


class UsedOrders:
    """The orders that were carried out, across restarts: each is good once. Safe from any thread.

    Args:
        path: The file. If it cannot be read, an order is still good for five minutes only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._used: list[str] = []
        try:
            self._used = [str(order) for order in json.loads(read_regular(path))["used"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            log.error("used orders cannot be read path=%s", path)

    def mark_used(self, order_id: str) -> None:
        """Note that an order is carried out now; durable on return.

        Raises:
            DenialError: It was before.
            ConfigError: It cannot be noted.
        """
        with self._lock:
            if order_id in self._used:
                raise DenialError("order-reused", "This order was used before.")
            used = [*self._used, order_id][-_USED_ORDERS:]
            # Before the order is carried out: after a kill it must not count a second time.
            try:
                write_small_file(self._path, json.dumps({"used": used}).encode(), durable=True)
            except OSError as error:
                raise ConfigError(f"orders cannot be noted: {self._path}: {error.strerror}") from error
            self._used = used


def verify_order(raw: bytes, gateway: str, owner: Ed25519PublicKey, now: UtcNs) -> ResumeOrder | ClockOrder:
    """Verify an order of the owner to the recorder.

    Raises:
        DenialError: Malformed, another order, another signer or gateway, too old or from the future.
    """
    from edge_agent.protocol import jws
    from edge_agent.protocol.public_keys import thumbprint

    message = jws.parse(raw, ORDER_TYP)
    jws.verify(message, {thumbprint(owner): owner})
    members: Mapping[str, Any] = message.payload if isinstance(message.payload, dict) else {}
    order = _read_order(members)
    if members["gateway"] != gateway:
        raise DenialError("audience-mismatch", "The order is for another gateway.")
    try:
        issued = parse_rfc3339(str(members["iat"]))
    except ValueError as error:
        raise DenialError("member-invalid", "The order's time is malformed.") from error
    if not -ORDER_SKEW_NS <= now - issued <= ORDER_MAX_AGE_NS:
        raise DenialError("expired", "The order is not of just now.")
    return order


def _read_order(members: Mapping[str, Any]) -> ResumeOrder | ClockOrder:
    if set(members) == _MEMBERS and members["order"] == "confirm-clock":
        return ClockOrder(str(members["order_id"]))
    if set(members) == {*_MEMBERS, "what", "camera"} and (members["order"], members["what"]) == ("resume", "recording"):
        return ResumeOrder(str(members["order_id"]), str(members["camera"]))
    raise DenialError("member-invalid", "The recorder takes no order but to resume recording or to confirm the clock.")
