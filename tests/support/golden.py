"""What a release and a request come to, with fixed keys and fixed chance: to be the same before and after a change.

``python -m tests.support.golden FOLDER`` writes ``golden.json`` into the folder: the answers as they go to the broker,
the ledger's entries, the parts of a bundle and of an export, and what the RTCC finds in both. The first run also leaves
a ring and two age identities there, because the sealing of a block's key takes its chance where no test can fix it;
a later run, of another version of the code, reads them. ``diff`` of two runs is the judgement.
"""

import hashlib
import itertools
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class _Chance:
    """A fixed sequence of bytes, which can begin anew."""

    def __init__(self) -> None:
        self.begin("")

    def begin(self, name: str) -> None:
        """Begin the sequence of that name."""
        self._name, self._numbers = name, itertools.count()

    def draw(self, size: int) -> bytes:
        """Return the next bytes."""
        return hashlib.shake_256(f"{self._name} {next(self._numbers)}".encode()).digest(size)


_CHANCE = _Chance()
_draw = _CHANCE.draw


def fix_chance() -> None:
    """Draw keys, salts and ids from the fixed sequence; every key that signs is Ed25519, whose signatures are fixed."""
    os.urandom = random._urandom = _draw  # type: ignore[attr-defined]
    make = lambda *_: Ed25519PrivateKey.from_private_bytes(_draw(32))  # noqa: E731
    Ed25519PrivateKey.generate = classmethod(make)  # type: ignore[assignment]
    X25519PrivateKey.generate = classmethod(lambda _: X25519PrivateKey.from_private_bytes(_draw(32)))
    ec.generate_private_key = make  # type: ignore[assignment]


def run_release(folder: Path) -> dict:
    """Build a bundle and an export of one ring, and open both as the RTCC does."""
    from tests.support.footage import START, encode, records, window
    from tests.support.opened import open_export, open_release
    from tests.support.release import House

    names = folder / "identities.json"
    if not names.exists():
        names.write_text(json.dumps([str(pyrage.x25519.Identity.generate()) for _ in range(2)]))
    evidence, own = map(pyrage.x25519.Identity.from_str, json.loads(names.read_text()))
    house = House(folder, evidence=evidence, own=own)
    if not house.ring.exists():
        house.record(records(encode(40, audio="pcm_alaw"), START))
    house.record = lambda _: None  # type: ignore[method-assign]
    _CHANCE.begin("release")
    asked, work = window(0.5, 3.0), Path(tempfile.mkdtemp())
    found = {}
    for name, opened in {
        "release": open_release(work, house, asked, []),
        "export": open_export(work, house, asked, []),
    }.items():
        findings = opened.open().as_json()
        findings["files"] = [Path(path).name for path in findings["files"]]
        found[name] = {
            "parts": {part: hashlib.sha256(data).hexdigest() for part, data in opened.parts.items()},
            "manifest": opened.manifest,
            "findings": findings,
        }
    return found


def run_requests() -> dict:
    """Let requests arrive, be granted, asked about, approved, denied, cancelled and revoked."""
    from edge_agent.ledger import table as ledger
    from tests.support.releaser import House

    seen = {}
    for name, tell in _STORIES.items():
        house = House(Path(tempfile.mkdtemp()))
        tell(house)
        for _ in range(4):
            house.sender.turn()
            house.worker.turn()
        with house.store.reading() as connection:
            entries = [[each.kind, each.entry] for each in ledger.entries(connection)]
        seen[name] = {
            "answers": [raw.decode() for raw in house.broker.taken],
            "ledger": entries,
            "states": [str(request.state) for request in house.store.requests.list_newest()],
            "staged": house.staged(),
            "uploads": [house.uploader.uploaded, house.uploader.forgotten],
        }
    return seen


def _granted(house) -> None:
    house.ask()
    house.carry_on()
    house.carry_on()


def _asked(house, then: str = "approve") -> None:
    from edge_agent.consent.policy import Mode
    from tests.support import gate

    house.signed["door"] = gate.terms(mode=Mode.ASK)
    request = house.ask()
    if then == "approve":
        house.approve(request)
        house.carry_on()
        house.carry_on()
    else:
        house.call(then, number=request.id)


def _refused(house) -> None:
    house.ask({"incident.category": "assault"})
    house.ask({"clip.cameras": ["nowhere"]})
    house.ask({"exp": "2026-07-01T22:00:00Z"})


_STORIES = {
    "granted": _granted,
    "asked and approved": _asked,
    "asked and denied": lambda house: _asked(house, "deny"),
    "refused": _refused,
}


def main() -> None:
    """Write ``golden.json`` into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    fix_chance()
    found = {"requests": run_requests(), **run_release(folder)}
    (folder / "golden.json").write_text(json.dumps(found, indent=1, sort_keys=True, default=str) + "\n")


if __name__ == "__main__":
    main()
