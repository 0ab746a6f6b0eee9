"""The checklist for a bundle that was decrypted: everything that can be verified offline (docs/evidence.md).

Believes nothing inside the bundle until a key that was pinned at enrolment, or is in the RTCC's own trust bundle,
vouches for it. A check that fails is named, and the others are still made. Reads the unpacked parts, and writes only
the progressive copies.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent import jws
from edge_agent.errors import DenialError, EvidenceError
from edge_agent.jws import PublicKey
from edge_agent.keys import thumbprint
from edge_agent.rtcc.chain import Chain, RecordShown, verify_blocks, verify_records
from edge_agent.rtcc.findings import Findings
from edge_agent.rtcc.pictures import find_uncovered, verify_clip
from edge_agent.rtcc.video import copy_progressive
from edge_agent.units import UtcNs, Window, encode_rfc3339
from edge_agent.uplink import manifest as names
from edge_agent.uplink.checkpoint import ledger_origin, verify_proof
from edge_agent.uplink.manifest import Clip, Manifest, parse_manifest, verify_manifest

log = logging.getLogger(__name__)

TOLERANCE_NS = 100_000_000
"""Gaps shorter than this between what was granted, delivered and declared missing are rounding."""


@dataclass(frozen=True, slots=True)
class KnownSigner:
    """Somebody who may sign requests."""

    key: PublicKey
    person: str
    role: str


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the RTCC knew before the bundle came: pinned at enrolment, and its own trust bundle."""

    gateway_id: str
    gateway: Ed25519PublicKey
    recorder: Ed25519PublicKey
    owner: Ed25519PublicKey | None
    signers: Mapping[str, KnownSigner] = field(default_factory=dict)
    """By ``kid``."""
    request: bytes | None = None
    """The request as it was sent, where the RTCC kept it."""


def check_manifest(out_dir: Path, stored: Mapping[str, str], known: KnownKeys) -> Manifest:
    """Verify the manifest's signature, and that it lists what was unpacked; EvidenceError where it does not."""
    raw = (out_dir / names.MANIFEST).read_bytes()
    manifest, _ = parse_manifest(raw)
    verify_manifest(raw, known.gateway)
    if manifest.gateway != known.gateway_id:
        raise EvidenceError(f"manifest is of another gateway: {manifest.gateway}")
    listed = [file.name for file in manifest.files]
    if listed != [name for name in stored if name != names.MANIFEST]:
        raise EvidenceError("manifest lists other files than the container holds")
    return manifest


class Checklist:
    """The checklist, once the manifest is known to be the gateway's."""

    def __init__(
        self, manifest: Manifest, stored: Mapping[str, str], known: KnownKeys, out_dir: Path, findings: Findings
    ) -> None:
        self._manifest, self._stored, self._known = manifest, stored, known
        self._folder, self._findings = out_dir, findings
        self._granted = [span.window() for span in manifest.windows.granted]
        self._chain: Chain | None = None
        self._records: list[RecordShown] = []

    def run(self) -> None:
        """Go through all checks, each on its own."""
        checks: list[tuple[str, Callable[[], None]]] = [
            ("files", self._check_files),
            ("request", self._check_request),
            ("consent", self._check_consent),
            ("ledger", self._check_ledger),
            ("chain", self._check_chain),
            ("records", self._check_records),
            ("windows", self._check_windows),
        ]
        for part, check in checks:
            self._attempt(part, check)
        for clip in self._manifest.clips:
            self._attempt("pictures", lambda clip=clip: self._check_clip(clip), clip.file)  # type: ignore[misc]
        self._attempt("completeness", self._check_completeness)
        self._attempt("clock", self._check_clock)
        self._say_limits()

    def _attempt(self, part: str, check: Callable[[], None], name: str = "") -> None:
        try:
            check()
        except (EvidenceError, DenialError) as error:
            self._findings.fail(part, f"{name}: {error}" if name else str(error), name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.debug("malformed part: part=%s", part, exc_info=True)
            self._findings.fail(part, f"{name or part} is malformed: {type(error).__name__}", name)

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _check_files(self) -> None:
        wrong = [file.name for file in self._manifest.files if self._stored[file.name] != file.sha256]
        for name in wrong:
            self._findings.fail("files", f"{name} is not the file that the gateway signed for.", name)
        if not wrong:
            self._findings.prove("files", f"All {len(self._stored) - 1} files are as the gateway signed for them.")

    def _check_request(self) -> None:
        raw, about = self._read(names.REQUEST), self._manifest.request
        message = jws.parse(raw, "rtcc-request+jws")
        payload = message.payload
        if (payload["iss"], payload["jti"], payload["incident"]["number"]) != (about.iss, about.jti, about.incident):
            raise EvidenceError("request.jws is not the request that the manifest names")
        if message.payload_sha256.hex() != about.payload_sha256:
            raise EvidenceError("request.jws has another payload than the manifest says")
        if self._known.request is not None and jws.parse(self._known.request, message.typ).payload_bytes != (
            message.payload_bytes
        ):
            raise EvidenceError("request.jws is not the request that was sent")
        kids = jws.verify(message, {kid: signer.key for kid, signer in self._known.signers.items()})
        signers = [self._known.signers[kid] for kid in kids]
        if len({signer.person for signer in signers}) < 2:
            raise EvidenceError("request.jws was not signed by two persons")
        asked = Window.parse(payload["clip"]["window"]["start"], payload["clip"]["window"]["end"])
        if asked != self._manifest.windows.asked.window():
            raise EvidenceError("the manifest says that another window was asked for")
        if not {self._manifest.camera.id, "*"} & set(payload["clip"]["cameras"]):
            raise EvidenceError(f"camera {self._manifest.camera.id} was not asked for")
        who = " and ".join(f"{signer.person} ({signer.role})" for signer in signers)
        self._findings.prove("request", f"{who} signed request {about.jti} for incident {about.incident}: {asked}.")

    def _check_consent(self) -> None:
        about = self._manifest.consent
        if self._stored[names.CONSENT] != about.sha256:
            raise EvidenceError("consent.jws is not the consent that the manifest names")
        message = jws.parse(self._read(names.CONSENT), "owner-consent+jws")
        if self._known.owner is None:
            self._findings.doubt("consent", "The owner's key is not known here: the consent is not verified.")
            return
        jws.verify(message, {thumbprint(self._known.owner): self._known.owner})
        payload: dict[str, Any] = message.payload
        rings = payload["facts"]["rings"]
        if payload["camera"] != self._manifest.camera.id or payload["version"] != about.version:
            raise EvidenceError("consent.jws is for another camera or of another version")
        if self._manifest.camera.ring not in rings:
            raise EvidenceError("consent.jws is not about the ring that this footage comes from")
        how = "and approved this release" if about.approved_by else "whose terms allow it without asking"
        self._findings.prove(
            "consent", f"The owner signed consent version {about.version} for camera {payload['camera']}, {how}."
        )
        if about.approved_by:
            self._findings.doubt("consent", "That the owner approved this one release is the gateway's word.")

    def _check_ledger(self) -> None:
        value = jws.parse_strict_json(self._read(names.LEDGER), 1 << 20)
        proved = verify_proof(value, ledger_origin(self._known.gateway_id), self._known.gateway)
        about, camera = self._manifest.request, self._manifest.camera
        entry: Mapping[str, Any] = proved.leaf.entry
        if proved.leaf.kind != "grant" or (entry["iss"], entry["jti"]) != (about.iss, about.jti):
            raise EvidenceError("ledger entry is not the grant of this request")
        decided = next((each for each in entry["cameras"] if each["camera"] == camera.id), None)
        if entry["outcome"] != "grant" or decided is None:
            raise EvidenceError("ledger entry does not grant this camera")
        if decided["consent_sha256"] != self._manifest.consent.sha256 or decided["quality"] != camera.quality:
            raise EvidenceError("ledger entry leans on another consent, or grants another stream")
        if not all(
            any(Window.parse(*text.split("/")).contains(window) for text in decided["windows"])
            for window in self._granted
        ):
            raise EvidenceError("ledger entry grants less than the manifest says")
        self._findings.prove(
            "ledger",
            f"The decision stands in the gateway's ledger as entry {proved.index}"
            f" of {encode_rfc3339(proved.leaf.at)}; it cannot be taken out unnoticed.",
        )

    def _check_chain(self) -> None:
        camera = self._manifest.camera
        if thumbprint(self._known.recorder) != camera.recorder:
            raise EvidenceError("manifest names another recorder's key than the gateway was enrolled with")
        self._chain = verify_blocks(self._read(names.BLOCKS), bytes.fromhex(camera.ring), self._known.recorder)
        blocks = {place[0] for place in self._chain.links}
        if self._chain.signed:
            self._findings.prove(
                "chain",
                f"{len(self._chain.signed)} of {len(blocks)} blocks lie whole between pages that the recorder signed"
                " while it recorded: nothing in them was added, removed or altered afterwards.",
            )
        if opened := sorted(blocks - self._chain.signed):
            self._findings.doubt(
                "chain", f"Block {opened[0]} was still open when the bundle was made: the gateway alone attests it."
            )

    def _check_records(self) -> None:
        if self._chain is None:
            raise EvidenceError("without a chain the records cannot be checked")
        self._records = verify_records(self._read(names.RECORDS), self._chain)
        footage = sum(bool(record.digests) for record in self._records)
        self._findings.prove(
            "records", f"{footage} records of footage are those of the chain, with the digests committed to in it."
        )

    def _check_windows(self) -> None:
        windows = self._manifest.windows
        asked = windows.asked.window()
        if not all(asked.contains(window) for window in self._granted):
            raise EvidenceError("more was granted than was asked for")
        delivered = [span.window() for span in windows.delivered]
        if not all(any(window.contains(part) for window in self._granted) for part in delivered):
            raise EvidenceError("more was delivered than was granted")
        told = sorted([*delivered, *(Window(gap.start, gap.end) for gap in self._manifest.gaps)])
        for window in self._granted:
            at = window.start
            for part in told:
                if part.start - at <= TOLERANCE_NS:
                    at = max(at, part.end)
            if window.end - at > TOLERANCE_NS:
                raise EvidenceError(f"neither delivered nor declared missing: from {encode_rfc3339(UtcNs(at))}")
        camera = self._manifest.camera
        if camera.quality != camera.quality_asked:
            self._findings.doubt(
                "windows", f"This is the {camera.quality} stream; {camera.quality_asked} was asked for and not granted."
            )
        gaps = [f"{Window(gap.start, gap.end)} ({gap.reason})" for gap in self._manifest.gaps]
        sentence = "Missing, as declared: " + "; ".join(gaps) if gaps else "All that was granted is here."
        self._findings.prove("windows", sentence)

    def _check_clip(self, clip: Clip) -> None:
        if clip.derivative_of_sha256 is not None:
            self._findings.doubt(
                "pictures",
                f"{clip.file} is a derivative: zones were masked and the pictures coded anew. The recording itself,"
                f" SHA-256 {clip.derivative_of_sha256[:16]}…, stays with the owner; only the gateway says they agree.",
                clip.file,
            )
            self._copy_progressive(clip)
            return
        if self._chain is None or not self._records:
            raise EvidenceError("without records the pictures cannot be checked")
        proof = verify_clip(self._folder / clip.file, clip, self._records, self._chain, self._granted)
        span = Window(clip.start, clip.end)
        sentence = (
            f"{clip.file}: all {proof.pictures} pictures of {span} are the recorded ones, none altered, added, left out"
            " or outside the grant."
        )
        if proof.is_recorder_signed:
            self._findings.prove("pictures", sentence, clip.file)
        else:
            self._findings.doubt("pictures", sentence + " Part of it is attested by the gateway alone.", clip.file)
        if not proof.has_committed_parameters:
            self._findings.doubt(
                "pictures", f"{clip.file}: the decoder's parameters are the gateway's word.", clip.file
            )
        self._say_sound(clip, proof.sounds)
        self._copy_progressive(clip)

    def _copy_progressive(self, clip: Clip) -> None:
        target = self._folder / "progressive" / Path(clip.file).name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        copy_progressive(self._folder / clip.file, target)
        self._findings.files.append(str(target))

    def _say_sound(self, clip: Clip, sounds: int) -> None:
        if clip.sound == "as-recorded":
            self._findings.prove("sound", f"{clip.file}: {sounds} packets of sound are the recorded ones.", clip.file)
        elif clip.sound == "coded-anew":
            self._findings.doubt("sound", f"{clip.file}: the sound was coded anew: the gateway's word.", clip.file)

    def _check_completeness(self) -> None:
        if self._chain is None:
            raise EvidenceError("without a chain nothing can be said about what is missing")
        missing = list(find_uncovered(self._records, self._chain, self._granted))
        if missing:
            raise EvidenceError(f"recorded inside the grant and not spoken of: block={missing[0][0]}")
        self._findings.prove("completeness", "All footage of these blocks that lies inside the grant is spoken of.")
        if self._manifest.gaps:
            self._findings.doubt("completeness", "Why something is missing is the gateway's word.")

    def _check_clock(self) -> None:
        clocks = self._manifest.clocks
        if clocks.states == ["synchronised"] and not clocks.rebased:
            self._findings.doubt(
                "clock", "The gateway says that its clock was set by a time source; a network can mislead it."
            )
        else:
            self._findings.doubt(
                "clock", "The gateway's clock was set only later; the times are counted back to since boot."
            )
        if clocks.rtcp_offset_min_ns is not None and clocks.rtcp_offset_max_ns is not None:
            low, high = clocks.rtcp_offset_min_ns // 1_000_000, clocks.rtcp_offset_max_ns // 1_000_000
            self._findings.doubt("clock", f"The camera's own clock was {low} to {high} ms ahead of the gateway's.")

    def _say_limits(self) -> None:
        self._findings.doubt("camera", "That the camera showed the truth, and its view was not arranged.")
        self._findings.doubt("gateway", "That the gateway's software and keys were not replaced or taken.")
