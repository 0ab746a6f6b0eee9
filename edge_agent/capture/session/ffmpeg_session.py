"""One RTSP session through FFmpeg: opening it, reading access units, telling why it failed.

Part of the child (``session.ffmpeg_child``): the recorder imports none of it. Owns everything PyAV about the network:
options, time-outs, foreign errors. Must never let a URL with credentials out: FFmpeg's error texts contain it, so none
of them is repeated or chained.
"""

import errno
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
from av.container.input import InputContainer

from edge_agent.capture.camera_tls import system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.run.raw_time import RawTime, ReportTimes
from edge_agent.capture.run.standing_time import StandingTime
from edge_agent.capture.session.ffmpeg_log import Hearing, hear
from edge_agent.capture.session.interface import (
    AUDIO_CODECS,
    SILENCE_S,
    VIDEO_CODECS,
    Arrival,
    Endpoint,
    LossListener,
    SenderReport,
)
from edge_agent.capture.session.slice_header import continues_picture
from edge_agent.host.clock import Clock
from edge_agent.media.packets import TrackTemplate, describe_stream
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

_PROBE_US = 500_000  # 1.1 s to the first access unit without it, 0.56 s with it
_RATE_STEPS = 5
"""From how many steps FFmpeg tells the rate of the pictures, once it knows their order: H.264 opens after 13 pictures,
and by default after 28. With 3 steps a rate of 25 came out as 240 where the times jitter by 10 ms, with none as 90,000;
a picture's duration is made of it (docs/performance.md)."""
_ASK_EVERY_NS = SECOND_NS // 2
"""Side data cost 11 µs a question; the camera's clock is looked at so often, sender reports at every packet."""
_MOST_LOGIN_BYTES = 127
"""FFmpeg cuts a longer login off, and the camera refuses the rest."""
_BUFFER_BYTES = 1 << 20


class FfmpegSession:
    """An open session (``interface.Session``). One thread only; close it."""

    def __init__(
        self, container: InputContainer, clock: Clock, loss: LossListener, *, audio: bool, silence_s: float
    ) -> None:
        self._container = container
        self._clock, self._loss = clock, loss
        self._silence_ns = int(silence_s * SECOND_NS)
        videos = [stream for stream in container.streams if stream.type == "video"]
        if not videos:
            raise CaptureError("no-video")
        video = videos[0]
        codec = video.codec_context.name if video.codec_context else "unknown"
        if codec not in VIDEO_CODECS:
            raise CaptureError("unsupported-codec", f"codec={codec}")
        sounds = [stream for stream in container.streams if audio and stream.type == "audio"]
        chosen = [video, *[stream for stream in sounds if _is_usable_audio(stream)][:1]]
        self.silence = _explain_silence(sounds) if audio and len(chosen) == 1 else ""
        """Why no sound is recorded though it is wanted; empty if it is, or is not wanted."""
        self._streams = chosen
        self._places = {stream.index: place for place, stream in enumerate(chosen)}
        self.tracks: tuple[TrackTemplate, ...] = tuple(describe_stream(s, place) for place, s in enumerate(chosen))
        self._asked = MonoNs(0)
        self.reorders = bool(getattr(video.codec_context, "has_b_frames", False))
        # FFmpeg believes RTCP if a session has more than one stream, whether or not they are read.
        is_moved = len(container.streams) > 1
        self._raw = [
            RawTime(track.time_base, reorders=self.reorders and not track.index) for track in self.tracks if is_moved
        ]
        self._standing = [StandingTime(track.time_base) for track in self.tracks]

    def read(self) -> Iterator[Arrival]:
        """Yield access units as they arrive; blocks for as long as the session may be silent.

        If a camera repeats its parameter sets before every slice of a keyframe, FFmpeg takes each for a picture of
        its own: they are joined again. For that a keyframe waits until the next picture is there.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol.
        """
        codec = self.tracks[0].codec
        held: Arrival | None = None
        try:
            for arrival in self._arrivals():
                if held is not None and arrival.track == 0:
                    if arrival.pts == held.pts and continues_picture(codec, arrival.data):
                        held = arrival._replace(data=held.data + arrival.data)
                        continue
                    yield held
                    held = None
                if arrival.is_keyframe and arrival.track == 0 and codec != "mjpeg":
                    held = arrival
                else:
                    yield arrival
        except CaptureError:
            if held is not None:
                yield held
            raise

    def _arrivals(self) -> Iterator[Arrival]:
        packets = self._container.demux(*self._streams)
        while True:
            asked = self._clock.boot()
            try:
                packet = next(packets, None)
            except av.error.ExitError:
                raise CaptureError("stalled") from None
            except av.FFmpegError as error:
                raise CaptureError("ended", type(error).__name__) from None
            if packet is None or not packet.size:
                # FFmpeg reports a peer that is gone as a plain end, and then flushes empty packets.
                raise CaptureError("ended")
            arrival = self._describe(packet)
            if arrival.boot - asked >= self._silence_ns:
                # The read was given up: this is what FFmpeg had put together so far, perhaps half a picture.
                raise CaptureError("stalled")
            yield arrival

    def _describe(self, packet: "av.Packet[av.stream.Stream]") -> Arrival:
        boot, utc = self._clock.boot(), self._clock.utc()
        camera_utc, report, times = None, None, None
        if boot - self._asked >= _ASK_EVERY_NS and packet.has_sidedata("prft"):
            self._asked = boot
            # AVProducerReferenceTime begins with i64 wallclock, in µs.
            (wallclock_us,) = struct.unpack_from("q", bytes(packet.get_sidedata("prft")))
            camera_utc = UtcNs(wallclock_us * 1000)
        track = self._places[packet.stream_index]
        if packet.has_sidedata("rtcp_sr"):
            # AVRTCPSenderReport: u32 ssrc, (pad) u64 ntp, u32 rtp, u32 packets, u32 bytes.
            _, ntp, rtp, sent = struct.unpack_from("I4xQII", bytes(packet.get_sidedata("rtcp_sr")))
            self._loss.sent(track, sent)
            # Sound has an RTP time of its own, which nobody could tell from the video's.
            report = None if track else SenderReport(ntp, rtp)
            times = ReportTimes(ntp, rtp)
        data = bytes(packet)
        raw = self._raw[track].take(packet.pts, boot, times) if self._raw else packet.pts
        return Arrival(
            track=track,
            pts=self._place(track, self._find_pts(track, raw, boot, packet.duration or 0, data), boot),
            duration=packet.duration or 0,
            is_keyframe=packet.is_keyframe,
            data=data,
            utc=utc,
            boot=boot,
            camera_utc=camera_utc,
            report=report,
            is_by_arrival=self._standing[track].stands,
        )

    def _find_pts(self, track: int, raw: int | None, boot: MonoNs, duration: int, data: bytes) -> int | None:
        standing = self._standing[track]
        if raw is None:
            return None
        is_sliced = not track and raw == standing.own and self.tracks[0].codec != "mjpeg"
        if is_sliced and continues_picture(self.tracks[0].codec, data):
            return standing.latest  # another slice of the same picture; ``read`` joins them
        return standing.take(raw, boot, duration)

    def _place(self, track: int, pts: int | None, boot: MonoNs) -> int | None:
        if not self._raw:
            return pts
        if pts is not None:
            self._raw[track].note_arrival(pts, boot)
        moved = self._sync(track)
        if not track:
            return pts
        return None if pts is None or not self._raw[0].has_place else pts + moved

    def _sync(self, track: int) -> int:
        """Move the sound to the pictures, if it has to be; return by how much. Pictures are never moved."""
        if len(self._raw) == 1:
            self._raw[0].take_moved_ns()
            return 0
        moved = 0
        if moved_ns := self._raw[track].take_moved_ns():
            moved = self._raw[1].follow_sync(self._raw[0], moved_ns if track else -moved_ns)
        if track:
            moved += self._raw[1].stay_beside(self._raw[0])
        if moved:
            self._standing[1].move(moved)
        return moved

    def close(self) -> None:
        """Say TEARDOWN and close the connection."""
        self._container.close()


def open_session(endpoint: Endpoint, clock: Clock, loss: LossListener, silence_s: float = SILENCE_S) -> FfmpegSession:
    """Open a session in the thread that will read it; takes at most about as long as the endpoint says.

    Args:
        endpoint: Where and how.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        silence_s: How long the session may send nothing before it is over.

    Raises:
        CaptureError: The reason in words; nothing secret in it.
    """
    if ":" in endpoint.username or len(endpoint.login) > _MOST_LOGIN_BYTES:
        raise CaptureError("login-unusable")
    options = {
        "rtsp_transport": endpoint.carrier,
        # What is read for this is kept (`nobuffer` would throw away the keyframe that most sessions begin with).
        "analyzeduration": str(_PROBE_US),
        "fpsprobesize": str(_RATE_STEPS),
        "buffer_size": str(_BUFFER_BYTES),
    }
    # Over UDP packets get lost: FFmpeg drops what it knows to be damaged.
    if endpoint.carrier == "udp":
        options["fflags"] = "+discardcorrupt"
    if not endpoint.audio:
        # Audio that nobody consented to is not even asked for.
        options["allowed_media_types"] = "video"
    if endpoint.url.startswith("rtsps://"):
        # FFmpeg verifies nothing unless it is told to.
        trust = endpoint.trust or system_trust()
        options |= {"tls_verify": "1", "ca_file": str(trust.ca_file)}
        options |= {"verifyhost": trust.verify_host} if trust.verify_host else {}
    heard = hear(loss.missed)
    container = _open(endpoint, options, heard, silence_s)
    try:
        _refuse_redirect(endpoint, heard)
        return FfmpegSession(container, clock, loss, audio=endpoint.audio, silence_s=silence_s)
    except BaseException:
        container.close()
        raise


def _open(endpoint: Endpoint, options: dict[str, str], heard: Hearing, silence_s: float) -> InputContainer:
    try:
        return av.open(endpoint.authorised_url, "r", options=options, timeout=(endpoint.open_timeout_s, silence_s))
    except av.FFmpegError as error:
        _refuse_redirect(endpoint, heard)
        if heard.is_other_transport:
            raise CaptureError("transport-refused", "it sets up another one than it was asked for") from None
        raise CaptureError(*_explain(error, heard.status)) from None
    except (ValueError, OSError) as error:
        raise CaptureError("protocol-error", type(error).__name__) from None


def _refuse_redirect(endpoint: Endpoint, heard: Hearing) -> None:
    """Refuse footage from another place than the configured one; FFmpeg follows without asking."""
    parts = urlsplit(endpoint.url)
    if heard.redirected not in (None, (parts.scheme, parts.hostname)):
        raise CaptureError("redirected", f"to {heard.redirected[1] or 'nowhere'}")


def _is_usable_audio(stream: "av.stream.Stream") -> bool:
    return stream.type == "audio" and stream.codec_context is not None and stream.codec_context.name in AUDIO_CODECS


def _explain_silence(sounds: "list[av.stream.Stream]") -> str:
    if not sounds:
        return "the camera offers none"
    names = {stream.codec_context.name if stream.codec_context is not None else "unknown" for stream in sounds}
    return f"its codec is not known here (codec={'/'.join(sorted(names))})"


def _explain(error: av.FFmpegError, status: int) -> tuple[str, str]:
    """Map FFmpeg's error, and the RTSP status behind it, to a reason code and a harmless detail."""
    told = f"status={status}" if status else ""
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "unauthorized", told
    if isinstance(error, av.error.HTTPNotFoundError):
        return "not-found", told
    if status == 453:
        return "busy", told
    if error.errno == errno.EPROTONOSUPPORT:
        return "transport-refused", told
    if status >= 400 or isinstance(error, av.error.HTTPError | av.error.HTTPOtherClientError):
        return "refused", told or type(error).__name__
    if isinstance(error, av.error.ExitError | av.error.InvalidDataError) or error.errno == errno.ETIMEDOUT:
        return "no-answer", ""
    if isinstance(error, OSError):
        return "unreachable", errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "protocol-error", type(error).__name__
