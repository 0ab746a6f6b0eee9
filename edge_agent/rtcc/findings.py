"""What was found out about a bundle: each statement proved, not proved, or failed; in words and as JSON.

Owns the three words and their meaning. *Proved*: follows from signatures and digests that were checked here. *Not
proved*: nothing speaks against it, but only the gateway's word for it. *Failed*: something is not as it must be.
"""

from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    """What is known about one statement."""

    PROVED = "proved"
    NOT_PROVED = "not-proved"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about one part of the bundle."""

    part: str
    """``envelope``, ``container``, ``manifest``, ``files``, ``request``, ``consent``, ``ledger``, ``chain``,
    ``records``, ``pictures``, ``sound``, ``windows``, ``clock``, ``completeness``."""
    verdict: Verdict
    sentence: str
    name: str = ""
    """The file that it is about, where it is about one."""


_HEADINGS = {
    Verdict.FAILED: "FAILED: this is not as it must be",
    Verdict.PROVED: "PROVED by signatures and digests, checked here",
    Verdict.NOT_PROVED: "NOT PROVED: nothing speaks against it, but nothing here proves it",
}


@dataclass(slots=True)
class Findings:
    """All statements about one bundle, in the order in which they were found."""

    items: list[Finding] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """What was written: paths."""

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed and anything was proved."""
        verdicts = {item.verdict for item in self.items}
        return Verdict.FAILED not in verdicts and Verdict.PROVED in verdicts

    def failed_parts(self) -> set[str]:
        """Return the parts about which something failed."""
        return {item.part for item in self.items if item.verdict is Verdict.FAILED}

    def prove(self, part: str, sentence: str, name: str = "") -> None:
        """Take down a statement that is proved."""
        self.items.append(Finding(part, Verdict.PROVED, sentence, name))

    def doubt(self, part: str, sentence: str, name: str = "") -> None:
        """Take down a statement that is not proved."""
        self.items.append(Finding(part, Verdict.NOT_PROVED, sentence, name))

    def fail(self, part: str, sentence: str, name: str = "") -> None:
        """Take down what is not as it must be."""
        self.items.append(Finding(part, Verdict.FAILED, sentence, name))

    def as_text(self) -> str:
        """Write the findings in words, what failed first."""
        lines = []
        for verdict in (Verdict.FAILED, Verdict.PROVED, Verdict.NOT_PROVED):
            found = [item for item in self.items if item.verdict is verdict]
            if found:
                lines += ["", _HEADINGS[verdict]]
                lines += [f"  {item.part:<13} {item.sentence}" for item in found]
        lines += ["", "Written:"] if self.files else []
        lines += [f"  {path}" for path in self.files]
        return "\n".join(lines).lstrip("\n") + "\n"

    def as_json(self) -> dict[str, object]:
        """Return the findings as a JSON value."""
        return {
            "ok": self.ok,
            "findings": [
                {"part": item.part, "verdict": item.verdict.value, "sentence": item.sentence, "file": item.name}
                for item in self.items
            ],
            "files": list(self.files),
        }
