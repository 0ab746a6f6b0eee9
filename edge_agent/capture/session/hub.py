"""The one thread that reads the sockets of all cameras, but for those over TLS, about every 0.4 s.

Owns the rounds. It waits for nothing but the next round, or for the bytes of a session whose arrivals are being timed:
sessions are opened and closed elsewhere, and a session without room is passed over. A thread for each camera took 1.8
times the CPU for reading (ADR 0068: eight cameras, ten looks a second): threads that wake 80 times a second find cold
caches.
"""

import contextlib
import logging
import os
import select
import threading
import time
from typing import Protocol

from edge_agent.host.hardening import name_thread

log = logging.getLogger(__name__)

_ROUND_S = 0.4
"""A wake-up costs more than the bytes that it reads (docs/performance.md). Meanwhile the kernel notes when bytes came,
and keeps them: at 20 Mbit/s a megabyte."""
GATHER_S = 0.005
"""So long it pauses after bytes have woken it: a camera that sends them one by one would have it ask all sockets 12,000
times a second."""
HUNG_S = 10.0
"""A round takes milliseconds: if it takes so long, nothing of any camera is read, and the process is to begin anew."""


class Member(Protocol):
    """Something with a socket that is looked at until it is over."""

    def look(self) -> bool:
        """Do what is due, without waiting; tell whether it goes on. Raises nothing."""

    def hand_over(self) -> None:
        """Wake whoever takes what was found, if it is not to wait. Raises nothing."""

    @property
    def hurried(self) -> int | None:
        """The number of the socket, if its bytes are to be read as they come; None if the next round will do."""


class Hub:
    """The thread; ``serve`` is called by others."""

    def __init__(self) -> None:
        self._members: dict[Member, threading.Event] = {}
        self._lock = threading.Lock()
        self._has_ended = False
        self._looked = time.monotonic()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._main, name="hub", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether the thread runs, and goes round while it has members."""
        hangs = bool(self._members) and time.monotonic() - self._looked > HUNG_S
        return self._thread.is_alive() and not hangs

    def serve(self, member: Member) -> None:
        """Have a member looked at, and wait until it is over or the hub is closed."""
        over = threading.Event()
        with self._lock:
            if self._has_ended:
                return
            if not self._members:
                self._looked = time.monotonic()
            self._members[member] = over
        os.eventfd_write(self._wake, 1)
        over.wait()

    def close(self) -> None:
        """End; ``serve`` returns for every member."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake)

    def _main(self) -> None:
        name_thread("hub")
        try:
            self._go_round()
        finally:
            with self._lock:
                self._has_ended = True
                for over in self._members.values():
                    over.set()

    def _go_round(self) -> None:
        due = time.monotonic()
        ready: set[int] = set()
        while True:
            if self._has_ended:
                return
            self._looked = time.monotonic()
            # A new member is looked at now: its camera may have sent something before it came here.
            is_round = self._wake in ready or time.monotonic() >= due
            if is_round:
                due = time.monotonic() + _ROUND_S
            self._look(None if is_round else ready)
            if not is_round:
                time.sleep(GATHER_S)
            ready = self._wait(due)

    def _look(self, ready: set[int] | None) -> None:
        """Look at the members whose sockets are ``ready``, or at all; keep no reference to one that is over."""
        with self._lock:
            members = list(self._members)
        looked = [member for member in members if ready is None or member.hurried in ready]
        for member in looked:
            if not member.look():
                with self._lock:
                    self._members.pop(member).set()
        # Only now: those who are woken would ask for the interpreter's lock while this thread needs it.
        for member in looked:
            member.hand_over()

    def _wait(self, due: float) -> set[int]:
        """Wait for the next round, or for bytes that are read as they come; return the sockets that have some."""
        with self._lock:
            members = list(self._members)
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        for member in members:
            if (number := member.hurried) is not None:
                poller.register(number, select.POLLIN)
        left_s = max(0.0, due - time.monotonic())
        found = poller.poll(left_s * 1000 if members else None)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        return {number for number, _ in found}
