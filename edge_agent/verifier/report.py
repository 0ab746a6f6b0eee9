"""The report of an opened bundle for people who decide on a case: one page of HTML, printable, that loads nothing.

Owns its words and its form. Every text that a bundle brings is escaped; pictures are embedded; there is no script, and
nothing is fetched. It states what was found, in the order of weight, and draws no conclusion of its own. Pure.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape

from edge_agent.protocol.manifest import Clip, Manifest
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339
from edge_agent.verifier.findings import Finding, Findings, Proof
from edge_agent.verifier.opened_bundle import AnyManifest

_STYLE = """
body { font: 11pt/1.45 system-ui, sans-serif; max-width: 52em; margin: 2em auto; padding: 0 1em; color: #111; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #999; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3em .6em;
border-bottom: 1px solid #ddd; } code { font-size: .85em; overflow-wrap: anywhere; }
.verdict { border: 2px solid #111; padding: .6em 1em; font-weight: bold; } .failed { border-color: #a00; color: #a00; }
figure { display: inline-block; width: 31%; margin: .5em 1% .5em 0; } img { width: 100%; }
figcaption { font-size: .85em; }
section, tr, figure { break-inside: avoid; } @media print { body { margin: 0; max-width: none; } }
"""
_HEADINGS: Mapping[Proof, tuple[str, str]] = {
    Proof.FAILED: ("Failed", "This is not as it must be. Do not use the bundle for what these statements are about."),
    Proof.PROVED: ("Proved", "This follows from signatures and digests that were checked with keys pinned before."),
    Proof.NOT_PINNED: (
        "Attested by keys in the bundle only",
        "This holds if the keys that came with the bundle are that house's. Compare their thumbprints.",
    ),
    Proof.NOT_PROVED: ("Not proved", "Nothing speaks against this, and nothing here proves it."),
}


@dataclass(frozen=True, slots=True)
class ReportStill:
    """A picture of a clip, as JPEG."""

    utc_ns: UtcNs
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class ReportClip:
    """A clip as it is handed over."""

    clip: Clip
    file: str
    """Its name in the folder."""
    stills: Sequence[ReportStill]
    fault: str = ""
    """Why there are no stills, or no copy."""


def write_report(
    manifest: AnyManifest, findings: Findings, clips: Sequence[ReportClip], digests: Mapping[str, str], zone: tzinfo
) -> str:
    """Write the page.

    Args:
        manifest: Its signature was verified.
        findings: Of the opening.
        clips: In order.
        digests: SHA-256 (hex) of every file that is handed over, by name.
        zone: Of the camera, as the owner signed it; UTC if no consent tells.
    """
    verdict = (
        '<p class="verdict">Nothing failed. Read below what is proved, and what is not.</p>'
        if findings.ok
        else '<p class="verdict failed">FAILED. Do not use this before the failed statements are explained.</p>'
    )
    parts = [
        f"<h1>Video of camera {escape(manifest.camera.name)}</h1>",
        verdict,
        _write_facts(manifest),
        *(_write_clip(each, zone) for each in clips),
        _write_gaps(manifest, zone),
        _write_clock(manifest, zone),
        *(_write_findings(verdict, findings.items) for verdict in _HEADINGS),
        _write_files(digests),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">\n"
        f"<title>{escape(manifest.camera.name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def say_time(utc_ns: int, zone: tzinfo) -> str:
    """Write a time for people: local, with its offset, and UTC."""
    local = datetime.fromtimestamp(utc_ns // SECOND_NS, UTC).astimezone(zone)
    text = f"{local:%Y-%m-%d %H:%M:%S %z}"
    return text if zone is UTC else f"{text} ({encode_rfc3339(UtcNs(utc_ns - utc_ns % SECOND_NS))})"


def _write_facts(manifest: AnyManifest) -> str:
    rows = [("Camera", f"{manifest.camera.name} ({manifest.camera.id})"), ("Gateway", manifest.gateway)]
    if isinstance(manifest, Manifest):
        about = manifest.request
        rows += [("Incident", about.incident), ("Requested by", about.iss), ("Request", about.jti)]
    else:
        rows += [("Kind", "the owner's own export, without any request"), ("Order", manifest.order.order_id)]
    rows += [
        ("Stream", f"{manifest.camera.quality}"),
        ("Made", f"{encode_rfc3339(manifest.made_at)} by edge-agent {manifest.software.version}"),
    ]
    return _write_section("What this is", _write_table((), rows))


def _write_clip(each: ReportClip, zone: tzinfo) -> str:
    clip = each.clip
    rows = [
        ("From", say_time(clip.start, zone)),
        ("To", say_time(clip.end, zone)),
        ("Pictures", f"{clip.width} × {clip.height}, {clip.codec}"),
        ("Sound", {"none": "none", "as-recorded": "as recorded"}.get(clip.sound, "coded anew")),
        ("Ended", clip.ended),
    ]
    if clip.derivative_of_sha256 is not None:
        rows.append(("Masked", "zones were masked at home, and the pictures coded anew"))
    if each.fault:
        rows.append(("For the report", each.fault))
    figures = "".join(
        f'<figure><img alt="picture" src="data:image/jpeg;base64,{base64.b64encode(still.jpeg).decode()}">'
        f"<figcaption>{escape(say_time(still.utc_ns, zone))}</figcaption></figure>"
        for still in each.stills
    )
    return _write_section(each.file, _write_table((), rows) + figures)


def _write_gaps(manifest: AnyManifest, zone: tzinfo) -> str:
    rows = [(say_time(gap.start, zone), say_time(gap.end, zone), gap.reason) for gap in manifest.gaps]
    text = "<p>Nothing is declared missing.</p>" if not rows else _write_table(("From", "To", "Reason given"), rows)
    return _write_section("Missing, as the gateway declares", text)


def _write_clock(manifest: AnyManifest, zone: tzinfo) -> str:
    clocks = manifest.clocks
    rows = [("State of the gateway's clock", ", ".join(clocks.states) or "nothing was recorded")]
    rows.append(("Times counted back afterwards", "yes" if clocks.rebased else "no"))
    if clocks.rtcp_offset_min_ns is not None and clocks.rtcp_offset_max_ns is not None:
        low, high = clocks.rtcp_offset_min_ns / 1e6, clocks.rtcp_offset_max_ns / 1e6
        rows.append(("Camera's own clock less the gateway's", f"{low:.0f} to {high:.0f} ms"))
    rows.append(("Local times", str(zone)))
    return _write_section("Clock", _write_table((), rows))


def _write_findings(verdict: Proof, items: Sequence[Finding]) -> str:
    rows = [(item.part, item.sentence) for item in items if item.verdict is verdict]
    if not rows:
        return ""
    heading, meaning = _HEADINGS[verdict]
    return _write_section(heading, f"<p>{escape(meaning)}</p>" + _write_table((), rows))


def _write_files(digests: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(digest)}</code></td></tr>" for name, digest in digests.items()
    )
    return _write_section("Files and their SHA-256", f"<table>{rows}</table>")


def _write_section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>"


def _write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "<tr>" + "".join(f"<th>{escape(each)}</th>" for each in heads) + "</tr>" if heads else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{head}{body}</table>"
