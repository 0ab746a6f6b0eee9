"""The owner looks: by an order alone, at what it names, entered before it is seen; and never more than pictures."""

import contextlib
import io
import os
import secrets

import av
import numpy as np
import pytest

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import sign_order
from edge_agent.errors import DenialError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.owner.export_commands import ExportCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.preview_commands import find_keyframes
from edge_agent.uplink.owner.preview_stills import take_grid
from tests.support.footage import START, encode, read_number, records, window
from tests.support.footage_owner import Owner
from tests.support.release import GATEWAY, House


class Looking(Owner):
    """A desk over one ring, and an owner who signs."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        orders = OwnerOrders(GATEWAY, house.owner.public_key(), self.store, house.clock)
        self.desk = ExportCommands(orders, self, None, lambda *_: None)
        self.opened: list[tuple[str, Quality, str]] = []

    @contextlib.contextmanager
    def open(self, camera: str, quality: Quality, jti: str = ""):
        self.opened.append((camera, quality, jti))
        with self.house.reader() as reader:
            yield reader

    def look(self, signed: str, **wish) -> list[tuple[str, bytes]]:
        with os.fdopen(os.memfd_create("look"), "r+b") as file:
            members = {"jws": signed, **wish}
            answer = self.desk.handlers["look"](members, Peer(1, 1000, 1000, file.fileno()))
            file.seek(0)
            return [(each["at"], file.read(each["size"])) for each in answer["pictures"]]


@pytest.fixture
def looking(tmp_path):
    house = House(tmp_path)
    house.record(records(encode(60)))
    return Looking(house)


def at(second: float) -> str:
    return encode_rfc3339(UtcNs(START + int(second * SECOND_NS)))


def test_owner_sees_a_picture_of_each_part_and_the_ledger_tells_it(looking):
    """One JPEG per part, from the held footage of the request named, after an entry of its own."""
    pictures = looking.look(looking.sign(window(0, 6)), stills=3, jti="request")
    assert [moment for moment, _ in pictures] == [at(0), at(2), at(4)]
    for number, (_, image) in zip((0, 20, 40), pictures, strict=True):
        with av.open(io.BytesIO(image), format="mjpeg") as container:
            (frame,) = container.decode(video=0)
        assert read_number(frame) == number
    assert looking.opened == [("door", Quality.MAIN, "request")]
    (entry,) = looking.entries()
    assert (entry["what"], entry["camera"], entry["window"]) == ("local look", "door", str(window(0, 6)))


def test_a_picture_for_masks_has_the_zones_and_a_grid(looking):
    """The newest keyframe as PNG: what a zone covers is darker, what it does not is as it was but for lines."""
    ((moment, plain),) = looking.look(looking.sign(window(0, 4.5)), masks=[])
    ((_, masked),) = looking.look(looking.sign(window(0, 4.5)), masks=[[[0, 0], [500, 0], [500, 1000], [0, 1000]]])
    assert moment == at(4)
    before, after = (decode_png(image) for image in (plain, masked))
    half = before.shape[1] // 2
    # Medians: in a picture as small as this one, lines and labels take a good part.
    assert np.median(after[:, :half]) < np.median(before[:, :half]) * 0.7
    assert np.median(after[:, half:]) == np.median(before[:, half:])


def decode_png(image: bytes) -> np.ndarray:
    assert image.startswith(b"\x89PNG")
    with av.open(io.BytesIO(image), format="png_pipe") as container:
        (frame,) = container.decode(video=0)
        return frame.to_ndarray(format="gray")


def test_a_minute_without_footage_has_no_picture(looking):
    """Nothing there is nothing to see, and no error; it is entered all the same."""
    assert looking.look(looking.sign(window(100, 160)), masks=[]) == []
    assert looking.look(looking.sign(window(100, 160)), stills=4) == []
    assert len(looking.entries()) == 2


WISHES = {
    "no picture": {"stills": 0},
    "too many": {"stills": 17},
    "no number": {"stills": True},
    "nothing": {},
    "masks of two points": {"masks": [[[0, 0], [1, 1]]]},
    "masks of text": {"masks": [[["0", 0], [1, 1], [2, 2]]]},
    "masks outside": {"masks": [[[0, 0], [1001, 1], [2, 2]]]},
    "masks that are none": {"masks": 7},
    "too many masks": {"masks": [[[0, 0], [1, 1], [2, 2]]] * 17},
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES.keys())
def test_a_wish_that_makes_no_sense_opens_nothing(looking, wish):
    """It is refused before the order is used up."""
    signed = looking.sign(window(0, 6))
    with pytest.raises(UsageError):
        looking.look(signed, **wish)
    assert looking.entries() == []
    assert looking.look(signed, stills=1)


def test_only_the_owners_order_opens_a_picture_and_only_once(looking):
    """Another's key, another order, a second use, a span beyond any request: nothing is opened."""
    with pytest.raises(DenialError):
        looking.look(looking.sign(window(0, 6), key=looking.house.operator), stills=1)
    resume = {"what": "release", "camera": "*"}
    order_id = encode_b64url(secrets.token_bytes(16))
    other = sign_order("resume", resume, GATEWAY, order_id, UtcNs(looking.house.clock.utc_ns), looking.house.owner)
    with pytest.raises(UsageError, match="no export"):
        looking.look(other.decode(), stills=1)
    with pytest.raises(UsageError, match="twelve hours"):
        looking.look(looking.sign(Window(START, UtcNs(START + 12 * HOUR_NS + 1))), stills=1)
    signed = looking.sign(window(0, 6))
    with pytest.raises(UsageError, match="no file"):
        looking.desk.handlers["look"]({"jws": signed, "stills": 1}, Peer(1, 1000, 1000))
    assert looking.opened == []
    assert looking.look(signed, stills=1)
    with pytest.raises(UsageError, match="carried out before"):
        looking.look(signed, stills=1)


def test_little_is_decrypted_for_stills(looking):
    """Of a long window one record per part is taken, each beginning with a keyframe at or after the part's start."""
    order = ExportOrder("o", "door", Quality.MAIN, window(0.5, 6), "t", START)
    with looking.house.reader() as reader:
        found = list(find_keyframes(reader, order, 2))
        assert [record.start_ns - START for record in found] == [1 * SECOND_NS, 4 * SECOND_NS]
        assert take_grid(found[:1], order.window, ())[0].at == START + SECOND_NS
