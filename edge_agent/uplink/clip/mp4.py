"""One continuous run of pictures, and sound, as a fragmented MP4: the only use of FFmpeg's MP4 muxer on a release.

Runs inside the clip child alone. Copies the camera's bytes; only G.711, which MP4 cannot hold, becomes AAC. Tells for
every access unit whether it was written, so that the evidence names the clip's units and no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.container.output import OutputContainer
from av.packet import Packet
from av.stream import Stream

from edge_agent.media.packets import NutPacket
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.nut_reader import StoredTrack
from edge_agent.uplink.clip.trim import DtsClock

LOOK_AHEAD = 32
"""Pictures seen before the first is written: enough to tell how deep they are reordered (16 places at most)."""

_BUFFER_BYTES = 128 << 10
"""The part that is handed on at once: so little that it stays in the processor's cache and on the heap."""
_COPIED_AUDIO = frozenset({"aac", "opus", "mp3"})
_CODED_AUDIO = frozenset({"pcm_alaw", "pcm_mulaw"})
_AAC_SAMPLES = 1024
"""Of one frame of AAC-LC (ISO/IEC 14496-3)."""
_LONE = Fraction(1, 25)
"""Seconds for which a picture without a second one is shown."""
_SILENCE = {"pcm_alaw": b"\xd5", "pcm_mulaw": b"\xff"}
"""One sample of it."""
# One fragment per GOP or per 4 MiB, so the muxer's memory is bounded whatever a camera calls a keyframe.
# FFmpeg must never move the PTS: they are compared with the committed ones. Without `frag_discont` it forgets that
# the sound begins later than the pictures; an edit list could hide what it moves.
MUXER = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof+frag_discont",
    "frag_size": str(4 << 20),
    "fflags": "+bitexact",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
}


class ClipSink(Protocol):
    """Takes the bytes of an MP4, in order."""

    def write(self, data: bytes) -> int:
        """Take all of ``data``."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A packet, its place among the records, and when it was."""

    ref: int
    index: int
    utc_ns: int
    packet: NutPacket


class Mp4Run:
    """Muxes one run in one pass; ``delivered`` grows as access units go in.

    Args:
        sink: Gets the MP4.
        video: The video track, as in the run's first record.
        audio: The audio track that goes along, if any.
        parameters: Decoder parameters in Annex B in place of the track's extradata; empty to keep these.
    """

    def __init__(self, sink: ClipSink, video: StoredTrack, audio: StoredTrack | None, parameters: bytes = b"") -> None:
        self.video = video
        self.audio = audio if audio and audio.codec in _COPIED_AUDIO | _CODED_AUDIO else None
        self.offsets: dict[int, int] = {}
        """Per track of the NUT file: its PTS less the PTS in the MP4, in its own ticks."""
        self.first_utc_ns = self.end_utc_ns = 0
        self.is_broken = False
        """Reordering got deeper on the way: nothing more can be added."""
        self._sink, self._parameters = sink, parameters
        self._delivered = bytearray()
        self._waiting: list[Placed] = []
        self._pictures = 0
        self._step_ticks = self._step_ns = 0
        self._clock: DtsClock | None = None
        self._container: OutputContainer | None = None
        self._streams: dict[int, Stream] = {}
        self._last_audio = -1
        self._transcoder: _ToAac | None = None

    @property
    def is_audio_coded(self) -> bool:
        """Tell whether the sound is AAC made from G.711, rather than the camera's own bytes."""
        return self.audio is not None and self.audio.codec in _CODED_AUDIO

    def take_delivered(self) -> bytes:
        """Return, once, the access units that went in since: ``DELIVERED``, the PTS in the track's own ticks."""
        taken, self._delivered = bytes(self._delivered), bytearray()
        return taken

    def add(self, placed: Placed) -> None:
        """Add the next access unit of the run, in file order."""
        if self._clock is not None:
            self._write(placed)
            return
        self._waiting.append(placed)
        self._pictures += placed.packet.track == self.video.index
        if self._pictures == LOOK_AHEAD:
            self._open()

    def close(self) -> None:
        """Write what waits, and the end of the MP4."""
        if self._clock is None and self._pictures:
            self._open()
        if self._container is not None:
            self._flush_pictures(self._container)
            if self._transcoder is not None:
                self._transcoder.flush(self._container)
            self._container.close()

    def _open(self) -> None:
        pictures = [placed.packet for placed in self._waiting if placed.packet.track == self.video.index]
        pts = [packet.pts for packet in pictures]
        self._clock = DtsClock(pts)
        ordered = sorted(set(pts))
        steps = sorted(after - before for before, after in pairwise(ordered))
        # Of a picture alone nobody knows how long it is shown; not at all would be no clip.
        self._step_ticks = (
            steps[len(steps) // 2] if steps else pictures[0].duration or int(_LONE / self.video.time_base)
        )
        self._step_ns = int(self._step_ticks * self.video.time_base * 1_000_000_000)
        self.first_utc_ns = self._waiting[0].utc_ns
        self.offsets[self.video.index] = self._clock.first
        self._container = av.open(self._sink, "w", format="mp4", options=MUXER, buffer_size=_BUFFER_BYTES)
        self._add_picture_track(self._container)
        if self.audio is not None:
            # The same instant in the ticks of the sound, rounded down: pictures and sound differ by less than a tick.
            self.offsets[self.audio.index] = int(self._clock.first * self.video.time_base // self.audio.time_base)
            if self.is_audio_coded:
                self._transcoder = _ToAac(self._container, self.audio)
            else:
                self._streams[self.audio.index] = self._add_track(self._container, self.audio, b"")
        self._container.start_encoding()
        for placed in self._waiting:
            self._write(placed)
        self._waiting = []

    @property
    def master_sha256(self) -> bytes:
        """SHA-256 of the MP4 that this one was made from; empty if it is the master."""
        return b""

    def _add_picture_track(self, container: OutputContainer) -> None:
        self._streams[self.video.index] = self._add_track(container, self.video, self._parameters)

    def _mux_picture(self, container: OutputContainer, placed: Placed, pts: int, dts: int) -> None:
        packet = placed.packet
        self._mux(container, packet, self.video.time_base, pts, dts)
        self._delivered += wire.DELIVERED.pack(placed.ref, placed.index, packet.track, packet.pts)

    def _flush_pictures(self, container: OutputContainer) -> None:
        """Write pictures that are still on their way; a copy has none."""

    @staticmethod
    def _add_track(container: OutputContainer, track: StoredTrack, parameters: bytes) -> Stream:
        stream = container.add_stream_from_template(track.template, opaque=True)
        stream.time_base = track.time_base
        if parameters:
            stream.codec_context.extradata = parameters
        if track.codec == "hevc":
            # `hev1`, FFmpeg's default, does not play on Apple's devices.
            stream.codec_context.codec_tag = "hvc1"
        return stream

    def _write(self, placed: Placed) -> None:
        packet = placed.packet
        assert self._container is not None
        if packet.track == self.video.index:
            self._write_picture(self._container, placed)
        elif self.audio is not None and not self.is_broken:
            pts = packet.pts - self.offsets[packet.track]
            # Sound from before the first picture is outside of the clip; of two packets with one
            # PTS MP4 can hold one.
            if pts <= self._last_audio or placed.utc_ns < self.first_utc_ns:
                return
            self._last_audio = pts
            if self._transcoder is not None:
                self._transcoder.add(self._container, packet.data, pts)
            else:
                self._mux(self._container, packet, self.audio.time_base, pts, pts)
                self._delivered += wire.DELIVERED.pack(placed.ref, placed.index, packet.track, packet.pts)

    def _write_picture(self, container: OutputContainer, placed: Placed) -> None:
        packet = placed.packet
        assert self._clock is not None
        dts = None if self.is_broken else self._clock.next(packet.pts)
        if dts is None:
            self.is_broken = True
            return
        offset = self.offsets[packet.track]
        self._mux_picture(container, placed, packet.pts - offset, dts - offset)
        # NUT keeps no durations: FFmpeg guesses them from the pictures that it looked at.
        self.end_utc_ns = max(self.end_utc_ns, placed.utc_ns + self._step_ns)

    def _mux(self, container: OutputContainer, source: NutPacket, base: Fraction, pts: int, dts: int) -> None:
        packet = Packet(source.data)
        packet.stream = self._streams[source.track]
        packet.time_base = base
        packet.pts, packet.dts = pts, dts
        packet.duration = self._step_ticks if source.track == self.video.index else source.duration
        packet.is_keyframe = source.is_keyframe
        container.mux_one(packet)


class _ToAac:
    """Decodes G.711 and encodes AAC, keeping the time of every sample."""

    def __init__(self, container: OutputContainer, track: StoredTrack) -> None:
        layout = "stereo" if track.channels == 2 else "mono"
        self._decoder = cast(AudioCodecContext, CodecContext.create(track.codec, "r"))
        self._decoder.sample_rate, self._decoder.layout = track.sample_rate, layout
        self._channels = max(1, track.channels)
        self._base, self._rate = track.time_base, track.sample_rate
        self._silence = _SILENCE[track.codec]
        self._next_pts: int | None = None
        self._fed = 0
        self._resampler = AudioResampler("fltp", layout, track.sample_rate, frame_size=_AAC_SAMPLES)
        self._stream = container.add_stream("aac", rate=track.sample_rate, layout=layout)

    def add(self, container: OutputContainer, data: bytes, pts: int) -> None:
        """Encode one packet of G.711; silence takes the place of packets missing before it."""
        samples = len(data) // self._channels
        if self._next_pts is not None:
            hole = int((pts - self._next_pts) * self._base * self._rate)
            if hole > 0 and 2 * hole >= samples:  # less is a camera's jitter
                # To the end of the open frame at most: the next unit begins a frame of its own then, at its own time.
                count = min(hole, -self._fed % _AAC_SAMPLES)
                self._feed(container, self._silence * (count * self._channels), self._next_pts)
        self._feed(container, data, pts)
        self._next_pts = pts + int(Fraction(samples, self._rate) / self._base)

    def _feed(self, container: OutputContainer, data: bytes, pts: int) -> None:
        if not data:
            return
        self._fed += len(data) // self._channels
        packet = Packet(data)
        packet.pts, packet.time_base = pts, self._base
        for frame in self._decoder.decode(packet):
            frame.pts, frame.time_base = pts, self._base
            for even in self._resampler.resample(frame):
                self._mux(container, self._stream.encode(even))

    def flush(self, container: OutputContainer) -> None:
        """Encode what is left."""
        for even in self._resampler.resample(None):
            self._mux(container, self._stream.encode(even))
        self._mux(container, self._stream.encode(None))

    @staticmethod
    def _mux(container: OutputContainer, packets: Sequence["Packet[Any]"]) -> None:
        # The encoder's priming lies before the first sample; a fragmented MP4 has no way to say so.
        container.mux([packet for packet in packets if packet.pts is not None and packet.pts >= 0])
