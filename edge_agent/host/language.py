"""Texts in the owner's language, from gettext catalogues (``edge_agent/locale``).

Owns the languages that there are. A text without a translation stays English: a gap in a catalogue is never an error.
Catalogues are read as they are written (``.po``), so that none can be older than its source.
"""

import gettext
import io
from functools import cache
from pathlib import Path

import polib

from edge_agent.texts import ENGLISH, Language, Texts

FOLDER = Path(__file__).resolve().parent.parent / "locale"


@cache
def load_texts(language: Language) -> Texts:
    """Return the texts of a language."""
    if language == "en":
        return ENGLISH
    catalogue = polib.pofile(str(FOLDER / f"{language}.po"), encoding="utf-8")
    translations = gettext.GNUTranslations(io.BytesIO(catalogue.to_binary()))
    return Texts(translations, [entry.msgid for entry in catalogue])
