"""One rule for every yes: a letter for what can be undone, a word for what cannot, in three languages."""

import ast
from pathlib import Path

import pytest

import edge_agent
from edge_agent.host import questions

WORDS = ["yes", "YES", "Yes", "si", "sí", "SÍ", "oui", "OUI", " yes ", '"yes"']
LETTERS = ["y", "Y", "s", "S", "o", "O"]
NO = ["", "n", "no", "non", "yess", "ye", "erase", "1", "true", "\N{CYRILLIC SMALL LETTER U}"]


@pytest.fixture
def answer(monkeypatch):
    def give(text: str) -> list[str]:
        prompts: list[str] = []
        monkeypatch.setattr("builtins.input", lambda prompt: prompts.append(prompt) or text)
        return prompts

    return give


@pytest.mark.parametrize("text", [*WORDS, *LETTERS, *NO])
def test_a_letter_is_a_yes_to_what_can_be_undone_and_a_word_to_all(answer, text):
    """A letter never lets footage out; a word in any case and language does."""
    prompts = answer(text)
    assert questions.agrees("Write this?") is (text not in NO)
    assert questions.writes_yes("to sign") is (text in WORDS)
    assert prompts == ["Write this? [y/N] ", 'Type "yes" to sign: ']


def test_destruction_wants_its_own_word(answer):
    """No yes destroys footage."""
    for text in (*WORDS, *LETTERS, *NO):
        answer(text)
        assert questions.writes("erase", "to go on") is (text == "erase")
    answer(" Erase ")
    assert questions.writes("erase", "to go on")


def test_the_end_of_the_input_is_no_yes(monkeypatch):
    """Nobody answers: what can be undone is not done, the rest ends the command."""

    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert not questions.agrees("Write this?")
    with pytest.raises(EOFError):
        questions.writes_yes("to sign")


def test_no_command_reads_a_yes_of_its_own():
    """Property: in the whole program ``input`` is called for an answer by one module; elsewhere only to wait."""
    root = Path(edge_agent.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            calls = [each for each in ast.iter_child_nodes(node) if _is_input(each)]
            if calls and not isinstance(node, ast.Expr):
                found.add(str(path.relative_to(root)))
    assert found == {"host/questions.py"}


def _is_input(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "input"
