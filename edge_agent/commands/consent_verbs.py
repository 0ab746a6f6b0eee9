"""The verbs of ``edge-agent consent``: show, diff, sign. No command of its own."""

import argparse
import contextlib
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.owner_key import load_owner_key
from edge_agent.consent.camera_state import CameraConsent, parse_consents, say_until
from edge_agent.consent.plain_words import (
    WAIVER,
    Language,
    describe_camera,
    describe_differences,
    describe_fact,
    describe_house,
    notice,
)
from edge_agent.consent.policy import Policy, encode_terms
from edge_agent.consent.shown_consent import CHANGED, Unsigned, list_camera, list_house, mark_changes
from edge_agent.consent.signed_consent import (
    TYP,
    Facts,
    SignedConsent,
    build_consent,
    effective,
    read_built,
    sign_built,
    verify_consent,
)
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import CustodyError, DenialError, UnavailableError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.regular_file import read_regular
from edge_agent.host.service_user import acting_as_owner
from edge_agent.host.terminal import print_json, print_text
from edge_agent.local_time import say_moment
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.reasons import say
from edge_agent.settings.gateway import Config
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_duration
from edge_agent.uplink.inbound.consent_files import load_facts
from edge_agent.uplink.inbound.consent_states import Marks, read_consent_states, read_marks
from edge_agent.uplink.store.database import refuse_other_files


def _cameras(config: Config, wanted: str | None) -> list[str]:
    cameras = config.cameras if wanted is None else (config.demand_camera(wanted),)
    return [camera.id for camera in cameras]


def _facts(config: Config, camera: str) -> Facts:
    found = config.find_camera(camera)
    assert found is not None
    return load_facts(config, load_enrolment(config.uplink.enrolment), found, _find_marks(config).store_id)


def _find_marks(config: Config) -> Marks:
    """Return what the releaser's store says, asked of the releaser if the file is not ours to read."""
    try:
        return read_marks(config)
    except CustodyError as error:
        try:
            found = call(config.control_path("releaser"), "status")
        except UnavailableError:
            raise error from None
        return Marks(str(found["store"]), lambda _: (0, False), found["recipients"])


def _load_signed(config: Config, camera: str) -> tuple[SignedConsent | None, str]:
    """Return a camera's consent, or None and why there is none."""
    path = config.waivers_dir / f"{camera}.jws"
    try:
        raw = read_regular(path)
    except OSError:
        return None, say("consent-missing")
    try:
        owner = KeyStore(config.state_dir, "owner").load_public("owner")
        return verify_consent(raw, owner, _facts(config, camera)), ""
    except DenialError as error:
        return None, str(error)


def show(config: Config, policy: Policy, args: argparse.Namespace) -> int:
    """Print the terms that count, in plain sentences or as JSON."""
    states = _find_states(config)
    cameras: dict[str, dict[str, Any]] = {}
    houses: dict[tuple[str, ...], list[str]] = {}
    for camera in _cameras(config, args.camera):
        # Before enrolment nothing is bound to an RTCC, and no signature can be judged.
        signed, problem = _load_signed(config, camera) if config.uplink.enrolment.exists() else (None, "")
        terms = policy.terms(camera) if signed is None else effective(signed.terms, policy.terms(camera))
        state = states[camera]
        if args.json:
            cameras[camera] = {
                "state": state.state.value,
                "signed_version": None if signed is None else signed.version,
                "until": None if signed is None else encode_rfc3339(signed.valid_until),
                "problem": problem or None,
                "terms": None if terms is None else encode_terms(terms),
            }
            continue
        print_text(f"{camera}: {state.say(say_until(state, ZoneInfo(config.gateway.time_zone)))}")
        if terms is not None:
            print_text("\n".join(f"  - {sentence}" for sentence in describe_camera(terms, args.language)))
            houses.setdefault(tuple(describe_house(terms, args.language)), []).append(camera)
    for sentences, names in houses.items():
        print_text("\n".join([f"for {', '.join(names)}:", *(f"  - {sentence}" for sentence in sentences)]))
    if args.json:
        print_json(cameras)
    return 0


def _find_states(config: Config) -> Mapping[str, CameraConsent]:
    """Return what ``status`` and ``check`` say as well; by the releaser where its store is not ours to read."""
    try:
        marks = read_marks(config)
    except CustodyError:
        return parse_consents(call(config.control_path("releaser"), "status")["consents"])
    enrolment = load_enrolment(config.uplink.enrolment) if config.uplink.enrolment.exists() else None
    owner = KeyStore(config.state_dir, "owner").load_public("owner")
    return read_consent_states(config, enrolment, owner, marks, SystemClock().wall())


def diff(config: Config, policy: Policy, args: argparse.Namespace) -> int:
    """Print what the file has differently; 1 where something waits for a signature."""
    found: dict[str, list[dict[str, Any]]] = {}
    for camera in _cameras(config, args.camera):
        signed, problem = _load_signed(config, camera)
        file = policy.terms(camera)
        if signed is None:
            found[camera] = [{"term": "", "waits": file is not None, "sentence": problem}]
        elif file is None:
            found[camera] = [{"term": "", "waits": False, "sentence": "The file does not name it: denied."}]
        else:
            found[camera] = [
                {"term": difference.path, "waits": difference.waits, "sentence": sentence}
                for difference, sentence in describe_differences(signed.terms, file, args.language)
            ]
    if args.json:
        print_json(found)
    else:
        for camera, lines in found.items():
            print_text(f"{camera}:" if lines else f"{camera}: as signed")
            for line in lines:
                print_text(f"  {'…' if line['waits'] else '✓'} {line['term']}: {line['sentence']}".replace(" : ", " "))
    return 1 if any(line["waits"] for lines in found.values() for line in lines) else 0


def sign(config: Config, policy: Policy, args: argparse.Namespace) -> int:
    """Read the terms aloud, ask, and sign them camera by camera; 1 where the owner did not say yes."""
    now = UtcNs(SystemClock().utc() // SECOND_NS * SECOND_NS)  # read aloud, and signed, to the second
    until = _until(args.for_, now)
    cameras = [camera for camera in _cameras(config, args.camera) if camera in policy.cameras]
    if not cameras:
        raise UsageError(f"{config.consent.file} names none of these cameras: there is nothing to sign")
    drafts = [_draft(config, policy, camera, args.language, now, until) for camera in cameras]
    print_text(_read_aloud(drafts, args.language))
    print_text("\n" + " ".join(WAIVER[args.language].split("\n")) + "\n")
    if not args.yes and input("Type YES to sign: ").strip().upper() not in ("YES", "SI", "SÍ", "OUI"):
        print_text("not signed")
        return 1
    key = load_owner_key(config, args.passphrase_file)
    zone = ZoneInfo(config.gateway.time_zone)
    config.waivers_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    for draft in drafts:
        camera, built = draft.built.camera, draft.built
        raw = sign_built(draft.payload, key)
        # Signed and public by nature: the releaser's user reads it, and it travels in every bundle.
        with acting_as_owner(config.waivers_dir):
            write_small_file(config.waivers_dir / f"{camera}.jws", raw, mode=0o644)
        print_text(f"signed: {camera}, version {built.version}, until {say_moment(built.valid_until, zone)}")
    _have_noted(config)
    return 0


def _have_noted(config: Config) -> None:
    """Have the releaser remember what was signed, so that an earlier file that is put back does not count."""
    try:
        call(config.control_path("releaser"), "note-consents")
    except UnavailableError:
        print("the releaser does not run: it takes note of what was signed as it starts", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Draft:
    """One camera's consent before it is signed: the bytes, and what is shown of them."""

    payload: bytes
    built: SignedConsent
    camera_lines: list[str]
    house_lines: list[str]
    earlier: list[str] | None
    """The lines of the last signed version; None if there is none."""


def _draft(
    config: Config, policy: Policy, camera_id: str, language: Language, now: UtcNs, until: UtcNs | None
) -> _Draft:
    """Build one camera's payload, and every line from its bytes."""
    camera, terms = config.demand_camera(camera_id), policy.terms(camera_id)
    assert terms is not None
    enrolment = load_enrolment(config.uplink.enrolment)
    facts = load_facts(config, enrolment, camera, _find_marks(config).store_id)
    if not facts.store:
        raise UsageError(
            f"{camera_id}: what remembers a revocation of its terms is not there yet, and they are bound to it",
            "start the releaser first: sudo systemctl start edge-agent.target",
        )
    if len(facts.streams) < len(camera.qualities):
        raise UsageError(
            f"{camera_id}: its ring is not there yet, and the terms are bound to it",
            "start the recorder first: sudo systemctl start edge-agent.target",
        )
    owner = thumbprint(KeyStore(config.state_dir, "owner").load_public("owner"))
    version = _last_version(config, camera_id) + 1
    payload = build_consent(facts, camera.title, terms, notice(language), version, now, owner, valid_until=until)
    beside = Unsigned(
        f"{enrolment.broker_host}:{enrolment.broker_port}",
        {quality: camera.address(quality) for quality in camera.qualities},
        camera.title,
        _find_marks(config).recipients,
    )
    built, zone = read_built(payload), ZoneInfo(config.gateway.time_zone)
    signed, _ = _load_signed(config, camera_id)
    earlier = None
    if signed is not None:
        earlier = [*list_camera(signed, beside, language, zone), *list_house(signed, beside, language)]
    return _Draft(
        payload,
        built,
        list_camera(built, beside, language, zone),
        list_house(built, beside, language),
        earlier,
    )


def _read_aloud(drafts: Sequence[_Draft], language: Language) -> str:
    """Put the drafts' lines together: each camera under its id, then the house, which is the same for all."""
    lines: list[str] = []
    for draft in drafts:
        lines += [f"{draft.built.camera}:", *mark_changes(draft.camera_lines, draft.earlier), ""]
    first = drafts[0]
    names = ", ".join(draft.built.camera for draft in drafts)
    lines += [f"{names}:", *mark_changes(first.house_lines, first.earlier)]
    if any(draft.earlier is not None for draft in drafts):
        lines += ["", f"({CHANGED}: {describe_fact('changed', '', language)})"]
    return "\n".join(lines)


def _until(text: str | None, now: UtcNs) -> UtcNs | None:
    if text is None:
        return None
    try:
        return UtcNs(now + parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error


def _last_version(config: Config, camera: str) -> int:
    """Return the highest version that the releaser saw or the file carries, so that versions only rise."""
    highest = 0
    try:
        payload = jws.parse(read_regular(config.waivers_dir / f"{camera}.jws"), TYP).payload
        highest = int(payload["version"])
    except (OSError, DenialError, KeyError, TypeError, ValueError):
        pass
    if config.store_path.exists():
        try:
            with acting_as_owner(config.store_path.parent):
                highest = max(highest, _seen_version(config.store_path, camera))
        except (OSError, sqlite3.Error) as error:
            raise CustodyError(f"{config.store_path}: cannot be read: {error}", "run it as root (sudo)") from error
    return highest


def _seen_version(path: Path, camera: str) -> int:
    refuse_other_files(path)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as connection:
        row = connection.execute("SELECT version FROM consent WHERE camera = ?", (camera,)).fetchone()
        return row[0] if row else 0
