"""The one thread that reads all sockets: who is looked at when, and who holds up whom."""

import socket
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from edge_agent.capture.session.hub import Hub

from ..conftest import wait_until


@dataclass(eq=False)
class Guest:
    """A member that notes when it was looked at."""

    looks: list[float] = field(default_factory=list)
    diary: list[str] = field(default_factory=list)
    """What happened, in order; guests may share one."""
    number: int | None = None
    """Its socket, if it is in a hurry."""
    most_looks: int = 1 << 30

    def look(self) -> bool:
        self.looks.append(time.monotonic())
        self.diary.append("look")
        return len(self.looks) < self.most_looks

    def hand_over(self) -> None:
        self.diary.append("hand over")

    @property
    def hurried(self) -> int | None:
        return self.number


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    hub.start()
    yield hub
    hub.close()


def enter(hub: Hub, guest: Guest) -> threading.Thread:
    thread = threading.Thread(target=hub.serve, args=(guest,))
    thread.start()
    return thread


def test_a_thread_that_goes_round_no_more_is_no_thread_that_lives(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog asks: a look that never ends would leave all cameras unread and the process standing."""
    ends, looks = threading.Event(), threading.Event()
    guest = Guest(most_looks=1)
    monkeypatch.setattr(guest, "look", lambda: looks.set() or not ends.wait(20), raising=False)
    assert hub.is_alive()
    thread = enter(hub, guest)
    assert looks.wait(20)
    assert hub.is_alive()
    monkeypatch.setattr("edge_agent.capture.session.hub.HUNG_S", 0.05)
    wait_until(lambda: not hub.is_alive())
    ends.set()
    thread.join(20)


def test_everybody_is_looked_at_in_each_round(hub: Hub) -> None:
    """Members are looked at about ten times a second; one that is over leaves, and the others stay."""
    short, long = Guest(most_looks=3), Guest()
    threads = [enter(hub, short), enter(hub, long)]
    threads[0].join(20)
    assert len(short.looks) == 3
    before = len(long.looks)
    wait_until(lambda: len(long.looks) >= before + 10)
    assert long.looks[before + 9] - long.looks[before] >= 0.8
    assert threads[1].is_alive()
    hub.close()
    threads[1].join(20)
    assert not threads[1].is_alive()


def test_bytes_of_a_session_in_a_hurry_are_read_as_they_come(hub: Hub) -> None:
    """A member in a hurry is looked at when its socket has bytes, its neighbour in the next round only."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        hurried, calm = Guest(number=ours.fileno()), Guest()
        threads = [enter(hub, hurried), enter(hub, calm)]
        wait_until(lambda: len(calm.looks) > 1)
        theirs.send(b"x")
        before = len(calm.looks), len(hurried.looks)
        wait_until(lambda: len(calm.looks) >= before[0] + 5)
        # Its bytes are never taken: it is looked at again and again.
        assert len(hurried.looks) - before[1] > 3 * (len(calm.looks) - before[0])
        hub.close()
    for thread in threads:
        thread.join(20)


def test_bytes_one_by_one_do_not_keep_the_hub_going_round(hub: Hub) -> None:
    """A socket that always has some is looked at 200 times a second, not 12,000 times."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"never read")
        drip = Guest(number=ours.fileno(), most_looks=100)
        began = time.monotonic()
        enter(hub, drip).join(20)
        assert len(drip.looks) == 100
        assert time.monotonic() - began > 0.4


def test_who_is_over_is_held_by_nobody(hub: Hub) -> None:
    """What an ended session had is given back at once, though nothing happens any more."""
    guest = Guest(most_looks=2)
    held = weakref.ref(guest)
    enter(hub, guest).join(20)
    del guest
    wait_until(lambda: held() is None)


def test_all_are_looked_at_before_anybody_is_woken(hub: Hub) -> None:
    """A thread that is woken asks for the interpreter's lock, which the hub still needs for the others."""
    diary: list[str] = []
    threads = [enter(hub, Guest(diary=diary, most_looks=5)) for _ in range(4)]
    for thread in threads:
        thread.join(20)
    wait_until(lambda: diary.count("hand over") == diary.count("look") == 20)
    assert "llllhhhh" in "".join(word[0] for word in diary)


def test_a_hub_that_is_closed_serves_nobody(hub: Hub) -> None:
    """Whoever comes after the end is sent away at once, and nothing waits for ever."""
    hub.close()
    assert not hub.is_alive()
    guest = Guest()
    hub.serve(guest)
    assert not guest.looks
    hub.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_death_of_the_thread_ends_every_wait() -> None:
    """If a look fails beyond what a session catches, nobody waits for a hub that is gone, and it is seen to be dead."""

    class Broken(Guest):
        def look(self) -> bool:
            raise SystemExit

    hub = Hub()
    hub.start()
    calm = Guest()
    threads = [enter(hub, calm)]
    wait_until(lambda: bool(calm.looks))
    threads.append(enter(hub, Broken()))
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    wait_until(lambda: not hub.is_alive())
    hub.close()
