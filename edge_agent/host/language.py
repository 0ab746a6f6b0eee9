"""Texts in the owner's language, from gettext catalogues (``edge_agent/locale``).

Owns the languages that there are. A text without a translation stays English: a gap in a catalogue is never an error.
Catalogues are read as they are written (``.po``), so that none can be older than its source.
"""

import gettext
import io
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import polib

Language = Literal["en", "es", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
FOLDER = Path(__file__).resolve().parent.parent / "locale"


class Texts:
    """Sentences of one language; called with an English one, and the values of the names in its braces.

    Args:
        translations: Of gettext; the empty ones leave English as it is.
    """

    def __init__(self, translations: gettext.NullTranslations) -> None:
        self._translations = translations

    def __call__(self, sentence: str, **values: object) -> str:
        """Return a sentence in this language with its values filled in."""
        return self._translations.gettext(sentence).format(**values)

    def template(self, sentence: str) -> str:
        """Return a sentence in this language as it stands, with the names in its braces."""
        return self._translations.gettext(sentence)


ENGLISH = Texts(gettext.NullTranslations())


@cache
def load_texts(language: Language) -> Texts:
    """Return the texts of a language."""
    if language == "en":
        return ENGLISH
    catalogue = polib.pofile(str(FOLDER / f"{language}.po"), encoding="utf-8")
    return Texts(gettext.GNUTranslations(io.BytesIO(catalogue.to_binary())))
