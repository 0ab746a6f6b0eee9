"""The clip child: the process in which a released camera's bytes are parsed once more.

``python -m edge_agent.uplink.clip.cutter_child`` reads a job and records from stdin and writes MP4 and events to
stdout. It holds no key but the salts of the records it is given, and once it has started it can open no file, no socket
and no process: a hostile stream can win only a spoilt clip here, which the commitments show.
"""

import gc
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av

from edge_agent.errors import EdgeAgentError, EvidenceError
from edge_agent.host.sandbox import confine
from edge_agent.media import commitments
from edge_agent.media.decoder_sets import merge_sets
from edge_agent.media.packets import NutPacket
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.audio import find_reach_ns
from edge_agent.uplink.clip.mp4 import MUXER, Mp4Run, Placed
from edge_agent.uplink.clip.nut_reader import StoredTrack, read_nut
from edge_agent.uplink.clip.stills import Pictures, Stills, encode_jpeg
from edge_agent.uplink.clip.trim import Cutter

MAX_HOLE_NS = 2_000_000_000
"""A longer jump of the PTS ends a run: the pictures would otherwise stand still and not say why."""


def warm_up() -> None:
    """Load what Python and FFmpeg load lazily, while files can still be opened."""
    # One encoder, muxer and resampler of each kind that a clip may need.
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4", options=MUXER) as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(stream.encode(None))
    av.AudioResampler("fltp", "mono", 8000, frame_size=1024)


class Output:
    """The pipe to the parent; an MP4 is written to it as to a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Hand over bytes of the open MP4."""
        wire.write_message(self._descriptor, wire.DATA, data)
        return len(data)

    def tell(self, event: wire.ClipEvent) -> None:
        """Hand over an event."""
        wire.write_message(self._descriptor, wire.EVENT, wire.encode_event(event))


@dataclass(frozen=True, slots=True)
class _Record:
    """One record, taken apart."""

    video: StoredTrack
    audio: StoredTrack | None
    placed: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The content of one MP4: pictures of these parameters, sound of this kind."""

    codec: str
    time_base: Fraction
    parameters: bytes
    audio: StoredTrack | None


MakeRun = Callable[[Output, StoredTrack, StoredTrack | None, bytes], Mp4Run]


class Cutting:
    """Cuts records into runs, one MP4 each, and tells the fate of every access unit."""

    def __init__(self, job: wire.Job, output: Output, make_run: MakeRun = Mp4Run) -> None:
        self._job, self._output, self._make_run = job, output, make_run
        self._cutter = Cutter(job.windows)
        self._run: Mp4Run | None = None
        self._shape: _Shape | None = None
        self._kind = commitments.CodecKind.MJPEG
        self._described: bytes | None = None
        self._parameters = b""
        self._last_utc_ns = 0

    def add(self, head: wire.RecordHead, nut: bytes) -> None:
        """Cut one record."""
        if head.break_before:
            self.end_run(head.break_before)
        try:
            tracks, packets = read_nut(nut)
        except EdgeAgentError:
            # The clip ends here, and the manifest says so: the next record may be whole again.
            self.end_run("unreadable-record")
            self._output.tell(wire.Unreadable(head.ref))
            return
        if self._job.evidence:
            self._tell_digests(head, tracks, packets)
        record = place(head, tracks, packets, with_audio=self._job.audio)
        if record is None:
            return
        self._describe(record.video)
        for placed in record.placed:
            if placed.packet.track == record.video.index:
                self._add_picture(record, placed)
            elif self._run is not None and placed.utc_ns < self._cutter.window.end:
                self._add_sound(record, placed, self._run)
        if self._run is not None:
            self._tell_delivered(self._run)

    def end_run(self, reason: str) -> None:
        """Close the open MP4, if there is one; the rest begins with a keyframe."""
        self._cutter.close()
        self._close_run(reason)

    def _close_run(self, reason: str) -> None:
        if (run := self._run) is None:
            return
        self._run = None
        run.close()
        self._tell_delivered(run)
        offsets = tuple(run.offsets.items())
        self._output.tell(
            wire.RunEnd(reason, run.first_utc_ns, run.end_utc_ns, offsets, run.is_audio_coded, run.master_sha256)
        )

    def _add_picture(self, record: _Record, placed: Placed) -> None:
        packet = placed.packet
        shape = self._find_shape(record, packet)
        if self._run is not None:
            if self._run.is_broken:
                self.end_run("pictures-unordered")
            # In both directions: footage after a clock that was set back begins another clip.
            elif abs(placed.utc_ns - self._last_utc_ns) > MAX_HOLE_NS:
                self.end_run("pictures-missing")
            elif shape != self._shape:
                self.end_run("parameters-changed")
        self._last_utc_ns = placed.utc_ns
        cut = self._cutter.step(placed.utc_ns, packet.pts, packet.is_keyframe)
        if cut.ended:
            self._close_run("window-end")
        if cut.started:
            self._start_run(record, shape)
        if cut.kept and self._run is not None:
            self._run.add(placed)

    def _describe(self, video: StoredTrack) -> None:
        """Take over a record's own parameter sets, if they are not those of the record before."""
        self._kind = commitments.codec_kind(video.codec)
        described = commitments.parameter_sets(self._kind, video.extradata)
        if described != self._described:
            self._described = self._parameters = described

    def _find_shape(self, record: _Record, packet: NutPacket) -> _Shape:
        """Return the shape with which a picture is decoded: the record's parameter sets, and those in band since.

        A keyframe replaces the sets that it brings and no other (``decoder_sets.merge_sets``).
        """
        track = record.video
        if packet.is_keyframe:
            brought = commitments.inband_parameter_sets(self._kind, track.extradata, packet.data)
            self._parameters = merge_sets(self._kind, self._parameters, brought)
        return _Shape(track.codec, track.time_base, self._parameters, record.audio)

    def _start_run(self, record: _Record, shape: _Shape) -> None:
        kind, own = commitments.codec_kind(shape.codec), record.video.extradata
        replaced = b""
        if shape.parameters != commitments.parameter_sets(kind, own):
            replaced = b"".join(b"\x00\x00\x00\x01" + nal for nal in commitments.split_prefixed(shape.parameters))
        self._shape = shape
        self._output.tell(wire.RunStart(shape.codec, record.video.width, record.video.height))
        self._run = self._make_run(self._output, record.video, record.audio, replaced)

    def _add_sound(self, record: _Record, placed: Placed, run: Mp4Run) -> None:
        assert record.audio is not None
        reach_ns = find_reach_ns(record.audio, placed.packet.data)
        # Sound that would go on after the window stays at home: never a sample more than was granted.
        if reach_ns is not None and self._cutter.is_open and placed.utc_ns + reach_ns <= self._cutter.window.end:
            run.add(placed)

    def _tell_digests(self, head: wire.RecordHead, tracks: Sequence[StoredTrack], packets: Sequence[NutPacket]) -> None:
        kinds = [(commitments.codec_kind(track.codec), track.extradata) for track in tracks]
        salts = commitments.UnitSalts(head.salt)
        units = b"".join(
            wire.UNIT.pack(
                packet.track, packet.pts, commitments.hash_body(salts.of(index).body, *kinds[packet.track], packet.data)
            )
            for index, packet in enumerate(packets)
        )
        seen = tuple(
            wire.TrackSeen(
                track.index,
                track.codec,
                (track.time_base.numerator, track.time_base.denominator),
                commitments.parameter_sets(commitments.codec_kind(track.codec), track.extradata),
            )
            for track in tracks
        )
        self._output.tell(wire.RecordSeen(head.ref, seen, units))

    def _tell_delivered(self, run: Mp4Run) -> None:
        if (delivered := run.take_delivered()) and self._job.evidence:
            self._output.tell(wire.Delivered(delivered))


def place(
    head: wire.RecordHead, tracks: Sequence[StoredTrack], packets: Sequence[NutPacket], *, with_audio: bool
) -> _Record | None:
    """Give every packet its UTC: the record's start and the distance in PTS from its first picture, if it has one."""
    video = next((track for track in tracks if track.kind == "video"), None)
    audio = next((track for track in tracks if track.kind == "audio"), None) if with_audio else None
    first = next((packet for packet in packets if video is not None and packet.track == video.index), None)
    if video is None or first is None:
        return None
    starts = {track.index: first.pts * video.time_base / track.time_base for track in (video, audio) if track}
    placed = tuple(
        Placed(head.ref, index, head.start_ns + _span_ns(tracks[packet.track], starts[packet.track], packet), packet)
        for index, packet in enumerate(packets)
        if packet.track in starts
    )
    return _Record(video, audio, placed)


def _span_ns(track: StoredTrack, start: Fraction, packet: NutPacket) -> int:
    """Return the time from ``start``, in ticks of the track, rounded down; in integers, because fractions are slow."""
    ticks, base = packet.pts * start.denominator - start.numerator, track.time_base
    return ticks * base.numerator * 1_000_000_000 // (base.denominator * start.denominator)


def make_masked_run(masks: Sequence[Sequence[tuple[int, int]]]) -> MakeRun:
    """Load OpenCV and the encoder, while files can be opened, and return what makes masked runs."""
    from edge_agent.uplink.clip.mask import MaskedRun, paint_black

    picture = paint_black(av.VideoFrame(64, 64, "yuv420p"), masks, 64, 64)
    with av.open(io.BytesIO(), "w", format="mp4", options=MUXER) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 64
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return partial(MaskedRun, masks=masks)


def make_pictures(job: wire.Job, output: Output) -> Pictures | None:
    """Load what making pictures needs, while files can be opened; None if the job is a clip."""
    if job.grid:
        from edge_agent.uplink.clip.grid import GridStill, draw_grid

        draw_grid(av.VideoFrame(64, 64, "yuv420p"), job.masks)
        return GridStill(job, output.tell)
    if not job.stills:
        return None
    encode_jpeg(av.VideoFrame(64, 64, "yuv420p"))
    return Stills(job, output.tell)


def _take_pictures(pictures: Pictures, head: wire.RecordHead, nut: bytes) -> None:
    try:
        record = place(head, *read_nut(nut), with_audio=False)
    except EdgeAgentError:
        return
    if record is not None:
        for placed in record.placed:
            pictures.add(record.video, placed)


def main() -> int:
    """Do one job; the exit code says only whether it was done."""
    av.logging.set_level(None)
    source, output = sys.stdin.buffer, Output(sys.stdout.fileno())
    message = wire.read_message(source)
    if message is None or message[0] != wire.JOB:
        return os.EX_USAGE
    job = wire.parse_job(message[1])
    warm_up()
    pictures = make_pictures(job, output)
    make_run = make_masked_run(job.masks) if job.masks and pictures is None else Mp4Run
    gc.freeze()  # What was loaded stays: looking through it again and again takes as long as reading the records.
    is_walled = confine(cpu_s=job.cpu_s, memory_bytes=job.memory_bytes)
    output.tell(wire.Ready(is_walled))
    try:
        _work(job, source, output, make_run, pictures)
    except (EdgeAgentError, av.FFmpegError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        output.tell(wire.Failed(f"{type(error).__name__} {Path(at.filename).name}:{at.lineno}"[:64]))
        return os.EX_DATAERR
    output.tell(wire.End())
    return os.EX_OK


def _read_nut_file(source: wire.Readable) -> bytes:
    message = wire.read_message(source)
    if message is None or message[0] != wire.NUT:
        raise EvidenceError("clip pipe was cut short")
    return message[1]


def _work(job: wire.Job, source: wire.Readable, output: Output, make_run: MakeRun, pictures: Pictures | None) -> None:
    cutting = Cutting(job, output, make_run)
    while (message := wire.read_message(source)) is not None and message[0] == wire.RECORD:
        head, nut = wire.parse_head(message[1]), _read_nut_file(source)
        if pictures is None:
            cutting.add(head, nut)
        else:
            _take_pictures(pictures, head, nut)
        # PyAV's containers are cycles: few objects for Python's collector to count, and each of them keeps a record.
        gc.collect()
    cutting.end_run("end")
    if pictures is not None:
        pictures.close()


if __name__ == "__main__":
    sys.exit(main())
