"""The byte stream of a connection, taken apart."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp import split
from edge_agent.capture.rtsp.messages import MAX_BODY_BYTES, MAX_HEAD_BYTES, RtspSyntaxError
from edge_agent.capture.rtsp.split import MESSAGE_STEPS, Splitter

from .packets import frame

ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 7\r\nContent-Length: 5\r\n\r\nbody!"
Item = tuple[str, int, bytes]

items = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(0, 255), st.binary(max_size=300)),
        st.tuples(st.just("answer"), st.just(0), st.binary(max_size=50)),
        st.tuples(st.just("request"), st.just(0), st.just(b"")),
        st.tuples(st.just("blank"), st.just(0), st.just(b"")),
    ),
    max_size=12,
)


def encode(item: Item) -> bytes:
    kind, channel, data = item
    if kind == "frame":
        return frame(data, channel)
    if kind == "blank":
        return b"\r\n"
    if kind == "request":
        return b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    return b"RTSP/1.0 200 OK\r\nCSeq: 7\r\ncontent-length:  %d \r\n\r\n" % len(data) + data


def take_apart(chunks: list[bytes]) -> list[tuple[int, bytes]]:
    splitter, frames, bodies = Splitter(), [], []
    for chunk in chunks:
        pieces = splitter.feed(chunk)
        frames += [(channel, pieces.data[begin:end]) for channel, begin, end in pieces.frames]
        bodies += [(-1, body) for head, body in pieces.messages if head.startswith(b"RTSP")]
    return frames + bodies


@given(items, st.data())
def test_cuts_change_nothing(sent: list[Item], data: st.DataObject) -> None:
    """Wherever the stream is cut, the same frames and messages come out, whole and in order."""
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=30)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    expected = [(channel, data) for kind, channel, data in sent if kind == "frame"]
    expected += [(-1, data) for kind, _, data in sent if kind == "answer"]
    assert take_apart(chunks) == expected


def test_every_single_byte_may_be_a_chunk() -> None:
    """A connection that drips byte by byte gives the same."""
    stream = ANSWER + frame(b"x" * 70) + b"\r\n" + ANSWER + frame(b"")
    assert take_apart([stream[at : at + 1] for at in range(len(stream))]) == take_apart([stream])


OUT_OF_STEP = {
    "bytes of a picture": b"\x00\x00\x00\x01\x65",
    "small letters": b"rtsp/1.0 200 OK\r\n\r\n",
    "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
    "no status": b"RTSP/1.0 OK\r\n\r\n",
    "a head without end": b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 1),
    "one line without end": b"RTSP/1.0 200 " + b"O" * (MAX_HEAD_BYTES + 1),
    "a body without end": b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
    "letters and then none": b"RTSP\x00",
}


@pytest.mark.parametrize("bad", OUT_OF_STEP.values(), ids=OUT_OF_STEP.keys())
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_stream_that_is_out_of_step_is_told(bad: bytes, size: int) -> None:
    """What is neither a frame nor a message, or too long for one, ends the session at once; nothing is waited for."""
    splitter = Splitter()
    stream = frame(b"good") + bad
    with pytest.raises(RtspSyntaxError):
        for at in range(0, len(stream), size):
            splitter.feed(stream[at : at + size])
        splitter.check()


def test_what_came_before_the_fault_is_kept() -> None:
    """The frames of a chunk that goes out of step are handed out; then the fault is told, again and again."""
    splitter = Splitter()
    pieces = splitter.feed(frame(b"good") + b"\0\0")
    assert [pieces.data[begin:end] for _, begin, end in pieces.frames] == [b"good"]
    for _ in range(2):
        with pytest.raises(RtspSyntaxError):
            splitter.feed(frame(b"more"))


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    """No bytes make another error, and no place lies outside of them."""
    splitter = Splitter()
    try:
        pieces = splitter.feed(data)
    except RtspSyntaxError:
        return
    assert all(0 <= begin <= end <= len(pieces.data) for _, begin, end in pieces.frames)


def test_every_piece_is_counted() -> None:
    """Empty frames, messages and blank lines between them cost time as well: whoever budgets it can see them."""
    assert Splitter().feed(frame(b"") * 700).steps == 700
    assert Splitter().feed(ANSWER * 70).steps == 70 * MESSAGE_STEPS
    assert Splitter().feed((b"\r\n" + frame(b"")) * 70).steps == 140
    assert Splitter().feed(b"\r\n" * 70_000).steps == 1


class CountingPattern:
    """A pattern that adds up how many bytes it was given."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.given_bytes = pattern, 0

    def search(self, data: bytes, begin: int = 0, end: int = sys.maxsize) -> re.Match[bytes] | None:
        self.given_bytes += max(0, min(end, len(data)) - begin)
        return self.pattern.search(data, begin, end)

    def match(self, data: bytes, begin: int = 0, end: int = sys.maxsize) -> re.Match[bytes] | None:
        self.given_bytes += max(0, min(end, len(data)) - begin)
        return self.pattern.match(data, begin, end)


HEADS = {
    "many lines": b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 2600,
    "one line": b"RTSP/1.0 200 " + b"O" * 16_000 + b"\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_head_that_drips_is_searched_once(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """However small the chunks of a long head: no byte is looked at again and again, and the head comes out whole."""
    assert len(head) < MAX_HEAD_BYTES
    end = CountingPattern(split._HEAD_END)
    begun = CountingPattern(split._PARTIAL_HEAD)
    monkeypatch.setattr(split, "_HEAD_END", end)
    monkeypatch.setattr(split, "_PARTIAL_HEAD", begun)
    splitter, chunks = Splitter(), [head[at : at + 64] for at in range(0, len(head), 64)]
    for chunk in chunks:
        assert not splitter.feed(chunk).messages
    pieces = splitter.feed(b"\r\n" + frame(b"next") + ANSWER)
    assert [each[0] for each in pieces.messages] == [head[:-2], ANSWER.partition(b"\r\n\r\n")[0]]
    assert end.given_bytes < len(head) + 4 * len(chunks) + 100
    assert begun.given_bytes < 65 * split._LINE_BYTES
