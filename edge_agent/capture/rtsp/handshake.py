"""From a connection to media that flow: OPTIONS, DESCRIBE, SETUP, PLAY (RFC 2326 section 10), and what was agreed.

Owns the order of requests, and the choice of tracks. Asks for nothing that nobody wants: sound is set up only if the
endpoint says so. Never follows a redirect to another host.
"""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urlsplit

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.connection import RtspConnection
from edge_agent.capture.rtsp.messages import (
    USUAL_TIMEOUT_S,
    RtspResponse,
    find_base,
    find_redirect,
    join_control,
    parse_channels,
    parse_session,
)
from edge_agent.capture.rtsp.sdp import SdpDescription, SdpMedium, parameter_set_nals, parse_sdp
from edge_agent.capture.rtsp.sound import SoundForm, find_sound
from edge_agent.capture.session.interface import Endpoint
from edge_agent.media.commitments import codec_kind
from edge_agent.media.packets import TrackTemplate
from edge_agent.media.sps import PictureFormat, parse_sps
from edge_agent.printable_text import show_line

CODECS = {"H264": "h264", "H265": "hevc"}
"""Name in a description: FFmpeg's name."""
_MOST_NAME = 30
_MOST_HOST = 60
_NONE = "the camera offers none"


class RedirectError(Exception):
    """The camera has the stream at another address of its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


@dataclass(frozen=True, slots=True)
class PlayedTrack:
    """A track that was set up."""

    template: TrackTemplate
    medium: SdpMedium
    channels: tuple[int, int]
    """Of RTP and RTCP."""
    sound: SoundForm | None = None


@dataclass(frozen=True, slots=True)
class PlayedStream:
    """The agreement with the camera."""

    url: str
    """Of the whole stream, for requests about it."""
    tracks: tuple[PlayedTrack, ...]
    reorders: bool
    silence: str
    """Why no sound is recorded though it is wanted; empty if it is, or is not wanted."""
    timeout_s: int = USUAL_TIMEOUT_S
    has_get_parameter: bool = False


def play(connection: RtspConnection, endpoint: Endpoint, url: str) -> PlayedStream:
    """Have the camera play a stream.

    Args:
        connection: Just opened.
        endpoint: What is wanted.
        url: Where the stream is: the endpoint's, or where the camera said on the same host.

    Raises:
        CaptureError: It refuses, offers nothing that is recorded here, or does not answer in time.
        RedirectError: It is to be asked once more.
    """
    options = connection.ask("OPTIONS", url)
    if options.status == 401:  # a login that was refused is not sent once more
        raise CaptureError("unauthorized", "status=401")
    answered = connection.demand("DESCRIBE", url, (("Accept", "application/sdp"),))
    if answered.status >= 300:
        raise _follow(answered, url)
    description, base = parse_sdp(answered.body), find_base(answered, url)
    video, form, nals = _choose_video(description)
    setup = _Setup(connection, base)
    tracks = [PlayedTrack(_describe_video(video, form, nals), video, setup.run(video))]
    silence = ""
    if endpoint.audio:
        silence = _set_up_sound(setup, description, tracks)
    whole = join_control(base, description.control)
    connection.demand("PLAY", whole, (("Range", "npt=0.000-"),))
    depth = form.reorder_depth if form is not None else None
    return PlayedStream(
        whole, tuple(tracks), bool(depth), silence, setup.timeout_s, "GET_PARAMETER" in options.find("public").upper()
    )


def _follow(answered: RtspResponse, url: str) -> Exception:
    scheme, host, location = find_redirect(answered)
    parts = urlsplit(url)
    if not host or (scheme, host) != (parts.scheme, parts.hostname):
        return CaptureError("redirected", f"to {show_line(host, _MOST_HOST) or 'nowhere'}")
    # A login in the camera's own address is not ours: dropped.
    there = urlsplit(location)
    return RedirectError(there._replace(netloc=there.netloc.rpartition("@")[2]).geturl())


def _choose_video(description: SdpDescription) -> tuple[SdpMedium, PictureFormat | None, list[bytes]]:
    video = description.find("video")
    if video is None:
        raise CaptureError("no-video")
    if video.codec not in CODECS:
        raise CaptureError("unsupported-codec", f"codec={show_line(video.codec, _MOST_NAME) or 'unknown'}")
    nals = parameter_set_nals(video)
    return video, find_form(CODECS[video.codec], nals), nals


def find_form(codec: str, nals: list[bytes]) -> PictureFormat | None:
    """Return what the first SPS that can be read says; None if there is none.

    Args:
        codec: ``h264`` or ``hevc``.
        nals: Parameter sets.
    """
    kind, is_h264 = codec_kind(codec), codec == "h264"
    for nal in nals:
        if (nal[0] & 0x1F if is_h264 else nal[0] >> 1 & 0x3F) == (7 if is_h264 else 33):
            with contextlib.suppress(ValueError):
                return parse_sps(kind, nal)
    return None


def _describe_video(video: SdpMedium, form: PictureFormat | None, nals: list[bytes]) -> TrackTemplate:
    return TrackTemplate(
        index=0,
        kind="video",
        codec=CODECS[video.codec],
        time_base=Fraction(1, video.clock_rate),
        extradata=b"".join(b"\0\0\0\1" + nal for nal in nals) if form is not None else b"",
        width=form.width if form is not None else 0,
        height=form.height if form is not None else 0,
        sample_rate=0,
        channels=0,
        sample_aspect=form.sample_aspect if form is not None else Fraction(0),
    )


class _Setup:
    """The SETUP requests of one session."""

    def __init__(self, connection: RtspConnection, base: str) -> None:
        self._connection, self._base = connection, base
        self._channels: set[int] = set()
        self.timeout_s = USUAL_TIMEOUT_S

    def run(self, medium: SdpMedium) -> tuple[int, int]:
        """Set a track up; return its channels."""
        asked = (len(self._channels), len(self._channels) + 1)
        wanted = f"RTP/AVP/TCP;unicast;interleaved={asked[0]}-{asked[1]}"
        url = join_control(self._base, medium.control)
        answered = self._connection.demand("SETUP", url, (("Transport", wanted),))
        granted = parse_channels(answered.find("transport"), asked)
        # A camera may grant other channels than we asked for, but no two tracks may share one.
        if granted is None or set(granted) & self._channels:
            raise CaptureError("transport-refused", "it sets up another one than it was asked for")
        self._channels |= set(granted)
        session = parse_session(answered.find("session"))
        self._connection.session = session.id or self._connection.session
        self.timeout_s = session.timeout_s
        return granted


def _set_up_sound(setup: _Setup, description: SdpDescription, tracks: list[PlayedTrack]) -> str:
    """Add the first track of sound that can be recorded; return why there is none."""
    media = [medium for medium in description.media if medium.kind == "audio"]
    if not media:
        return _NONE
    for medium in media:
        form = find_sound(medium)
        if form is None:
            continue
        try:
            channels = setup.run(medium)
        except CaptureError as error:
            # The pictures are recorded without a sound that is refused; after these the connection is of no use.
            if error.reason in ("no-answer", "protocol-error", "transport-refused"):
                raise
            return f"the camera refuses it ({error.detail})"
        tracks.append(PlayedTrack(_describe_sound(medium, form), medium, channels, form))
        return ""
    names = "/".join(sorted({show_line(medium.codec, _MOST_NAME) or "unknown" for medium in media}))
    return f"its codec is not known here (codec={names})"


def _describe_sound(medium: SdpMedium, form: SoundForm) -> TrackTemplate:
    return TrackTemplate(
        index=1,
        kind="audio",
        codec=form.codec,
        time_base=Fraction(1, medium.clock_rate),
        extradata=form.extradata,
        width=0,
        height=0,
        sample_rate=medium.clock_rate,
        channels=medium.channels,
    )
