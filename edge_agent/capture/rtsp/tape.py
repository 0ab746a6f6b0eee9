"""A tape: what a camera said and sent in one session, without its pictures, for whoever mends our reader.

Owns the file: lines of JSON, gzipped, the first of them ``{"tape": 1}``. Each other one has ``ms`` since the connection
and one of

- ``sent``: the method of a request of ours;
- ``head`` and ``body``: a message of the camera (``tape_text``);
- ``frames``: of one chunk, channel and base64 of each (``tape_media``);
- ``end``: why it ends.

Pure: makes and reads bytes, and opens nothing.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.capture.rtsp.messages import RtspSyntaxError, parse_channels, parse_response
from edge_agent.capture.rtsp.sdp import SdpMedium, parse_sdp
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.capture.rtsp.tape_media import is_report, mask_packet, mask_report
from edge_agent.capture.rtsp.tape_text import mask_answer
from edge_agent.units import MonoNs

VERSION = 1
MAX_BYTES = 64 << 20
"""Of a tape that is read, unpacked."""
_USUAL_CHANNELS = (0, 1)
"""Those that the only SETUP of a tape asks for."""


class TapeError(ValueError):
    """It is no tape, or one that is too long."""


class TapeMaker:
    """Collects one session.

    Args:
        began: When the connection was made.
        most_bytes: From the camera; then it is full.
    """

    def __init__(self, began: MonoNs, most_bytes: int) -> None:
        self._began, self._left_bytes = began, most_bytes
        self._splitter = Splitter()
        self._video: SdpMedium | None = None
        self._asked, self._channel = "", -1
        self._lines: list[bytes] = [_encode({"tape": VERSION})]
        self.packets = 0
        self.ended = ""
        """Why it ended before its time; empty if it did not."""

    @property
    def is_full(self) -> bool:
        """Tell whether no more is taken."""
        return self._left_bytes <= 0

    def note_request(self, method: str, now: MonoNs) -> None:
        """Take in a request of ours."""
        self._asked = method
        self._add(now, sent=method)

    def take(self, chunk: bytes, now: MonoNs) -> None:
        """Take in what the camera sent; after a fault of its own nothing more."""
        self._left_bytes -= len(chunk)
        try:
            pieces = self._splitter.feed(chunk)
        except RtspSyntaxError as error:
            self.end(str(error), now)
            self._left_bytes = 0
            return
        frames = []
        for head, body in pieces.messages:
            self._learn(head, body)
            masked_head, masked_body = mask_answer(head, body)
            self._add(now, head=masked_head, body=masked_body)
        for channel, begin, end in pieces.frames:
            masked = self._mask(channel, pieces.data[begin:end])
            frames.append([channel, base64.b64encode(masked).decode()])
        self.packets += len(frames)
        if frames:
            self._add(now, frames=frames)

    def end(self, why: str, now: MonoNs) -> None:
        """Note why nothing more comes; an empty text if the time is over. The first reason counts."""
        if not self.ended:
            self.ended = why
            self._add(now, end=why)

    def encode(self) -> bytes:
        """Return the whole file."""
        # Without a time: gzip's header would tell when the tape was made.
        return gzip.compress(b"".join(self._lines), mtime=0)

    def _learn(self, head: bytes, body: bytes) -> None:
        """Take in what tells the video's packets from others: description, channel of its SETUP."""
        video = parse_sdp(body).find("video") if body.lstrip().startswith(b"v=") else None
        self._video = video or self._video
        answer = parse_response(head, b"") if self._asked == "SETUP" else None
        if answer is not None and 200 <= answer.status < 300:
            self._channel = (parse_channels(answer.find("transport"), _USUAL_CHANNELS) or (-1, -1))[0]

    def _mask(self, channel: int, data: bytes) -> bytes:
        """Return a frame without what it shows; by the rules of the codec if it is of the video."""
        if is_report(data):
            return mask_report(data)
        video = self._video
        is_video = video is not None and channel == self._channel and len(data) > 1
        if video is None or not is_video or data[1] & 0x7F not in video.payload_types[:1]:
            return mask_packet("", data)
        return mask_packet(video.codec, data, has_donl=video.has_donl)

    def _add(self, now: MonoNs, **what: Any) -> None:
        self._lines.append(_encode({"ms": max(0, now - self._began) // 1_000_000} | what))


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def read_tape(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what happened: ``("sent", method)``, or ``("came", bytes)`` as they come over a connection.

    Raises:
        TapeError: It is no tape of a version that is known, or one that is too long.
    """
    lines = _unpack(data).splitlines()
    try:
        whole = [json.loads(line) for line in lines]
        if whole[0].get("tape") != VERSION:
            raise TapeError("no tape of a version that is known")
        for line in whole[1:]:
            if not isinstance(line, dict):
                raise TapeError("no tape")
            if "sent" in line:
                yield "sent", line["sent"].encode()
            elif "head" in line:
                yield "came", (line["head"] + "\r\n\r\n" + line["body"]).encode("latin-1")
            elif "frames" in line:
                yield (
                    "came",
                    b"".join(
                        _frame(channel, base64.b64decode(data, validate=True)) for channel, data in line["frames"]
                    ),
                )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise TapeError("no tape") from error


def _frame(channel: int, data: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(data).to_bytes(2, "big") + data


def _unpack(data: bytes) -> bytes:
    # 31: a window of 15 bits, and gzip's header alone (zlib.h, inflateInit2).
    unpacker = zlib.decompressobj(31)
    try:
        whole = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise TapeError("no tape") from error
    # A tape comes from a stranger: what unpacks to more than the bound is left packed.
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise TapeError("cut off, or too long")
    return whole
