"""The corpus of the ring's fuzzers, replayed, and mutated for a moment: no fuzzer is needed for that."""

import random

import pytest

from tests.fuzz.ring_targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_holds(name: str) -> None:
    """Every file of the corpus, and every file that a fuzzer left there once, meets what must hold."""
    files = sorted((CORPUS / f"ring-{name}").iterdir())
    assert files
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_hold(name: str) -> None:
    """So do a few hundred mutations of them."""
    dice = random.Random(11)
    seeds = [file.read_bytes() for file in sorted((CORPUS / f"ring-{name}").iterdir())]
    for _ in range(300):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            if data:
                data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        TARGETS[name](bytes(data[: dice.choice((len(data), len(data), dice.randrange(len(data) + 1)))]))
