"""The papers behind a release: the request, the consent, and the entry of the decision.

Believes neither request nor consent without a key that the RTCC knew before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.base64url import parse_b64url
from edge_agent.buffer.format.constants import ZERO_DIGEST
from edge_agent.consent.policy import CameraTerms, Mode, Terms, parse_terms
from edge_agent.errors import EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.checkpoint import ledger_origin, verify_proof
from edge_agent.protocol.manifest import Manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Quality
from edge_agent.units import Window, encode_rfc3339
from edge_agent.verifier.chain import Chain
from edge_agent.verifier.opened_bundle import KnownSigner, SignedBundle

_MODES: Mapping[Mode, str] = {
    Mode.AUTO: "released by its terms",
    Mode.ASK: "released where the owner is asked and approves",
    Mode.DENY: "never released",
}


def check_request(case: SignedBundle, manifest: Manifest) -> None:
    """Two persons signed it, and it is the request that the manifest and the RTCC know."""
    raw, about, known = case.read(names.REQUEST), manifest.request, case.known
    message = jws.parse(raw, "rtcc-request+jws")
    payload = message.payload
    if (payload["iss"], payload["jti"], payload["incident"]["number"]) != (about.iss, about.jti, about.incident):
        raise EvidenceError("request.jws is not the request that the manifest names")
    if message.payload_sha256.hex() != about.payload_sha256:
        raise EvidenceError("request.jws has another payload than the manifest says")
    # Payloads, not files: the signatures are verified below, whatever their order and number.
    if known.request is not None and jws.parse(known.request, message.typ).payload_bytes != message.payload_bytes:
        raise EvidenceError("request.jws is not the request that was sent")
    kids = jws.verify(message, {kid: signer.key for kid, signer in known.signers.items()})
    signers = [known.signers[kid] for kid in kids]
    _demand_two(signers)
    if case.stored[names.REQUEST] != about.sha256:
        raise EvidenceError("request.jws is not the file that the manifest names")
    _demand_asked(payload, manifest)
    asked = Window.parse(payload["clip"]["window"]["start"], payload["clip"]["window"]["end"])
    if asked != manifest.windows.asked.window():
        raise EvidenceError("the manifest says that another window was asked for")
    if not {manifest.camera.id, "*"} & set(payload["clip"]["cameras"]):
        raise EvidenceError(f"camera {manifest.camera.id} was not asked for")
    who = " and ".join(f"{signer.person} ({signer.role})" for signer in signers)
    case.findings.prove("request", f"{who} signed request {about.jti} for incident {about.incident}: {asked}.")
    if "cells" in payload["aud"]:
        case.findings.doubt("request", "It went to an area; that this house lies in it is the gateway's word.")


def _demand_two(signers: Sequence[KnownSigner]) -> None:
    """Demand what the gateway has to (PROTOCOL 4, check 6): two persons, each in a role of their own."""
    roles = [signer.role for signer in signers]
    if len({signer.person for signer in signers}) != len(signers) or len(signers) < 2:
        raise EvidenceError("request.jws was not signed by two persons")
    if len(set(roles)) != len(roles) or not {"operator", "supervisor"} <= set(roles):
        raise EvidenceError("request.jws was not signed by an operator and a supervisor")


def _demand_asked(payload: Mapping[str, Any], manifest: Manifest) -> None:
    """Demand that it was meant for this gateway or for an area, and asked for this stream, and for sound if there is
    any."""
    audience, clip = payload["aud"], payload["clip"]
    if audience != {"gateway": manifest.gateway} and not (audience.keys() == {"cells"} and audience["cells"]):
        raise EvidenceError("request.jws is for another gateway")
    if clip["quality"] != manifest.camera.quality_asked:
        raise EvidenceError("request.jws asks for another stream than the manifest says")
    if clip["audio"] is not True and any(each.sound != "none" for each in manifest.clips):
        raise EvidenceError("request.jws asks for no sound")


def check_consent(case: SignedBundle, manifest: Manifest) -> None:
    """The owner signed it, for this camera and this ring, and its terms allow what was released."""
    about, owner = manifest.consent, case.known.owner
    if case.stored[names.CONSENT] != about.sha256:
        raise EvidenceError("consent.jws is not the consent that the manifest names")
    message = jws.parse(case.read(names.CONSENT), "owner-consent+jws")
    if owner is None:
        case.findings.doubt("consent", "The owner's key is not known here: the consent is not verified.")
        return
    jws.verify(message, {thumbprint(owner): owner})
    payload: dict[str, Any] = message.payload
    streams = {each["ring"]: each for each in payload["facts"]["streams"]}
    if payload["camera"] != manifest.camera.id or payload["version"] != about.version:
        raise EvidenceError("consent.jws is for another camera or of another version")
    if payload["facts"]["issuer"] != manifest.request.iss:
        raise EvidenceError("consent.jws is for another crime center")
    # By the ring's id: a camera keeps its name when it is pointed at another room, and its new ring
    # is another one to the consent.
    stream = streams.get(manifest.camera.ring)
    if stream is None or stream["quality"] != manifest.camera.quality:
        raise EvidenceError("consent.jws is not about the ring that this footage comes from")
    terms, event = parse_terms(payload["terms"]), payload["event"]
    validity = Window.parse(event["valid_from"], event["valid_until"])
    # At the time of the decision, as the manifest has it: terms that end or change later do not
    # undo a release.
    if not validity.start <= about.decided_at < validity.end:
        raise EvidenceError(f"consent.jws did not count when the release was decided: it is valid in {validity}")
    _demand_consented(terms.camera, manifest, thumbprint(owner))
    case.findings.prove(
        "consent",
        f"The owner signed consent version {about.version} for camera {payload['camera']}, valid in {validity}:"
        f" {_MODES[terms.camera.mode]}, {'both streams' if terms.camera.quality is Quality.MAIN else 'the sub stream'},"
        f" {'with' if terms.camera.audio else 'without'} sound, zones to mask: {len(terms.camera.masks)}.",
    )
    if about.approved_by:
        case.findings.doubt("consent", "That the owner approved this one release is the gateway's word.")
    case.findings.doubt(
        "consent", "That hours, distance, age, quotas and whatever else the owner's terms limit were kept."
    )


def check_source(case: SignedBundle, manifest: Manifest, chain: Chain) -> None:
    """Every block is of the source that the consent, verified before, names for this stream (FORMAT 3.5)."""
    if case.known.owner is None:
        return
    facts = jws.parse(case.read(names.CONSENT), "owner-consent+jws").payload["facts"]
    signed = {each["ring"]: parse_b64url(each["source"]) for each in facts["streams"]}
    source = signed.get(manifest.camera.ring, ZERO_DIGEST)
    # A page without a source (FORMAT 3.5) proves nothing about it, so it counts as foreign.
    foreign = [block for block in chain.blocks if source == ZERO_DIGEST or chain.pages[block].source != source]
    if foreign:
        raise EvidenceError(f"footage is of another source than the owner signed: block={foreign[0]}")
    if chain.blocks:
        case.findings.prove(
            "consent",
            "The recorder signed, while recording, that all of it comes from the source that"
            " the owner's consent names; what that address was is not disclosed.",
        )


def _demand_consented(terms: CameraTerms, manifest: Manifest, owner: str) -> None:
    """Hold what was released against the terms that the owner signed; a file at home can only have made them tighter.

    Raises:
        EvidenceError: Something of it was not consented to.
    """
    approved_by = manifest.consent.approved_by
    if terms.mode is Mode.DENY:
        raise EvidenceError("consent.jws denies every release of this camera")
    if terms.mode is Mode.ASK and approved_by is None:
        raise EvidenceError("consent.jws wants the owner to be asked, and the manifest names no approval")
    if approved_by not in (None, owner):
        raise EvidenceError("the manifest names another key's approval than the owner's")
    if terms.quality is Quality.SUB and manifest.camera.quality != Quality.SUB.value:
        raise EvidenceError("consent.jws allows the sub stream alone")
    if not terms.audio and any(clip.sound != "none" for clip in manifest.clips):
        raise EvidenceError("consent.jws allows no sound")
    if terms.masks and any(clip.derivative_of_sha256 is None for clip in manifest.clips):
        raise EvidenceError("consent.jws has zones to mask, and a clip is not masked")


def has_signed_masks(case: SignedBundle) -> bool:
    """Tell whether there are zones to mask in terms that ``check_consent`` can hold against the owner's key."""
    return case.known.owner is not None and bool(_read_terms(case).camera.masks)


def _read_terms(case: SignedBundle) -> Terms:
    return parse_terms(jws.parse(case.read(names.CONSENT), "owner-consent+jws").payload["terms"])


def check_ledger(case: SignedBundle, manifest: Manifest) -> None:
    """The entry grants this request, this camera, this stream, at least these windows, by this consent."""
    value = jws.parse_strict_json(case.read(names.LEDGER), 1 << 20)
    proved = verify_proof(value, ledger_origin(case.known.gateway_id), case.known.gateway)
    about, camera = manifest.request, manifest.camera
    entry: Mapping[str, Any] = proved.leaf.entry
    if proved.leaf.kind != "grant" or (entry["iss"], entry["jti"]) != (about.iss, about.jti):
        raise EvidenceError("ledger entry is not the grant of this request")
    decided = next((each for each in entry["cameras"] if each["camera"] == camera.id), None)
    if entry["outcome"] != "grant" or decided is None:
        raise EvidenceError("ledger entry does not grant this camera")
    if decided["consent_sha256"] != manifest.consent.sha256 or decided["quality"] != camera.quality:
        raise EvidenceError("ledger entry leans on another consent, or grants another stream")
    if entry["approved_by"] != (manifest.consent.approved_by or "terms"):
        raise EvidenceError("ledger entry names another approval than the manifest")
    if any(clip.sound != "none" for clip in manifest.clips) and decided["audio"] is not True:
        raise EvidenceError("ledger entry grants no sound")
    if not all(
        any(Window.parse(*text.split("/")).contains(window) for text in decided["windows"])
        for window in manifest.allowed
    ):
        raise EvidenceError("ledger entry grants less than the manifest says")
    case.findings.prove(
        "ledger",
        f"The decision stands in the gateway's ledger as entry {proved.index}"
        f" of {encode_rfc3339(proved.leaf.at)}; it cannot be taken out unnoticed.",
    )


def check_asked(case: SignedBundle, manifest: Manifest) -> None:
    """Nothing was granted that was not asked for, and all of it belongs to the incident."""
    incident = jws.parse(case.read(names.REQUEST), "rtcc-request+jws").payload["incident"]["window"]
    terms = _read_terms(case)
    reported = Window.parse(incident["start"], incident["end"])
    if not all(reported.widen(terms.house.padding).contains(window) for window in manifest.allowed):
        raise EvidenceError(f"another time was granted than that of the incident: {reported}")
    if case.known.owner is None and not all(reported.contains(window) for window in manifest.allowed):
        case.findings.doubt(
            "windows",
            f"More was granted than the time of the incident, {reported}: that the owner allows so much around it is"
            " the gateway's word, as the consent is not verified.",
        )
    if not all(manifest.windows.asked.window().contains(window) for window in manifest.allowed):
        raise EvidenceError("more was granted than was asked for")
    camera = manifest.camera
    if camera.quality != camera.quality_asked:
        case.findings.doubt(
            "windows", f"This is the {camera.quality} stream; {camera.quality_asked} was asked for and not granted."
        )
