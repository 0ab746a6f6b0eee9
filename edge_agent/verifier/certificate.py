"""A draft of the certificate that US Federal Rule of Evidence 902(14) asks for, filled from the manifest.

Owns the text. It is a draft for a qualified person to check, complete and sign; it claims nothing that was not found,
and is not legal advice.
"""

from edge_agent.protocol.manifest import Manifest
from edge_agent.units import Window, encode_rfc3339
from edge_agent.verifier.findings import Findings, Proof
from edge_agent.verifier.opened_bundle import AnyManifest

_TEXT = """\
DRAFT: CERTIFICATION OF DATA COPIED FROM AN ELECTRONIC DEVICE
Federal Rules of Evidence 902(14) and 902(11)

I, ______________________________ (name, position, qualifications), certify:

1. The data is video of the camera "{name}" ({camera}), recorded by gateway {gateway}
   and {how}.
2. It covers, in UTC of the gateway's clock ({clock}):
{delivered}
   Not covered, as declared by the gateway:
{gaps}
3. It was copied by edge-agent {version} (build SHA-256 {build}) at {made_at}.
4. The copy was identified by comparing SHA-256 digests. The files have these digests:
{files}
5. A verification of signatures and digests with `rtcc open` {result}
{statements}
6. Digests of the recorded pictures were signed by the recorder's key {recorder}
   at the time of recording, as far as item 5 says so.

I declare under penalty of perjury that the foregoing is true and correct.

Date: ______________   Signature: ______________________________
"""


def write_certificate(manifest: AnyManifest, findings: Findings) -> str:
    """Write the draft from the manifest and from the findings."""
    delivered = [f"   - {span.window()}" for span in manifest.windows.delivered] or ["   - nothing"]
    gaps = [f"   - {Window(gap.start, gap.end)}: {gap.reason}" for gap in manifest.gaps] or ["   - nothing"]
    labels = {
        Proof.PROVED: "proved",
        Proof.NOT_PINNED: "ATTESTED BY THE KEYS IN THE BUNDLE ONLY",
        Proof.NOT_PROVED: "NOT PROVED",
        Proof.FAILED: "FAILED",
    }
    statements = [f"   - {labels[item.verdict]}: {item.sentence}" for item in findings.items]
    return _TEXT.format(
        name=manifest.camera.name,
        camera=manifest.camera.id,
        gateway=manifest.gateway,
        how=_say_how(manifest),
        clock=", ".join(manifest.clocks.states) or "unknown",
        delivered="\n".join(delivered),
        gaps="\n".join(gaps),
        version=manifest.software.version,
        build=manifest.software.build_sha256,
        made_at=encode_rfc3339(manifest.made_at),
        files="\n".join(f"   {file.sha256}  {file.name}" for file in manifest.files),
        result="found:" if findings.ok else "FAILED; DO NOT SIGN. It found:",
        statements="\n".join(statements),
        recorder=manifest.camera.recorder,
    )


def _say_how(manifest: AnyManifest) -> str:
    if isinstance(manifest, Manifest):
        request = manifest.request
        return f"released for request {request.jti} of {request.iss}, incident {request.incident}"
    return (
        f"exported by its owner on the owner's order {manifest.order.order_id} of"
        f"\n   {encode_rfc3339(manifest.order.ordered_at)}, without any request"
    )
