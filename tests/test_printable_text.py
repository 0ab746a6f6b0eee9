"""Texts that a person sees: what passes, what is refused, and that our patterns read ASCII digits only."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.printable_text import MAX_MARKS, check_line, show_line
from edge_agent.units import parse_duration, parse_rfc3339, parse_size

REFUSED = {
    "blank": " ",
    "empty": "",
    "blank at the end": "Front door ",
    "second line": "Front door: nothing is ever released\nBedroom",
    "carriage return": "Bedroom\rFront door",
    "escape": "\x1b[2K\x1b[1AFront door",
    "C1 control": "Front\x9b2Kdoor",
    "line separator": "Front door\u2028Bedroom",
    "bidirectional override": "Front \u202erood",
    "bidirectional isolate": "Front \u2066door",
    "zero width space": "Front\u200bdoor",
    "soft hyphen": "Front\u00addoor",
    "byte order mark": "\ufeffFront door",
    "Hangul filler, a letter": "\u3164",
    "halfwidth Hangul filler": "Front\uffa0door",
    "blank Braille cell": "\u2800",
    "combining grapheme joiner": "Front\u034f door",
    "variation selector": "Front\ufe0f door",
    "tag letter": "Front\U000e0041 door",
    "lone surrogate": "Front\ud800 door",
    "unassigned": "Front\u0378 door",
    "mark that falls on the prompt": "\u0336Front door",
    "pile of marks": "F" + "\u0336" * (MAX_MARKS + 1),
    "no-break space": "Front\u00a0door",
}
ALLOWED = {
    "plain": "Front door",
    "punctuation": "Küche (hinten), 2. Stock — “Hof”",
    "Arabic": "الباب الأمامي",
    "Thai with marks": "ประตูหน้า",
    "Vietnamese, decomposed": "Cu\u031b\u0309a tru\u031bo\u031b\u0301c",
    "emoji": "Yard 🏡",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_could_deceive_is_refused(text: str) -> None:
    """A letter that steers, reorders or cannot be seen is refused, and so is a blank text."""
    with pytest.raises(ValueError, match="should"):
        check_line(text)


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_people_write_names_in_their_own_script(text: str) -> None:
    """Visible text of any script passes unchanged."""
    assert check_line(text) == text == show_line(text)


@given(st.text(max_size=80))
def test_what_is_shown_would_pass(text: str) -> None:
    """Whatever comes from outside, the shown form holds no letter that the check refuses."""
    assert check_line("x" + show_line(text) + "x")


def test_a_shown_text_is_bounded() -> None:
    """A text of any length is cut."""
    assert show_line("a" * 10_000, 40) == "a" * 40


@pytest.mark.parametrize(
    "parse", [lambda text: parse_rfc3339(f"2026-11-0{text}T00:00:00Z"), parse_rfc3339, parse_duration, parse_size]
)
@pytest.mark.parametrize("text", ["٣", "３", "2026-11-03T00:00:00.٣Z", "٣h", "３GiB", "3\u2003h"])
def test_digits_are_ascii(parse, text: str) -> None:
    """Times, durations and sizes are written with the digits 0 to 9, so that two readers agree on them."""
    with pytest.raises(ValueError, match="not a"):
        parse(text)


def test_no_pattern_reads_other_digits_or_blanks() -> None:
    r"""No regular expression over text uses \d, \w, \s or \b, whose meaning reaches beyond ASCII."""
    found = []
    for path in sorted(Path("edge_agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
                "compile",
                "fullmatch",
                "match",
                "search",
            ):
                is_ascii = any("ASCII" in ast.unparse(each) for each in node.args[1:])
                patterns = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
                if not is_ascii and any(
                    isinstance(each, str) and re.search(r"\\[dwsbDWSB]", each) for each in patterns
                ):
                    found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.keyword) and node.arg == "pattern" and r"\d" in ast.unparse(node.value):
                found.append(f"{path}:{node.lineno}")
    assert found == []
