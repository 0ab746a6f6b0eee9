"""The thread of a stream that waits for its camera, so that nothing else of the stream ever has to.

Owns opening, reading and closing of sessions, one at a time, and the bounded queue between a reader and whoever
records. This thread opens and closes for as long as that takes, and reads what FFmpeg's child hands out, and what comes
over TLS; the other sockets of our own reader are read by the one thread of ``session.hub``. The camera's own thread
syncs, counts and stops meanwhile.
A disk that is slow does not move the times of arrival either.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.diagnosis import explain_silence
from edge_agent.capture.session.hub import GATHER_S, Hub
from edge_agent.capture.session.interface import Arrival, Endpoint, RoundSession, Session, size_in_memory
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader_choice import ReaderChoice, SessionAccount
from edge_agent.capture.session.rtsp_probe import knock
from edge_agent.host.clock import Clock
from edge_agent.host.hardening import name_thread
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

POLL_S, _BEGINNING_POLL_S = 1.25, 0.1
"""So long a packet may lie in the queue, and a round of the hub before it (FORMAT 7.2). A keyframe, which completes a
record, is not waited for so long: with a keyframe a second the taker wakes once a second. Less in the beginning of a
session, when its pictures tell when they were taken and the first of them wait for that."""
_LIES_NS = SECOND_NS
"""With packets of so long in the queue the taker is woken, as the next one comes: a round of the hub later at most."""
_BEGINNING_NS = 3 * SECOND_NS
_ASK_S = 0.2
"""So often it is asked whether a stream is to be recorded again, while whoever takes its packets waits for a disk."""
MOST_BYTES = 4 << 20
"""Of packets in memory that nobody takes, because a disk is slow; then the camera has to wait."""
MOST_PACKETS = 4096
_ROOM_STEP_S = 0.05
_LONGEST_KNOCKING_NS = 20 * SECOND_NS
"""A camera that answers nothing but the real thing is tried as often as that."""


ClockPair = tuple[UtcNs, MonoNs]
"""Both clocks, read together."""


class HeldError(Exception):
    """From that moment on the stream is not to be recorded; everything that came before was handed over.

    ``until`` is when it was to be recorded again, if that has come before anybody could act on it.
    """

    def __init__(self, reason: str, since: ClockPair, until: ClockPair | None = None) -> None:
        super().__init__(reason)
        self.reason, self.since, self.until = reason, since, until


class Line:
    """One session, from its order to its end: the feed's thread puts packets in, one other takes them out.

    Args:
        endpoint: Where it is.
        hold: Returns why there is to be no session, or an empty text. Asked whenever a packet arrives: what arrives
            while the owner has paused recording is not recorded later, though a disk holds up whoever takes it.
        knocks: The camera gave no sign of life before: it is asked for one first, which takes a second or two at most.
    """

    def __init__(self, endpoint: Endpoint, hold: Callable[[], str], *, knocks: bool = False) -> None:
        self.endpoint, self._hold, self.knocks = endpoint, hold, knocks
        self._held: tuple[str, ClockPair] | None = None
        self._wanted_again: ClockPair | None = None
        self._session: Session | None = None
        # Not the exception: it would hold all that the session had, in a circle, until a collector comes by.
        self._end: tuple[str, str] | None = None
        self._given_up = ("", "")
        self._arrivals: deque[Arrival] = deque()
        self._oldest = MonoNs(0)
        self._bytes_in = self._bytes_out = 0
        self.has_keyframe = self._is_due = False
        self.was_open = False
        self.account = SessionAccount()
        self._changed = threading.Event()
        self._released = threading.Event()

    # The taker's side

    def wait_open(self, left_s: float = POLL_S) -> Session | None:
        """Return the session as soon as it is open, or None after a while, in ``left_s`` seconds at most.

        Raises:
            CaptureError: It cannot be opened.
        """
        self._changed.wait(min(POLL_S, left_s))
        if self._session is None and self._end is not None:
            raise CaptureError(*self._end)
        return self._session

    @property
    def is_empty(self) -> bool:
        """Tell whether everything that has arrived was taken."""
        return not self._arrivals

    @property
    def reader(self) -> str:
        """What reads the session: ``own`` or ``ffmpeg``."""
        return self.endpoint.reader

    def read(self, left_s: Callable[[], float] = lambda: POLL_S) -> Iterator[Arrival | None]:
        """Yield what arrives, in order, and None whenever nothing came for ``POLL_S`` at most, or after ``hurry``.

        Args:
            left_s: Returns in how many seconds the taker has something else to do: None is yielded then.

        Raises:
            CaptureError: The session has ended; everything that came before was yielded.
            HeldError: It is not wanted any more; likewise.
        """
        first: MonoNs | None = None
        poll_s = _BEGINNING_POLL_S
        while True:
            end, held = self._end, self._held  # before the queue is emptied: nothing comes into it after the end
            while self._arrivals:
                arrival = self._arrivals.popleft()
                self._bytes_out += size_in_memory(arrival)
                first = arrival.boot if first is None else first
                if arrival.boot - first > _BEGINNING_NS:
                    poll_s = POLL_S
                yield arrival
            if held is not None:
                raise HeldError(*held, self._wanted_again)
            if end is not None:
                raise CaptureError(*end)
            self._changed.wait(min(poll_s, left_s()))
            # Cleared before the queue, the end and the stop are asked for: nothing that is told meanwhile is missed.
            self._changed.clear()
            # Not if the session is over: its end tells since when, and the taker would tell what time it is now.
            if not self._arrivals and self._end is None and self._held is None:
                yield None

    def give_up(self, reason: str, detail: str) -> None:
        """Say what the taker found wrong with the session: it may be up, and send no picture. Then release it."""
        self._given_up = reason, detail

    def release(self) -> None:
        """Give the session back; it is closed within a second or two."""
        self._released.set()
        self._arrivals.clear()

    # The feed's side

    @property
    def refusal(self) -> tuple[str, str]:
        """What the session ended with: one of ``capture.reasons``, and its detail; empty if nothing is wrong."""
        return self._end or self._given_up

    def reason_to_close(self) -> str:
        """Return why there is to be no session, or an empty text."""
        return self._hold()

    def serve(self, hub: Hub, clock: Clock, loss: PacketLoss, silence_s: float) -> None:
        """Open the session, read it until it ends or is released, and close it when it is released."""
        if self._released.is_set():  # nobody waits for it any more
            return
        session = None
        try:
            session = self._session = self._open(clock, loss, silence_s)
            self.was_open = True
            self._changed.set()
            if isinstance(session, RoundSession):
                seat = _Seat(self, session, clock)
                if session.may_wait:
                    seat.go_round()
                else:
                    hub.serve(seat)
            else:
                for arrival in session.read():
                    if not self._put(arrival, clock):
                        break
        except CaptureError as error:
            self.tell_end(error.reason, error.detail)
        except Exception as error:
            log.exception("session failed")
            self.tell_end("internal-error", type(error).__name__)
        if session is not None:
            self._wait_released(clock)
            session.close()

    def _wait_released(self, clock: Clock) -> None:
        """Wait for the taker, whom a disk may hold up for longer than the stream is not to be recorded."""
        while not self._released.wait(_ASK_S):
            if self._held is not None and self._wanted_again is None and not self._hold():
                self._wanted_again = clock.utc(), clock.boot()

    def _open(self, clock: Clock, loss: PacketLoss, silence_s: float) -> Session:
        if self.knocks:
            knock(self.endpoint.url)
        return open_session(self.endpoint, clock, loss, silence_s, self._released)

    def _put(self, arrival: Arrival, clock: Clock) -> bool:
        """Put in one packet, as soon as there is room; tell whether more are wanted."""
        if not self.take(arrival, self._hold()):
            return False
        self.hand_over()
        # Nothing is read meanwhile: the pipe fills, then the connection, and the camera waits.
        while self.is_full:
            self._changed.set()
            if self._released.wait(_ROOM_STEP_S) or self.close_if_held(clock):
                return False
        return True

    @property
    def is_released(self) -> bool:
        """Tell whether nobody wants the session any more."""
        return self._released.is_set()

    @property
    def is_full(self) -> bool:
        """Tell whether the taker has so much before it that the camera has to wait."""
        return self._bytes_in - self._bytes_out > MOST_BYTES or len(self._arrivals) >= MOST_PACKETS

    def take(self, arrival: Arrival, reason: str) -> bool:
        """Put in one packet, room or not; tell whether more are wanted.

        Args:
            arrival: What has come.
            reason: Of ``reason_to_close``, as it is now.
        """
        if reason:
            self._hold_since(reason, (arrival.utc, arrival.boot))
            return False
        self.account.take(arrival)
        if not self._arrivals:
            self._oldest = arrival.boot
        self._arrivals.append(arrival)
        self._bytes_in += size_in_memory(arrival)
        if arrival.is_keyframe and arrival.track == 0:
            self.has_keyframe = self._is_due = True
        # Before it is full, so that the camera need not wait for a taker that only sleeps.
        elif self._bytes_in - self._bytes_out > MOST_BYTES // 2 or arrival.boot - self._oldest >= _LIES_NS:
            self._is_due = True
        return not self._released.is_set()

    def close_if_held(self, clock: Clock) -> bool:
        """End the session if the stream is not to be recorded now, while what came before waits for a disk.

        What lies in the camera's connection behind that is of the time that is not to be recorded.
        """
        if reason := self._hold():
            self._hold_since(reason, (clock.utc(), clock.boot()))
        return bool(reason)

    def _hold_since(self, reason: str, since: ClockPair) -> None:
        self._held = reason, since
        self._changed.set()

    def tell_end(self, reason: str, detail: str) -> None:
        """Take in why the session has ended."""
        self._end = reason, detail
        self._changed.set()

    def hand_over(self) -> None:
        """Wake the taker, if what was put in is not to wait."""
        if self._is_due:
            self._is_due = False
            self.hurry()

    def hurry(self) -> None:
        """Have the taker look now."""
        self._changed.set()


class _Seat:
    """A line and its session, as the hub's thread looks at them, or ``go_round`` in the stream's own."""

    def __init__(self, line: Line, session: RoundSession, clock: Clock) -> None:
        self._line, self._session, self._clock = line, session, clock

    @property
    def hurried(self) -> int | None:
        """The number of the socket, if its bytes are to be read as they come."""
        return self._session.fileno() if self._session.is_hurried and not self._line.is_full else None

    def look(self) -> bool:
        """Take what has come, if there is room; tell whether the session goes on."""
        line = self._line
        try:
            if line.is_released:
                return False
            # The hub waits for no one: this camera is passed over, and TCP makes it wait.
            if line.is_full:
                line.hurry()
                self._session.stand()
                return not line.close_if_held(self._clock)
            reason = line.reason_to_close()
            return all(line.take(arrival, reason) for arrival in self._session.look())
        except CaptureError as error:
            line.tell_end(error.reason, error.detail)
        except Exception as error:
            log.exception("session failed")
            line.tell_end("internal-error", type(error).__name__)
        return False

    def hand_over(self) -> None:
        """As ``Line.hand_over``."""
        self._line.hand_over()

    def go_round(self) -> None:
        """Do as the hub does, for this session alone."""
        while self.look():
            self.hand_over()
            self._session.wait(is_hurried=self.hurried is not None)
            time.sleep(GATHER_S)


class Feed:
    """The thread, for all sessions of one stream.

    Args:
        name: ``<camera>.<quality>``, for log and thread name.
        clock: The gateway's clocks; arrivals are timed here.
        loss: Told of packets that are lost.
        silence_s: So long a session may send nothing before it is given up.
    """

    def __init__(self, name: str, clock: Clock, loss: PacketLoss, silence_s: float) -> None:
        self._name, self._clock, self._loss, self._silence_s = name, clock, loss, silence_s
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self._obstacle: tuple[str, str] | None = None
        self._opened = MonoNs(0)
        self._choice = ReaderChoice()
        self._hub: Hub | None = None
        self._thread = threading.Thread(target=self._main, name=f"feed-{name}", daemon=True)

    def start(self, hub: Hub) -> None:
        """Begin to serve; the hub, which runs already, reads the sockets of our own reader."""
        self._hub = hub
        self._thread.start()

    def order(self, endpoint: Endpoint, hold: Callable[[], str], *, knocks: bool = False) -> Line:
        """Order a session; it is opened when the one before is closed. Release it."""
        line = Line(endpoint, hold, knocks=knocks and self._clock.boot() - self._opened < _LONGEST_KNOCKING_NS)
        self._opened = self._opened if line.knocks else self._clock.boot()
        self._lines.put(line)
        return line

    def obstacle(self) -> CaptureError | None:
        """Return why the last session gave no keyframe though the camera sends, if that was found out."""
        found = self._obstacle
        return None if found is None else CaptureError(*found)

    def close(self) -> None:
        """End when the last session is closed."""
        self._lines.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended after ``close``; tell whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        """Tell whether the thread runs, and the hub."""
        return self._thread.is_alive() and self._hub is not None and self._hub.is_alive()

    def _main(self) -> None:
        name_thread(self._name)
        assert self._hub is not None
        while (line := self._lines.get()) is not None:
            line.endpoint = self._choice.pick(line.endpoint)
            line.serve(self._hub, self._clock, self._loss, self._silence_s)
            self._choice.note(line.endpoint, line.account, line.refusal)
            if line.has_keyframe:
                self._obstacle = None
            elif line.was_open and not line.reason_to_close():
                found = explain_silence(line.endpoint)
                self._obstacle = None if found is None else (found.reason, found.detail)
