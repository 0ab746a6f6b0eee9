"""The characters that a text may hold before a person sees it: one line of visible letters.

Owns the one rule for every text that comes from a file, a camera, a request or a bundle, in two forms: a check that
refuses (``check_line``) and a filter that shows the rest (``show_line``). Scripts of all languages pass; letters that
steer a terminal, reorder a line or cannot be seen do not.
"""

import unicodedata

MAX_MARKS = 4
"""Combining marks on one letter. Vietnamese, Thai and pointed Hebrew need three; more of them hide other lines."""

# Letters that draw nothing, although Unicode counts them as letters, symbols or marks (DerivedCoreProperties.txt,
# Default_Ignorable_Code_Point; and the blank Braille cell). `str.isprintable` refuses the other invisible ones: its
# categories Cc, Cf (with all bidirectional controls), Cs, Co, Cn, Zl, Zp and every blank but the space.
_INVISIBLE = frozenset(
    [
        *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)),
        *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
    ]
)


def check_line(text: str) -> str:
    """Return a text that a person may be shown; ValueError with the fault and the number of its letter.

    One line, not blank, no blanks around it or doubled inside, nothing invisible, no controls (bidirectional ones
    included), and at most ``MAX_MARKS`` combining marks on a letter.
    """
    if not text.strip():
        raise ValueError("should not be blank")
    if text != text.strip():
        raise ValueError("should have no blanks around it")
    marks = MAX_MARKS  # Nothing stands before the first letter that a mark could be drawn on.
    for position, letter in enumerate(text, 1):
        marks = marks + 1 if _is_mark(letter) else 0
        if not _is_visible(letter) or marks > MAX_MARKS:
            raise ValueError(f"should be visible text on one line (letter {position} is U+{ord(letter):04X})")
    return text


def show_line(text: str, most: int = 500) -> str:
    """Return a text from outside, cut to ``most`` letters, for a log or a terminal; a refused letter becomes ``?``."""
    shown = []
    marks = MAX_MARKS
    for letter in text[:most]:
        marks = marks + 1 if _is_mark(letter) else 0
        shown.append(letter if _is_visible(letter) and marks <= MAX_MARKS else "?")
    return "".join(shown)


def _is_visible(letter: str) -> bool:
    return letter.isprintable() and letter not in _INVISIBLE


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter) in ("Mn", "Me")
