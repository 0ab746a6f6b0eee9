"""The templates of the page and of the desk, and the few files beside them.

Every text that a template shows is escaped, and is one line of visible letters, whoever wrote it.
"""

import hashlib
import importlib.resources
from typing import Any

import jinja2
from markupsafe import Markup

from edge_agent.page.languages import ENGLISH, Words
from edge_agent.printable_text import show_line

MAX_LETTERS = 2000
"""Of any one value: a stranger's text must not push the buttons off the screen."""
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.svg": "image/svg+xml",
}


def clean(value: object) -> object:
    """Make every text that a template shows one line of visible letters, whoever wrote it (``printable_text``).

    Escaping keeps markup out; this keeps out what reorders or hides the words of a sentence.
    """
    if isinstance(value, Markup):  # of a macro of our own, whose values passed here one by one
        return value
    return show_line(value, MAX_LETTERS) if isinstance(value, str) else value


class Templates:
    """The templates of these packages; the first one that has a name wins."""

    def __init__(self, *packages: str) -> None:
        self.files = {name: _read_static(name) for name in STATIC}
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each) for each in packages]),
            # StrictUndefined: a name that is misspelt fails in a test, and is no empty warning
            # before a resident.
            autoescape=True, undefined=jinja2.StrictUndefined, auto_reload=False, finalize=clean,
        )  # fmt: skip
        version = hashlib.sha256(b"".join(self.files.values())).hexdigest()[:12]
        self._environment.globals |= {"version": version, "code": code, "strong": strong, "name_of": name_of}

    def render(self, template: str, words: Words = ENGLISH, /, **values: Any) -> str:
        """Return a page; ``_`` in it are the words of its language."""
        return self._environment.get_template(template).render(_=words, **values)


def code(text: str) -> Markup:
    """Return a command that a resident types, as a value of a sentence."""
    return Markup("<code>{}</code>").format(clean(text))


def strong(text: str) -> Markup:
    """Return a text that stands out, as a value of a sentence."""
    return Markup("<strong>{}</strong>").format(clean(text))


def name_of(text: str) -> Markup:
    """Return a stranger's name, kept apart from the letters around it, as a value of a sentence."""
    return Markup("<bdi>{}</bdi>").format(clean(text))


def _read_static(name: str) -> bytes:
    return (importlib.resources.files("edge_agent.page") / "static" / name).read_bytes()
