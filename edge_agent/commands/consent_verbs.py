"""The verbs of ``edge-agent consent``: show, diff, sign. No command of its own."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.source import list_foreign_spans
from edge_agent.commands.owner_key import load_owner_key
from edge_agent.consent.camera_state import CameraConsent, parse_consents, say_until
from edge_agent.consent.plain_words import (
    WAIVER,
    describe_camera,
    describe_differences,
    describe_fact,
    describe_house,
    notice,
)
from edge_agent.consent.policy import Policy, encode_terms
from edge_agent.consent.shown_consent import CHANGED, Unsigned, list_camera, list_house, mark_changes
from edge_agent.consent.signed_consent import (
    ConsentEvent,
    Facts,
    SignedConsent,
    Stream,
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
from edge_agent.host.questions import writes_yes
from edge_agent.host.service_user import acting_as_owner
from edge_agent.host.terminal import print_json, print_text
from edge_agent.local_time import say_moment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.reasons import say
from edge_agent.settings.gateway import Config
from edge_agent.texts import Language
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_duration
from edge_agent.uplink.inbound.consent_files import load_facts
from edge_agent.uplink.inbound.consent_states import Marks, read_consent_states, read_marks
from edge_agent.uplink.store.in_force import StoredConsent

_HAND_OVER_TIMEOUT_S = 30.0
"""The releaser evaluates every open request anew in the same transaction, and may wait for another one first."""


def _cameras(config: Config, wanted: str | None) -> list[str]:
    cameras = config.cameras if wanted is None else (config.demand_camera(wanted),)
    return [camera.id for camera in cameras]


def _facts(config: Config, camera: str) -> Facts:
    found = config.find_camera(camera)
    assert found is not None
    return load_facts(config, load_enrolment(config.uplink.enrolment), found, _find_marks(config).store_id)


def _find_marks(config: Config) -> Marks:
    """Return what the releaser's store says, asked of the releaser if the file is not ours to read."""
    path = config.control_path("releaser")
    try:
        return read_marks(config)
    except CustodyError as error:
        try:
            found, taken = call(path, "status"), call(path, "consents")["consents"]
        except UnavailableError:
            raise error from None
    consents = {
        camera: StoredConsent(int(each["version"]), str(each["jws"]).encode(), bool(each["revoked"]))
        for camera, each in taken.items()
    }
    return Marks(str(found["store"]), consents.get, found["recipients"])


def _load_signed(config: Config, camera: str) -> tuple[SignedConsent | None, str]:
    """Return a camera's consent, or None and why there is none."""
    stored = _find_marks(config).find(camera)
    if stored is None or not stored.raw:
        return None, say("consent-missing")
    try:
        owner = KeyStore(config.state_dir, "owner").load_public("owner")
        return verify_consent(stored.raw, owner, _facts(config, camera)), ""
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
    """Return what ``status`` and ``check`` say as well; by the releaser if its store is not ours to read."""
    try:
        marks = read_marks(config)
    except CustodyError:
        return parse_consents(call(config.control_path("releaser"), "status")["consents"])
    enrolment = load_enrolment(config.uplink.enrolment) if config.uplink.enrolment.exists() else None
    owner = KeyStore(config.state_dir, "owner").load_public("owner")
    return read_consent_states(config, enrolment, owner, marks, SystemClock().wall())


def diff(config: Config, policy: Policy, args: argparse.Namespace) -> int:
    """Print what the file has differently; 1 if something waits for a signature."""
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
    """Read the terms aloud, ask, and sign them camera by camera; 1 if the owner did not say yes."""
    now = UtcNs(SystemClock().utc() // SECOND_NS * SECOND_NS)  # read aloud, and signed, to the second
    until = _until(args.for_, now)
    cameras = [camera for camera in _cameras(config, args.camera) if camera in policy.cameras]
    if not cameras:
        raise UsageError(f"{config.consent.file} names none of these cameras: there is nothing to sign")
    # All of them before any is shown: one that cannot be signed must not leave half of the house signed.
    drafts = [_draft(config, policy, camera, args.language, now, until) for camera in cameras]
    print_text(_read_aloud(drafts, args.language))
    print_text("\n" + " ".join(WAIVER[args.language].split("\n")) + "\n")
    if not args.yes and not writes_yes("to sign"):
        print_text("not signed")
        return 1
    key = load_owner_key(config, args.passphrase_file)
    zone = ZoneInfo(config.gateway.time_zone)
    for draft in drafts:
        camera, built = draft.built.camera, draft.built
        raw = sign_built(draft.payload, key)
        _hand_over(config, camera, raw)
        print_text(f"signed: {camera}, version {built.version}, until {say_moment(built.valid_until, zone)}")
        _write_copy(config, camera, raw)
    return 0


def _hand_over(config: Config, camera: str, raw: bytes) -> None:
    """Give a signed consent to the releaser, which alone keeps it: from there it counts, and from nowhere else."""
    path = config.control_path("releaser")
    try:
        call(path, "take-consent", timeout_s=_HAND_OVER_TIMEOUT_S, camera=camera, jws=raw.decode())
    except UnavailableError as error:
        # Only a connection that was refused is a no: past it, the releaser may have the consent and take it in still.
        if not isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError | PermissionError):
            hint = f"ask: edge-agent consent show --camera {camera}"
            raise UnavailableError(f"{camera}: not known whether the signature counts: {error}", hint) from error
        hint = "start the releaser first: sudo systemctl start edge-agent.target"
        raise UnavailableError(f"{camera}: not signed, the releaser does not take it in: {error}", hint) from error


def _write_copy(config: Config, camera: str, raw: bytes) -> None:
    """Leave a copy for the owner's own papers; no program reads it."""
    try:
        config.waivers_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        with acting_as_owner(config.waivers_dir):
            write_small_file(config.waivers_dir / f"{camera}.jws", raw, mode=0o644)
    except OSError as error:
        print(f"{camera}: signed, but your copy cannot be written: {error}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Draft:
    """One camera's consent before it is signed: the bytes, and the text that is shown of them."""

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
    marks = _find_marks(config)
    facts = load_facts(config, enrolment, camera, marks.store_id)
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
    last = marks.find(camera_id)
    version = 1 if last is None else last.version + 1
    event = ConsentEvent(owner, now, valid_until=until)
    payload = build_consent(facts, camera.title, terms, notice(language), version, event)
    beside = Unsigned(
        f"{enrolment.broker_host}:{enrolment.broker_port}",
        {quality: camera.address(quality) for quality in camera.qualities},
        camera.title,
        marks.recipients,
        {stream.quality.value: span for stream in facts.streams if (span := _find_foreign(config, camera_id, stream))},
    )
    built, zone = read_built(payload), ZoneInfo(config.gateway.time_zone)
    signed, _ = _load_signed(config, camera_id)
    earlier = None
    if signed is not None:
        known = replace(beside, foreign={})
        earlier = [*list_camera(signed, known, language, zone), *list_house(signed, known, language)]
    return _Draft(
        payload,
        built,
        list_camera(built, beside, language, zone),
        list_house(built, beside, language),
        earlier,
    )


def _find_foreign(config: Config, camera: str, stream: Stream) -> str:
    """Say of which time a ring holds footage of another source, which no grant by these terms opens; empty if none."""
    with RingReader.open(config.ring_path(camera, stream.quality.value), None) as reader:
        spans = list_foreign_spans(reader.pages(), stream.source)
    zone = ZoneInfo(config.gateway.time_zone)
    said = (" – ".join("" if moment is None else say_moment(moment, zone) for moment in span) for span in spans)
    return "; ".join(said)


def _read_aloud(drafts: Sequence[_Draft], language: Language) -> str:
    """Put the drafts' lines together: each camera under its id, then the house, which is the same for all."""
    lines: list[str] = []
    for draft in drafts:
        lines += [f"{draft.built.camera}:", *mark_changes(draft.camera_lines, draft.earlier), ""]
    names = ", ".join(draft.built.camera for draft in drafts)
    # A line is marked if it is new to one of the cameras: each signs the house's terms for itself.
    known = [frozenset(draft.earlier) for draft in drafts if draft.earlier is not None]
    lines += [f"{names}:", *mark_changes(drafts[0].house_lines, frozenset.intersection(*known) if known else None)]
    if known:
        lines += ["", f"({CHANGED}: {describe_fact('changed', '', language)})"]
    return "\n".join(lines)


def _until(text: str | None, now: UtcNs) -> UtcNs | None:
    if text is None:
        return None
    try:
        return UtcNs(now + parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
