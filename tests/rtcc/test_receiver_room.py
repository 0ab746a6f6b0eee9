"""What an upload server promises: never more than it has, and never all of it to one."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.rtcc.receiver_room import CREATION_S, MAX_ANNOUNCED_BYTES, MAX_UNFINISHED, STALLED_S, ReservedSpace
from edge_agent.rtcc.receiver_storage import ReceiveStorage, peer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Promises(RuleBasedStateMachine):
    """Creations, bytes, ends and time in any order, against a disk of a known size."""

    DISK = 1000

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.room = ReservedSpace(self.clock)
        self.uploads: dict[tuple[str, str], tuple[int, int]] = {}
        self.creating: list[tuple[str, str, int, float]] = []
        self.count = 0

    @property
    def written(self) -> int:
        return sum(size - left for size, left in self.uploads.values())

    @rule(gateway=st.sampled_from("ab"), size=st.integers(1, 700))
    def allow(self, gateway: str, size: int) -> None:
        name = f"name-{size}"
        if self.room.allow(gateway, name, size, self.DISK - self.written) is None:
            self.creating.append((gateway, name, size, self.clock.now + CREATION_S))

    @rule()
    def create(self) -> None:
        if self.creating:
            gateway, name, size, _ = self.creating.pop(0)
            self.count += 1
            self.uploads[gateway, str(self.count)] = (size, size)
            self.room.put(gateway, str(self.count), name, size)

    @rule(part=st.integers(1, 300))
    def write(self, part: int) -> None:
        for (gateway, uid), (size, left) in list(self.uploads.items())[:1]:
            self.uploads[gateway, uid] = (size, max(0, left - part))
            self.room.put(gateway, uid, "", max(0, left - part))

    @rule()
    def drop(self) -> None:
        for gateway, uid in list(self.uploads)[:1]:
            del self.uploads[gateway, uid]
            self.room.drop(gateway, uid)

    @rule()
    def wait(self) -> None:
        self.clock.now += CREATION_S + 1
        self.creating.clear()  # whoever was allowed did not come

    @invariant()
    def promises_fit(self) -> None:
        expected = sum(left for _, left in self.uploads.values()) + sum(size for *_, size, _ in self.creating)
        assert self.room.announced_bytes == expected
        assert self.written + expected <= self.DISK


Promises.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPromises = Promises.TestCase


def test_one_certificate_is_bounded_and_no_other_is() -> None:
    """By the number of its uploads and by their bytes, those that are being created included."""
    room, free = ReservedSpace(), 1 << 60
    for number in range(MAX_UNFINISHED):
        assert room.allow("a", f"name-{number}", 1, free) is None
    refusal = room.allow("a", "one-more", 1, free)
    assert refusal is not None
    assert refusal.status == 429
    assert room.allow("b", "name", MAX_ANNOUNCED_BYTES, free) is None
    refusal = room.allow("b", "name", 1, free)
    assert refusal is not None
    assert refusal.status == 429


@pytest.mark.parametrize("left", [0, 5])
def test_an_upload_of_an_earlier_run_is_counted_without_a_promise(left: int) -> None:
    """At the start nothing was allowed, and what lies there is still to come."""
    room = ReservedSpace()
    room.put("a", "uid", "name", left)
    assert room.announced_bytes == left


def test_what_gets_no_byte_is_found() -> None:
    """By the time of its last new byte; not what is said again, nor what is whole and waits for its digest."""
    clock = Clock()
    room = ReservedSpace(clock)
    for uid in ("stalled", "moving", "whole"):
        room.put("a", uid, "name", 10)
    clock.now = STALLED_S - 1
    assert room.find_stalled(STALLED_S) == []
    room.put("a", "stalled", "name", 10)
    room.put("a", "moving", "name", 9)
    room.put("a", "whole", "name", 0)
    clock.now = STALLED_S
    assert room.find_stalled(STALLED_S) == [("a", "stalled")]
    clock.now = 3 * STALLED_S
    room.drop("a", "stalled")
    assert room.find_stalled(STALLED_S) == [("a", "moving")]


def test_one_holds_an_upload_at_a_time(tmp_path: Path) -> None:
    """A client that comes between a release and the turn of the next in line stands behind that one."""
    storage = ReceiveStorage(tmp_path / "uploads", tmp_path / "received", lambda *_: None, lambda *_: None)
    inside = most = 0

    async def hold(turns: int) -> None:
        nonlocal inside, most
        async with storage.lock("a" * 32):
            inside += 1
            most = max(most, inside)
            for _ in range(turns):
                await asyncio.sleep(0)
            inside -= 1

    async def main() -> None:
        peer.set("gw1")
        running = [asyncio.create_task(hold(3)), asyncio.create_task(hold(3))]
        for _ in range(12):
            await asyncio.sleep(0)
            running.append(asyncio.create_task(hold(2)))
        await asyncio.gather(*running)

    asyncio.run(main())
    storage.close()
    assert most == 1
    assert not storage._locks
