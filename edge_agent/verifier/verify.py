"""The checklist for a bundle that was decrypted: everything that can be verified offline (docs/evidence.md).

Believes nothing inside the bundle until a key that was pinned at enrolment, or is in the RTCC's own trust bundle,
vouches for it; of an export that brings its own keys, it says that none does. A check that fails is named, and the
others are still made. Reads the unpacked parts, and writes only the progressive copies.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edge_agent.errors import DenialError, EvidenceError
from edge_agent.protocol import manifest as names
from edge_agent.protocol.manifest import Clip, Manifest, parse_manifest, verify_manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import SECOND_NS, ClockState, UtcNs, Window, encode_rfc3339
from edge_agent.verifier import export_papers, release_papers
from edge_agent.verifier.chain import Chain, verify_blocks
from edge_agent.verifier.coverage import (
    TOLERANCE_NS,
    GrantedRecord,
    find_absent,
    find_footage,
    find_undelivered,
    find_unspoken,
)
from edge_agent.verifier.mp4_boxes import verify_boxes
from edge_agent.verifier.mp4_video import copy_progressive
from edge_agent.verifier.opened_bundle import AnyManifest, KnownKeys, SignedBundle
from edge_agent.verifier.pictures import ClipProof, verify_clip, verify_silence
from edge_agent.verifier.records import Records, verify_records

log = logging.getLogger(__name__)

_UNDATED = (
    "Times that were counted back to before the clock was set are the gateway's word: nothing here that the recorder"
    " signed after that dates this boot."
)

_AFTER_CLIPS = (names.RECORDS, names.BLOCKS, names.LEDGER, names.README)


def read_manifest(out_dir: Path, stored: Mapping[str, str]) -> AnyManifest:
    """Read the manifest, whose signature is not verified yet; EvidenceError if it is not about what was unpacked.

    The type that it is signed as says whether it is of a release or of an export, and then nothing of the other kind
    may be there.
    """
    manifest, message = parse_manifest((out_dir / names.MANIFEST).read_bytes())
    _demand_windows(manifest)
    listed = [file.name for file in manifest.files]
    if listed != [name for name in stored if name != names.MANIFEST]:
        raise EvidenceError("manifest lists other files than the container holds")
    # An export with a consent in it, or a release without, would be read as more than it is.
    every = {paper for papers in names.PAPERS.values() for paper in papers}
    found = tuple(name for name in listed if name in every)
    if found != names.PAPERS[message.typ]:
        kind = "a release" if isinstance(manifest, Manifest) else "an export"
        raise EvidenceError(f"manifest is of {kind}, which cannot hold just {' and '.join(found) or 'no authority'}")
    clips = [clip.file for clip in manifest.clips]
    if len(set(clips)) != len(clips) or listed != [*found, *clips, *_AFTER_CLIPS]:
        raise EvidenceError("the container holds a clip that the manifest does not speak of, or lacks a part")
    return manifest


def _demand_windows(manifest: AnyManifest) -> None:
    """Demand that every span of the manifest ends after it starts: each check reckons with that."""
    clips = [(clip.file, clip.start, clip.end) for clip in manifest.clips]
    gaps = [("a gap", gap.start, gap.end) for gap in manifest.gaps]
    windows = manifest.windows
    first = windows.ordered if isinstance(windows, names.ExportWindows) else windows.asked
    granted = [] if isinstance(windows, names.ExportWindows) else windows.granted
    spans = [("a window", span.start, span.end) for span in (first, *granted, *windows.delivered)]
    for name, start, end in (*spans, *gaps, *clips):
        if start >= end:
            raise EvidenceError(f"manifest has {name} that ends before it starts: {encode_rfc3339(start)}")


def verify_signature(out_dir: Path, known: KnownKeys) -> None:
    """Verify the manifest's signature with the gateway's key; EvidenceError if it is not this gateway's."""
    manifest = verify_manifest((out_dir / names.MANIFEST).read_bytes(), known.gateway)
    if manifest.gateway != known.gateway_id:
        raise EvidenceError(f"manifest is of another gateway: {manifest.gateway}")


class Checklist:
    """The checklist, once the manifest is known to be the gateway's."""

    def __init__(self, case: SignedBundle) -> None:
        self._case, self._manifest, self._known, self._findings = case, case.manifest, case.known, case.findings
        self._allowed = case.manifest.allowed
        self._chain: Chain | None = None
        self._records = Records(case.folder / names.RECORDS)

    @property
    def _word(self) -> str:
        """The name of the manifest's allowance."""
        return "granted" if isinstance(self._manifest, Manifest) else "ordered"

    def run(self) -> None:
        """Go through all checks, each on its own."""
        checks: list[tuple[str, Callable[[], None]]] = [
            ("files", self._check_files),
            *self._paper_checks(),
            ("chain", self._check_chain),
            ("consent", self._check_source),
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
        except OSError:
            raise  # Our own disk's: what the bundle does to a parser is reported as another error.
        except Exception as error:
            # An error that a part makes our parsers and libraries raise is a finding of that part, and of no other.
            log.debug("malformed part: part=%s", part, exc_info=True)
            self._findings.fail(part, f"{name or part} is malformed: {type(error).__name__}", name)

    def _paper_checks(self) -> list[tuple[str, Callable[[], None]]]:
        case, manifest = self._case, self._manifest
        if isinstance(manifest, Manifest):
            return [
                ("request", partial(release_papers.check_request, case, manifest)),
                ("consent", partial(release_papers.check_consent, case, manifest)),
                ("ledger", partial(release_papers.check_ledger, case, manifest)),
                ("windows", partial(release_papers.check_asked, case, manifest)),
            ]
        return [
            ("order", partial(export_papers.check_order, case, manifest)),
            ("ledger", partial(export_papers.check_ledger, case, manifest)),
        ]

    def _check_files(self) -> None:
        case = self._case
        wrong = [
            file.name
            for file in self._manifest.files
            if (case.stored[file.name], (case.folder / file.name).stat().st_size) != (file.sha256, file.bytes)
        ]
        for name in wrong:
            self._findings.fail("files", f"{name} is not the file that the gateway signed for.", name)
        if not wrong:
            self._findings.prove("files", f"All {len(self._case.stored) - 1} files are as the gateway signed for them.")

    def _check_chain(self) -> None:
        camera = self._manifest.camera
        if thumbprint(self._known.recorder) != camera.recorder:
            raise EvidenceError("manifest names another recorder's key than the gateway was enrolled with")
        with (self._case.folder / names.BLOCKS).open("rb") as file:
            self._chain = verify_blocks(file, bytes.fromhex(camera.ring), self._known.recorder)
        for fault in self._chain.faults:
            self._findings.fail("chain", fault)
        self._say_chain(self._chain)

    def _check_source(self) -> None:
        if isinstance(self._manifest, Manifest) and self._chain is not None:
            release_papers.check_source(self._case, self._manifest, self._chain)

    def _say_chain(self, chain: Chain) -> None:
        if whole := chain.signed - chain.holes.keys():
            self._findings.prove(
                "chain",
                f"{len(whole)} of {len(chain.blocks)} blocks lie whole between pages that the recorder signed"
                " while it recorded: nothing in them was added, removed or altered afterwards.",
            )
        for block in chain.blocks:
            if block not in chain.signed:
                is_last = block == chain.blocks[-1]
                why = "was still open when the bundle was made" if is_last else "has no page after it here"
                self._findings.doubt("chain", f"Block {block} {why}: the gateway alone attests it.")
        for block, holes in chain.holes.items():
            count = sum(len(hole) for hole in holes)
            self._findings.doubt(
                "chain",
                f"Block {block} had {count} more records than are shown, the last of them at index {holes[-1][-1]}:"
                " damaged, says the gateway, which alone attests what lies before them in this block.",
            )

    def _check_records(self) -> None:
        if self._chain is None:
            raise EvidenceError("without a chain the records cannot be checked")
        self._records = verify_records(self._case.folder / names.RECORDS, self._chain)
        for fault in self._records.faults:
            self._findings.fail("records", fault)
        undated = [
            each for each in self._records.shown if each.clock_state is ClockState.FLOOR_ONLY and not each.rebased
        ]
        if undated and isinstance(self._manifest, Manifest):
            raise EvidenceError(f"footage without a known time was released: block={undated[0].place[0]}")
        footage = [self._chain.is_signed(record.place) for record in self._records.shown if record.has_media]
        sentence = "records of footage are those of the chain, with the digests committed to in it."
        if all(footage):
            self._findings.prove("records", f"{len(footage)} {sentence}")
        else:
            self._findings.doubt(
                "records", f"{len(footage)} {sentence} Of {footage.count(False)} the gateway alone attests the chain."
            )

    def _check_windows(self) -> None:
        manifest = self._manifest
        delivered = [span.window() for span in manifest.windows.delivered]
        if not all(any(window.contains(part) for window in self._allowed) for part in delivered):
            raise EvidenceError(f"more was delivered than was {self._word}")
        # A clip may reach over an allowed window's end by its last picture's duration: its parts inside count.
        clips = [Window(clip.start, clip.end) for clip in manifest.clips]
        if sorted(delivered) != sorted(
            cut for clip in clips for each in self._allowed if (cut := clip.intersect(each))
        ):
            raise EvidenceError("the manifest says that another span was delivered than its clips have")
        told = sorted([*delivered, *(Window(gap.start, gap.end) for gap in manifest.gaps)])
        for window in self._allowed:
            at = window.start
            for part in told:
                if part.start - at <= TOLERANCE_NS:
                    at = max(at, part.end)
            if window.end - at > TOLERANCE_NS:
                raise EvidenceError(f"neither delivered nor declared missing: from {encode_rfc3339(UtcNs(at))}")
        gaps = [f"{Window(gap.start, gap.end)} ({gap.reason})" for gap in manifest.gaps]
        sentence = "Missing, as declared: " + "; ".join(gaps) if gaps else f"All that was {self._word} is here."
        self._prove_by_clips("windows", sentence)

    def _prove_by_clips(self, part: str, sentence: str) -> None:
        """Record the statements that depend on the spans of the clips: of a derivative they are the gateway's word."""
        if any(clip.derivative_of_sha256 is not None for clip in self._manifest.clips):
            self._findings.doubt(part, f"{sentence} What derivatives span is the gateway's word.")
        else:
            self._findings.prove(part, sentence)

    def _check_clip(self, clip: Clip) -> None:
        # Before FFmpeg sees the file: boxes could show it other pictures than a player.
        verify_boxes(self._case.folder / clip.file)
        if clip.derivative_of_sha256 is not None:
            verify_silence(self._case.folder / clip.file, clip)
            self._say_derivative(clip, clip.derivative_of_sha256)
            self._copy_progressive(clip)
            return
        if self._chain is None or not self._records.shown:
            raise EvidenceError("without records the pictures cannot be checked")
        proof = verify_clip(self._case.folder / clip.file, clip, self._records, self._chain, self._allowed)
        span = Window(clip.start, clip.end)
        sentence = (
            f"{clip.file}: all {proof.pictures} pictures of {span}, as coded, are the recorded ones, none altered,"
            f" added, left out or outside what was {self._word}."
        )
        if proof.is_recorder_signed and proof.is_dated:
            self._findings.prove("pictures", sentence, clip.file)
        if not proof.is_recorder_signed:
            self._findings.doubt("pictures", sentence + " Part of it is attested by the gateway alone.", clip.file)
        if not proof.is_dated:
            self._findings.doubt("pictures", f"{sentence} {_UNDATED}", clip.file)
        if not proof.has_committed_parameters:
            self._findings.doubt(
                "pictures",
                f"{clip.file}: the decoder's parameters (size, cropping, colours) are the gateway's word.",
                clip.file,
            )
        self._say_sound(clip, proof)
        self._copy_progressive(clip)

    def _say_derivative(self, clip: Clip, master_sha256: str) -> None:
        if not isinstance(self._manifest, Manifest):
            raise EvidenceError("nothing is masked in an export: it holds no derivative")
        self._findings.doubt(
            "pictures",
            f"{clip.file} is a derivative: zones were masked and the pictures coded anew. The recording itself,"
            f" SHA-256 {master_sha256[:16]}…, stays with the owner; only the gateway says they agree, and that it is of"
            f" {Window(clip.start, clip.end)}.",
            clip.file,
        )
        if not release_papers.has_signed_masks(self._case):
            self._findings.doubt(
                "pictures",
                f"{clip.file} is masked, and the terms that the owner signed, as far as they are verified here, have no"
                " zone to mask: that the owner wanted some masked is the gateway's word.",
                clip.file,
            )

    def _copy_progressive(self, clip: Clip) -> None:
        target = self._case.folder / "progressive" / Path(clip.file).name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        copy_progressive(self._case.folder / clip.file, target)
        self._findings.files.append(str(target))

    def _say_sound(self, clip: Clip, proof: ClipProof) -> None:
        if clip.sound == "as-recorded":
            sentence = f"{clip.file}: {proof.sounds} packets of sound, as coded, are the recorded ones."
            if proof.is_recorder_signed and proof.is_dated:
                self._findings.prove("sound", sentence, clip.file)
            else:
                self._findings.doubt("sound", f"{sentence} What is said of the pictures holds for them.", clip.file)
            if not proof.has_committed_sound:
                self._findings.doubt(
                    "sound", f"{clip.file}: the decoder's parameters of the sound are the gateway's word.", clip.file
                )
        elif clip.sound == "coded-anew":
            self._findings.doubt("sound", f"{clip.file}: the sound was coded anew: the gateway's word.", clip.file)

    def _check_completeness(self) -> None:
        if self._chain is None:
            raise EvidenceError("without a chain nothing can be said about what is missing")
        manifest = self._manifest
        if self._chain.faults or self._records.faults:
            raise EvidenceError("blocks or records are not as they must be: what is missing cannot be said")
        footage = find_footage(manifest, self._records.shown, self._chain)
        gaps = [Window(gap.start, gap.end) for gap in manifest.gaps]
        if unspoken := next(find_unspoken(footage, gaps), None):
            raise EvidenceError(
                f"recorded inside what was {self._word} and not spoken of: block={unspoken[0]} index={unspoken[1]}"
            )
        sentence = (
            f"All footage of these blocks that lies inside what was {self._word} is delivered or declared missing."
        )
        if not all(record.is_dated for record in self._records.shown):
            self._findings.doubt("completeness", f"{sentence} {_UNDATED}")
        elif self._chain.holes or self._chain.signed != set(self._chain.blocks):
            self._findings.doubt("completeness", f"{sentence} Of blocks that are not whole that is the gateway's word.")
        else:
            self._prove_by_clips("completeness", sentence)
        self._say_missing(footage)

    def _say_missing(self, footage: Sequence[GrantedRecord]) -> None:
        assert self._chain is not None
        for each in find_undelivered(self._manifest, footage):
            self._findings.doubt(
                "completeness", f"Recorded, but not delivered: {each.span}. Why is the gateway's word: {each.reason}."
            )
        for block, end in find_absent(self._chain, self._allowed):
            since, until = encode_rfc3339(UtcNs(end.oldest_ns)), encode_rfc3339(UtcNs(end.newest_ns))
            self._findings.doubt(
                "completeness",
                f"Nothing is here of block {block}, which was recorded from {since} to {until}, with"
                f" {end.footage_ns / SECOND_NS:.1f} s of footage. Why is the gateway's word.",
            )
        if self._manifest.gaps:
            self._findings.doubt("completeness", "Why something is missing is the gateway's word.")

    def _check_clock(self) -> None:
        clocks = self._manifest.clocks
        if footage := self._records.shown:
            states = sorted({record.clock_state.value for record in footage})
            if (clocks.states, clocks.rebased) != (states, any(record.rebased for record in footage)):
                raise EvidenceError("the manifest says that the footage was recorded under another clock")
        if not clocks.states:
            pass  # Nothing was recorded.
        elif clocks.states == [ClockState.SYNCHRONISED.value]:
            self._findings.doubt(
                "clock", "The gateway says that its clock was set by a time source; a network can mislead it."
            )
        elif not clocks.rebased:
            self._findings.doubt(
                "clock",
                "Some of it was recorded before the gateway's clock was set: its times are as they were written then,"
                " and may be far off.",
            )
        else:
            self._findings.doubt(
                "clock", "The gateway's clock was set only later; the times are counted back to since boot."
            )
        if clocks.rtcp_offset_min_ns is not None and clocks.rtcp_offset_max_ns is not None:
            low, high = clocks.rtcp_offset_min_ns // 1_000_000, clocks.rtcp_offset_max_ns // 1_000_000
            self._findings.doubt(
                "clock", f"The camera's own clock was {low} to {high} ms ahead of the gateway's, as the gateway noted."
            )

    def _say_limits(self) -> None:
        self._findings.doubt("camera", "That the camera showed the truth, and its view was not arranged.")
        self._findings.doubt("gateway", "That the gateway's software and keys were not replaced or taken.")
