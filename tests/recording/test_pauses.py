"""The owner's pauses of recording."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent import jws
from edge_agent.consent.order import sign_order
from edge_agent.errors import DenialError, UsageError
from edge_agent.recording.pauses import ALL, ORDER_MAX_AGE_NS, ORDER_TYP, Pauses, verify_resume
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

NOW = UtcNs(1_795_000_000 * SECOND_NS)
GATEWAY = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")


def order_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


def test_pause_outlives_the_process(tmp_path: Path) -> None:
    """A pause is there again after a restart, and ends by its time alone where it has one."""
    Pauses(tmp_path / "pauses.json").pause("door", encode_rfc3339(UtcNs(NOW + SECOND_NS)))
    Pauses(tmp_path / "pauses.json").pause("yard", None)
    pauses = Pauses(tmp_path / "pauses.json")
    assert [pauses.is_paused(camera, NOW) for camera in ("door", "yard", "gate")] == [True, True, False]
    later = UtcNs(NOW + SECOND_NS)
    assert [pauses.is_paused(camera, later) for camera in ("door", "yard", "gate")] == [False, True, False]


def test_damaged_file_pauses_everything(tmp_path: Path) -> None:
    """What the owner had paused is unknown: nothing is recorded rather than something unwanted."""
    for damaged in ('{"until": ', '{"until": {"yard": "soon"}, "used": []}'):
        (tmp_path / "pauses.json").write_text(damaged)
        assert Pauses(tmp_path / "pauses.json").is_paused("door", NOW)


@pytest.mark.parametrize("first_s", [None, 3600])
def test_pause_is_never_made_shorter_by_a_pause(tmp_path: Path, first_s: int | None) -> None:
    """Ending a pause takes the owner's signature; a shorter pause on top of it does not end it."""
    pauses = Pauses(tmp_path / "pauses.json")
    pauses.pause("door", None if first_s is None else encode_rfc3339(UtcNs(NOW + first_s * SECOND_NS)))
    pauses.pause("door", encode_rfc3339(UtcNs(NOW + SECOND_NS)))
    assert pauses.is_paused("door", UtcNs(NOW + 60 * SECOND_NS))


def test_malformed_time_is_refused(tmp_path: Path) -> None:
    """A time that cannot be read does not become a pause of another length."""
    with pytest.raises(UsageError):
        Pauses(tmp_path / "pauses.json").pause("door", "tomorrow")


def test_owners_order_resumes_once(tmp_path: Path) -> None:
    """The order that the command signs ends the pause; sent again it is refused."""
    owner = Ed25519PrivateKey.generate()
    pauses = Pauses(tmp_path / "pauses.json")
    pauses.pause("door", None)
    raw = sign_order("resume", {"what": "recording", "camera": "door"}, GATEWAY, order_id(), NOW, owner)
    pauses.resume(*verify_resume(raw, GATEWAY, owner.public_key(), NOW))
    assert not pauses.is_paused("door", NOW)
    with pytest.raises(DenialError) as refused:
        Pauses(tmp_path / "pauses.json").resume(*verify_resume(raw, GATEWAY, owner.public_key(), NOW))
    assert refused.value.reason == "order-reused"


@pytest.mark.parametrize("ended", [ALL, "door"])
def test_resume_ends_the_pause_of_its_name_alone(tmp_path: Path, ended: str) -> None:
    """A pause of all cameras and one of a single camera end apart, each by a resume of the same words."""
    pauses = Pauses(tmp_path / "pauses.json")
    pauses.pause("door", None)
    pauses.pause(ALL, None)
    pauses.resume(ended, order_id())
    other = ({ALL, "door"} - {ended}).pop()
    assert pauses.standing(NOW) == [other]
    assert pauses.is_paused("door", NOW)
    assert pauses.is_paused("yard", NOW) is (other == ALL)
    pauses.resume(other, order_id())
    assert pauses.standing(NOW) == []
    assert not pauses.is_paused("door", NOW)


def test_pause_that_is_over_does_not_stand(tmp_path: Path) -> None:
    """What ended by its time is not told as a pause that stands."""
    pauses = Pauses(tmp_path / "pauses.json")
    pauses.pause("door", encode_rfc3339(UtcNs(NOW + SECOND_NS)))
    assert pauses.standing(NOW) == ["door"]
    assert pauses.standing(UtcNs(NOW + SECOND_NS)) == []


WRONG: Mapping[str, tuple[dict[str, object], int, str]] = {
    "another gateway": ({"gateway": "B" * 21 + "A"}, 0, "audience-mismatch"),
    "to resume release": ({"what": "release"}, 0, "member-invalid"),
    "another order": ({"order": "export"}, 0, "member-invalid"),
    "a member more": ({"note": "x"}, 0, "member-invalid"),
    "too old": ({}, ORDER_MAX_AGE_NS + 1, "expired"),
    "from the future": ({}, -60 * SECOND_NS, "expired"),
}


@pytest.mark.parametrize(("changes", "later_ns", "reason"), WRONG.values(), ids=WRONG.keys())
def test_wrong_orders_are_refused(changes: dict[str, object], later_ns: int, reason: str) -> None:
    """Each way in which an order is not the owner's wish of just now has its refusal."""
    owner = Ed25519PrivateKey.generate()
    members = {"gateway": GATEWAY, "order_id": order_id(), "iat": encode_rfc3339(NOW), "order": "resume"}
    raw = jws.sign(ORDER_TYP, {**members, "what": "recording", "camera": "door", **changes}, [owner])
    with pytest.raises(DenialError) as refused:
        verify_resume(raw, GATEWAY, owner.public_key(), UtcNs(NOW + later_ns))
    assert refused.value.reason == reason


def test_order_of_another_key_is_refused() -> None:
    """Only the pinned key of the owner ends a pause."""
    raw = sign_order(
        "resume", {"what": "recording", "camera": "*"}, GATEWAY, order_id(), NOW, Ed25519PrivateKey.generate()
    )
    with pytest.raises(DenialError):
        verify_resume(raw, GATEWAY, Ed25519PrivateKey.generate().public_key(), NOW)
