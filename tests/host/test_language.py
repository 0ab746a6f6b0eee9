"""The catalogues: everything that a person is told in their language has a translation that says the same things."""

import ast
import re
from pathlib import Path

import polib
import pytest

from edge_agent.capture.pictures.analyser import HEALTH
from edge_agent.capture.reasons import REASONS
from edge_agent.host.language import FOLDER, load_texts
from edge_agent.protocol.reasons import RULES
from edge_agent.texts import LANGUAGES
from edge_agent.uplink.owner.fault_words import WORDS

ROOT = FOLDER.parent
NAMES = re.compile(r"[{][a-z]+[}]")
OTHERS = [language for language in LANGUAGES if language != "en"]


def literals() -> set[str]:
    """Return every sentence that is written in a call of ``texts``."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "texts" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def tables() -> set[str]:
    words = [each for fault in WORDS.values() for each in (fault.title, fault.meaning, fault.mend, fault.well)]
    later = [title for fault in WORDS.values() for title in fault.later]
    rules = [rule.sentence for rule in RULES.values() if rule.check >= 4]
    return {*words, *later, *rules, *REASONS.values(), *HEALTH.values()}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated(language):
    """What no catalogue has would be English in the middle of a message."""
    texts = load_texts(language)
    same = {sentence for sentence in literals() | tables() if texts.template(sentence) == sentence}
    assert same <= {"{rate} Mbit/s", "version", "{camera}: {state}"}


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
    known = literals() | tables()
    assert [each for each in entries if each not in known and f'"{each}"' not in said] == []


def test_a_sentence_without_a_translation_stays_english():
    """A gap in a catalogue costs nobody a message."""
    assert load_texts("fr")("A sentence that nobody wrote: {name}.", name="x") == "A sentence that nobody wrote: x."


def test_the_catalogues_are_files_of_the_program():
    """Where the texts are looked for is where they are shipped."""
    assert {path.stem for path in Path(FOLDER).glob("*.po")} == set(OTHERS)
