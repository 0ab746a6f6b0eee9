"""The faults of a file that is not the YAML it should be, in a person's words: the place and the mend.

Pure: text and the parser's complaint in; a line, a column and a sentence out. No sentence repeats a value: it could be
a password.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

import yaml

_QUOTES = "“”„‟‘’‚‛«»"
_ODD_BLANK = re.compile(r"^[ \t]*(?:- +)?([\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000])")
# `  - name: door`: a key in its line, behind any dashes.
_KEY = re.compile(r"^( *(?:- +)*)([A-Za-z0-9_-]+):(?= |$)")
# `name: Door: left`, unquoted.
_SECOND_COLON = re.compile(r"^ *(?:- +)*[A-Za-z0-9_-]+: +[^'\"\[{#|>][^#]*?: ")
# `id:door`; `rtsp://…` and `unix:/…` are addresses.
_NO_BLANK = re.compile(r"^( *(?:- +)?[A-Za-z_]+):(?![ /]|$)")
_ITEM = re.compile(r"^( *)- ")
# `-id: door`.
_NO_ITEM = re.compile(r"^( *-)[A-Za-z_]+:(?: |$)")


@dataclass(frozen=True, slots=True)
class Mend:
    """A place, both numbers from 1, and a sentence with the mend."""

    line: int
    column: int
    text: str


def find_odd_blank(text: str) -> Mend | None:
    """Find a blank at a line's beginning that looks like one and is none, as pasting from a web page brings it."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _ODD_BLANK.match(line)
        if match is not None:
            return Mend(number, match.start(1) + 1, "a no-break space from a web page; write an ordinary blank")
    return None


def mend_syntax(text: str, error: yaml.YAMLError) -> Mend:
    """Name the fault at which the parser stopped; for a fault that is not known here, return the parser's own words."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        column = error.position - before.rfind("\n")
        return Mend(before.count("\n") + 1, column, "a character that no text has; delete it")
    lines = text.splitlines() or [""]
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    problem, where = str(getattr(error, "problem", "") or "not YAML"), str(getattr(error, "context", "") or "")
    number, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    line = lines[number - 1] if number <= len(lines) else ""
    opened = (context.line + 1, context.column + 1) if context is not None else (number, column)
    if "'\\t'" in problem:
        blanks = "blanks, as in the lines around it"
        return Mend(number, column, f"a tab; YAML is indented with {blanks}")
    if "quoted scalar" in where:
        if "escape" in problem:
            return Mend(number, column, "a backslash in double quotes has a meaning; write single quotes: '…'")
        return Mend(*opened, "this quote is not closed; or the text holds a quote: write it twice in single quotes")
    if "flow" in where:
        return Mend(*opened, "this bracket is not closed, or a comma is missing behind an item")
    if problem.startswith("found character"):
        return Mend(number, column, "text that begins with this character must stand in quotes: '…'")
    for place in (number, number - 1, opened[0]):
        if 0 < place <= len(lines) and (match := _NO_BLANK.match(lines[place - 1])) is not None:
            return Mend(place, match.end() + 1, "a blank is missing behind the colon")
        if 0 < place <= len(lines) and (match := _NO_ITEM.match(lines[place - 1])) is not None:
            return Mend(place, match.end(1) + 1, "a blank is missing behind the dash")
    if problem.startswith("mapping values") and _SECOND_COLON.match(line):
        return Mend(number, column, "a second colon in one line; put the text behind the first one in quotes: '…'")
    if problem.startswith("mapping values") and (bare := _find_bare(lines, number)):
        return Mend(bare, 1, "neither `key: value` nor a part of a list; is a colon missing, or the line too much?")
    if problem.startswith("expected <block end>, but found '<scalar>'"):
        return Mend(number, column, "text behind a quote's end; write a quote inside of single quotes twice: ''")
    if problem.startswith("could not find expected ':'"):
        return Mend(*opened, "a key without its colon, or text of several lines that is not in quotes")
    if "document" in problem:
        return Mend(number, column, "a second document begins here; a file holds one: remove `---`")
    return _mend_indentation(lines, number, column, opened) or Mend(number, column, problem)


def _find_bare(lines: list[str], number: int) -> int:
    """Return the nearest line above that is neither empty nor a comment, if it has no colon; 0 else."""
    for above in range(number - 1, 0, -1):
        text = lines[above - 1].strip()
        if text and not text.startswith("#"):
            return 0 if ":" in text else above
    return 0


def _mend_indentation(lines: list[str], number: int, column: int, opened: tuple[int, int]) -> Mend | None:
    """Name the line that a line should be in line with: the nearest key above it."""
    line = lines[number - 1] if number <= len(lines) else ""
    column = len(line) - len(line.lstrip()) + 1 if line.strip() else column
    if line.lstrip().startswith("- "):
        items = ((above, _ITEM.match(lines[above - 1])) for above in range(number - 1, 0, -1))
        for above, item in items:
            if item is not None and len(item[1]) + 1 != column:
                text = f"put its dash below the one of line {above}, in column {len(item[1]) + 1}"
                return Mend(number, column, f"wrong indentation: {text}")
    for above in range(number - 1, 0, -1):
        match = _KEY.match(lines[above - 1])
        if match is None:
            continue
        wanted = len(match[1]) + 1
        if wanted != column or above == opened[0]:
            text = f"begins in column {column}; put it in line with `{match[2]}` of line {above}, in column {wanted}"
            return Mend(number, column, f"wrong indentation: {text}" + (" or deeper" if wanted == column else ""))
        break
    return None


def mend_scalar(raw: str, rest: str, *, is_secret: bool) -> str:
    """Name the fault of an unquoted value; empty if there is none.

    Args:
        raw: The value as it is written.
        rest: The rest of its line.
        is_secret: The file holds passwords: a comment behind a value would be the end of one.
    """
    if raw[:1] in _QUOTES or raw[-1:] in _QUOTES:
        return "typographic quotes; write plain ones: ' or \""
    if is_secret and rest.lstrip().startswith("#"):
        return "a blank and # begin a comment here; put the value in quotes, and comments in lines of their own"
    return ""


def suggest_key(key: str, allowed: Collection[str]) -> str:
    """Return ``did you mean `url`? `` for a key that resembles an allowed one; empty else."""
    plain = {each.replace("_", ""): each for each in allowed}
    close = difflib.get_close_matches(key.lower().replace("-", "").replace("_", ""), plain, 1, 0.65)
    return f"did you mean `{plain[close[0]]}`? " if close else ""


def mend_number(value: str) -> str:
    """Say how to write a number that was written as text; empty if it resembles none."""
    text = value.strip()
    if re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        return f"write a decimal point: {text.replace(',', '.')}"
    lettered = re.fullmatch(r"([NSEWO]?) ?(-?[0-9]+(?:[.,][0-9]+)?) ?°? ?([NSEWO]?)", text, re.IGNORECASE)
    if lettered is not None and (letter := (lettered[1] or lettered[3]).upper()):
        number = lettered[2].replace(",", ".").lstrip("-")
        return f"without a letter, south and west are negative: {'-' if letter in 'SW' else ''}{number}"
    if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", text):
        return f"without quotes: {text}"
    if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)? ?[%°]", text):
        return f"without a sign behind it: {text.rstrip('%° ')}"
    return ""


def mend_truth(value: object) -> str:
    """Say how to write yes or no."""
    meant = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
    found = meant.get(str(value).lower()) if isinstance(value, str) else None
    return f"write {found}" if found else "write true or false"
