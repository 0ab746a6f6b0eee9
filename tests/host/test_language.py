"""The catalogues: everything that a person is told in their language has a translation that says the same things."""

import ast
import errno
import os
import re
from functools import cache
from pathlib import Path

import polib
import pytest

from edge_agent.capture.pictures.analyser import HEALTH
from edge_agent.capture.reasons import REASONS
from edge_agent.host.language import FOLDER, load_texts
from edge_agent.protocol.reasons import CAUSES
from edge_agent.protocol.request import Category
from edge_agent.texts import LANGUAGES, LEAST_LETTERS
from edge_agent.uplink.owner.fault_words import WORDS

ROOT = FOLDER.parent
NAMES = re.compile(r"[{][a-z]+[}]")
OTHERS = [language for language in LANGUAGES if language != "en"]


@cache
def nodes() -> list[ast.AST]:
    return [node for path in ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]


def literals() -> set[str]:
    """Return every sentence that is written in a call of ``texts``."""
    found = set()
    for node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "texts" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def filled_in() -> set[str]:
    """Return every sentence that is made by an f-string, with ``{}`` for each value."""
    return {
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        for node in nodes()
        if isinstance(node, ast.JoinedStr)
    }


def tables() -> set[str]:
    words = [each for fault in WORDS.values() for each in (fault.title, fault.meaning, fault.mend, fault.well)]
    later = [title for fault in WORDS.values() for title in fault.later]
    rules = [rule.sentence for rule in CAUSES.values() if rule.check >= 4]
    categories = [each.value.replace("-", " ") for each in Category]
    return {*words, *later, *rules, *categories, *REASONS.values(), *HEALTH.values(), *HEALTH}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated(language):
    """What no catalogue has would be English in the middle of a message."""
    texts = load_texts(language)
    same = {sentence for sentence in literals() | tables() if texts.template(sentence) == sentence}
    assert same <= {"{rate} Mbit/s", "version", "{camera}: {state}", "{fact}: {value}", "homicide"}


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_keeps_the_names_in_braces(language):
    """A lost name is a lost fact; one too many would raise in the middle of a message."""
    for entry in polib.pofile(str(FOLDER / f"{language}.po")):
        assert sorted(NAMES.findall(entry.msgid)) == sorted(NAMES.findall(entry.msgstr)), entry.msgid
        assert entry.msgstr, entry.msgid
        assert "{" not in NAMES.sub("", entry.msgstr)


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_no_sentence_twice_and_none_that_nobody_says(language):
    """Dead entries hide missing ones."""
    said = "".join(path.read_text() for path in ROOT.rglob("*.py"))
    entries = [entry.msgid for entry in polib.pofile(str(FOLDER / f"{language}.po"))]
    assert len(entries) == len(set(entries))
    known = literals() | tables() | {os.strerror(code) for code in errno.errorcode}
    made = filled_in()
    dead = [each for each in entries if each not in known and f'"{each}"' not in said]
    assert [each for each in dead if NAMES.sub("{}", each) not in made] == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_is_found_again_whatever_its_values_are(language):
    """What another process made in English is said in the owner's language, and never with another sentence."""
    texts = load_texts(language)
    for entry in polib.pofile(str(FOLDER / f"{language}.po")):
        names = set(NAMES.findall(entry.msgid))
        if len(NAMES.sub("", entry.msgid)) < LEAST_LETTERS or len(names) != len(NAMES.findall(entry.msgid)):
            continue
        values = {name[1:-1]: f"value-{number}" for number, name in enumerate(sorted(names))}
        assert texts.translate(entry.msgid.format(**values)) == texts(entry.msgid, **values)


def test_a_value_that_is_a_sentence_is_translated_too():
    """A warning of the recorder's status holds the reason of another part of the program."""
    texts = load_texts("es")
    assert texts.translate("nothing is stored: ring is being prepared: 12 %") == (
        "no se guarda nada: el anillo se está preparando: 12 %"
    )
    assert texts.translate("no events come: the camera refuses the user name or password (http=401)") == (
        "no llegan eventos: la cámara rechaza el usuario o la contraseña (http=401)"
    )
    assert texts.translate("The owner did not consent to requests for vehicle-theft.") == (
        "El propietario no consintió solicitudes por robo de vehículo."
    )


def test_a_text_that_nobody_wrote_stays_as_it_is():
    """A camera's own words are no template, however long they are."""
    texts = load_texts("es")
    for text in ("", "{camera}", "{0.__class__}", "off the record: 12", "lost " * 1000):
        assert texts.translate(text) == text


def test_a_sentence_without_a_translation_stays_english():
    """A gap in a catalogue costs nobody a message."""
    assert load_texts("fr")("A sentence that nobody wrote: {name}.", name="x") == "A sentence that nobody wrote: x."


def test_the_catalogues_are_files_of_the_program():
    """Where the texts are looked for is where they are shipped."""
    assert {path.stem for path in Path(FOLDER).glob("*.po")} == set(OTHERS)
