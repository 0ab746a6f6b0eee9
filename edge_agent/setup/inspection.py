"""The findings of ``edge-agent check`` on this machine: keys, consent, clock, disk. Dials nobody: that is ``probe``.

Each function returns findings and raises nothing for a fault that it finds: one fault must not hide the next.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, overload
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.consent.camera_state import CameraConsent, ConsentState, say_until
from edge_agent.consent.policy import parse_policy
from edge_agent.custody.credentials import Login, load_logins, load_services, missing_names
from edge_agent.custody.enrolment_file import load_enrolment, renewed_path
from edge_agent.custody.keys import (
    KEY_HOLDER,
    KeyRole,
    KeyStore,
    PrivateKey,
    custody_note_path,
    decode_named,
    read_guarded,
)
from edge_agent.custody.owner_identity import load_recipient
from edge_agent.errors import CustodyError, EdgeAgentError
from edge_agent.host.clock import SystemClock, read_build_time
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Camera, Config, read_text
from edge_agent.setup.machine import open_sealed
from edge_agent.setup.provision import erasure_note_path
from edge_agent.units import DAY_NS, SECOND_NS, ClockState, UtcNs, encode_duration, encode_rfc3339, encode_size
from edge_agent.uplink.inbound.consent_states import read_consent_states, read_marks

CERTIFICATE_WARNING_DAYS = 30
CONSENT_WARNING_DAYS = 7
_SPARE_BYTES = 512 << 20
CHRONY_PID = Path("/run/chrony/chronyd.pid")
_UNFIT_FILESYSTEMS = {
    "vfat": "holds no file above 4GiB",
    "nfs": "is a network share: a power cut there is not seen here",
    "nfs4": "is a network share: a power cut there is not seen here",
    "cifs": "is a network share: a power cut there is not seen here",
}
_POOR_FILESYSTEMS = {"tmpfs": "is memory: no footage survives a restart"}
_UNTRIED_FILESYSTEMS = ("exfat", "ntfs3", "fuseblk", "overlay", "zfs", "9p")


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Inspected:
    """One thing that was looked at, and its state."""

    level: Level
    topic: str
    text: str
    hint: str = ""


def fault(topic: str, error: EdgeAgentError) -> Inspected:
    """Turn an error into a finding."""
    return Inspected(Level.FAULT, topic, str(error), error.hint)


def describe_cameras(config: Config) -> Iterator[Inspected]:
    """Tell how each camera was understood."""
    if not config.cameras:
        yield Inspected(Level.WARNING, "cameras", "none are configured", "`edge-agent discover` finds ONVIF cameras")
    for camera in config.cameras:
        if not camera.enabled:
            yield Inspected(Level.OK, f"camera {camera.id}", "switched off: not recorded, its ring stays")
            continue
        rings = " + ".join(encode_size(config.ring_size_bytes(camera, quality)) for quality in camera.qualities)
        when = "always" if camera.record == "always" else f"on {len(camera.triggers)} trigger(s)"
        sound = "with sound" if camera.audio else "without sound"
        kept = encode_duration(config.keep_for_ns(camera))
        yield Inspected(
            Level.OK,
            f"camera {camera.id}",
            f"{camera.address('main')} by {camera.transport}, recorded {when}, {sound}, ring {rings}, kept {kept}",
        )
    yield from _find_shared_sources(config)


def _find_shared_sources(config: Config) -> Iterator[Inspected]:
    """Warn of two cameras that record one stream: a copied entry of which the address was forgotten."""
    first: dict[str, str] = {}
    for camera in config.cameras:
        other = first.setdefault(camera.address("main"), camera.id)
        if other != camera.id:
            text = f"records the same stream as {other}: {camera.address('main')}"
            yield Inspected(Level.WARNING, f"camera {camera.id}", text, "correct its address, or remove one of the two")


def inspect_place(config: Config) -> Iterator[Inspected]:
    """Tell whether an incident's distance can be judged."""
    if all(config.location_of(camera) is None for camera in config.cameras):
        yield Inspected(
            Level.WARNING, "place", "no location: every request is refused", "set gateway.location in edge-agent.yaml"
        )
    elif any(place is not None and place.lat < -60 for place in map(config.location_of, config.cameras)):
        text = (
            "lies in the Antarctic: are lat and lon exchanged? lat is north (+) or south (-), lon east (+) or west (-)"
        )
        yield Inspected(Level.WARNING, "place", text, "correct the location in edge-agent.yaml")
    else:
        yield Inspected(Level.OK, "place", f"known; hours are those of {config.gateway.time_zone}")


def inspect_secrets(config: Config) -> tuple[list[Inspected], Mapping[str, Login]]:
    """Read the two secret files, and compare the names in them with those that the configuration uses."""
    findings: list[Inspected] = []
    logins: Mapping[str, Login] = {}
    try:
        logins = load_logins(config.credentials_file)
        for where, name in missing_names(config, logins):
            text = f"{where}: no {name!r} in {config.credentials_file}"
            findings.append(Inspected(Level.FAULT, "credentials", text, f"add `{name}: {{username: …, password: …}}`"))
    except EdgeAgentError as error:
        findings.append(fault("credentials", error))
    try:
        known = load_services(config.notify.file)
        for name in config.notify.services:
            if name not in known:
                text = f"notify.services: no {name!r} in {config.notify.file}"
                findings.append(Inspected(Level.FAULT, "notify", text, f"add `{name}: URL`"))
        if not config.notify.services:
            hint = "without it, requests that ask end by time-out: set notify.services"
            findings.append(Inspected(Level.WARNING, "notify", "nobody is told of requests", hint))
    except EdgeAgentError as error:
        findings.append(fault("notify", error))
    return findings, logins


def inspect_consent(config: Config, enrolment: Enrolment | None) -> Iterator[Inspected]:
    """Check the owner's rules, whether they name cameras that exist, and whether the owner's signatures count."""
    try:
        policy = parse_policy(read_text(config.consent.file), str(config.consent.file))
    except EdgeAgentError as error:
        yield fault("consent", error)
        return
    for camera_id in sorted(set(policy.cameras) - {camera.id for camera in config.cameras}):
        yield Inspected(Level.FAULT, "consent", f"names a camera that is not configured: {camera_id}")
    try:
        owner = KeyStore(config.state_dir, "owner").load_public("owner")
        marks, now = read_marks(config), SystemClock().wall()
        states = read_consent_states(config, enrolment, owner, marks, now)
    except EdgeAgentError as error:
        yield fault("consent", error)
        return
    for camera, found in states.items():
        yield _describe_consent(config, camera, found, now)


def _describe_consent(config: Config, camera: str, found: CameraConsent, now: UtcNs) -> Inspected:
    text = f"camera {camera}: {found.say(say_until(found, ZoneInfo(config.gateway.time_zone)))}"
    if found.state is ConsentState.DENIED:
        return Inspected(Level.OK, "consent", text)
    ends_soon = found.until is not None and found.until - now < CONSENT_WARNING_DAYS * DAY_NS
    if found.state is ConsentState.IN_FORCE and not ends_soon:
        return Inspected(Level.OK, "consent", text)
    is_ours = found.state is not ConsentState.NOT_ENROLLED
    hint = "the owner signs: edge-agent consent sign" if is_ours else "edge-agent enrol FILE"
    return Inspected(Level.WARNING, "consent", text, hint)


def inspect_keys(config: Config) -> Iterator[Inspected]:
    """Load every key that this user may read, and say how well they are kept."""
    if erasure_note_path(config.state_dir).exists():
        text = "an erasure was begun and is not finished"
        yield Inspected(Level.FAULT, "keys", text, "sudo edge-agent erase --everything")
    roles: tuple[KeyRole, ...] = ("recorder", "releaser")
    for role in roles:
        store = KeyStore(config.state_dir, role)
        if is_sealed(config, role):
            yield _inspect_sealed(config, role)
            continue
        try:
            for name in (name for name, holder in KEY_HOLDER.items() if holder == role):
                _demand_pair(store, name, load_key(config, name))
            level = store.custody_level()
        except EdgeAgentError as error:
            yield fault(f"keys of the {role}", error)
            continue
        text = {
            "bare": "bare files: whoever copies the disk has them",
            "tpm": "sealed to this machine's TPM",
            "passphrase": "under a passphrase",
        }[level]
        hint = "sudo edge-agent init --seal, where there is a TPM" if level == "bare" else ""
        yield Inspected(Level.WARNING if level == "bare" else Level.OK, f"keys of the {role}", text, hint)
    try:
        owner = KeyStore(config.state_dir, "owner").load_public("owner")
        load_recipient(config.state_dir)
        yield Inspected(Level.OK, "owner's key", thumbprint(owner))
    except EdgeAgentError as error:
        yield fault("owner's key", error)


def _inspect_sealed(config: Config, role: KeyRole) -> Inspected:
    """Try what systemd does at each start, as root: a TPM or a host key that was lost is found here, not in a loop."""
    topic, kept = f"keys of the {role}", read_custody(config)
    if os.geteuid() != 0:
        return Inspected(Level.OK, topic, f"sealed by the installer ({kept}): only the service itself can open them")
    opened = {name: open_sealed(name) for name, holder in KEY_HOLDER.items() if holder == role}
    closed = [name for name, pem in opened.items() if not pem]
    if closed:
        text = f"sealed ({kept}), and this machine does not open: {', '.join(closed)}"
        return Inspected(Level.FAULT, topic, text, "the TPM or systemd's host key is another one: docs/recovery.md")
    try:
        for name, pem in opened.items():
            _demand_pair(KeyStore(config.state_dir, role), name, _decode_sealed(name, pem))
    except EdgeAgentError as error:
        return fault(topic, error)
    return Inspected(Level.OK, topic, f"sealed ({kept}), and this machine opens them")


def find_closed_keys(config: Config, role: KeyRole) -> list[str]:
    """Return those of a role's keys that are sealed, and that this machine does not open any more. As root."""
    if not is_sealed(config, role):
        return []
    return [name for name, holder in KEY_HOLDER.items() if holder == role and not open_sealed(name)]


def is_sealed(config: Config, role: KeyRole) -> bool:
    """Tell whether a role's keys are credentials that systemd opens for its service alone, and we are not it."""
    names = [name for name, holder in KEY_HOLDER.items() if holder == role]
    store = KeyStore(config.state_dir, role)
    try:
        return custody_note_path(config.state_dir).exists() and not any(
            store.private_path(name).exists() for name in names
        )
    except PermissionError:  # The folder of its keys is the service's own; the note has said enough.
        return True


@overload
def load_key(config: Config, name: Literal["vault"]) -> X25519PrivateKey: ...
@overload
def load_key(config: Config, name: Literal["tls"]) -> EllipticCurvePrivateKey: ...
@overload
def load_key(config: Config, name: str) -> PrivateKey: ...
def load_key(config: Config, name: str) -> PrivateKey:
    """Load a service's private key for a person's command; as root a sealed one too, as systemd does for its service.

    Raises:
        CustodyError: It is sealed, and this machine does not open it, or this user may not; otherwise as ``KeyStore``.
    """
    role = KEY_HOLDER[name]
    if not is_sealed(config, role):
        key: PrivateKey = KeyStore(config.state_dir, role).load_private(name)  # type: ignore[call-overload]
        return key
    if os.geteuid() != 0:
        raise CustodyError(f"the key {name} is sealed: root opens it")
    pem = open_sealed(name)
    if not pem:
        raise CustodyError(f"the key {name} is sealed, and this machine does not open it (docs/recovery.md)")
    return _decode_sealed(name, pem)


def read_custody(config: Config) -> str:
    """Return the installer's note of how the credentials were sealed."""
    return read_guarded(custody_note_path(config.state_dir), forbidden=0o022).decode().strip()


def _decode_sealed(name: str, pem: bytes) -> PrivateKey:
    return decode_named(name, pem, None, f"the sealed key {name}")


def _demand_pair(store: KeyStore, name: str, private: PrivateKey) -> None:
    if name != "tls" and thumbprint(private.public_key()) != thumbprint(store.load_public(name)):  # type: ignore[call-overload]
        raise CustodyError(f"private and public half of {name} differ", "docs/recovery.md says what now")


def inspect_enrolment(config: Config) -> tuple[list[Inspected], Enrolment | None]:
    """Check the RTCC's file, and that its certificate is ours and lasts."""
    if not config.uplink.enrolment.exists():
        text = "not enrolled: recording, export and ledger work, nobody can ask for anything"
        hint = "`edge-agent enrol FILE` installs what the RTCC made of your gateway.csr"
        return [Inspected(Level.WARNING, "enrolment", text, hint)], None
    try:
        enrolment = load_enrolment(config.uplink.enrolment, renewed_path(config.store_path))
        is_closed = os.geteuid() != 0 and is_sealed(config, "releaser")
        ours = enrolment.tls_thumbprint if is_closed else thumbprint(load_key(config, "tls").public_key())
    except EdgeAgentError as error:
        return [fault("enrolment", error)], None
    if ours != enrolment.tls_thumbprint:
        text = "the certificate is for another TLS key than this gateway's"
        return [Inspected(Level.FAULT, "enrolment", text, "send gateway.csr to the RTCC again")], None
    days = (enrolment.not_after_s - int(time.time())) // 86400
    text = f"{enrolment.iss}, gateway {enrolment.gateway}, certificate for {days} days more"
    if days < 0:
        end = encode_rfc3339(UtcNs(enrolment.not_after_s * SECOND_NS))
        hint = "send gateway.csr to the RTCC again, and install its answer: edge-agent enrol FILE"
        text = f"{enrolment.iss}: the certificate has ended at {end}: neither broker nor upload server lets us in"
        return [Inspected(Level.FAULT, "enrolment", text, hint)], None
    level = Level.WARNING if days < CERTIFICATE_WARNING_DAYS else Level.OK
    return [Inspected(level, "enrolment", text)], enrolment


def inspect_clock(config: Config) -> Iterator[Inspected]:
    """Tell whether the wall clock may be believed."""
    if time.time_ns() < read_build_time() - DAY_NS:
        yield Inspected(Level.FAULT, "clock", "the wall clock is before the day this program was installed")
    elif config.clock.trust == "wall-clock":
        hint = "for a trial only: set clock.trust to kernel"
        yield Inspected(Level.WARNING, "clock", "the wall clock is believed unseen", hint)
    elif SystemClock().source().state is not ClockState.SYNCHRONISED:
        hint = "`timedatectl` shows why; requests wait until a time source disciplines the clock"
        if CHRONY_PID.exists():  # it keeps the clock right and the kernel in doubt, and timedatectl then shows nothing
            hint = "chrony runs: add the line `rtcsync` to /etc/chrony/chrony.conf, then: systemctl restart chrony"
        yield Inspected(Level.WARNING, "clock", "not synchronised: recording goes on, nothing is decided", hint)
    else:
        text = "synchronised; whether the processes believe it: edge-agent clock"
        yield Inspected(Level.OK, "clock", text)


def inspect_disk(config: Config) -> Iterator[Inspected]:
    """Compare the rings' sizes with the room of each of their disks, and look at the kinds of filesystem."""
    for folder in config.ring_folders:
        yield from _inspect_folder(config, folder)
    if any(_is_small(config, camera) for camera in config.cameras):
        yield Inspected(Level.WARNING, "disk", "a ring is below 1GiB: for trials only")


def _inspect_folder(config: Config, folder: Path) -> Iterator[Inspected]:
    if not folder.is_dir():
        hint = "is the disk mounted? else: edge-agent init"
        if folder != config.rings_dir:
            hint = f"is the disk mounted? else: install -d -o edge-agent-recorder -g edge-agent -m 2750 {folder}"
        yield Inspected(Level.FAULT, "disk", f"folder is missing: {folder}", hint)
        return
    kind = find_filesystem(folder)
    if kind in _UNFIT_FILESYSTEMS:
        yield Inspected(
            Level.FAULT, "disk", f"{folder} is on {kind}, which {_UNFIT_FILESYSTEMS[kind]}", "use ext4 or xfs"
        )
    elif kind in _POOR_FILESYSTEMS:
        yield Inspected(
            Level.WARNING, "disk", f"{folder} is on {kind}, which {_POOR_FILESYSTEMS[kind]}", "use ext4 or xfs"
        )
    elif kind in _UNTRIED_FILESYSTEMS:
        yield Inspected(Level.WARNING, "disk", f"{folder} is on {kind}, which was not tried", "use ext4, xfs or btrfs")
    wanted, there = 0, 0
    for camera, quality in config.rings():
        path = config.ring_path(camera.id, quality)
        if path.parent == folder:
            wanted += config.ring_size_bytes(camera, quality)
            there += _allocated_bytes(path)
    free = shutil.disk_usage(folder).free
    more = max(0, wanted - there)
    place = "" if folder == config.rings_dir else f"{folder}, "
    text = f"{place}{kind}: rings need {more / (1 << 30):.1f} GiB more, {free / (1 << 30):.1f} GiB are free"
    if more + _SPARE_BYTES > free:
        yield Inspected(Level.FAULT, "disk", text, "make buffer.size smaller, or give it a larger disk")
    else:
        yield Inspected(Level.OK, "disk", text)


def _is_small(config: Config, camera: Camera) -> bool:
    return camera.enabled and config.ring_size_bytes(camera, "main") < 1 << 30


def _allocated_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def find_filesystem(folder: Path) -> str:
    """Return the kind of filesystem that a folder is on, as the kernel names it; ``unknown`` where it does not say."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    real = os.path.realpath(folder)
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        mount = words[4].replace("\\040", " ")
        is_under = real == mount or real.startswith(mount.rstrip("/") + "/")
        # btrfs gives every subvolume a device number of its own: the longest mount point above decides as well.
        if (words[2] == number or is_under) and is_under and len(mount) >= len(best):
            best, kind = mount, rest.split(" ")[0]
    return kind
