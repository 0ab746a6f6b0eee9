"""Sentences in the owner's language. Pure: ``host.language`` reads the catalogues."""

import gettext
import re
from collections.abc import Iterable
from typing import Literal, get_args

Language = Literal["en", "es", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_NAME = re.compile(r"[{]([a-z]+)[}]")
_WORDS = frozenset({"category"})
"""Values that are words of ours, such as ``vehicle-theft``."""
LEAST_LETTERS = 8
"""A sentence with fewer letters of its own, such as ``{camera}: {state}``, is not found again: much looks like it."""
_MAX_CHARACTERS = 2000


class Texts:
    """Sentences of one language; called with an English one, and the values of the names in its braces.

    Args:
        translations: Of gettext; the empty ones leave English as it is.
        sentences: The English sentences that have a translation.
    """

    def __init__(self, translations: gettext.NullTranslations, sentences: Iterable[str] = ()) -> None:
        self._translations = translations
        known = sorted(sentences, key=_count_letters, reverse=True)
        self._known = frozenset(known)
        self._patterns = [(_compile(each), each) for each in known if _is_found_again(each)]

    def __call__(self, sentence: str, **values: object) -> str:
        """Return a sentence in this language with its values filled in."""
        return self.template(sentence).format(**values)

    def template(self, sentence: str) -> str:
        """Return a sentence in this language as it stands, with the names in its braces."""
        return self._translations.gettext(sentence) if sentence else ""

    def translate(self, text: str) -> str:
        """Return an English text whose values are filled in already, such as a warning of the recorder's status.

        Its sentence is found again by the words around the values. A value that is a sentence is translated too, and
        a detail in brackets behind a sentence is kept. A text that no sentence fits stays as it is.
        """
        if text in self._known:
            return self.template(text)
        if len(text) > _MAX_CHARACTERS:
            return text
        for pattern, sentence in self._patterns:
            found = pattern.fullmatch(text)
            if found is not None:
                return self(sentence, **{n: self._translate_value(n, v) for n, v in found.groupdict().items()})
        reason, bracket, detail = text.rpartition(" (")
        return f"{self.template(reason)}{bracket}{detail}" if reason in self._known else text

    def _translate_value(self, name: str, value: str) -> str:
        """A value of one word is a name that somebody gave, unless it is of a closed list."""
        words = value.replace("-", " ")
        if name in _WORDS and words in self._known:
            return self.template(words)
        return self.translate(value) if " " in value else value


def _compile(sentence: str) -> re.Pattern[str]:
    parts = _NAME.split(sentence)
    pattern = "".join(f"(?P<{part}>.*)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile(pattern, re.DOTALL)


def _is_found_again(sentence: str) -> bool:
    names = _NAME.findall(sentence)
    return 0 < len(names) == len(set(names)) and _count_letters(sentence) >= LEAST_LETTERS


def _count_letters(sentence: str) -> int:
    return len(_NAME.sub("", sentence))


ENGLISH = Texts(gettext.NullTranslations())
