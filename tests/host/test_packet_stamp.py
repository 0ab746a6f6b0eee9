"""How old the kernel's stamps are."""

import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.host.packet_stamp import SO_TIMESTAMPNS, STAMP_BYTES, StampAges
from edge_agent.units import SECOND_NS

START = 1_700_000_000 * SECOND_NS
NEAR_NS = 20_000_000


class Machine:
    """Two clocks, of which one can be set."""

    def __init__(self) -> None:
        self.boot, self.offset = 5 * SECOND_NS, START

    def read(self) -> tuple[int, int]:
        return self.boot + self.offset, self.boot

    def stamp(self) -> bytes:
        return struct.pack("@ll", *divmod(self.boot + self.offset, SECOND_NS))


STEPS = {
    # when the bytes came, when the clock was set and by how much, when they were read; in seconds since the last look
    "at once": (0.1, None, 0.0, 0.1),
    "a stall of 40 s": (2.0, None, 0.0, 42.0),
    "set back after they came": (1.0, 2.0, -3600.0, 9.0),
    "set ahead after they came": (1.0, 2.0, 3600.0, 9.0),
    "set back before they came": (5.0, 2.0, -3600.0, 9.0),
    "set ahead before they came": (5.0, 2.0, 3600.0, 9.0),
    "slewed": (1.0, 2.0, 0.0005, 2.5),
}


@pytest.mark.parametrize(("came", "was_set", "by", "read"), STEPS.values(), ids=STEPS.keys())
def test_age_is_told_however_long_bytes_wait(came: float, was_set: float | None, by: float, read: float) -> None:
    """A reader that was kept away learns when bytes came, though the wall clock was set meanwhile."""
    machine = Machine()
    ages, began = StampAges(machine.read), machine.boot
    stamp, is_set = b"", was_set is None
    for now in sorted({came, read, *(() if was_set is None else (was_set,))}):
        machine.boot = began + int(now * SECOND_NS)
        if now == was_set:
            machine.offset += int(by * SECOND_NS)
            is_set = True
        if now == came:
            stamp = machine.stamp()
    assert is_set
    ages.look()
    assert abs(ages.take(stamp, is_all=True) - (read - came) * SECOND_NS) < NEAR_NS


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-50, 50), st.integers(0, 30), st.booleans()), max_size=8))
def test_no_age_reaches_beyond_the_moment_the_socket_was_empty(reads: list[tuple[int, int, int, bool]]) -> None:
    """Whatever the clock does: bytes are never said to be older than possible, nor of the future."""
    machine = Machine()
    ages, emptied = StampAges(machine.read), machine.boot
    for wait, step, later, is_all in reads:
        machine.boot += wait * SECOND_NS
        stamp = machine.stamp()
        machine.offset += step * SECOND_NS
        machine.boot += later * SECOND_NS
        ages.look()
        looked = machine.boot
        assert 0 <= ages.take(stamp, is_all=is_all) <= machine.boot - emptied
        emptied = looked if is_all else emptied


def test_stamp_that_is_none_tells_nothing() -> None:
    """Without a stamp, or with half of one, the age is 0."""
    ages = StampAges()
    assert [ages.take(stamp, is_all=False) for stamp in (b"", b"\0" * (STAMP_BYTES - 1))] == [0, 0]


def test_kernel_stamps_what_waits() -> None:
    """Bytes that lie in a real socket for 1.2 s are told as that old; those behind them as new."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as there:
        here, _ = server.accept()
        with here:
            here.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            ages = StampAges()
            there.sendall(b"early")
            time.sleep(1.2)
            ages.look()
            _, told, _, _ = here.recvmsg(99, socket.CMSG_SPACE(STAMP_BYTES))
            assert 1.1 * SECOND_NS < ages.take(told[0][2], is_all=True) < 3 * SECOND_NS
            ages.look()
            there.sendall(b"late")
            _, told, _, _ = here.recvmsg(99, socket.CMSG_SPACE(STAMP_BYTES))
            assert ages.take(told[0][2], is_all=True) < SECOND_NS
