"""Makes a tape of a camera: one session, as our own reader opens it, for so long and so many bytes.

A second session beside the recorder's. What came is held in memory without its pictures, and never written by itself.
"""

import threading
from dataclasses import replace

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.connection import RtspConnection
from edge_agent.capture.rtsp.handshake import RedirectError, play
from edge_agent.capture.rtsp.messages import RtspSyntaxError
from edge_agent.capture.rtsp.session import KeepAlive
from edge_agent.capture.rtsp.tape import TapeMaker
from edge_agent.capture.session.interface import SILENCE_S, Endpoint
from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs

MAX_TAPE_BYTES = 32 << 20
"""From the camera: 30 s of 8 Mbit/s."""


class _TapedConnection(RtspConnection):
    """A connection whose bytes go onto a tape."""

    tape: TapeMaker | None = None

    def _receive_chunk(self) -> tuple[bytes, int]:
        chunk, age_ns = super()._receive_chunk()
        if self.tape is not None and chunk:
            self.tape.take(chunk, self._clock.boot())
        return chunk, age_ns

    def _write(self, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        if self.tape is not None:
            self.tape.note_request(method, self._clock.boot())
        return super()._write(method, url, headers)


def record_tape(endpoint: Endpoint, clock: Clock, seconds: float, most_bytes: int = MAX_TAPE_BYTES) -> TapeMaker:
    """Return the tape of a session, whatever becomes of it; takes so long at most, and the time to open.

    Args:
        endpoint: Where; over TCP or TLS, and without sound, whatever it wishes.
        clock: The gateway's clocks.
        seconds: For how long it plays.
        most_bytes: From the camera.

    Raises:
        CaptureError: There is no connection, or the camera's certificate is not believed.
    """
    released, endpoint = threading.Event(), replace(endpoint, audio=False)
    deadline = MonoNs(clock.boot() + int(endpoint.open_timeout_s * SECOND_NS))
    connection = _TapedConnection(endpoint, endpoint.url, clock, deadline, released)
    tape = connection.tape = TapeMaker(clock.boot(), most_bytes)
    url = ""
    try:
        url = _play(connection, endpoint, clock, int(seconds * SECOND_NS))
        tape.end("full" if tape.is_full else "", clock.boot())
    except CaptureError as error:
        # Its detail may hold the camera's own words.
        tape.end(error.reason, clock.boot())
    except RedirectError:
        tape.end("redirected", clock.boot())
    except RtspSyntaxError:
        tape.end("protocol-error", clock.boot())
    except OSError:
        tape.end("ended", clock.boot())
    finally:
        connection.tape = None
        connection.close(url)
    return tape


def _play(connection: _TapedConnection, endpoint: Endpoint, clock: Clock, most_ns: int) -> str:
    """Play for so long, or until the tape is full; return the stream's URL."""
    played = play(connection, endpoint, endpoint.url)
    keep_alive = KeepAlive(connection, played, clock.boot())
    heard = clock.boot()
    until = heard + most_ns
    tape = connection.tape
    assert tape is not None
    while clock.boot() < until and not tape.is_full:
        keep_alive.run(clock.boot())
        if connection.receive((until - clock.boot()) / SECOND_NS) is not None:
            heard = clock.boot()
            if connection.is_drained:
                connection.wait(is_hurried=False)
        elif clock.boot() - heard > SILENCE_S * SECOND_NS:
            raise CaptureError("stalled")
    return played.url
