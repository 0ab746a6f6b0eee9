"""The control commands about recording and time: anybody stops, the owner's signature allows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import sign_order
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, DenialError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.protocol.enrolment import name_unenrolled
from edge_agent.recording.owner_commands import RecordingCommands
from edge_agent.recording.owner_orders import UsedOrders
from edge_agent.recording.pauses import Pauses
from edge_agent.recording.ring_sink import RingSink
from edge_agent.settings.gateway import parse_config
from edge_agent.units import ClockState
from tests.support.fakes import FakeKernel

PEER = Peer(1, 1000, 1000)
TEXT = "cameras: [{id: door, url: 'rtsp://a/b'}, {id: yard, url: 'rtsp://a/c', enabled: false}]\n"
OWNER, GATEWAY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate().public_key()


class Keys:
    """The public keys of a gateway that belongs to no RTCC."""

    def load_public(self, name: str) -> Ed25519PublicKey:
        return {"owner": OWNER.public_key(), "gateway": GATEWAY}[name]


class Sink:
    """A ring whose retention waits for a confirmed clock."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def facts(self) -> Mapping[str, Any]:
        return {"clock_held_back": not self.offsets}

    def confirm_clock(self, offset_ns: int) -> None:
        self.offsets.append(offset_ns)


class House:
    """The commands over real pauses, real orders and a kernel that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.kernel = FakeKernel()
        self.clock = KeptClock(folder / "clock.json", b"a" * 16, self.kernel.system())
        self.pauses = Pauses(folder / "pauses.json", b"a" * 16)
        self.sink = Sink()
        config = parse_config(TEXT, "test", folder)
        self.orders = 0
        self.commands = RecordingCommands(
            lambda: config, cast(KeyStore, Keys()), self.pauses, UsedOrders(folder / "orders.json"), self.clock,
            lambda: {"door.main": cast(RingSink, self.sink)},
        )  # fmt: skip

    def paused(self) -> list[str]:
        return self.pauses.standing(self.clock.utc(), self.clock.boot())

    def sign(self, kind: str, signer: Ed25519PrivateKey = OWNER, **members: str) -> dict[str, Any]:
        self.orders += 1
        order_id = encode_b64url(self.orders.to_bytes(16, "big"))
        raw = sign_order(kind, members, name_unenrolled(GATEWAY), order_id, self.clock.wall(), signer)
        return {"jws": raw.decode()}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_anybody_pauses_and_the_owner_resumes(house: House) -> None:
    """A pause needs no signature, also of a camera that is switched off; ending it needs one of this owner."""
    for camera in ("door", "yard", "*"):
        house.commands.pause({"camera": camera}, PEER)
    assert house.paused() == ["*", "door", "yard"]
    resume = house.sign("resume", what="recording", camera="door")
    with pytest.raises(DenialError):
        house.commands.order(house.sign("resume", Ed25519PrivateKey.generate(), what="recording", camera="*"), PEER)
    assert house.commands.order(resume, PEER) == {"state": "resumed", "paused": ["*", "yard"]}
    house.commands.pause({"camera": "door"}, PEER)
    with pytest.raises(DenialError) as refused:
        house.commands.order(resume, PEER)
    assert refused.value.reason == "order-reused"
    assert house.paused() == ["*", "door", "yard"]


def test_a_pause_of_no_camera_of_this_house_is_refused(house: House) -> None:
    """A name with a mistake must not look as if something was paused."""
    with pytest.raises((ConfigError, UsageError)):
        house.commands.pause({"camera": "dor"}, PEER)
    assert house.paused() == []


def test_confirmed_clock_reaches_every_ring(house: House) -> None:
    """The owner's order makes retention follow the wall clock; until then the streams that wait are named."""
    assert house.commands.describe_clock({}, PEER)["held_back"] == ["door.main"]
    house.commands.order(house.sign("confirm-clock"), PEER)
    assert house.sink.offsets == [house.kernel.wall - house.kernel.boot_ns]
    assert house.commands.describe_clock({}, PEER)["held_back"] == []


def test_an_order_that_cannot_be_carried_out_is_not_used_up(house: House) -> None:
    """Without a time source the confirmation is refused, and the same order counts once there is one."""
    confirm = house.sign("confirm-clock")
    house.kernel.kernel_state = ClockState.FLOOR_ONLY
    with pytest.raises(UsageError):
        house.commands.order(confirm, PEER)
    assert house.sink.offsets == []
    house.kernel.kernel_state = ClockState.SYNCHRONISED
    house.commands.order(confirm, PEER)
    assert len(house.sink.offsets) == 1
