"""Sentences in the owner's language. Pure: ``host.language`` reads the catalogues."""

import gettext
from typing import Literal, get_args

Language = Literal["en", "es", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


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
