"""Bytes written behind arrive whole and in order, and an error of writing reaches the caller."""

import errno
import hashlib
import io
import os
import random
import threading

import pytest

from edge_agent.host.write_behind import _MOST_PARTS, _PART_BYTES, WriteBehind


class _FullDisk:
    """Takes so many bytes."""

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes
        self.calls = 0

    def write(self, data: bytes) -> int:
        self.calls += 1
        length = len(data)
        if length > self._room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room_bytes -= length
        return length


@pytest.mark.parametrize("size", [0, 1, _PART_BYTES - 1, _PART_BYTES, 10 * _PART_BYTES + 3])
def test_all_bytes_arrive_in_order(size: int) -> None:
    """All bytes are in the file when the block ends, in the order of writing, and digest and size are theirs."""
    cuts = random.Random(size)
    data, out, at = cuts.randbytes(size), io.BytesIO(), 0
    with WriteBehind(out) as behind:
        while at < size:
            step = cuts.randrange(1, 200_000)
            assert behind.write(data[at : at + step]) == len(data[at : at + step])
            at += step
    assert out.getvalue() == data
    assert behind.size == size
    assert behind.sha256 == hashlib.sha256(data).digest()


def test_error_ends_the_writing() -> None:
    """A disk that fills up is told at a later write, in its own words, and nothing is written after it."""
    disk, written = _FullDisk(2 * _PART_BYTES), 0
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), WriteBehind(disk) as behind:
        while written < 100:  # far more than may wait
            behind.write(bytes(_PART_BYTES))
            written += 1
    assert written <= 2 + 1 + _MOST_PARTS + 1
    assert disk.calls == 3


def test_error_of_the_last_write() -> None:
    """The error of the very last write is raised by the end of the block: no payload passes for whole without it."""
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), WriteBehind(_FullDisk(0)) as behind:
        behind.write(b"x")


def test_error_of_the_block_wins() -> None:
    """An error of making the bytes stays the one that is raised, and the thread has ended."""
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), WriteBehind(_FullDisk(0)) as behind:
        behind.write(bytes(2 * _PART_BYTES))
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_waiting_bytes_are_bounded() -> None:
    """A slow disk stops the writer once the queue is full, and no byte more is held."""
    gate, taken = threading.Event(), threading.Semaphore(0)

    class _Slow:
        def write(self, data: bytes) -> int:
            gate.wait(30)
            return len(data)

    def fill() -> None:
        with WriteBehind(_Slow()) as behind:
            for _ in range(20):
                behind.write(bytes(_PART_BYTES))
                taken.release()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    for _ in range(1 + _MOST_PARTS):
        assert taken.acquire(timeout=30)
    assert not taken.acquire(timeout=0.3)
    gate.set()
    thread.join(30)
    assert not thread.is_alive()
