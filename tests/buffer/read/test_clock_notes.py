"""The last note about the clocks before a window: found in the ring and in a hold, and no footage with it."""

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.excerpt import excerpt
from edge_agent.buffer.read.live_block import NOTE_REACH_NS
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.units import SECOND_NS, UtcNs, Window
from tests.buffer.rig import START, Rig, make_grant, make_order, read_all


def window(start_s: int, end_s: int) -> Window:
    return Window(UtcNs(START + start_s * SECOND_NS), UtcNs(START + end_s * SECOND_NS))


def note(rig: Rig, writer: RingWriter, text: bytes) -> None:
    writer.append(rig.note(Kind.CLOCK, text))


def told(records: list[StoredRecord]) -> list[tuple[str, object]]:
    """Notes by what they say, footage by its second."""
    return [
        ("note", each.plaintext.decode())
        if each.header.kind is Kind.CLOCK
        else ("footage", (each.start_ns - START) // SECOND_NS)
        for each in records
    ]


def recorded(rig: Rig) -> None:
    """Forty seconds in several blocks, with a note after 1, 5 and 35 of them."""
    rig.create(blocks=32)
    writer = rig.writer()
    for until, text in ((1, b"first"), (5, b"second"), (35, b"inside"), (40, b"")):
        rig.record(writer, until - (rig.clock.utc_ns - START) // SECOND_NS)
        if text:
            note(rig, writer, text)
    writer.close()


def test_the_last_note_before_a_window_comes_with_it(rig: Rig) -> None:
    """From a block that holds nothing of the window: that note, none before it, and nothing else of that block."""
    recorded(rig)
    with rig.reader() as reader:
        records = read_all(reader, window(20, 22))
    assert told(records) == [("note", "second"), ("footage", 20), ("footage", 21)]
    assert records[0].seq < records[1].seq


def test_it_comes_from_the_same_block_in_its_place(rig: Rig) -> None:
    """Where the block holds the window as well, the ring's order is kept; a note inside the window is there anyway."""
    recorded(rig)
    with rig.reader() as reader:
        assert told(read_all(reader, window(6, 7))) == [("note", "second"), ("footage", 6)]
        assert told(read_all(reader, window(34, 36))) == [
            ("note", "second"), ("footage", 34), ("note", "inside"), ("footage", 35),
        ]  # fmt: skip


def test_every_window_has_its_own_and_none_comes_twice(rig: Rig) -> None:
    """Two windows far apart: each with the note before it, in the ring's order."""
    recorded(rig)
    with rig.reader() as reader:
        records = read_all(reader, window(3, 4), window(20, 21), window(22, 23), window(37, 38))
    assert told(records) == [
        ("note", "first"), ("footage", 3), ("note", "second"), ("footage", 20), ("footage", 22), ("note", "inside"),
        ("footage", 37),
    ]  # fmt: skip


def test_a_note_of_long_ago_is_left_alone(rig: Rig) -> None:
    """A note from further back than notes are apart says nothing about this footage."""
    rig.create(blocks=64)
    writer = rig.writer()
    rig.record(writer, 1)
    note(rig, writer, b"old")
    far = NOTE_REACH_NS // SECOND_NS
    rig.record(writer, far + 3, payload=100)
    writer.close()
    with rig.reader() as reader:
        assert told(read_all(reader, window(far + 1, far + 2)))[0] == ("note", "old")
        assert told(read_all(reader, window(far + 2, far + 3))) == [("footage", far + 2)]


def test_the_owners_export_has_it_as_well(rig: Rig) -> None:
    """An export says as much about the clocks as a release."""
    recorded(rig)
    with rig.reader() as reader:
        records = list(reader.read_own(make_order(window(20, 22))))
    assert told(records) == [("note", "second"), ("footage", 20), ("footage", 21)]


def test_a_hold_keeps_it(rig: Rig) -> None:
    """The block of the note is copied with those of the window: a release from the hold says the same."""
    recorded(rig)
    with rig.reader() as reader:
        before = read_all(reader, window(20, 22))
    with RingReader.open(rig.path, None) as reader:
        excerpt(reader, [window(20, 22)], rig.folder / "held.ring", 1 << 20)
    with rig.reader("held.ring") as held:
        assert read_all(held, window(20, 22)) == before


@pytest.mark.parametrize("harm", ["erased", "damaged"])
def test_a_note_that_is_gone_is_no_loss_of_footage(rig: Rig, harm: str) -> None:
    """Nothing is missing from the window: nothing is declared missing."""
    recorded(rig)
    with rig.reader() as reader:
        header = read_all(reader, window(20, 22))[0].header_bytes
    if harm == "erased":
        writer = rig.writer()
        writer.erase(window(4, 5))
        writer.close()
    else:
        raw = bytearray(rig.path.read_bytes())
        raw[raw.index(header) + len(header)] ^= 1
        rig.path.write_bytes(raw)
    losses = []
    with rig.reader() as reader:
        assert told(read_all(reader, window(20, 22), on_loss=losses.append)) == [("footage", 20), ("footage", 21)]
    assert losses == []


def test_its_block_is_no_evidence_of_the_window(rig: Rig) -> None:
    """Headers of footage outside the window are not disclosed for the sake of a note."""
    recorded(rig)
    with rig.reader() as reader:
        grant = make_grant(reader, window(20, 22))
        shown = {block.seq for block in reader.evidence(grant, "door")}
        (noted,) = [each.seq for each in read_all(reader, window(20, 22)) if each.header.kind is Kind.CLOCK]
    assert noted not in shown
