"""An RTCC's home: the folder with its roots, people, certificates and trust bundles, and the way to its state.

Owns the layout of the folder (``docs/rtcc.md``) and how each thing in it is found; gateways, requests and answers are
in the state's database (``edge_agent.rtcc.state``). ``trust``, ``enrol`` and ``request`` build the signed documents;
nothing here talks to a network.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Role
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.certificates import AuthorityPair, Certificates
from edge_agent.rtcc.office.keys import (
    encode_json,
    generate_tls_key,
    load_age_identity,
    load_signing_key,
    replace,
    write_age_identity,
    write_new,
    write_private_key,
)
from edge_agent.rtcc.office.people import People
from edge_agent.rtcc.office.roots import RootSets
from edge_agent.units import UtcNs

if TYPE_CHECKING:
    from edge_agent.rtcc.state.state import CityState

HOME_VERSION = 1
AUTHORITIES = ("ca", "ca-other")
"""Names of the keys of the authorities that are believed, in any order."""
CLIENT_NAME = "rtcc"
"""CN of the RTCC's own certificate: the broker's ACL knows it by this name."""
DEFAULT_PEOPLE: Mapping[str, Role] = {
    "operator-1": Role.OPERATOR,
    "supervisor-1": Role.SUPERVISOR,
    "dispatch-1": Role.DISPATCH,
}
_JTI = re.compile(r"[A-Za-z0-9_-]{22}")
_VERSION = re.compile(r"[0-9]{6,12}")
_ISS = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """The content of ``rtcc.json``: our name, and the addresses of our broker and our upload servers."""

    iss: str
    broker_host: str
    broker_port: int
    """For gateways."""
    rtcc_port: int
    """For ourselves: a listener of its own, if several programs share one certificate."""
    uploads: Mapping[str, str]
    """Name → URL of each tus endpoint; a gateway learns them when it is enrolled."""
    more_brokers: tuple[tuple[str, int], ...] = ()
    """Hosts and ports that gateways try after the first: other ways to the same broker, or a cluster's."""
    database: str = ""
    """URL of the database server that holds the state; empty for the file in the home."""

    @property
    def brokers(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports at which gateways connect, in the order in which they try them."""
        return ((self.broker_host, self.broker_port), *self.more_brokers)


class RtccHome:
    """The folder, opened. All files are of mode 0600, all folders of mode 0700.

    Args:
        path: The folder, made by ``create``.
        settings: The content of its ``rtcc.json``.
        passphrase: Opens the private keys if they are encrypted.
    """

    def __init__(self, path: Path, settings: HomeSettings, passphrase: bytes | None) -> None:
        self.path = path
        self.settings = settings
        self.passphrase = passphrase
        self.roots = RootSets(path / "roots", passphrase)
        self.people = People(path / "people", passphrase)
        self.certificates = Certificates(path / "tls", self.load_authorities)

    @classmethod
    def create(
        cls, path: Path, settings: HomeSettings, now: UtcNs, *, passphrase: bytes | None = None,
        people: Mapping[str, Role] = DEFAULT_PEOPLE,
    ) -> Self:  # fmt: skip
        """Make a home with all its keys: roots, people, certificate authority, our client, age identities.

        Raises:
            CustodyError: The folder holds a home already: keys are never overwritten.
            ConfigError: The RTCC's name is not one.
        """
        if _ISS.fullmatch(settings.iss) is None:
            raise ConfigError(f"not a name for an RTCC: {settings.iss[:64]!r}", "such as rtcc.example-city")
        if (path / "rtcc.json").exists():
            raise CustodyError(f"a home is there already: {path}")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        home = cls(path, settings, passphrase)
        home.roots.add()
        for name, role in people.items():
            home.people.add(name, role, now)
        home._create_authority(now)
        recipients = {role: write_age_identity(path / "age" / role, passphrase) for role in ("evidence", "escrow")}
        write_new(path / "age" / "recipients.json", encode_json(recipients))
        # Last: a home without this file was not finished, and is not taken for one.
        home.write_settings(settings)
        return home

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> Self:
        """Open a home.

        Raises:
            ConfigError: Not a home, of a newer version, or its settings are wrong.
        """
        try:
            raw = json.loads((path / "rtcc.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"not an RTCC's home: {path}", "`rtcc keys init DIR` makes one") from error
        try:
            if raw["edge_agent_rtcc"] != HOME_VERSION:
                raise ConfigError(f"home is of another version: {path} version={raw['edge_agent_rtcc']}")
            settings = HomeSettings(
                str(raw["iss"]),
                str(raw["broker"]["host"]),
                int(raw["broker"]["port"]),
                int(raw["broker"]["rtcc_port"]),
                dict(raw["uploads"]),
                tuple((str(each["host"]), int(each["port"])) for each in raw["broker"].get("more", ())),
                str(raw.get("database", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"rtcc.json lacks a member or has a wrong one: {path / 'rtcc.json'}: {error}") from error
        return cls(path, settings, passphrase)

    def write_settings(self, settings: HomeSettings) -> None:
        """Write ``rtcc.json`` anew."""
        self.settings = settings
        content: dict[str, object] = {
            "edge_agent_rtcc": HOME_VERSION,
            "iss": settings.iss,
            "broker": {
                "host": settings.broker_host,
                "port": settings.broker_port,
                "rtcc_port": settings.rtcc_port,
                "more": [{"host": host, "port": port} for host, port in settings.more_brokers],
            },
            "uploads": dict(settings.uploads),
        }
        if settings.database:
            content["database"] = settings.database
        replace(self.path / "rtcc.json", encode_json(content))

    # --- certificates ------------------------------------------------------------------------------------------

    @property
    def ca_path(self) -> Path:
        """Certificates of the authorities that are believed, PEM; the first one issues."""
        return self.path / "tls" / "ca.pem"

    def tls_paths(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key file of a server, or of ourselves (``CLIENT_NAME``)."""
        return self.path / "tls" / f"{name}.pem", self.path / "tls" / f"{name}.key.pem"

    def load_ca(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Read certificate and key of the authority that issues."""
        return self.load_authorities()[0]

    def load_authorities(self) -> tuple[AuthorityPair, ...]:
        """Read every authority that is believed, with its key; the first one issues.

        Raises:
            CustodyError: The key of one is not here.
        """
        found = x509.load_pem_x509_certificates(self.ca_path.read_bytes())
        keys = [self.load_tls_key(name) for name in AUTHORITIES if self.tls_paths(name)[1].exists()]
        by_print = {thumbprint(key.public_key()): key for key in keys}
        wanted = [thumbprint(each.public_key()) for each in found]  # type: ignore[arg-type]
        if missing := [name for name in wanted if name not in by_print]:
            raise CustodyError(f"an authority's key is not here: thumbprint={missing[0]}")
        return tuple((each, by_print[name]) for each, name in zip(found, wanted, strict=True))

    def load_tls_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Read the key that goes with a certificate."""
        path = self.tls_paths(name)[1]
        key = load_signing_key(path, self.passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CustodyError(f"key is of the wrong kind: {path}")
        return key

    def _create_authority(self, now: UtcNs) -> None:
        ca_key, client_key = generate_tls_key(), generate_tls_key()
        ca = authority.make_ca(ca_key, f"{self.settings.iss} authority", now)
        client = authority.issue_client(ca, ca_key, client_key.public_key(), CLIENT_NAME, now)
        write_private_key(self.path / "tls" / "ca.key.pem", ca_key, self.passphrase)
        write_new(self.ca_path, ca.public_bytes(Encoding.PEM))
        certificate_path, key_path = self.tls_paths(CLIENT_NAME)
        write_private_key(key_path, client_key, self.passphrase)
        write_new(certificate_path, client.public_bytes(Encoding.PEM))
        self.certificates.write_list(now)

    # --- age ---------------------------------------------------------------------------------------------------

    def recipients(self) -> dict[str, str]:
        """Return role → age recipient: ``evidence`` and ``escrow``."""
        return dict(json.loads((self.path / "age" / "recipients.json").read_text()))

    def load_identity(self, role: str = "evidence") -> str:
        """Read our age identity that opens bundles."""
        return load_age_identity(self.path / "age" / role, self.passphrase)

    # --- state ---------------------------------------------------------------------------------------------------

    @cached_property
    def state(self) -> "CityState":
        """The database of gateways, requests, drafts and answers, opened once.

        Raises:
            ConfigError: Its packages are not installed, or it is none of ours.
            UnavailableError: It cannot be reached.
        """
        try:
            from edge_agent.rtcc.state.opening import open_state
        except ImportError as error:
            raise ConfigError(
                f"the packages of the RTCC's side are not installed: {error}", "in a checkout: pip install '.[rtcc]'"
            ) from error
        return open_state(self.path, self.settings.database)

    def gateway_ids(self) -> Iterator[str]:
        """Yield the ids of all enrolled gateways."""
        return self.state.gateways.ids()

    def has_gateway(self, gateway: str) -> bool:
        """Tell whether a gateway of this id was enrolled here."""
        return _JTI.fullmatch(gateway) is not None and self.state.gateways.has(gateway)

    def write_gateway(self, record: Mapping[str, Any]) -> None:
        """Keep what a gateway was enrolled with: the pins by which its answers and bundles are verified."""
        self.state.gateways.add(record)

    def find_gateway_by_key(self, kid: str) -> str | None:
        """Return the id of the gateway that signs with the key of this thumbprint."""
        return self.state.gateways.find_by_key(kid)

    def revoke_gateway(self, gateway: str, at: str) -> None:
        """Note that nothing more is taken from a gateway: no upload, no answer, no application."""
        self.demand_gateway(gateway)
        self.state.gateways.revoke(gateway, at)

    def is_gateway_revoked(self, gateway: str) -> bool:
        """Tell whether a gateway was revoked."""
        return _JTI.fullmatch(gateway) is not None and self.state.gateways.is_revoked(gateway)

    def load_gateway(self, gateway: str) -> dict[str, Any]:
        """Read the record of a gateway.

        Raises:
            ConfigError: No gateway of this id was enrolled here.
            CustodyError: Its row is damaged.
        """
        record = self.state.gateways.find(gateway) if _JTI.fullmatch(gateway) else None
        if record is None:
            raise _unknown(gateway)
        return record

    def demand_gateway(self, gateway: str) -> None:
        """Make sure of a gateway, whatever its row holds.

        Raises:
            ConfigError: No gateway of this id was enrolled here.
        """
        if not self.has_gateway(gateway):
            raise _unknown(gateway)

    def write_request(self, jti: str, raw: bytes) -> None:
        """Keep a request that we are about to send: only answers to these are taken."""
        self.state.requests.add(jti, raw)

    def request_ids(self) -> Iterator[str]:
        """Yield the ids of all requests sent from here."""
        return self.state.requests.ids()

    def find_request(self, jti: str) -> bytes | None:
        """Return a signed request; None if we sent none of this id."""
        return self.state.requests.find(jti) if _JTI.fullmatch(jti) else None

    def has_request(self, jti: str) -> bool:
        """Tell whether we sent a request of this id."""
        return self.find_request(jti) is not None

    @property
    def received_dir(self) -> Path:
        """Where ``rtcc receive`` puts finished uploads, unless told otherwise."""
        return self.path / "received"

    @property
    def opened_dir(self) -> Path:
        """Where ``rtcc open`` unpacks, unless told otherwise; by the name of the upload."""
        return self.path / "opened"

    # --- trust bundles -----------------------------------------------------------------------------------------

    def bundle_versions(self) -> tuple[int, ...]:
        """Return the versions of all trust bundles signed so far, rising."""
        names = (path.stem for path in (self.path / "trust").glob("*.jws"))
        return tuple(sorted(int(name) for name in names if _VERSION.fullmatch(name)))

    def write_bundle(self, version: int, raw: bytes) -> Path:
        """Keep a signed trust bundle; a version is never written twice."""
        path = self.bundle_path(version)
        write_new(path, raw)
        return path

    def bundle_path(self, version: int) -> Path:
        """Return where a trust bundle lies."""
        return self.path / "trust" / f"{version:06d}.jws"

    def find_bundle(self) -> bytes | None:
        """Return the newest signed trust bundle; None before the first."""
        versions = self.bundle_versions()
        return self.bundle_path(versions[-1]).read_bytes() if versions else None


def _unknown(gateway: str) -> ConfigError:
    return ConfigError(f"no such gateway: {gateway[:64]!r}", "`rtcc keys show` lists the enrolled ones")
