"""A person's yes: one rule for every question at a terminal.

An act that lets footage out, gives lasting trust, or cannot be undone wants a word that is written out. All else takes
a letter. Upper and lower case are the same, and so are the three languages that the gateway speaks.
"""

_WORDS = frozenset({"yes", "si", "sí", "oui"})
_LETTERS = frozenset({"y", "s", "o"})


def agrees(question: str) -> bool:
    """Ask what can be undone: a letter or a word is a yes; all else is a no, the end of the input as well."""
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        print()
        return False
    return _fold(answer) in _WORDS | _LETTERS


def writes_yes(what: str) -> bool:
    """Ask for "yes" written out, or for the same word in another language; a letter is a no.

    Raises:
        EOFError: The input has ended.
    """
    return _fold(input(f'Type "yes" {what}: ')) in _WORDS


def writes(word: str, what: str) -> bool:
    """Ask for one word that names the act; EOFError if the input has ended."""
    return _fold(input(f'Type "{word}" {what}: ')) == word


def _fold(answer: str) -> str:
    return answer.strip().strip("\"'").casefold()
