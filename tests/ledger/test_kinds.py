"""The closed list of the ledger's kinds of entries."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from edge_agent.ledger.kinds import SHAPES, main

ROOT = Path(__file__).parents[2]


def test_the_document_has_every_kind_and_member(capsys):
    """docs/ledger.md, "Kinds", is what ``python -m edge_agent.ledger.kinds`` prints."""
    main()
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "ledger.md").read_text()


def test_nothing_enters_the_ledger_but_a_kind_of_the_list():
    """No module but the ledger's own appends a leaf by hand."""
    found = []
    for path in (ROOT / "edge_agent").rglob("*.py"):
        if path.parent.name == "ledger":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_append = isinstance(node, ast.Attribute) and node.attr == "append"
            if is_append and isinstance(node.value, ast.Name) and node.value.id in ("ledger", "table"):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_no_entry_stands_outside_the_list():
    """A class that is an entry, wherever it is written, is of the list, or the root of some that are."""
    roots, found = {"LedgerEntry", "OfRequest"}, set()
    for path in (ROOT / "edge_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and roots & {ast.unparse(base).split(".")[-1] for base in node.bases}:
                found.add(node.name)
    assert found - roots == {shape.__name__ for shape in SHAPES}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_shape_says_what_it_tells(shape):
    """Each has a kind that a leaf can hold, and a sentence."""
    assert shape.kind.islower()
    assert shape.__doc__.endswith(".")
    assert fields(shape)
