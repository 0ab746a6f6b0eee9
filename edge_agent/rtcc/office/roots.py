"""An RTCC's offline root keys, in sets that follow each other.

Owns the folder ``roots/`` of a home: the public halves stay, the private ones until somebody takes them offline.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import public_jwk
from edge_agent.rtcc.office.keys import (
    SigningKey,
    encode_json,
    generate_signing_key,
    kid_of,
    load_signing_key,
    write_new,
    write_private_key,
)

ROOTS, THRESHOLD = 3, 2
"""One root may be lost, and one may be stolen, before the set must be replaced."""


@dataclass(frozen=True, slots=True)
class RootSet:
    """Public halves of the offline root keys, and how many must sign."""

    number: int
    threshold: int
    jwks: tuple[dict[str, str], ...]


class RootSets:
    """The root sets of a home.

    Args:
        folder: ``roots/``.
        passphrase: Opens the private keys if they are encrypted.
    """

    def __init__(self, folder: Path, passphrase: bytes | None) -> None:
        self._folder, self._passphrase = folder, passphrase

    def sets(self) -> tuple[RootSet, ...]:
        """Return the root sets, the oldest first; trust bundles hand over to the last."""
        sets = []
        for path in sorted(self._folder.glob("set-*.json")):
            try:
                raw = json.loads(path.read_text())
                sets.append(RootSet(raw["number"], raw["threshold"], tuple(raw["keys"])))
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise CustodyError(f"not a set of roots: {path}", "bring the file back from a copy") from error
        return tuple(sets)

    def add(self) -> RootSet:
        """Make a further set of three root keys; the next trust bundle hands over to it."""
        number = len(list(self._folder.glob("set-*.json"))) + 1
        keys = [generate_signing_key() for _ in range(ROOTS)]
        for index, key in enumerate(keys, 1):
            write_private_key(self.path(number, index), key, self._passphrase)
        root_set = RootSet(number, THRESHOLD, tuple(public_jwk(key.public_key()) for key in keys))
        content = {"number": number, "threshold": root_set.threshold, "keys": list(root_set.jwks)}
        write_new(self._folder / f"set-{number:03d}.json", encode_json(content))
        return root_set

    def path(self, set_number: int, index: int) -> Path:
        """Return where a root key lies until somebody takes it offline."""
        return self._folder / f"set-{set_number:03d}-root-{index}.pem"

    def load(self, root_set: RootSet, elsewhere: Sequence[Path] = ()) -> tuple[SigningKey, ...]:
        """Read as many root keys of a set as must sign, from other media first.

        Raises:
            CustodyError: Fewer than the threshold can be read.
        """
        inside = [self.path(root_set.number, index) for index in range(1, len(root_set.jwks) + 1)]
        keys: dict[str, SigningKey] = {}
        for path in [*elsewhere, *(path for path in inside if path.exists())]:
            if len(keys) < root_set.threshold:
                key = load_signing_key(path, self._passphrase)
                if public_jwk(key.public_key()) in root_set.jwks:
                    keys[kid_of(key)] = key
        if len(keys) < root_set.threshold:
            raise CustodyError(
                f"too few root keys: set={root_set.number} found={len(keys)} due={root_set.threshold}",
                "give each offline root with --root-file",
            )
        return tuple(keys.values())
