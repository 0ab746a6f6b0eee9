"""Which of a camera's ONVIF profiles is recorded. Pure: looks at values only."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.printable_text import show_line

_MOST_TOKEN_CHARACTERS = 64
_PREFERENCE = ("h264", "hevc", "mjpeg")
_CODECS = {"H264": "h264", "H265": "hevc", "HEVC": "hevc", "JPEG": "mjpeg", "MJPEG": "mjpeg"}


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile that has a video encoder, as the camera tells it; zero or empty if it does not say."""

    token: str
    name: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: int = 0

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}" if self.width else "unknown size"
        token = show_line(self.token, _MOST_TOKEN_CHARACTERS)
        codec = show_line(self.codec, _MOST_TOKEN_CHARACTERS) or "unknown codec"
        return f"{token}: {codec} {size}{f' {self.fps} fps' if self.fps else ''}"


def codec_name(encoding: str) -> str:
    """Return FFmpeg's name of ONVIF's encoding; an unknown one in small letters."""
    return _CODECS.get(encoding.upper().replace(".", ""), encoding.lower())


def choose_profile(profiles: Sequence[Profile], wanted: str) -> tuple[Profile, str]:
    """Return the profile for ``main``, ``sub`` or a token, and why it is that one.

    ``main`` is the largest picture, ``sub`` the smallest, of the codecs that are recorded; H.264 before H.265 before
    MJPEG where two are equally large, then the higher rate, then the camera's own order.

    Raises:
        LookupError: There is none; the message lists those that there are.
    """
    listed = "; ".join(map(str, profiles)) or "none with video"
    if wanted not in ("main", "sub"):
        for profile in profiles:
            if profile.token == wanted:
                return profile, "named in the configuration"
        raise LookupError(f"it has no profile {wanted!r}, but: {listed}")
    usable = [profile for profile in profiles if profile.codec in _PREFERENCE]
    if not usable:
        raise LookupError(f"none of its profiles is H.264, H.265 or MJPEG; it has: {listed}")
    # MJPEG is for cameras that have nothing else: it takes ten times the space.
    compact = [profile for profile in usable if profile.codec != "mjpeg"] or usable
    by_size = sorted(compact, key=_rank)
    if wanted == "main":
        return by_size[0], f"largest of {len(profiles)}"
    if len(by_size) < 2:
        raise LookupError(f"it has no second profile to be the substream, only: {listed}")
    smallest = by_size[-1].width * by_size[-1].height
    chosen = next(profile for profile in by_size[1:] if profile.width * profile.height == smallest)
    return chosen, f"smallest of {len(profiles)}"


def _rank(profile: Profile) -> tuple[int, int, int]:
    return -profile.width * profile.height, _PREFERENCE.index(profile.codec), -profile.fps
