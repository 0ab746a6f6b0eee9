"""What the RTCC finds about times: those that the recorder signed count, and none that a gateway makes up."""

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.write.open_block import Draft
from edge_agent.protocol import manifest as names
from edge_agent.units import HOUR_NS, ClockState, UtcNs, encode_rfc3339, parse_rfc3339
from edge_agent.verifier.findings import Proof
from tests.support.footage import START, encode, records, window
from tests.support.opened import Opened, edit_lines
from tests.support.release import House

PAST_NS = 30 * HOUR_NS
"""So far behind is the clock before it is set."""


class EarlyHouse(House):
    """A house whose clock is set only after the footage was recorded."""

    def draft(self, piece):
        draft = super().draft(piece)
        return Draft(draft.kind, UtcNs(draft.start_ns - PAST_NS), *(
            draft.duration_ns, draft.boot_ns, draft.payload, draft.commitment, draft.flags
        ))  # fmt: skip

    def note(self, state: ClockState) -> None:
        """Restart the recorder, under this clock: its page signs the end of the block before."""
        self.clock.state_now = state
        end = self.clock.boot_ns - self.boot(START) + START
        self.clock.utc_ns = end - (PAST_NS if state is ClockState.FLOOR_ONLY else 0)
        writer = self.writer()
        writer.append(Draft(Kind.CLOCK, UtcNs(self.clock.utc_ns), 0, self.clock.boot_ns, b"{}"))
        writer.close()


def open_early(folder, *states: ClockState) -> Opened:
    house = EarlyHouse(folder)
    house.clock.state_now = ClockState.FLOOR_ONLY
    house.record(records(encode(60)), is_closed=False)
    for state in states:
        house.note(state)
    info, payload = house.build(house.grant(window(0, 4)))
    assert info.clips == 1
    return Opened(folder, house, info.age_header + payload, house.evidence, names.TYP)


def verdicts(findings, part: str) -> set[Proof]:
    return {item.verdict for item in findings.items if item.part == part}


def test_times_that_were_counted_back_are_proved_by_a_page_of_that_boot(tmp_path):
    """The page after the footage, signed once the clock was set, dates it by the time since boot."""
    opened = open_early(tmp_path, ClockState.SYNCHRONISED)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert verdicts(findings, "pictures") == {Proof.PROVED}


def test_times_that_nothing_dates_are_the_gateways_word(tmp_path):
    """The clock was set two blocks later, and that page is not in the bundle."""
    opened = open_early(tmp_path, ClockState.FLOOR_ONLY, ClockState.SYNCHRONISED)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert verdicts(findings, "pictures") == {Proof.NOT_PROVED}
    assert Proof.PROVED not in verdicts(findings, "completeness")
    assert "nothing here that the recorder signed after that dates this boot" in findings.as_text()


def later(opened: Opened, **members) -> dict[str, bytes]:
    """The bundle with every time an hour later, and its lines changed."""

    def move(text: str) -> str:
        return encode_rfc3339(UtcNs(parse_rfc3339(text) + HOUR_NS))

    def move_span(span: dict) -> dict:
        return span | {"start": move(span["start"]), "end": move(span["end"])}

    def change(lines):
        return [line | move_span(line) | members if line["kind"] == "gop" else line for line in lines]

    moved = opened.manifest
    moved["windows"] = {
        name: move_span(part) if isinstance(part, dict) else [move_span(each) for each in part]
        for name, part in moved["windows"].items()
    }
    moved["clips"] = [move_span(clip) for clip in moved["clips"]]
    moved["gaps"] = [move_span(gap) for gap in moved["gaps"]]
    lines = edit_lines(opened.parts[names.RECORDS], change)
    return opened.sign(opened.parts | {names.RECORDS: lines}, moved)


def test_no_footage_can_be_dated_anew(tmp_path):
    """Only what was timed before the clock was set may be counted back, and a signed page says to when."""
    opened = open_early(tmp_path, ClockState.SYNCHRONISED)
    assert "records" in opened.open(later(opened)).failed_parts()
    timed = tmp_path / "timed"
    timed.mkdir()
    house = House(timed)
    house.record(records(encode(60)))
    info, payload = house.build(house.grant(window(0, 4)))
    opened = Opened(timed, house, info.age_header + payload, house.evidence, names.TYP)
    assert "records" in opened.open(later(opened, rebased=True)).failed_parts()
    assert "records" in opened.open(later(opened, rebased=True, clock="floor-only")).failed_parts()


CLOCKS = {
    "set, it says": ({"states": ["synchronised"], "rebased": False}, "clock"),
    "not counted back, it says": ({"rebased": False}, "clock"),
}


@pytest.mark.parametrize(("change", "part"), CLOCKS.values(), ids=CLOCKS.keys())
def test_the_clock_is_the_one_that_the_headers_tell(tmp_path, change, part):
    """What the manifest says of the clock follows from what was signed while recording."""
    opened = open_early(tmp_path, ClockState.SYNCHRONISED)
    members = opened.manifest
    members["clocks"] |= change
    assert opened.open(opened.sign(opened.parts, members)).failed_parts() == {part}


def test_a_release_holds_no_footage_without_a_known_time(tmp_path):
    """Times from before the clock was set are good for the owner alone, as they were written."""
    opened = open_early(tmp_path, ClockState.SYNCHRONISED)

    def as_written(lines):
        for line in lines:
            start, end = (parse_rfc3339(line[name]) - PAST_NS for name in ("start", "end"))
            line |= {"rebased": False, "start": encode_rfc3339(UtcNs(start)), "end": encode_rfc3339(UtcNs(end))}

    lines = edit_lines(opened.parts[names.RECORDS], as_written)
    findings = opened.open(opened.sign(opened.parts | {names.RECORDS: lines}))
    assert "without a known time" in findings.as_text()
    assert "records" in findings.failed_parts()
