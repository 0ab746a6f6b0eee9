"""The pictures and sound of the simulated camera: access units that are encoded live, or a file played in a loop.

Owns the camera's own clock (which a fault may set wrong) and the threads that make access units. Knows nothing of RTSP:
each unit is handed to one ``deliver`` function, already cut into RTP payloads.
"""

import base64
import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.stream import Stream
from av.video.frame import PictureType

from edge_agent.demo import rtp
from edge_agent.demo.faults import FaultPlan
from edge_agent.demo.picture import draw_picture
from edge_agent.host.clock import Clock
from edge_agent.media.packets import describe_stream
from edge_agent.units import HOUR_NS, SECOND_NS, MonoNs, UtcNs

AnyPacket: TypeAlias = "av.Packet[Stream]"

log = logging.getLogger(__name__)

VIDEO_RATE = 90_000
# Payload types: static ones of RFC 3551, section 6; dynamic ones from 96 on.
_AUDIO_TYPES = {"pcm_mulaw": 0, "pcm_alaw": 8}
_DYNAMIC_VIDEO, _DYNAMIC_AUDIO, _JPEG = 96, 97, 26
_DRIFT_PPM = 300
_TICKS = {"slow-ticks": (21, 25), "fast-ticks": (27, 25)}
"""By fault: so many steps of RTP time for so many true ones."""


@dataclass(frozen=True, slots=True)
class Medium:
    """One track as the SDP describes it."""

    kind: str
    codec: str
    payload_type: int
    clock_rate: int
    rtpmap: str
    fmtp: str


@dataclass(frozen=True, slots=True)
class CodedUnit:
    """One access unit or audio packet, cut into RTP payloads; the marker belongs on the last one."""

    medium: int
    ticks: int
    camera_utc: UtcNs
    """The camera's clock at ``ticks``; a sender report pairs the two."""
    is_keyframe: bool
    payloads: tuple[bytes, ...]


class CameraSource(Protocol):
    """A camera's sensor and encoder."""

    @property
    def media(self) -> tuple[Medium, ...]:
        """The tracks, video first."""

    def run(self, deliver: Callable[[CodedUnit], None], stop: threading.Event) -> None:
        """Make units in real time until ``stop`` is set."""

    def request_keyframe(self) -> None:
        """Ask for a keyframe as the next picture; may be ignored."""


def pack_unit(codec: str, data: bytes) -> list[bytes]:
    """Cut one packet of ``codec`` (video in Annex B) into RTP payloads."""
    if codec == "h264":
        return rtp.pack_h264(rtp.split_annexb(data))
    if codec == "hevc":
        return rtp.pack_h265(rtp.split_annexb(data))
    if codec == "mjpeg":
        return rtp.pack_jpeg(data)
    return rtp.pack_aac(data) if codec == "aac" else [data]


def describe_video(codec: str, keyframe: bytes) -> Medium:
    """Describe a video track by its codec and a keyframe that holds its parameter sets."""
    if codec == "mjpeg":
        return Medium("video", codec, _JPEG, VIDEO_RATE, "JPEG/90000", "")
    nals = rtp.split_annexb(keyframe)
    sets: dict[int, str] = {}
    # NAL unit types: in H.264 SPS 7 and PPS 8, in H.265 VPS 32, SPS 33 and PPS 34.
    for nal in nals:
        sets.setdefault(nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F, base64.b64encode(nal).decode())
    if codec == "h264":
        # RFC 6184, 8.1: profile-level-id is the three bytes behind the SPS's first.
        profile = next(nal[1:4].hex() for nal in nals if nal[0] & 0x1F == 7)
        fmtp = f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets[7]},{sets[8]}"
        return Medium("video", codec, _DYNAMIC_VIDEO, VIDEO_RATE, "H264/90000", fmtp)
    fmtp = f"sprop-vps={sets[32]};sprop-sps={sets[33]};sprop-pps={sets[34]}"
    return Medium("video", codec, _DYNAMIC_VIDEO, VIDEO_RATE, "H265/90000", fmtp)


def describe_audio(codec: str, rate: int, channels: int, extradata: bytes) -> Medium:
    """Describe an audio track."""
    if codec in _AUDIO_TYPES:
        name = "PCMU" if codec == "pcm_mulaw" else "PCMA"
        return Medium("audio", codec, _AUDIO_TYPES[codec], rate, f"{name}/{rate}/{channels}", "")
    # RFC 7587, 7: 48000 and two channels, whatever the sound is.
    if codec == "opus":
        return Medium("audio", codec, _DYNAMIC_AUDIO, 48_000, "opus/48000/2", "sprop-stereo=0")
    # RFC 3640, 3.3.6: mode AAC-hbr, with the widths that `rtp.pack_aac` writes.
    fmtp = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config="
    return Medium("audio", codec, _DYNAMIC_AUDIO, rate, f"MPEG4-GENERIC/{rate}/{channels}", fmtp + extradata.hex())


class CameraClock:
    """The camera's own clock: the true one, or as wrong as the faults make it."""

    def __init__(self, clock: Clock, plan: FaultPlan) -> None:
        self._clock = clock
        self._plan = plan
        self._started_boot = clock.boot()
        self._started_utc = clock.utc()
        # RFC 3550, 5.1: a random start. With 31 bits of 32 it is six hours at least until RTP time wraps.
        self._first_ticks = random.getrandbits(31)

    def boot(self) -> MonoNs:
        """Read the time since boot."""
        return self._clock.boot()

    def utc_at(self, boot: MonoNs) -> UtcNs:
        """Return the true UTC at a time since boot, free of steps."""
        return UtcNs(self._started_utc + boot - self._started_boot)

    def camera_utc_at(self, boot: MonoNs) -> UtcNs:
        """Return what the camera takes for UTC, and writes into sender reports."""
        wrong_ns = -HOUR_NS if self._plan.is_on("clock-off", boot) else 0
        return UtcNs(self.utc_at(boot) + wrong_ns)

    def ticks_at(self, boot: MonoNs, rate: int) -> int:
        """Return the RTP time of a moment, at a clock rate."""
        elapsed_ns = boot - self._started_boot
        if self._plan.is_on("drift", boot):
            elapsed_ns += elapsed_ns * _DRIFT_PPM // 1_000_000
        for fault, (steps, for_steps) in _TICKS.items():
            if self._plan.is_on(fault, boot):
                elapsed_ns = elapsed_ns * steps // for_steps
        if self._plan.is_on("jump", boot):
            elapsed_ns += HOUR_NS
        return self._first_ticks + elapsed_ns * rate // SECOND_NS


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """The parameters of the live source's encoder."""

    codec: str = "h264"
    width: int = 320
    height: int = 180
    fps: int = 15
    gop: int = 15
    bframes: int = 0
    audio: str = ""
    label: str = ""


class LiveSource:
    """Encodes pictures that carry their time, and a tone, in real time."""

    def __init__(self, settings: LiveSettings, clock: CameraClock, plan: FaultPlan) -> None:
        self._settings = settings
        self._clock = clock
        self._plan = plan
        self._keyframe_wanted = threading.Event()
        trial = _VideoEncoder(settings, threads=1)
        keyframe = trial.first_keyframe()
        self._voice = _Voice(settings.audio) if settings.audio else None
        self.media: tuple[Medium, ...] = (describe_video(settings.codec, keyframe),)
        if self._voice:
            self.media += (self._voice.medium,)

    def request_keyframe(self) -> None:
        """Make the next picture a keyframe."""
        self._keyframe_wanted.set()

    def run(self, deliver: Callable[[CodedUnit], None], stop: threading.Event) -> None:
        """Draw, encode and deliver one picture after the other."""
        settings, encoder, variant = self._settings, _VideoEncoder(self._settings), ""
        started = self._clock.boot()
        for number in itertools.count():
            due = MonoNs(started + number * SECOND_NS // settings.fps)
            if stop.wait(max(0, due - self._clock.boot()) / SECOND_NS):
                return
            wanted = self._wanted_variant(due)
            # A new encoder begins with a keyframe, as a camera does after a change of its settings.
            if wanted != variant:
                encoder, variant = _VideoEncoder(settings, wanted), wanted
            keyframe = self._keyframe_wanted.is_set()
            self._keyframe_wanted.clear()
            shown = started if self._plan.is_on("still", due) else due
            dark = self._plan.is_on("black", due)
            for taken, data, is_keyframe in encoder.encode(
                self._clock.utc_at(shown), number, keyframe=keyframe, dark=dark
            ):
                boot = MonoNs(started + taken * SECOND_NS // settings.fps)
                ticks = self._clock.ticks_at(boot, VIDEO_RATE)
                payloads = tuple(pack_unit(settings.codec, data))
                deliver(CodedUnit(0, ticks, self._clock.camera_utc_at(boot), is_keyframe, payloads))
            if self._voice:
                for boot, data in self._voice.encode_until(started, due):
                    ticks = self._clock.ticks_at(boot, self._voice.medium.clock_rate)
                    payloads = tuple(pack_unit(settings.audio, data))
                    deliver(CodedUnit(1, ticks, self._clock.camera_utc_at(boot), True, payloads))

    def _wanted_variant(self, now: MonoNs) -> str:
        return next((name for name in ("new-size", "new-parameters", "slices") if self._plan.is_on(name, now)), "")


class _VideoEncoder:
    """One encoder session; a variant is the same camera after somebody turned a knob."""

    def __init__(self, settings: LiveSettings, variant: str = "", threads: int = 1) -> None:
        name = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}[settings.codec]
        self._settings = settings
        self._half = variant == "new-size"
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width = settings.width // (2 if self._half else 1)
        context.height = settings.height // (2 if self._half else 1)
        context.pix_fmt = "yuvj420p" if settings.codec == "mjpeg" else "yuv420p"
        context.time_base, context.framerate = Fraction(1, settings.fps), Fraction(settings.fps)
        context.gop_size, context.max_b_frames = settings.gop, settings.bframes
        context.thread_count = threads
        context.options = self._options(variant)
        self._context = context

    def _options(self, variant: str) -> dict[str, str]:
        settings = self._settings
        slices = 4 if variant == "slices" else 1
        if settings.codec == "h264":
            tune = {} if settings.bframes else {"tune": "zerolatency"}
            params = f"sliced-threads=0:slices={slices}:scenecut=0:keyint={settings.gop}"
            params += ":level=4.2" if variant == "new-parameters" else ""
            return {"preset": "ultrafast", "forced-idr": "1", "x264-params": params, "crf": "28", **tune}
        if settings.codec == "hevc":
            params = f"log-level=none:pools=none:frame-threads=1:scenecut=0:repeat-headers=1:keyint={settings.gop}"
            params += f":slices={slices}:bframes={settings.bframes}"
            params += f":rc-lookahead={settings.bframes + 1}:b-adapt=0" if settings.bframes else ""
            params += ":level-idc=5" if variant == "new-parameters" else ""
            tune = {} if settings.bframes else {"tune": "zerolatency"}
            return {"preset": "ultrafast", "forced-idr": "1", "x265-params": params, "crf": "28", **tune}
        return {"huffman": "default", "q:v": "4"}

    def encode(self, time: UtcNs, number: int, *, keyframe: bool, dark: bool) -> Iterator[tuple[int, bytes, bool]]:
        """Encode one picture; yield (picture's number, bytes, keyframe) of the packets that the encoder has ready."""
        width, height = self._context.width, self._context.height
        pixels = draw_picture(time, width, height, self._settings.label)
        if dark:
            # Luma's black in limited range; the rows below hold chroma.
            pixels[:height] = 16
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, self._settings.fps)
        if keyframe:
            frame.pict_type = PictureType.I
        if self._context.pix_fmt != "yuv420p":
            frame = frame.reformat(format=self._context.pix_fmt)
        for packet in self._context.encode(frame):
            yield packet.pts or 0, bytes(packet), packet.is_keyframe

    def first_keyframe(self) -> bytes:
        """Encode one grey picture and return its bytes, parameter sets included."""
        # Planar 4:2:0: half as many rows again hold both planes of chroma.
        grey = np.full((self._context.height * 3 // 2, self._context.width), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, self._settings.fps)
        packets = self._context.encode(frame.reformat(format=self._context.pix_fmt)) + self._context.encode(None)
        return bytes(packets[0])


class _Voice:
    """A tone, encoded as audio in real time."""

    def __init__(self, codec: str) -> None:
        encoder = {"opus": "libopus"}.get(codec, codec)
        self._rate = 8000 if codec in _AUDIO_TYPES else 48_000
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate, context.layout = self._rate, "mono"
        context.format = {"aac": "fltp", "opus": "flt"}.get(codec, "s16")
        context.time_base = Fraction(1, self._rate)
        context.flags |= 1 << 22  # global header: AAC without ADTS
        context.open()
        self._context = context
        # G.711 has no frames: packets of 20 ms.
        self._samples = context.frame_size or self._rate // 50
        self._sent = 0
        self.medium = describe_audio(codec, self._rate, 1, bytes(context.extradata or b""))

    def encode_until(self, started: MonoNs, now: MonoNs) -> Iterator[tuple[MonoNs, bytes]]:
        """Encode the tone up to a moment; yield (moment, bytes) per packet."""
        while started + (self._sent + self._samples) * SECOND_NS // self._rate <= now:
            phase = 2 * np.pi * 440 * (np.arange(self._samples) + self._sent) / self._rate
            tone = np.sin(phase)[np.newaxis] * 0.2
            is_float = self._context.format.name.startswith("flt")
            samples = tone.astype(np.float32) if is_float else (tone * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format=self._context.format.name, layout="mono")
            frame.sample_rate, frame.pts = self._rate, self._sent
            frame.time_base = Fraction(1, self._rate)
            self._sent += self._samples
            for packet in self._context.encode(frame):
                boot = MonoNs(started + max(0, packet.pts or 0) * SECOND_NS // self._rate)
                yield boot, bytes(packet)


@dataclass(frozen=True, slots=True)
class _LoopUnit:
    medium: int
    sent_at: Fraction
    shown_at: Fraction
    is_keyframe: bool
    payloads: tuple[bytes, ...]


class LoopSource:
    """Plays a file again and again with continuous timestamps; for load, where live encoding would cost too much."""

    def __init__(self, path: Path, clock: CameraClock) -> None:
        self._clock = clock
        self._units: list[_LoopUnit] = []
        self.media: tuple[Medium, ...] = ()
        self._duration = Fraction(0)
        with av.open(str(path)) as container:
            streams = (*container.streams.video[:1], *container.streams.audio[:1])
            filters = [_annexb_filter(stream) for stream in streams]
            ends = [Fraction(0)] * len(streams)
            for packet in container.demux(*streams):
                place = streams.index(packet.stream)
                for coded in _filter(filters[place], packet):
                    if coded.size:
                        ends[place] = max(ends[place], self._take(place, packet.stream, coded))
        self._units.sort(key=lambda unit: unit.sent_at)
        # A lap lasts as long as the video: its pictures must follow each other without a hole.
        self._duration = ends[0]

    def _take(self, place: int, stream: Stream, packet: AnyPacket) -> Fraction:
        codec, data = stream.codec_context.name, bytes(packet)
        if len(self.media) == place:
            track = describe_stream(stream, place)
            is_video = track.kind == "video"
            medium = (
                describe_video(codec, data)
                if is_video
                else describe_audio(codec, track.sample_rate, track.channels, track.extradata)
            )
            self.media += (medium,)
        assert packet.pts is not None
        assert packet.dts is not None
        at = packet.pts * packet.time_base
        payloads = tuple(pack_unit(codec, data))
        self._units.append(_LoopUnit(place, packet.dts * packet.time_base, at, packet.is_keyframe, payloads))
        return at + (packet.duration or 0) * packet.time_base

    def request_keyframe(self) -> None:
        """Do nothing: the file has its keyframes where it has them."""

    def run(self, deliver: Callable[[CodedUnit], None], stop: threading.Event) -> None:
        """Deliver the file's units in real time, over and over."""
        started = self._clock.boot()
        for lap in itertools.count():
            for unit in self._units:
                due = started + int((lap * self._duration + unit.sent_at) * SECOND_NS)
                if stop.wait(max(0, due - self._clock.boot()) / SECOND_NS):
                    return
                boot = MonoNs(started + int((lap * self._duration + unit.shown_at) * SECOND_NS))
                ticks = self._clock.ticks_at(boot, self.media[unit.medium].clock_rate)
                camera_utc = self._clock.camera_utc_at(boot)
                deliver(CodedUnit(unit.medium, ticks, camera_utc, unit.is_keyframe, unit.payloads))


def _filter(bitstream: BitStreamFilterContext | None, packet: AnyPacket) -> list[AnyPacket]:
    return bitstream.filter(packet) if bitstream else [packet]


def _annexb_filter(stream: Stream) -> BitStreamFilterContext | None:
    extradata = bytes(stream.codec_context.extradata or b"")
    name = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}.get(stream.codec_context.name)
    return BitStreamFilterContext(name, stream) if name and extradata[:1] == b"\x01" else None
