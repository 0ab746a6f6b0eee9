"""The child that looks at pictures, started by ``capture.pictures.analyser``.

``python -m edge_agent.capture.pictures.analyser_child``.

Owns the decoding of single keyframes, at the lowest priority and confined like the child that cuts clips: an attacker
who takes it over by a forged picture reaches no file, no network and no other process. Reads keyframes from standard
input, answers each with one line of JSON on standard output, and ends when its input does.
"""

import json
import os
import select
import signal
import sys
from collections import defaultdict
from typing import BinaryIO

import av
import cv2
import numpy as np

from edge_agent.capture.pictures.analyser import CODECS, HEADER, MAX_KEYFRAME_BYTES, WANTS_HEALTH, WANTS_MOTION
from edge_agent.capture.pictures.health import HealthJudge, MotionMeter, Picture, shrink
from edge_agent.host.resident_memory import give_back_files, give_back_heap
from edge_agent.host.sandbox import confine

NICENESS = 19
MAX_MEMORY_BYTES = 2 << 30
"""Address space: OpenCV and FFmpeg map 0.7 GB, a picture of 8K with its references 0.3 GB."""
_MAX_EXTRADATA_BYTES = 1 << 20
_IDLE_S = 2.0
_LUMA_FIRST = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})
"""Forms whose first plane is the luma, a byte for each pixel."""
_FULL_RANGE = 2
"""``AVCOL_RANGE_JPEG``; in all others 16 is black and 235 is white (ITU-R BT.709)."""
_FROM_VIDEO_RANGE = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)


def decode_keyframe(codec: str, extradata: bytes, data: bytes) -> Picture | None:
    """Decode one keyframe to its luma, small; None if nothing can be seen in it."""
    try:
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.thread_count = 1
        decoder.extradata = extradata or None
        frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    except (av.FFmpegError, ValueError):
        # What cannot be decoded is not judged.
        return None
    if not frames or min(frames[0].width, frames[0].height) < 16:
        return None
    return shrink_luma(frames[0])


def shrink_luma(frame: av.VideoFrame) -> Picture:
    """Return a picture's luma, small, from black at 0 to white at 255."""
    if frame.format.name not in _LUMA_FIRST:
        return shrink(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
    # A view of the decoder's own memory: converted first, a picture of 1080p took three times as long.
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    is_full = "j" in frame.format.name or frame.color_range == _FULL_RANGE
    return shrink(rows) if is_full else _FROM_VIDEO_RANGE[shrink(rows)]


def serve(keyframes: BinaryIO, answers: BinaryIO) -> None:
    """Answer keyframes until there are no more."""
    judges: defaultdict[int, HealthJudge] = defaultdict(HealthJudge)
    meters: defaultdict[int, MotionMeter] = defaultdict(MotionMeter)
    while len(head := _read_next_head(keyframes)) == HEADER.size:
        stream, codec, wanted, extradata_bytes, keyframe_bytes = HEADER.unpack(head)
        if extradata_bytes > _MAX_EXTRADATA_BYTES or keyframe_bytes > MAX_KEYFRAME_BYTES or codec >= len(CODECS):
            return
        extradata, data = keyframes.read(extradata_bytes), keyframes.read(keyframe_bytes)
        picture = decode_keyframe(CODECS[codec], extradata, data)
        health = judges[stream].judge(picture) if picture is not None and wanted & WANTS_HEALTH else None
        motion = meters[stream].measure(picture) if picture is not None and wanted & WANTS_MOTION else None
        answers.write(json.dumps({"health": health, "motion_percent": motion}).encode() + b"\n")
        answers.flush()


def _read_next_head(keyframes: BinaryIO) -> bytes:
    """Wait for a keyframe; give memory back if none comes for a while: faulting it in again takes half of a look."""
    # No poll(): it refuses even one descriptor if none may be opened. Nothing lies in the buffer between two keyframes.
    if not select.select([keyframes], [], [], _IDLE_S)[0]:
        give_back_heap()
    return keyframes.read(HEADER.size)


def _warm_up() -> None:
    """Load what OpenCV and FFmpeg load lazily, while files can still be opened."""
    # Any picture with edges; NumPy's random numbers would be 5 MB more.
    picture = shrink((np.arange(180 * 320, dtype=np.uint32) ** 2 % 251).astype(np.uint8).reshape(180, 320))
    judge, meter = HealthJudge(), MotionMeter()
    for _ in range(8):
        judge.judge(picture)
        meter.measure(picture)
        picture = np.roll(picture, 16, axis=1)
    for codec in CODECS:
        decode_keyframe(codec, b"", b"no picture")


def main() -> int:
    """Look at pictures until the recorder wants no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    cv2.setNumThreads(1)
    _warm_up()
    give_back_files()
    confine(memory_bytes=MAX_MEMORY_BYTES)
    serve(sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
