"""The people who sign requests for an RTCC: each person's name, role, key and its validity, and revocations.

Owns the folder ``people/`` of a home. A person counts at the gateways once a trust bundle that names them is published.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol.public_keys import public_jwk
from edge_agent.protocol.request import Role
from edge_agent.rtcc.office.keys import (
    SigningKey,
    encode_json,
    generate_signing_key,
    kid_of,
    load_signing_key,
    replace,
    write_new,
    write_private_key,
)
from edge_agent.units import DAY_NS, UtcNs, encode_rfc3339, parse_rfc3339

PERSON_DAYS = 365
"""Of a person's key; after it a new one is made."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Signatory:
    """Somebody who signs for the RTCC: a name, one role, one key and its validity."""

    name: str
    role: Role
    jwk: dict[str, str]
    kid: str
    valid_from: UtcNs
    valid_until: UtcNs


def _check_name(name: str) -> str:
    """Return ``name`` if it may name a person and a file.

    Raises:
        CustodyError: It may not.
    """
    if _NAME.fullmatch(name) is None:
        raise CustodyError(
            f"not a person's name: {name[:64]!r}", "small letters, digits, dots and hyphens, such as ada"
        )
    return name


class People:
    """The persons of a home.

    Args:
        folder: ``people/``.
        passphrase: Opens the private keys if they are encrypted.
    """

    def __init__(self, folder: Path, passphrase: bytes | None) -> None:
        self._folder, self._passphrase = folder, passphrase

    def present(self) -> tuple[Signatory, ...]:
        """Return everybody who may sign, by name, without people who were revoked."""
        return tuple(_parse_person(path) for path in sorted(self._folder.glob("*.json")))

    def former(self) -> tuple[Signatory, ...]:
        """Return everybody who was revoked: their earlier signatures stay to be judged."""
        return tuple(_parse_person(path) for path in sorted((self._folder / "revoked").glob("*.json")))

    def add(self, name: str, role: Role, now: UtcNs, days: int = PERSON_DAYS) -> Signatory:
        """Make a person's key, valid from now on; it counts once a trust bundle that names it is published."""
        key = generate_signing_key()
        # The private half first: a name that the trust bundle lists always has its key.
        write_private_key(self._path(name, "pem"), key, self._passphrase)
        person = Signatory(name, role, public_jwk(key.public_key()), kid_of(key), now, UtcNs(now + days * DAY_NS))
        content = {
            "person": name,
            "role": role.value,
            "jwk": person.jwk,
            "kid": person.kid,
            "from": encode_rfc3339(person.valid_from),
            "until": encode_rfc3339(person.valid_until),
        }
        write_new(self._path(name, "json"), encode_json(content))
        return person

    def find(self, name: str) -> Signatory | None:
        """Return a person by name."""
        return next((person for person in self.present() if person.name == name), None)

    def load_key(self, name: str, *roles: Role) -> SigningKey:
        """Read the private key of a person who has one of the roles.

        Raises:
            CustodyError: No person has that name, or the person has another role.
        """
        person = self.find(name)
        if person is None or person.role not in roles:
            fitting = ", ".join(each.name for each in self.present() if each.role in roles) or "nobody"
            wanted = " or ".join(role.value for role in roles)
            raise CustodyError(f"not a person with the role {wanted}: {name[:64]!r}", f"there is: {fitting}")
        return load_signing_key(self._path(name, "pem"), self._passphrase)

    def revoked(self) -> tuple[str, ...]:
        """Return the kids that must never count again."""
        path = self._folder / "revoked" / "kids.txt"
        return tuple(path.read_text().split()) if path.exists() else ()

    def revoke(self, kid_or_person: str) -> str:
        """Put a key on the list of revoked ones and its files aside; effective with the next trust bundle.

        Raises:
            CustodyError: No person and no key of ours is called so.
        """
        person = next((each for each in self.present() if kid_or_person in (each.name, each.kid)), None)
        if person is None:
            raise CustodyError(f"no such person or key: {kid_or_person[:64]!r}", "`rtcc keys show` lists them")
        aside = self._folder / "revoked"
        aside.mkdir(mode=0o700, exist_ok=True)
        replace(aside / "kids.txt", "".join(f"{kid}\n" for kid in (*self.revoked(), person.kid)).encode())
        for ending in ("json", "pem"):
            self._path(person.name, ending).rename(aside / f"{person.kid}.{ending}")
        return person.kid

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / f"{_check_name(name)}.{ending}"


def _parse_person(path: Path) -> Signatory:
    try:
        raw = json.loads(path.read_text())
        return Signatory(
            raw["person"], Role(raw["role"]), dict(raw["jwk"]), raw["kid"],
            parse_rfc3339(raw["from"]), parse_rfc3339(raw["until"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"not a person's file: {path}: {error}") from error
