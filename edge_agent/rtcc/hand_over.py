"""The files for a prosecutor, a court or an evidence system: a folder and a ZIP that explain themselves.

Owns their names and contents. Nothing in it needs a key of ours to be read; the public halves, which verify it, lie
beside it. Its statements are the findings of ``edge_agent.verifier``.
"""

import hashlib
import logging
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_agent.errors import EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.manifest import Clip, Manifest, parse_manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import SECOND_NS, UtcNs
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.mp4_video import read_stills
from edge_agent.verifier.opened_bundle import AnyManifest, KnownKeys
from edge_agent.verifier.report import ReportClip, ReportStill, say_time, write_report

log = logging.getLogger(__name__)

STILLS = 3
"""Per clip."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")
_VERIFY = """\
HOW TO VERIFY THIS

1. Nothing was changed since it was handed over:

     sha256sum -c SHA256SUMS

2. With the program `rtcc` (in a checkout: pip install '.[rtcc]'), in the home of the crime center that enrolled the
   gateway:

     rtcc open --file bundle.zip --gateway {gateway}

3. Without it, with openssl, jq and coreutils. The manifest lists every file of bundle.zip with its SHA-256, and is
   signed by the gateway, whose public key is keys/gateway.pem:

     unzip -q bundle.zip -d bundle && cd bundle
     bytes() {{ s=$(cat); while [ $((${{#s}} % 4)) -ne 0 ]; do s="$s="; done; printf %s "$s" | basenc --base64url -d; }}
     jq -j '.signatures[0].protected + "." + .payload' manifest.jws > signed
     jq -r '.signatures[0].signature' manifest.jws | bytes > signature
     openssl pkeyutl -verify -pubin -inkey ../keys/gateway.pem -rawin -in signed -sigfile signature
     jq -r '.payload' manifest.jws | bytes | jq -r '.files[] | .sha256 + "  " + .name' | sha256sum -c

   Every signature of a file must be verified, one by one: some libraries are content with the first that holds.

The keys, by their thumbprints (RFC 7638). Compare them with what the crime center tells you over another way:

{prints}

The clips in this folder are copies with their index in front, for players. The originals are in bundle.zip.
"""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The files that were written."""

    folder: Path
    archive: Path


def hand_over(opened: Path, findings: Findings, known: KnownKeys, target: Path) -> HandedOver:
    """Write the folder, and a ZIP of it, from an opened bundle.

    Args:
        opened: Where ``open_bundle`` wrote its parts.
        findings: The verifier's.
        known: The keys that it was verified with.
        target: Gets ``INCIDENT_CAMERA_LOCALTIME/`` and the ZIP of that name.

    Raises:
        EvidenceError: The manifest does not verify; or the target holds a hand-over of that name already.
    """
    if not (opened / "certificate.txt").exists():
        raise EvidenceError("this bundle cannot be handed over: its manifest does not verify", "rtcc open says why")
    manifest, _ = parse_manifest((opened / names.MANIFEST).read_bytes())
    zone = find_zone(opened, manifest)
    stem = name_of(manifest, manifest.allowed[0].start, zone)
    folder, archive = target / stem, target / f"{stem}.zip"
    if folder.exists() or archive.exists():
        raise EvidenceError(f"handed over before: {folder}", "choose another folder")
    part = target / f".{stem}.part"
    shutil.rmtree(part, ignore_errors=True)
    (part / "keys").mkdir(parents=True, mode=0o700)
    clips = [_copy_clip(opened, clip, manifest, part, zone) for clip in manifest.clips]
    shutil.copyfile(opened / "bundle.zip", part / "bundle.zip")
    shutil.copyfile(opened / "certificate.txt", part / "certificate.txt")
    _write_keys(known, part)
    (part / "report.html").write_text(
        write_report(manifest, findings, [each for each in clips if each], _digest(part), zone)
    )
    (part / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in _digest(part).items()))
    # A folder of this name is whole: a run that was cut off before leaves its `.part` alone.
    part.rename(folder)
    _write_archive(folder, archive)
    return HandedOver(folder, archive)


def find_zone(opened: Path, manifest: AnyManifest) -> tzinfo:
    """Return the time zone of the camera from the owner's consent; UTC if there is none."""
    if not isinstance(manifest, Manifest):
        return UTC
    try:
        payload: Any = jws.parse((opened / names.CONSENT).read_bytes(), "owner-consent+jws").payload
        return ZoneInfo(str(payload["facts"]["time_zone"]))
    except Exception:
        # The findings name the consent's faults; names and report show UTC then.
        return UTC


def name_of(manifest: AnyManifest, start: UtcNs, zone: tzinfo) -> str:
    """Return ``INCIDENT_CAMERA_LOCALTIME``: letters, digits, dots and hyphens alone."""
    incident = manifest.request.incident if isinstance(manifest, Manifest) else "export"
    local = datetime.fromtimestamp(start // SECOND_NS, UTC).astimezone(zone)
    words = (incident, manifest.camera.id, f"{local:%Y%m%dT%H%M%S%z}".replace("+", "p"))
    return "_".join(_NOT_IN_NAMES.sub("-", word).strip(".-") or "x" for word in words)


def _copy_clip(opened: Path, clip: Clip, manifest: AnyManifest, part: Path, zone: tzinfo) -> ReportClip | None:
    """Copy a clip's progressive copy; None if there is none, which the findings tell."""
    source = opened / "progressive" / Path(clip.file).name
    if not source.exists():
        return None
    stem = name_of(manifest, clip.start, zone)
    name = f"{stem}.mp4" if not (part / f"{stem}.mp4").exists() else f"{stem}_{Path(clip.file).stem}.mp4"
    shutil.copyfile(source, part / name)
    try:
        return ReportClip(clip, name, [_place_still(clip, *still, zone) for still in read_stills(source, STILLS)])
    except Exception as error:
        # The rest is handed over whatever a clip contains: the checks of the bundle have judged it.
        log.debug("no stills: clip=%s", clip.file, exc_info=True)
        return ReportClip(clip, name, [], f"no pictures could be drawn from it ({type(error).__name__})")


def _place_still(clip: Clip, second: float, jpeg: bytes, zone: tzinfo) -> ReportStill:
    """Return a picture with its time; an exception if no calendar has that time."""
    still = ReportStill(UtcNs(clip.start + int(second * SECOND_NS)), jpeg)
    say_time(still.utc_ns, zone)
    return still


def _write_keys(known: KnownKeys, part: Path) -> None:
    keys = {"gateway": known.gateway, "recorder": known.recorder, "owner": known.owner}
    keys |= {f"signer-{signer.person}": signer.key for signer in known.signers.values()}  # type: ignore[misc]
    prints = []
    for name, key in keys.items():
        if key is not None:
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (part / "keys" / f"{name}.pem").write_bytes(pem)
            prints.append(f"  {name:<24} {thumbprint(key)}")
    (part / "HOW-TO-VERIFY.txt").write_text(_VERIFY.format(gateway=known.gateway_id, prints="\n".join(prints)))


def _digest(folder: Path) -> Mapping[str, str]:
    """Return the SHA-256 of every file of a folder, by its name in it."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _write_archive(folder: Path, archive: Path) -> None:
    part = archive.with_name(f".{archive.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            target.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    part.replace(archive)
