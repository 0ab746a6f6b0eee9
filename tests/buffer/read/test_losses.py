"""A loss is told where it is, so that whoever reads knows which record it stands before."""

import pytest

from edge_agent.buffer.read.losses import Loss
from tests.support.footage import encode, records, window
from tests.support.release import House

HARM = {"its body": 328, "its header": 30}


@pytest.mark.parametrize("at", HARM.values(), ids=HARM.keys())
def test_a_loss_is_told_between_its_neighbours(tmp_path, at):
    """Records before it come before, records after it come after."""
    house = House(tmp_path)
    house.record(records(encode(50)))
    raw, place = bytearray(house.ring.read_bytes()), -1
    for _ in range(3):
        place = raw.index(b"EREC", place + 1)
    raw[place + at] ^= 1
    house.ring.write_bytes(raw)
    told: list[int | str] = []

    def lose(loss: Loss) -> None:
        told.append(loss.reason)

    with house.reader() as reader:
        for record in reader.read(house.grant(window(0, 5)), "door", on_loss=lose):
            told.append(record.index)
    assert told == [0, 1, "damaged", 3, 4]
