"""What every reader of an RTSP stream takes and gives, whichever library or process does the reading.

Owns the shapes between a reader and whoever records: where a stream is, what arrives of it, what an open session has.
Opens nothing; must never import FFmpeg.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote, urlsplit, urlunsplit

from edge_agent.capture.camera_tls import Trust
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

OPEN_TIMEOUT_S = 10.0
SILENCE_S = 10.0
"""How long a session may send nothing; then it is over."""
VIDEO_CODECS = ("h264", "hevc", "mjpeg")
AUDIO_CODECS = ("aac", "pcm_alaw", "pcm_mulaw", "opus")
_SUB_DELIMITERS = "!$&'()*+,;="
_LOGIN_IN_PATH = re.compile(r"(?:user(?:name)?|passw(?:or)?d|pwd)=", re.IGNORECASE)
_NTP_EPOCH_S = 2_208_988_800


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a stream is and how to ask for it."""

    url: str
    """Without credentials."""
    username: str = ""
    password: str = field(default="", repr=False)
    transport: str = "tcp"
    """``tcp`` or ``udp``, as wished; see ``carrier``."""
    audio: bool = False
    trust: Trust | None = None
    """For ``rtsps``: whose certificate is believed; None for what this machine trusts."""
    open_timeout_s: float = OPEN_TIMEOUT_S
    """How long it may take until pictures come: a bridge wakes its camera first."""
    is_patient: bool = False
    """The camera runs on a battery, or a bridge wakes it: it is not tried every second."""
    reader: str = "ffmpeg"
    """What reads it: ``own``, ``ffmpeg``, or ``auto`` for the one that can (``session.reader_choice``)."""

    known_reader: str = ""
    """What ``auto`` begins with, by what an earlier start found out; empty if it found out nothing."""

    @property
    def carrier(self) -> str:
        """What the pictures come over: FFmpeg takes ``rtsps`` over TCP alone, where they are encrypted too."""
        return "tcp" if self.url.startswith("rtsps://") else self.transport

    @property
    def public_url(self) -> str:
        """The address for records and logs: no login, no query (some makers put passwords there).

        Nor a path from where it names a user: XMEye's ONVIF gives ``/user=admin_password=…_channel=1_stream=0.sdp``.
        """
        parts = urlsplit(self.url)
        path: str = _LOGIN_IN_PATH.split(parts.path, maxsplit=1)[0]
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))

    @property
    def authorised_url(self) -> str:
        """The URL with user name and password, whatever characters they have. A secret."""
        if not self.username:
            return self.url
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{self.login}@{parts.netloc.rpartition('@')[2]}"))

    @property
    def login(self) -> str:
        """User name and password as a URL holds them (RFC 3986, section 3.2.1). A secret."""
        return f"{quote(self.username, safe=_SUB_DELIMITERS)}:{quote(self.password, safe=_SUB_DELIMITERS)}"


@dataclass(frozen=True, slots=True)
class SenderReport:
    """An RTCP sender report: the camera's NTP time and the RTP time that belongs to it."""

    ntp: int
    rtp: int

    @property
    def camera_utc(self) -> UtcNs:
        """The NTP time as UTC."""
        seconds, fraction = divmod(self.ntp, 1 << 32)
        return UtcNs((seconds - _NTP_EPOCH_S) * SECOND_NS + (fraction * SECOND_NS >> 32))


class Arrival(NamedTuple):
    """One packet as it came: its ticks as far as they are known, and when it was handed over."""

    track: int
    pts: int | None
    duration: int
    is_keyframe: bool
    data: bytes
    utc: UtcNs
    boot: MonoNs
    camera_utc: UtcNs | None
    """When the camera says that it took the picture, by its sender reports."""
    report: SenderReport | None
    rtp: int | None = None
    """RTP timestamp as it came, 32 bits; None if the reader does not tell it, as FFmpeg does not."""
    is_by_arrival: bool = False
    """RTP time stands still, and ``pts`` is made of the arrivals (``run.standing_time``)."""
    is_damaged: bool = False
    """Something of the picture, or of one that it may refer to, never came: it is no footage, and ``data`` is empty."""


ARRIVAL_BYTES = 512
"""What a packet takes in memory besides its bytes: 440 were measured, and a place in a list."""


def size_in_memory(arrival: Arrival) -> int:
    """Return about how many bytes a packet takes while it waits: of tiny ones nearly all is not theirs."""
    return len(arrival.data) + ARRIVAL_BYTES


class LossListener(Protocol):
    """Takes what a reader finds out about packets on the way (``session.packet_loss``)."""

    def missed(self, packets: int) -> None:
        """Note a gap in the numbers of packets."""

    def sent(self, track: int, total: int) -> None:
        """Note a sender report: so many packets of a track has the camera sent in this session."""


class Session(Protocol):
    """An open session. One thread at a time; close it."""

    @property
    def tracks(self) -> tuple[TrackTemplate, ...]:
        """The recorded tracks: the video, then the sound if it is wanted and there."""

    @property
    def reorders(self) -> bool:
        """Whether pictures come in another order than they are shown in."""

    @property
    def silence(self) -> str:
        """Why no sound is recorded though it is wanted; empty if it is, or is not wanted."""

    def read(self) -> Iterator[Arrival]:
        """Yield whole access units as they arrive; blocks for as long as the session may be silent.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol.
        """

    def close(self) -> None:
        """Say TEARDOWN if the camera listens, and close the connection; takes about a second at most."""


@runtime_checkable
class RoundSession(Session, Protocol):
    """A session that can be read in rounds, by the one thread that reads all such sessions (``session.hub``)."""

    @property
    def may_wait(self) -> bool:
        """Whether a camera can hold up a look: then a thread of the session's own reads it."""

    def look(self) -> Iterator[Arrival]:
        """Yield the arrivals of a round, without waiting: as many as a camera may send in it.

        Raises:
            CaptureError: As ``read``.
        """

    def stand(self) -> None:
        """Keep the session alive while there is no room for its media; its silence is not the camera's.

        Whether the camera has ended the session is told by ``look``, behind everything that it sent.
        """

    @property
    def is_hurried(self) -> bool:
        """Whether bytes are to be read as they come."""

    def fileno(self) -> int:
        """Return the number of the socket."""

    def wait(self, *, is_hurried: bool) -> None:
        """Wait until the next round, or for bytes, half a second at most; for a thread of its own.

        Args:
            is_hurried: Whether bytes are to be read as they come.
        """
