"""The description of a stream (SDP, RFC 8866): its tracks, as far as a client that only plays needs them.

Owns what cameras leave out or write wrong in it. Pure; every size is bounded, whatever it says.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MOST_MEDIA = 16
_MOST_LINE = 8192
_MOST_SETS = 16
_MOST_CLOCK_RATE = 10_000_000
_STATIC: Mapping[int, tuple[str, int]] = MappingProxyType({0: ("PCMU", 8000), 8: ("PCMA", 8000), 26: ("JPEG", 90_000)})
"""RFC 3551, section 6: what a payload type means that nothing describes."""


@dataclass(frozen=True, slots=True)
class SdpMedium:
    """One ``m=`` section."""

    kind: str
    """``video``, ``audio`` or another word."""
    payload_types: tuple[int, ...]
    codec: str
    """The encoding's name in capitals, as ``a=rtpmap`` has it; empty if nothing tells."""
    clock_rate: int
    channels: int
    control: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of ``a=fmtp``, by name in small letters."""

    @property
    def has_donl(self) -> bool:
        """Tell whether H.265 packets have decoding order numbers (RFC 7798 7.1)."""
        return self.fields.get("sprop-max-don-diff", "0") not in ("", "0")


@dataclass(frozen=True, slots=True)
class SdpDescription:
    """A whole description."""

    control: str
    media: tuple[SdpMedium, ...]

    def find(self, kind: str) -> SdpMedium | None:
        """Return the first track of a kind."""
        return next((medium for medium in self.media if medium.kind == kind), None)


def parse_sdp(body: bytes) -> SdpDescription:
    """Parse a description; what cannot be read is left out, and never an error."""
    lines = [line.strip()[:_MOST_LINE] for line in body.decode("utf-8", "replace").replace("\r", "\n").split("\n")]
    starts = [place for place, line in enumerate(lines) if line.startswith("m=")][: MOST_MEDIA + 1]
    head = lines[: starts[0]] if starts else lines
    ends = [*starts[1:], len(lines)]
    media = [_parse_medium(lines[start:end]) for start, end in zip(starts, ends, strict=False)]
    return SdpDescription(_find(head, "control"), tuple(media[:MOST_MEDIA]))


def _parse_medium(lines: list[str]) -> SdpMedium:
    kind, *words = lines[0][2:].split()[:32] or [""]
    types = tuple(int(word) for word in words[2:] if re.fullmatch(r"[0-9]{1,3}", word, re.ASCII) and int(word) < 128)
    # RFC 8866, 5.14: the first payload type is the preferred one; without `a=rtpmap` a static type tells.
    first = types[0] if types else -1
    codec, rate = _STATIC.get(first, ("", 90_000 if kind == "video" else 8000))
    channels = 1
    named = re.match(r"([^/\s]+)\s*/\s*([0-9]{1,9})(?:\s*/\s*([0-9]{1,2}))?", _find(lines, "rtpmap", first), re.ASCII)
    if named is not None:
        codec = named[1].upper()
        rate = int(named[2]) if 0 < int(named[2]) <= _MOST_CLOCK_RATE else rate
        channels = int(named[3] or 1) or 1
    return SdpMedium(
        kind.lower(), types, codec, rate, channels, _find(lines, "control"), _parse_fields(_find(lines, "fmtp", first))
    )


def _find(lines: list[str], name: str, payload_type: int | None = None) -> str:
    """Return the value of an attribute; of those that name a payload type, the one for that type."""
    for line in lines:
        if not line.startswith(f"a={name}:"):
            continue
        value = line[len(name) + 3 :].strip()
        if payload_type is None:
            return value
        number, _, rest = value.partition(" ")
        if number.strip() == str(payload_type):
            return rest.strip()
    return ""


def _parse_fields(text: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for part in text.split(";")[:64]:
        name, equals, value = part.partition("=")
        if equals:
            fields.setdefault(name.strip().lower(), value.strip().strip('"'))
    return fields


def parameter_set_nals(medium: SdpMedium) -> list[bytes]:
    """Return the parameter sets of a description, in its order (RFC 6184 8.1, RFC 7798 7.1); wrong ones are left out.

    Some cameras write start codes into them, or zeros behind them: neither is a part of a NAL unit.
    """
    names = ("sprop-vps", "sprop-sps", "sprop-pps") if medium.codec == "H265" else ("sprop-parameter-sets",)
    texts = [text for name in names for text in medium.fields.get(name, "").split(",")]
    nals = []
    for text in texts[:_MOST_SETS]:
        try:
            # Some cameras leave the padding out.
            nal = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4)).rstrip(b"\0")
        except (binascii.Error, ValueError):
            continue
        nal = nal.removeprefix(b"\0").removeprefix(b"\0\0\1")
        if nal:
            nals.append(nal)
    return nals
