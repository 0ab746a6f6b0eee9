"""The fixed words of page and desk in the browser's language: one table per language, English as the key.

Owns the choice of a browser's language. The releaser says the sentence that a signature covers, in
the owner's language; these are the words around it. A sentence without a translation stays English.
"""

import importlib.resources
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from markupsafe import Markup, escape

from edge_agent.printable_text import show_line
from edge_agent.texts import LANGUAGES, Language

MAX_LETTERS = 2000
_WISH = re.compile(r"([a-z]{2,3})(?:-[A-Za-z0-9-]{1,20})?(?:;q=([01](?:\.[0-9]{1,3})?))?")
_MAX_WISHES = 16


class Words:
    """The words of one language: called with an English sentence, and the values of the names in its braces.

    Args:
        language: Its code.
        table: Translations by English sentence.
    """

    def __init__(self, language: Language, table: Mapping[str, str]) -> None:
        self.language, self._table = language, table

    def __call__(self, sentence: str, /, **values: object) -> str:
        """Return the sentence; as markup if one of its values is, with all others escaped and cleaned."""
        found = self._table.get(sentence, sentence)
        if not values:
            return found
        if not any(isinstance(each, Markup) for each in values.values()):
            return found.format(**values)
        return escape(found).format(**{name: _clean(each) for name, each in values.items()})


def _clean(value: object) -> object:
    return show_line(value, MAX_LETTERS) if isinstance(value, str) and not isinstance(value, Markup) else value


ENGLISH: Final = Words("en", {})


@cache
def load_words(language: Language) -> Words:
    """Return the words of a language."""
    if language == "en":
        return ENGLISH
    content = (importlib.resources.files("edge_agent.page") / "languages" / f"{language}.json").read_bytes()
    return Words(language, json.loads(content))


def pick_language(accepted: str) -> Language:
    """Return the language that a browser likes best of those that there are (``Accept-Language``, RFC 9110, 12.5.4)."""
    best: tuple[float, Language] = (0.0, "en")
    for wish in accepted[:500].split(",")[:_MAX_WISHES]:
        found = _WISH.fullmatch(wish.strip().replace(" ", ""))
        language = next((each for each in LANGUAGES if found is not None and found[1] == each), None)
        if found is not None and language is not None:
            weight = float(found[2] or 1)
            # RFC 9110, 12.4.2: a weight of 0 means "not acceptable". Of equal weights the first one named counts.
            if weight > best[0]:
                best = (weight, language)
    return best[1]
