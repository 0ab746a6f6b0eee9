"""One session of our own reader: opened, read, kept alive, torn down (``session.interface.Session``).

Owns when the camera is told that somebody still watches, when its silence ends the session, and how much of what it
sends is taken in a round: never more than its allowance, so that no camera costs another its pictures.
"""

import threading
from collections import deque
from collections.abc import Iterator

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.arrivals import ArrivalMaker
from edge_agent.capture.rtsp.connection import Received, RtspConnection
from edge_agent.capture.rtsp.handshake import PlayedStream, RedirectError, play
from edge_agent.capture.rtsp.messages import RtspSyntaxError
from edge_agent.capture.rtsp.split import Pieces
from edge_agent.capture.session.interface import SILENCE_S, Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import Clock
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS, MonoNs

_MOST_REDIRECTS = 3
_BEGINNING_NS = 3 * SECOND_NS
"""So long each picture's own arrival counts: the run is timed by them."""
_MOST_AT_ONCE = 64
"""Frames of a chunk, until it is asked again whether the camera may send more: a usual chunk has fewer."""
_UNKNOWN_METHOD = frozenset({400, 405, 451, 501, 551})


class OwnSession:
    """An open session. One thread at a time; close it."""

    def __init__(
        self, connection: RtspConnection, played: PlayedStream, clock: Clock, loss: PacketLoss, silence_s: float
    ) -> None:
        self._connection, self._played, self._clock = connection, played, clock
        self._silence_ns = int(silence_s * SECOND_NS)
        self._maker, self._loss = ArrivalMaker(played, loss), loss
        self._held_back: MonoNs | None = None
        """Since when nothing is read because the camera owes something."""
        self._keep_alive = KeepAlive(connection, played, clock.boot())
        self._began = self._heard = clock.boot()
        self._rest: deque[Received] = deque()
        self._is_drained = False
        self.tracks: tuple[TrackTemplate, ...] = tuple(track.template for track in played.tracks)
        self.reorders, self.silence = played.reorders, played.silence

    def read(self) -> Iterator[Arrival]:
        """Yield access units as they arrive; blocks for as long as the session may be silent.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol.
        """
        while not self._connection.released.is_set():
            yield from self.look()
            self.wait(is_hurried=self.is_hurried)

    def look(self) -> Iterator[Arrival]:
        """Yield the arrivals of a round, without waiting: as many as the camera may send in it.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol.
        """
        try:
            self._keep_alive.run(self._clock.boot())
            yield from self._take_round()
        except CaptureError:
            # The last picture has arrived: the end of the session must not take it along.
            yield from self._maker.flush()
            raise

    def stand(self) -> None:
        """Keep the session alive while there is no room for its media; its silence is not the camera's.

        Whether the camera has ended the session is told by ``look``, behind everything that it sent.
        """
        self._heard, self._held_back = self._clock.boot(), None
        self._keep_alive.run(self._clock.boot())

    @property
    def is_hurried(self) -> bool:
        """Tell whether each picture's own time of arrival is needed: what comes is to be read at once, but no flood.

        So it is at the beginning, by which a run is timed, and if the kernel does not say when bytes came, as over TLS.
        """
        if self._connection.allowance.is_spent:
            return False
        is_timed = self._clock.boot() - self._began < _BEGINNING_NS or self._maker.is_by_arrival
        return is_timed or not self._connection.is_stamped

    @property
    def may_wait(self) -> bool:
        """Tell whether the camera can hold up a look: OpenSSL takes in records without data, such as new keys, for as
        long as any lies there."""
        return self._connection.is_tls

    def fileno(self) -> int:
        """Return the number of the socket, to wait for."""
        return self._connection.fileno()

    def wait(self, *, is_hurried: bool) -> None:
        """Wait until the next round, or also for bytes, if they are to be read as they come."""
        self._connection.wait(is_hurried=is_hurried)

    def _take_round(self) -> Iterator[Arrival]:
        allowance = self._connection.allowance
        allowance.renew(self._clock.boot())
        if self._held_back is not None:
            self._loss.held_back(self._clock.boot() - self._held_back)
            self._held_back = None
        while not allowance.is_spent and (received := self._next()) is not None:
            work, units = self._maker.work, self._maker.units
            yield from self._maker.take(received)
            if self._maker.units != units:
                self._heard = self._clock.boot()  # whoever took them may have waited for a disk
            allowance.spend(self._maker.work - work)
        # While we do not read, silence is ours.
        if allowance.is_spent:
            self._heard = self._held_back = self._clock.boot()
        elif self._clock.boot() - self._heard >= self._silence_ns:
            raise CaptureError("stalled")

    def _next(self) -> Received | None:
        """Return the next chunk, or the next part of a long one."""
        if not self._rest:
            received = self._connection.ahead.popleft() if self._connection.ahead else self._receive()
            if received is None:
                return None
            data, frames = received.pieces.data, received.pieces.frames
            if len(frames) <= _MOST_AT_ONCE:
                return received
            # A full chunk of tiny frames costs more than the camera's allowance: it is asked between parts.
            parts = [frames[at : at + _MOST_AT_ONCE] for at in range(0, len(frames), _MOST_AT_ONCE)]
            self._rest.extend(received._replace(pieces=Pieces(data, part)) for part in parts)
        return self._rest.popleft()

    def _receive(self) -> Received | None:
        if self._is_drained:
            self._is_drained = False
            return None
        try:
            received = self._connection.look()
        except RtspSyntaxError as error:
            raise CaptureError("protocol-error", str(error)) from None
        except OSError:
            raise CaptureError("ended") from None
        self._is_drained = received is not None and self._connection.is_drained
        return received

    def close(self) -> None:
        """Say TEARDOWN and close the connection."""
        self._connection.close(self._played.url)


class KeepAlive:
    """Tells the camera, twice in each time-out, that somebody watches (RFC 2326 12.37)."""

    def __init__(self, connection: RtspConnection, played: PlayedStream, now: MonoNs) -> None:
        self._connection, self._url = connection, played.url
        self._method = "GET_PARAMETER" if played.has_get_parameter else "OPTIONS"
        self._every_ns = max(SECOND_NS, played.timeout_s * SECOND_NS // 2)
        self._due = MonoNs(now + self._every_ns)
        self._may_repeat = True

    def run(self, now: MonoNs) -> None:
        """Ask if it is time, and take in the answers; a refusal ends nothing.

        If the nonce has become stale, it is asked once more at once: the camera has not heard of us since.
        """
        is_refused = False
        for response in self._connection.take_answers():
            if response.status in _UNKNOWN_METHOD:
                self._method = "OPTIONS"
            elif response.status == 401:
                is_refused = self._connection.take_offer(response)
        if is_refused and self._may_repeat:
            self._may_repeat = False
            self._connection.post(self._method, self._url)
        elif now >= self._due:
            self._due, self._may_repeat = MonoNs(now + self._every_ns), True
            self._connection.post(self._method, self._url)


def open_own_session(
    endpoint: Endpoint,
    clock: Clock,
    loss: PacketLoss,
    silence_s: float = SILENCE_S,
    released: threading.Event | None = None,
) -> OwnSession:
    """Open a session; takes at most as long as the endpoint says. Another thread may read it then.

    Args:
        endpoint: Where and how; over TCP, whatever it wishes.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        silence_s: How long the session may send nothing before it is over.
        released: Set when nobody wants the session any more: opening and reading end within a step.

    Raises:
        CaptureError: The reason in words; nothing secret in it.
    """
    loss.begin(is_counted=True)
    released = released or threading.Event()
    deadline = MonoNs(clock.boot() + int(endpoint.open_timeout_s * SECOND_NS))
    url = endpoint.url
    for _ in range(_MOST_REDIRECTS):
        connection = RtspConnection(endpoint, url, clock, deadline, released)
        try:
            return OwnSession(connection, play(connection, endpoint, url), clock, loss, silence_s)
        except RedirectError as error:
            connection.close()
            url = error.url
        except BaseException:
            connection.close(url)
            raise
    raise CaptureError("redirected", "to itself, again and again")
