"""The owner's own copy: everything of the window that can be shown, what is missing, and a few stills."""

import io

import av

from edge_agent.buffer.format.constants import Kind
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import SECOND_NS
from edge_agent.uplink.bundle.export import export_footage
from edge_agent.uplink.owner.preview_stills import take_stills
from tests.support.footage import START, encode, read_number, read_numbers, records, window
from tests.support.release import House
from tests.uplink.bundle.test_writer import spoil


def test_export_writes_one_mp4_per_run(tmp_path):
    """Runs stand one behind the other in the output; their sizes tell them apart, gaps are told with their reasons."""
    house = House(tmp_path)
    later = records(encode(20, first=50, audio="aac"), START + 5 * SECOND_NS)
    first = records(encode(20, audio="aac"))
    house.record([*first, (Kind.GAP, 3 * SECOND_NS, b'{"reason":"camera-down"}'), *later])
    order = ExportOrder("o", "door", Quality.MAIN, window(1, 8), "t", START)
    out, told = io.BytesIO(), []
    with house.reader() as reader:
        info = export_footage(reader, order, out, on_progress=told.append)
    first_size, second_size = (clip.size for clip in info.clips)
    data = out.getvalue()
    assert len(data) == first_size + second_size
    assert read_numbers(data[:first_size]) == list(range(10, 20))
    assert read_numbers(data[first_size:]) == list(range(50, 70))
    assert all(clip.sound for clip in info.clips)
    assert [(gap.reason, gap.start) for gap in info.gaps] == [
        ("camera-down", START + 2 * SECOND_NS),
        ("no-footage", START + 7 * SECOND_NS),
    ]
    assert told == sorted(told)


def test_export_holds_both_where_two_runs_claim_the_same_time(tmp_path):
    """A clock that was set back: a release has neither run, the owner both, though the first reaches the end."""
    house = House(tmp_path)
    house.record([*records(encode(30)), (Kind.RUN, 0, b"{}"), *records(encode(30, first=100))])
    order = ExportOrder("o", "door", Quality.MAIN, window(0, 1.5), "t", START)
    out = io.BytesIO()
    with house.reader() as reader:
        info = export_footage(reader, order, out)
    first, _ = info.clips
    assert read_numbers(out.getvalue()[: first.size]) == list(range(15))
    assert read_numbers(out.getvalue()[first.size :]) == list(range(100, 115))
    assert info.gaps == ()


def test_export_is_cut_where_a_record_is_lost(tmp_path):
    """What the owner sees is never spliced over a record that the disk has lost, and the hole is told."""
    house = House(tmp_path)
    house.record(records(encode(60)))
    spoil(house, 3, 128 + 200)
    order = ExportOrder("o", "door", Quality.MAIN, window(0, 6), "t", START)
    out = io.BytesIO()
    with house.reader() as reader:
        info = export_footage(reader, order, out)
    first, _ = info.clips
    assert read_numbers(out.getvalue()[: first.size]) == list(range(30))
    assert read_numbers(out.getvalue()[first.size :]) == list(range(40, 60))
    assert [(gap.reason, gap.start, gap.end) for gap in info.gaps] == [
        ("damaged", START + 3 * SECOND_NS, START + 4 * SECOND_NS)
    ]


def test_stills_are_spread_over_the_window(tmp_path):
    """One small picture from each part of the window, for the owner's eyes."""
    house = House(tmp_path)
    house.record(records(encode(60)))
    order = ExportOrder("o", "door", Quality.MAIN, window(0, 6), "t", START)
    with house.reader() as reader:
        stills = take_stills(reader.read_own(order), order.window, 3)
    assert [still.at - START for still in stills] == [0, 2 * SECOND_NS, 4 * SECOND_NS]
    for still in stills:
        with av.open(io.BytesIO(still.image), format="mjpeg") as container:
            (frame,) = container.decode(video=0)
        assert abs(read_number(frame) - (still.at - START) * 10 // SECOND_NS) == 0
