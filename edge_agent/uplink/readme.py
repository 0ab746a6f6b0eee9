"""README.txt of a bundle: what it is and how to check it, for somebody who has nothing else.

Pure: every figure in it is in the manifest, which counts where the two differ.
"""

from collections.abc import Mapping
from typing import Any

_TEXT = """\
WHAT THIS IS

Video of the camera "{name}" ({id}), released by its owner's home gateway
{gateway}
for request {jti} of {iss}, incident {incident}.

  asked for   {asked}
  granted     {granted}
  delivered   {delivered}
  missing     {missing}
  stream      {quality}{quality_note}
  clock       {clock}

All times are UTC, from the gateway's clock.

WHAT IS IN IT

  clips/                   the video, one MP4 for each unbroken run of pictures{derivative}
  request.jws              the request, as it was signed
  consent.jws              the owner's consent for this camera, as it was signed
  evidence/records.jsonl   which recorded pictures the clips hold, and their digests
  evidence/blocks.jsonl    pages that the recorder signed while recording, and the chain between them
  evidence/ledger.json     proof that the decision to release stands in the gateway's ledger
  manifest.jws             what all of this is, with the SHA-256 of every file, signed by the gateway

HOW TO CHECK IT

  rtcc open BUNDLE         says what is proved and what is not, offline

Without that program: docs/evidence.md of edge-agent describes every file and every step. The payload of manifest.jws
is base64url; sha256sum of each file must equal what it lists.

WHAT IT DOES NOT PROVE

That the camera showed the truth, that its view was not arranged, or that the gateway's software was not replaced.
Where footage was still in an open block of the ring, only the gateway, not a page signed while recording, attests it.
"""


def write_readme(members: Mapping[str, Any]) -> str:
    """Write README.txt from the manifest's members."""
    camera, windows, request, clocks = (members[name] for name in ("camera", "windows", "request", "clocks"))
    gaps = [f"{gap['start']} to {gap['end']} ({gap['reason']})" for gap in members["gaps"]]
    asked_other = camera["quality"] != camera["quality_asked"]
    return _TEXT.format(
        name=camera["name"],
        id=camera["id"],
        gateway=members["gateway"],
        jti=request["jti"],
        iss=request["iss"],
        incident=request["incident"],
        asked=_span(windows["asked"]),
        granted=_spans([_span(span) for span in windows["granted"]]),
        delivered=_spans([_span(span) for span in windows["delivered"]]) or "nothing",
        missing=_spans(gaps) or "nothing",
        quality=camera["quality"],
        quality_note=f" ({camera['quality_asked']} was asked for)" if asked_other else "",
        clock=", ".join(clocks["states"]) or "unknown",
        derivative=_derivative_note(members["clips"]),
    )


def _derivative_note(clips: list[Mapping[str, Any]]) -> str:
    if any(clip["derivative_of_sha256"] for clip in clips):
        return f";\n{'':27}zones that the owner masked are black: a derivative, not the recording"
    return ""


def _span(span: Mapping[str, Any]) -> str:
    return f"{span['start']} to {span['end']}"


def _spans(spans: list[str]) -> str:
    return "\n              ".join(spans)
