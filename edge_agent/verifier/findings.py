"""The findings about a bundle: each statement proved, not proved, or failed; in words and as JSON.

Owns the words and their meaning. *Proved*: follows from signatures and digests that were checked here, with keys that
were pinned. *Not pinned*: follows in the same way, but from keys that the bundle itself brought. *Not proved*: nothing
speaks against it, but only the gateway's word for it. *Failed*: something is not as it must be.
"""

from dataclasses import dataclass, field
from enum import Enum


class Proof(Enum):
    """The knowledge about one statement."""

    PROVED = "proved"
    NOT_PINNED = "not-pinned"
    NOT_PROVED = "not-proved"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about one part of the bundle."""

    part: str
    """``envelope``, ``container``, ``manifest``, ``keys``, ``kind``, ``files``, ``request``, ``consent``, ``order``,
    ``ledger``, ``chain``, ``records``, ``pictures``, ``sound``, ``windows``, ``clock``, ``completeness``, ``camera``,
    ``gateway``."""
    verdict: Proof
    sentence: str
    name: str = ""
    """The file that it is about, if it is about one."""


_HEADINGS = {
    Proof.FAILED: "FAILED: this is not as it must be",
    Proof.PROVED: "PROVED by signatures and digests, checked here",
    Proof.NOT_PINNED: "ATTESTED BY THE KEYS IN THE BUNDLE ONLY, not pinned: true if these keys are that house's",
    Proof.NOT_PROVED: "NOT PROVED: nothing speaks against it, but nothing here proves it",
}
_KEY_OF = {
    **dict.fromkeys(("manifest", "kind", "files", "ledger", "windows"), "gateway"),
    **dict.fromkeys(("chain", "records", "pictures", "sound", "completeness"), "recorder"),
    **dict.fromkeys(("order", "consent"), "owner"),
}
"""The signer that a statement about a part rests on, if that is a key of the house."""


@dataclass(slots=True)
class Findings:
    """All statements about one bundle, in the order in which they were found."""

    items: list[Finding] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """The written files: paths."""
    kind: str | None = None
    """``release`` or ``export``; None if it could not be made out."""
    unpinned: frozenset[str] = frozenset()
    """Keys of the house that the bundle itself brought: ``gateway``, ``recorder``, ``owner``."""

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed and anything was found to hold."""
        verdicts = {item.verdict for item in self.items}
        return Proof.FAILED not in verdicts and bool({Proof.PROVED, Proof.NOT_PINNED} & verdicts)

    def failed_parts(self) -> set[str]:
        """Return the parts about which something failed."""
        return {item.part for item in self.items if item.verdict is Proof.FAILED}

    def prove(self, part: str, sentence: str, name: str = "") -> None:
        """Record a statement that is proved, as far as the key that it rests on is pinned."""
        verdict = Proof.NOT_PINNED if _KEY_OF.get(part) in self.unpinned else Proof.PROVED
        self.items.append(Finding(part, verdict, sentence, name))

    def doubt(self, part: str, sentence: str, name: str = "") -> None:
        """Record a statement that is not proved."""
        self.items.append(Finding(part, Proof.NOT_PROVED, sentence, name))

    def fail(self, part: str, sentence: str, name: str = "") -> None:
        """Record a failure."""
        self.items.append(Finding(part, Proof.FAILED, sentence, name))

    def as_text(self) -> str:
        """Write the findings in words, what failed first."""
        lines = []
        for verdict, heading in _HEADINGS.items():
            found = [item for item in self.items if item.verdict is verdict]
            if found:
                lines += ["", heading]
                lines += [f"  {item.part:<13} {item.sentence}" for item in found]
        lines += ["", "Written:"] if self.files else []
        lines += [f"  {path}" for path in self.files]
        return "\n".join(lines).lstrip("\n") + "\n"

    def as_json(self) -> dict[str, object]:
        """Return the findings as a JSON value."""
        return {
            "ok": self.ok,
            "kind": self.kind,
            "unpinned": sorted(self.unpinned),
            "findings": [
                {"part": item.part, "verdict": item.verdict.value, "sentence": item.sentence, "file": item.name}
                for item in self.items
            ],
            "files": list(self.files),
        }
