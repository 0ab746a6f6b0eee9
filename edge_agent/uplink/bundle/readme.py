"""README.txt of a bundle: its contents and how to check them, for a person who has nothing else.

Pure: every figure in it is in the manifest, which counts where the two differ.
"""

from collections.abc import Mapping
from typing import Any

_RELEASE = """\
WHAT THIS IS

Video of the camera "{name}" ({id}), released by its owner's home gateway
{gateway}
for request {jti} of {iss}, incident {incident}.

  asked for   {asked}
  granted     {granted}
"""
_EXPORT = """\
WHAT THIS IS

Video of the camera "{name}" ({id}), exported by its owner from the home gateway
{gateway}
This is the owner's own export. Nobody's request stands behind it, no crime center signed
anything in it, and it is no release: the owner ordered it, and it was put into the
owner's hands.

  ordered     {ordered}
"""
_TEXT = """\
  delivered   {delivered}
  missing     {missing}
  stream      {quality}
  clock       {clock}

All times are UTC, from the gateway's clock.

WHAT IS IN IT

  clips/                   the video, one MP4 for each unbroken run of pictures{derivative}
{papers}
  evidence/records.jsonl   which recorded pictures the clips hold, and their digests
  evidence/blocks.jsonl    pages that the recorder signed while recording, and the chain between them
  evidence/ledger.json     proof that the {entry} stands in the gateway's ledger
  manifest.jws             what all of this is, with the SHA-256 of every file, signed by the gateway

HOW TO CHECK IT

{check}

Without that program: docs/evidence.md of edge-agent describes every file and every step. The payload of manifest.jws
is base64url; sha256sum of each file must equal what it lists.

WHAT IT DOES NOT PROVE

That the camera showed the truth, that its view was not arranged, or that the gateway's software was not replaced.
Where footage was still in an open block of the ring, only the gateway, not a page signed while recording, attests it.
"""
_RELEASE_PAPERS = """\
  request.jws              the request, as it was signed
  consent.jws              the owner's consent for this camera, as it was signed"""
_EXPORT_PAPERS = """\
  order.jws                the owner's order for this export, as it was signed"""
_RELEASE_CHECK = """\
  rtcc open --file BUNDLE --gateway ID

says what is proved and what is not, offline, where the gateway is enrolled: its keys are pinned there."""
_EXPORT_CHECK = """\
  rtcc open --file BUNDLE --identity KEY

says what is proved and what is not, offline; it needs nothing of a crime center. The public keys that everything is
checked with are in manifest.jws, and a bundle cannot vouch for itself: compare their thumbprints with those that the
owner tells you by another way (or the crime center, if it knows this gateway), and name them with --pin."""


def write_readme(members: Mapping[str, Any]) -> str:
    """Write README.txt from the members of a release's manifest, or of an export's."""
    return _write_release(members) if "request" in members else _write_export(members)


def _write_release(members: Mapping[str, Any]) -> str:
    camera, windows, request = (members[name] for name in ("camera", "windows", "request"))
    asked_other = camera["quality"] != camera["quality_asked"]
    head = _RELEASE.format(
        name=camera["name"],
        id=camera["id"],
        gateway=members["gateway"],
        jti=request["jti"],
        iss=request["iss"],
        incident=request["incident"],
        asked=_span(windows["asked"]),
        granted=_spans([_span(span) for span in windows["granted"]]),
    )
    return head + _write_rest(
        members,
        quality=camera["quality"] + (f" ({camera['quality_asked']} was asked for)" if asked_other else ""),
        papers=_RELEASE_PAPERS,
        entry="decision to release",
        check=_RELEASE_CHECK,
    )


def _write_export(members: Mapping[str, Any]) -> str:
    camera = members["camera"]
    head = _EXPORT.format(
        name=camera["name"], id=camera["id"], gateway=members["gateway"], ordered=_span(members["windows"]["ordered"])
    )
    return head + _write_rest(
        members, quality=camera["quality"], papers=_EXPORT_PAPERS, entry="owner's order", check=_EXPORT_CHECK
    )


def _write_rest(members: Mapping[str, Any], **words: str) -> str:
    gaps = [f"{gap['start']} to {gap['end']} ({gap['reason']})" for gap in members["gaps"]]
    return _TEXT.format(
        delivered=_spans([_span(span) for span in members["windows"]["delivered"]]) or "nothing",
        missing=_spans(gaps) or "nothing",
        clock=", ".join(members["clocks"]["states"]) or "unknown",
        derivative=_derivative_note(members["clips"]),
        **words,
    )


def _derivative_note(clips: list[Mapping[str, Any]]) -> str:
    if any(clip["derivative_of_sha256"] for clip in clips):
        return f";\n{'':27}zones that the owner masked are black: a derivative, not the recording"
    return ""


def _span(span: Mapping[str, Any]) -> str:
    return f"{span['start']} to {span['end']}"


def _spans(spans: list[str]) -> str:
    return "\n              ".join(spans)
