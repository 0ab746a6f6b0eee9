"""Releases for the machine: one that works, one that does not start, signed by keys of the moment."""

import json
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from package.repository import Repository

_BREAK = '"""Does not start."""\n\nraise SystemExit("broken on purpose")\n'


class ReleaseOffice:
    """Its web folder is what gateways ask; the signing keys end with this process."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.web, self._suite = folder / "web", suite
        self._work = folder
        self._repository = Repository(self.web)
        self._roots, self._targets = ([CryptoSigner.generate_ed25519() for _ in range(3)] for _ in range(2))
        self._online = CryptoSigner.generate_ed25519()
        draft = self._repository.draft_root(
            [each.public_key for each in self._roots],
            [each.public_key for each in self._targets],
            self._online.public_key,
            datetime.now(UTC),
        )
        for signer in self._roots[:2]:
            self._repository.sign(draft, signer)
        self.root = draft.read_bytes()
        self.packages: dict[str, Path] = {}

    def publish(self, version: str, package: Path) -> None:
        """Make a package the newest release; those before stay as ways back."""
        self.packages[version] = package
        names: Mapping[str, str] = {each: path.name for each, path in self.packages.items()}
        listed = self._work / "releases.json"
        kind = f"{self._suite}/amd64"
        listed.write_text(
            json.dumps({"format": 1, "version": version, "minimum": "0.1.0", "packages": {kind: dict(names)}})
        )
        files = {path.name: path for path in self.packages.values()} | {"releases.json": listed}
        draft = self._repository.draft_targets(files, datetime.now(UTC))
        for signer in self._targets[:2]:
            self._repository.sign(draft, signer)
        self._repository.publish(self._online, datetime.now(UTC))

    def rework(self, package: Path, version: str, url: str, *, is_broken: bool = False) -> Path:
        """Return a package with this office's root of trust, of another version, or one that does not start."""
        tree = self._work / f"tree-{version}"
        subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True, timeout=600)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}~{self._suite}", control.read_text()))
        trust = tree / "opt/edge-agent/share/edge-agent/update"
        trust.mkdir(parents=True, exist_ok=True)
        (trust / "root.json").write_bytes(self.root)
        (trust / "url").write_text(f"{url}\n")
        (start,) = tree.glob("opt/edge-agent/lib/python3*/site-packages/edge_agent/__init__.py")
        start.write_text(re.sub(r"(?m)^__version__ = .*$", f'__version__ = "{version}"', start.read_text()))
        if is_broken:
            start.with_name("recorder.py").write_text(_BREAK)
        made = self._work / f"edge-agent_{version}~{self._suite}_amd64.deb"
        words = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(made)]
        subprocess.run(words, check=True, timeout=600, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", tree], check=True, timeout=600)
        return made
