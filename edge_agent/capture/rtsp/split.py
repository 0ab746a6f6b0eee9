"""Takes the bytes of an RTSP connection apart: interleaved frames, and messages between them (RFC 2326 10.12).

Owns the bounds of what is waited for, and the telling of a connection that is out of step. Pure: chunks in, places in
bytes out; nothing is copied but what lies across two chunks.
"""

import re
from dataclasses import dataclass, field
from struct import Struct

from edge_agent.capture.rtsp.messages import MAX_BODY_BYTES, MAX_HEAD_BYTES, RtspSyntaxError

#    0   1  magic     "$"
#    1   1  channel
#    2   2  length    big-endian, of what follows
FRAME_HEAD_BYTES = 4
_CHANNEL_AND_LENGTH = Struct(">xBH").unpack_from
_MAGIC = 0x24
MESSAGE_STEPS = 10
"""A message takes as long as so many frames: 17 µs until it is parsed, against 1.6."""
_END_BYTES = 4
_LINE_BYTES = 4096
"""As much of a head's first line as is looked at before the head is whole."""
_BLANKS = re.compile(rb"[\r\n]+")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_HEAD = re.compile(rb"(?:RTSP/1\.[0-9] +[1-9][0-9]{2}(?![0-9])|[A-Z_]{1,20} \S{1,2048} RTSP/1\.[0-9]\s)")
_PARTIAL_HEAD = re.compile(rb"[A-Z_]{1,20}(?:[/ ][^\r\n]*)?(?:\r?\n|\r?\Z)")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class Pieces:
    """What a chunk completed: frames as places in ``data``, and messages as head and body."""

    data: bytes = b""
    frames: list[tuple[int, int, int]] = field(default_factory=list)
    """Channel, begin and end of what it holds, in order."""
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    blanks: int = 0
    """Places with blank lines that belong to no message."""

    @property
    def steps(self) -> int:
        """How many pieces were looked at, each for about as much processor time as a packet: empty frames count too."""
        return len(self.frames) + MESSAGE_STEPS * len(self.messages) + self.blanks


class Splitter:
    """The way from chunks to frames and messages, for one connection."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._needed_bytes = 0
        self._searched_bytes = 0
        """Of the head that is waited for: its end does not begin in them, but for the last few."""
        self._fault = ""

    def check(self) -> None:
        """Raise RtspSyntaxError if the connection is of no more use, and all that came before was returned."""
        if self._fault:
            raise RtspSyntaxError(self._fault)

    def feed(self, chunk: bytes) -> Pieces:
        """Take in a chunk; return the frames and messages that it completes.

        Raises:
            RtspSyntaxError: Neither a frame nor a message, or one that is too long: the connection is of no more use.
                If something was complete before that, it is returned, and ``check`` and the next call raise.
        """
        self.check()
        if self._waiting:
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
            if self._waiting_bytes < self._needed_bytes:
                return Pieces()
            chunk = b"".join(self._waiting)
        pieces = Pieces(chunk)
        try:
            at = self._split(chunk, pieces)
        except RtspSyntaxError as error:
            self._fault = str(error)
            if not (pieces.frames or pieces.messages):
                raise
            return pieces
        # A copy of the rest alone: a view would keep the whole chunk.
        rest = chunk[at:]
        self._waiting, self._waiting_bytes = [rest] if rest else [], len(rest)
        return pieces

    def _split(self, data: bytes, pieces: Pieces) -> int:
        """Return where the first byte lies that belongs to nothing complete."""
        at, size, add = 0, len(data), pieces.frames.append
        whole = size - FRAME_HEAD_BYTES
        while at < size:
            if data[at] != _MAGIC:
                end = self._take_message(data, at, pieces)
                if end == at:
                    return at
                at = end
                continue
            if at > whole:
                self._needed_bytes = FRAME_HEAD_BYTES
                return at
            channel, length = _CHANNEL_AND_LENGTH(data, at)
            begin = at + FRAME_HEAD_BYTES
            end = begin + length
            if end > size:
                self._needed_bytes = end - at
                return at
            add((channel, begin, end))
            at = end
        return at

    def _take_message(self, data: bytes, at: int, pieces: Pieces) -> int:
        """Return the end of the message at a place, or that place if it is not complete."""
        if blanks := _BLANKS.match(data, at):  # some cameras end a message with one line more
            pieces.blanks += 1
            return blanks.end()
        # An end of four bytes may begin in the last three that were searched.
        begin = at + max(0, self._searched_bytes - _END_BYTES + 1)
        found = _HEAD_END.search(data, begin, at + MAX_HEAD_BYTES + _END_BYTES)
        if found is None:
            self._check_begun(data, at)
            self._searched_bytes = len(data) - at
            # One byte more may complete the end.
            self._needed_bytes = self._searched_bytes + 1
            return at
        head = data[at : found.start()]
        if _HEAD.match(head + b"\n") is None:
            raise RtspSyntaxError("out of step")
        length = _LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        if body_bytes > MAX_BODY_BYTES:
            raise RtspSyntaxError("a message is too long")
        end = found.end() + body_bytes
        if end > len(data):
            self._needed_bytes = end - at
            return at
        pieces.messages.append((head, data[found.end() : end]))
        self._searched_bytes = 0
        return end

    def _check_begun(self, data: bytes, at: int) -> None:
        """Raise RtspSyntaxError if what begins at a place, and has no end yet, can become no message."""
        if len(data) - at > MAX_HEAD_BYTES:
            raise RtspSyntaxError("out of step")
        if self._searched_bytes < _LINE_BYTES and _PARTIAL_HEAD.match(data, at, at + _LINE_BYTES) is None:
            raise RtspSyntaxError("out of step")
