"""The corpus of the gate's fuzzers, replayed, and mutated for a moment: no fuzzer is needed for that."""

import random

import pytest

from tests.fuzz.gate_targets import CORPUS, TARGETS

TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\u",
    b"null",
    b"true",
    b"1e9",
    b"-",
    b" ",
    b"\n",
    b"*",
    b"&",
    b"=",
)


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_holds(name: str) -> None:
    """Every file of the corpus, and every file that a fuzzer left there once, meets what must hold."""
    files = sorted((CORPUS / f"gate-{name}").iterdir())
    assert files
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_hold(name: str) -> None:
    """So do a hundred mutations of them: bytes changed, tokens put in, pieces cut out."""
    dice = random.Random(11)
    seeds = [file.read_bytes() for file in sorted((CORPUS / f"gate-{name}").iterdir())]
    for _ in range(100):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(3):
                case 0:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 1:
                    data[at:at] = dice.choice(TOKENS)
                case _:
                    del data[at : at + dice.randrange(1, 20)]
        TARGETS[name](bytes(data))
