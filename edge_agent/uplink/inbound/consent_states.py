"""The state of each camera's consent, for ``status``, ``check`` and ``consent show`` alike.

Reads ``consent.yaml`` and the releaser's store; writes nothing and decides nothing.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.consent.camera_state import CameraConsent, ConsentState, find_consent_state
from edge_agent.consent.house_state import KeptConsent, stand
from edge_agent.consent.policy import parse_policy
from edge_agent.errors import ConfigError, CustodyError
from edge_agent.host.service_user import acting_as_owner
from edge_agent.protocol import jws
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.trust_bundle import TYP as TRUST_TYP
from edge_agent.settings.gateway import Config, read_text
from edge_agent.units import UtcNs
from edge_agent.uplink.inbound.consent_files import load_facts
from edge_agent.uplink.store.in_force import StoredConsent
from edge_agent.uplink.store.schema import SCHEMA_VERSION
from edge_agent.uplink.store.sqlite_file import refuse_other_files


@dataclass(frozen=True, slots=True)
class Marks:
    """The store's marks on consents."""

    store_id: str
    """Its own id; empty if there is no store yet."""
    find: Callable[[str], StoredConsent | None]
    """Camera → the newest consent of it that was ever taken in."""
    recipients: Mapping[str, str] = field(default_factory=dict)
    """Role → age key to which a clip of today is encrypted; empty if there is no trust bundle."""


def read_consent_states(
    config: Config, enrolment: Enrolment | None, owner: Ed25519PublicKey, marks: Marks, now: UtcNs
) -> dict[str, CameraConsent]:
    """Describe the consent of every configured camera, switched off or not, in the file's order."""
    try:
        policy = parse_policy(read_text(config.consent.file), str(config.consent.file))
    except ConfigError:
        why = f"{config.consent.file.name} cannot be used: nothing leaves"
        return {camera.id: CameraConsent(ConsentState.DENIED, "deny", why=why) for camera in config.cameras}
    found = {}
    for camera in config.cameras:
        terms, stored = policy.terms(camera.id), marks.find(camera.id)
        if stored is None or not stored.raw:
            found[camera.id] = find_consent_state(terms, None, now, is_signed=False, revoked=False)
            continue
        in_force = None
        if enrolment is not None:
            facts = load_facts(config, enrolment, camera, marks.store_id)
            in_force = stand(KeptConsent(stored.raw, stored.version, stored.is_revoked), owner, facts, terms)
        found[camera.id] = find_consent_state(terms, in_force, now, is_signed=True, revoked=stored.is_revoked)
    return found


def read_marks(config: Config) -> Marks:
    """Read the marks from the releaser's store, beside it.

    Raises:
        CustodyError: The user who runs this may not read the store, or an older release wrote it.
    """
    try:
        if config.store_path.exists():
            with acting_as_owner(config.store_path.parent):
                return _read_store(config.store_path)
    except (OSError, sqlite3.Error) as error:
        raise CustodyError(f"{config.store_path}: cannot be read: {error}", "run it as root (sudo)") from error
    return Marks("", lambda _: None)


def _read_store(path: Path) -> Marks:
    refuse_other_files(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < SCHEMA_VERSION:
            hint = "restart the releaser, which brings it up to date: systemctl restart edge-agent-releaser"
            raise CustodyError(f"{path}: written by an older version: schema={version} known={SCHEMA_VERSION}", hint)
        rows = connection.execute("SELECT camera, version, raw, revoked FROM consent")
        found = {camera: StoredConsent(version, bytes(raw), bool(revoked)) for camera, version, raw, revoked in rows}
        (store_id,) = connection.execute("SELECT id FROM store").fetchone()
        bundle = connection.execute("SELECT raw FROM trust").fetchone()
    recipients = {} if bundle is None else _read_recipients(bytes(bundle[0]))
    return Marks(str(store_id), found.get, recipients)


def _read_recipients(raw: bytes) -> dict[str, str]:
    """Read a trust bundle that the releaser verified before it kept it."""
    payload: Any = jws.parse(raw, TRUST_TYP).payload
    return {str(each["role"]): str(each["age"]) for each in payload["recipients"]}
