"""Fuzz one target with coverage guidance: ``python -m tests.fuzz ring-page [libFuzzer options]``; needs atheris.

``python -m tests.fuzz`` alone prints the targets. ``scripts/fuzz`` installs atheris and runs all of them.
``python -m tests.fuzz ring-page --keep FOLDER`` takes into the corpus of the tree what reaches new code.
"""

import shlex
import sys
import tempfile
from pathlib import Path

NAMES = {
    "ring": ("superblock", "page", "record", "block", "ring"),
    "evidence": ("container", "header", "boxes", "blocks", "records"),
    "capture": ("split", "text", "sdp", "sps", "h264", "h265", "sound", "tape"),
    "gate": ("envelope", "request", "trust", "consent", "policy", "config"),
}


def main() -> None:
    """Run one target until libFuzzer's options end it, or something is found."""
    if len(sys.argv) == 1:
        print(*(f"{room}-{name}" for room, names in NAMES.items() for name in names), sep="\n")
        return
    import atheris

    # Our own code alone: to instrument everything takes longer than a short run of a target.
    with atheris.instrument_imports(include=["edge_agent"]):
        from tests.fuzz import capture_targets, evidence_targets, gate_targets, ring_targets
    room, _, name = sys.argv[1].partition("-")
    rooms = {"ring": ring_targets, "gate": gate_targets, "evidence": evidence_targets, "capture": capture_targets}
    targets = rooms[room].TARGETS
    corpus = str(ring_targets.CORPUS / sys.argv[1])
    if sys.argv[2:3] == ["--keep"]:
        # Of what a run found, the inputs that reach new code join the corpus in the tree.
        atheris.Setup([_make_command(sys.argv[1]), "-merge=1", "-max_len=4096", corpus, *sys.argv[3:]], targets[name])
    else:
        found = tempfile.mkdtemp(prefix=f"fuzz-{sys.argv[1]}-")
        atheris.Setup([sys.argv[0], *sys.argv[2:], found, corpus], targets[name])
    atheris.Fuzz()


def _make_command(target: str) -> str:
    """Return a program for libFuzzer, which runs itself for each merge by its first word: a module's name is none."""
    path = Path(tempfile.mkdtemp(prefix="fuzz-merge-")) / target
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.fuzz {target} "$@"\n')
    path.chmod(0o700)
    return str(path)


if __name__ == "__main__":
    main()
