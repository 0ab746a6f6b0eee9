"""One session of our own reader: opened, read, kept alive, torn down (``session.interface.Session``).

Owns when the camera is told that somebody still watches, and when its silence ends the session.
"""

import threading
from collections.abc import Iterator

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.arrivals import ArrivalMaker
from edge_agent.capture.rtsp.connection import Received, RtspConnection
from edge_agent.capture.rtsp.handshake import PlayedStream, RedirectError, play
from edge_agent.capture.rtsp.messages import RtspSyntaxError
from edge_agent.capture.session.interface import SILENCE_S, Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import Clock
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS, MonoNs

_MOST_REDIRECTS = 3
_BEGINNING_NS = 3 * SECOND_NS
"""So long each picture's own arrival counts: the run is timed by them."""
_UNKNOWN_METHOD = frozenset({400, 405, 451, 501, 551})


class OwnSession:
    """An open session. One thread only; close it."""

    def __init__(
        self, connection: RtspConnection, played: PlayedStream, clock: Clock, loss: PacketLoss, silence_s: float
    ) -> None:
        self._connection, self._played, self._clock = connection, played, clock
        self._silence_ns = int(silence_s * SECOND_NS)
        self._maker = ArrivalMaker(played, loss)
        self._keep_alive = KeepAlive(connection, played, clock.boot())
        self.tracks: tuple[TrackTemplate, ...] = tuple(track.template for track in played.tracks)
        self.reorders, self.silence = played.reorders, played.silence

    def read(self) -> Iterator[Arrival]:
        """Yield access units as they arrive; blocks for as long as the session may be silent.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol.
        """
        try:
            yield from self._read()
        except CaptureError:
            yield from self._maker.flush()
            raise

    def _read(self) -> Iterator[Arrival]:
        began = heard = self._clock.boot()
        while not self._connection.released.is_set():
            received = self._receive(heard)
            now = self._clock.boot()
            if received is not None:
                for arrival in self._maker.take(received):
                    yield arrival
                    heard = now = self._clock.boot()  # whoever takes it may have waited for a disk
            if now - heard >= self._silence_ns:
                raise CaptureError("stalled")
            if received is not None:
                self._connection.wait_round(is_hurried=now - began < _BEGINNING_NS or self._maker.is_by_arrival)

    def _receive(self, heard: MonoNs) -> Received | None:
        if self._connection.ahead:
            return self._connection.ahead.popleft()
        left_s = (heard + self._silence_ns - self._clock.boot()) / SECOND_NS
        try:
            self._keep_alive.run(self._clock.boot())
            return self._connection.receive(left_s)
        except RtspSyntaxError as error:
            raise CaptureError("protocol-error", str(error)) from None
        except OSError:
            raise CaptureError("ended") from None

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

    def run(self, now: MonoNs) -> None:
        """Ask if it is time, and take in what was answered; a refusal ends nothing."""
        for response in self._connection.take_answers():
            if response.status in _UNKNOWN_METHOD:
                self._method = "OPTIONS"
        if now >= self._due:
            self._due = MonoNs(now + self._every_ns)
            self._connection.send(self._method, self._url)


def open_own_session(
    endpoint: Endpoint,
    clock: Clock,
    loss: PacketLoss,
    silence_s: float = SILENCE_S,
    released: threading.Event | None = None,
) -> OwnSession:
    """Open a session in the thread that will read it; takes at most as long as the endpoint says.

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
