"""The owner's orders to the recorder: the owner's, for this gateway, of just now, once."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.owner_order import sign_order
from edge_agent.errors import ConfigError, DenialError
from edge_agent.protocol import jws
from edge_agent.recording.owner_orders import (
    ORDER_MAX_AGE_NS,
    ORDER_TYP,
    ClockOrder,
    ResumeOrder,
    UsedOrders,
    verify_order,
)
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

NOW = UtcNs(1_795_000_000 * SECOND_NS)
GATEWAY = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")
OWNER = Ed25519PrivateKey.generate()
RESUME = {"order": "resume", "what": "recording", "camera": "door"}
CONFIRM = {"order": "confirm-clock"}


def order_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("resume", {"what": "recording", "camera": "door"}, lambda order_id: ResumeOrder(order_id, "door")),
        ("confirm-clock", {}, ClockOrder),
    ],
)
def test_what_the_commands_sign_is_understood(kind, members, expected) -> None:
    """The two orders that the recorder takes are read as the owner meant them."""
    number = order_id()
    raw = sign_order(kind, members, GATEWAY, number, NOW, OWNER)
    assert verify_order(raw, GATEWAY, OWNER.public_key(), NOW) == expected(number)


def test_order_is_good_once(tmp_path: Path) -> None:
    """Carried out again it is refused, also by the process after this one."""
    UsedOrders(tmp_path / "orders.json").mark_used("one")
    orders = UsedOrders(tmp_path / "orders.json")
    orders.mark_used("another")
    with pytest.raises(DenialError) as refused:
        orders.mark_used("one")
    assert refused.value.reason == "order-reused"


def test_order_that_cannot_be_noted_is_not_carried_out(tmp_path: Path) -> None:
    """Without a disk that takes the note nothing happens."""
    with pytest.raises(ConfigError):
        UsedOrders(tmp_path / "no folder" / "orders.json").mark_used("one")


def test_damaged_list_costs_the_list_alone(tmp_path: Path) -> None:
    """The owner can still give orders; an old one is refused by its time."""
    (tmp_path / "orders.json").write_text('{"used": ')
    UsedOrders(tmp_path / "orders.json").mark_used("one")


WRONG: Mapping[str, tuple[dict[str, object], int, str]] = {
    "another gateway": ({**RESUME, "gateway": "B" * 21 + "A"}, 0, "audience-mismatch"),
    "to resume release": ({**RESUME, "what": "release"}, 0, "member-invalid"),
    "another order": ({**RESUME, "order": "export"}, 0, "member-invalid"),
    "a member more": ({**RESUME, "note": "x"}, 0, "member-invalid"),
    "too old": (RESUME, ORDER_MAX_AGE_NS + 1, "expired"),
    "from the future": (RESUME, -60 * SECOND_NS, "expired"),
    "clock, another gateway": ({**CONFIRM, "gateway": "B" * 21 + "A"}, 0, "audience-mismatch"),
    "clock, a camera": ({**CONFIRM, "camera": "door"}, 0, "member-invalid"),
    "clock, a pause": ({**CONFIRM, "what": "recording"}, 0, "member-invalid"),
    "clock, too old": (CONFIRM, ORDER_MAX_AGE_NS + 1, "expired"),
    "clock, from the future": (CONFIRM, -60 * SECOND_NS, "expired"),
    "no order": ({}, 0, "member-invalid"),
}


@pytest.mark.parametrize(("changes", "later_ns", "reason"), WRONG.values(), ids=WRONG.keys())
def test_wrong_orders_are_refused(changes: dict[str, object], later_ns: int, reason: str) -> None:
    """Each way in which an order is not the owner's wish of just now has its refusal."""
    members = {"gateway": GATEWAY, "order_id": order_id(), "iat": encode_rfc3339(NOW)}
    raw = jws.sign(ORDER_TYP, {**members, **changes}, [OWNER])
    with pytest.raises(DenialError) as refused:
        verify_order(raw, GATEWAY, OWNER.public_key(), UtcNs(NOW + later_ns))
    assert refused.value.reason == reason


@pytest.mark.parametrize("members", [RESUME, CONFIRM], ids=["resume", "clock"])
def test_order_of_another_key_is_refused(members: dict[str, object]) -> None:
    """Only the pinned key of the owner ends a pause or confirms the clock."""
    payload = {"gateway": GATEWAY, "order_id": order_id(), "iat": encode_rfc3339(NOW), **members}
    raw = jws.sign(ORDER_TYP, payload, [Ed25519PrivateKey.generate()])
    with pytest.raises(DenialError):
        verify_order(raw, GATEWAY, OWNER.public_key(), NOW)
