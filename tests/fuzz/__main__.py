"""Fuzz one target with coverage guidance: ``python -m tests.fuzz ring-page [libFuzzer options]``; needs atheris.

``python -m tests.fuzz`` alone prints the targets. ``scripts/fuzz`` installs atheris and runs all of them.
"""

import sys
import tempfile

NAMES = {
    "ring": ("superblock", "page", "record", "block", "ring"),
    "evidence": ("container", "header", "boxes", "blocks", "records"),
    "capture": ("split", "text", "sdp", "sps", "h264", "h265"),
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
    # What is found on the way goes to the first folder; the corpus in the tree grows by hand.
    found = tempfile.mkdtemp(prefix=f"fuzz-{sys.argv[1]}-")
    atheris.Setup([sys.argv[0], *sys.argv[2:], found, str(ring_targets.CORPUS / sys.argv[1])], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
