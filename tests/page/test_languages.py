"""The words of page and desk: each sentence has its translation, and a browser gets the language that it asks for."""

import ast
import json
import re
from datetime import UTC
from pathlib import Path

import pytest
from markupsafe import Markup

import edge_agent
from edge_agent.desk import app as desk_app
from edge_agent.desk.terms_form import MODES, UNITS
from edge_agent.page import processes, views, words
from edge_agent.page.languages import Words, load_words, pick_language
from edge_agent.page.views import Reader
from edge_agent.protocol.request import Category
from edge_agent.texts import LANGUAGES

ROOT = Path(edge_agent.__file__).parent
OTHERS = [each for each in LANGUAGES if each != "en"]
SAID = re.compile(r"""\b_\(("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
NAMES = re.compile("{[a-z]+}")


def sentences() -> set[str]:
    """Return every sentence that a template or a function says, or that a table holds."""
    found = set()
    for package in ("page", "desk"):
        for path in (ROOT / package / "templates").glob("*.html"):
            found |= {ast.literal_eval(each) for each in SAID.findall(path.read_text())}
        for path in (ROOT / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("words") and node.args:
                    found |= set(constants(node.args[0]))
    tables = (
        words.GAPS, words.CAMERA_STATES, words.REQUEST_STATES, words.DONE, words.KINDS, words.OUTCOMES,
        views.QUALITIES, MODES, desk_app.SHOWS,
    )  # fmt: skip
    found |= {each for table in tables for each in table.values()}
    found |= {*views.DAYS, *views.MONTHS, *views.BLACKED_OUT, *(each for pair in UNITS.values() for each in pair)}
    found |= {each.value.replace("-", " ") for each in Category}
    silences = [processes.say_silence(each) for each in ("recorder", "releaser")]
    found |= {text for each in silences for text in (str(each), each.hint)}
    found |= {"north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"}
    found |= {"day", "days", "connected", "not connected", "not enrolled", "not known", desk_app._NO_CODE}
    return {each for each in found if each}


def constants(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return []


def table(language: str) -> dict[str, str]:
    return json.loads((ROOT / "page" / "languages" / f"{language}.json").read_text())


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_has_its_translation_and_no_other_lies_there(language):
    """One that is missing would be English in the middle of a page; a dead one hides it."""
    assert set(table(language)) == sentences()


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_keeps_the_names_in_braces(language):
    """A lost name is a lost fact; one too many would raise in the middle of a page."""
    for english, said in table(language).items():
        assert sorted(NAMES.findall(english)) == sorted(NAMES.findall(said)), english
        assert said.strip(), english
        assert "{" not in NAMES.sub("", said)


WISHES = {
    "": "en", "es": "es", "fr-CA,fr;q=0.8,en;q=0.5": "fr", "de,es-MX;q=0.7,en;q=0.3": "es", "en;q=0.2, fr;q=0.9": "fr",
    "de": "en", "*": "en", "es;q=0": "en", "es;q=zwei": "en", "\u0661" * 500: "en", "fr;q=1.0,": "fr", ",,,": "en",
}  # fmt: skip


@pytest.mark.parametrize(("accepted", "language"), WISHES.items())
def test_browser_gets_the_language_that_it_likes_best(accepted, language):
    """Whatever else the header holds (RFC 9110, 12.5.4)."""
    assert pick_language(accepted) == language


def test_a_strangers_value_is_escaped_and_cleaned_beside_markup():
    """A sentence with markup of our own escapes every other value, and the translation too."""
    said = Words("es", {"{a} asks {b}": "<{a}> pide {b}"})("{a} asks {b}", a=Markup("<b>x</b>"), b="<i>\u202e")
    assert said == "&lt;<b>x</b>&gt; pide &lt;i&gt;\ufffd" or "\u202e" not in said
    assert "<i>" not in said


def test_a_sentence_without_a_translation_stays_english():
    """A gap in a table costs nobody a page."""
    assert load_words("fr")("Nobody wrote {what}.", what="this") == "Nobody wrote this."


def test_a_time_of_another_day_is_said_in_the_language_of_the_page() -> None:
    """Every time that has a day has it in the language of the page, those to the second included."""
    reader = Reader({}, UTC, load_words("es"))
    first, later = "2026-11-28T23:59:58Z", "2026-11-29T00:00:02Z"
    assert reader.clock(first, first) == "23:59:58"
    assert reader.clock(later, first) == f"{load_words('es')('Sun')} 29 {load_words('es')('Nov')}, 00:00:02"
    assert load_words("es")("Sun") != "Sun"
