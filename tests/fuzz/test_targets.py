"""The corpora of the fuzzers, replayed, and mutated for a moment: no fuzzer is needed for that."""

import random

import pytest

from tests.fuzz import capture_targets, evidence_targets, gate_targets, ring_targets

CORPUS = gate_targets.CORPUS
TARGETS = {
    f"{room}-{name}": target
    for room, targets in {
        "capture": capture_targets.TARGETS,
        "evidence": evidence_targets.TARGETS,
        "gate": gate_targets.TARGETS,
        "ring": ring_targets.TARGETS,
    }.items()
    for name, target in targets.items()
}
MUTATIONS = 200
TOKENS = (*'"{}[],:- \n*&=', "\\u", "null", "true", "1e9", "\0", "\x01", "\x7f", "\x80", "\xff")


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_holds(name: str) -> None:
    """Every file of the corpus, and every file that a fuzzer left there once, meets what must hold."""
    files = sorted((CORPUS / name).iterdir())
    assert files
    for file in files:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_hold(name: str) -> None:
    """So do hundreds of mutations: bytes changed, tokens put in or over others, pieces cut out, ends cut off."""
    dice = random.Random(11)
    seeds = [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
    for _ in range(MUTATIONS):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            at, token = dice.randrange(len(data) + 1), dice.choice(TOKENS).encode("latin-1")
            match dice.randrange(5):
                case 0:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 1:
                    data[at:at] = token
                case 2:
                    data[at : at + len(token)] = token
                case 3:
                    del data[at : at + dice.randrange(1, 20)]
                case _ if dice.randrange(4) == 0:
                    del data[at:]
        TARGETS[name](bytes(data))
