"""The child in which FFmpeg reads one session of one camera, started by ``session.ffmpeg_process``.

``python -m edge_agent.capture.session.ffmpeg_child``.

Owns nothing that outlives the session. Takes the job from standard input, login included, and gives up every file but
the camera's authorities and what names are resolved with, signals and sockets to other programs of this machine, and
every connection that comes in; IP stays. Writes what arrives to standard output; ends when its input does.
"""

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session import ffmpeg_messages as wire
from edge_agent.capture.session.ffmpeg_session import FfmpegSession, open_session
from edge_agent.capture.session.interface import Endpoint
from edge_agent.host.clock import SystemClock
from edge_agent.host.sandbox import confine_client

MAX_MEMORY_BYTES = 1 << 30
"""Address space: FFmpeg maps 0.2 GB, and decodes a few pictures to learn their order."""
_READABLE = (
    "/dev/urandom",
    *("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
)
"""For FFmpeg's numbers, and for the C library to resolve names."""
_IN, _OUT = 0, 1


class _Teller:
    """Passes on the losses on the way (``interface.LossListener``)."""

    def missed(self, packets: int) -> None:
        wire.write_message(_OUT, wire.MISSED, wire.encode_count(0, packets))

    def sent(self, track: int, total: int) -> None:
        wire.write_message(_OUT, wire.SENT, wire.encode_count(track, total))


def _is_over() -> bool:
    """Tell whether the recorder has closed its end: it wants no more."""
    return bool(select.select([_IN], [], [], 0)[0])


def _read(session: FfmpegSession) -> None:
    opened = wire.Opened(session.tracks, session.reorders, session.silence)
    wire.write_message(_OUT, wire.OPENED, wire.encode_opened(opened))
    for arrival in session.read():
        wire.write_message(_OUT, wire.ARRIVED, wire.encode_head(arrival), arrival.data)
        if _is_over():
            return


def _serve(job: wire.ReadJob) -> None:
    session = None
    try:
        session = open_session(job.endpoint, SystemClock(), _Teller(), job.silence_s)
        _read(session)
    except CaptureError as error:
        wire.write_message(_OUT, wire.END, wire.encode_end(error))
    except BrokenPipeError:
        pass  # released while a picture was being written
    except Exception as error:
        trouble = CaptureError(wire.FAILED, type(error).__name__)
        wire.write_message(_OUT, wire.END, wire.encode_end(trouble))
    finally:
        if session is not None:
            session.close()


def _load() -> None:
    """Load what PyAV loads when it first needs it, while files can still be opened."""
    for module in ("audio.stream", "subtitles.stream", "video.stream"):
        importlib.import_module(f"av.{module}")


def _resolve(host: str) -> str:
    """Return a host's address; empty if it has none. The C library loads what it resolves names with."""
    with contextlib.suppress(OSError, ValueError, UnicodeError):
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    return ""


def _name_by_address(endpoint: Endpoint, address: str) -> Endpoint:
    """Return where a stream is with the host's address in place of its name, which the certificate still carries."""
    parts = urlsplit(endpoint.url)
    port = f":{parts.port}" if parts.port else ""
    url = urlunsplit(parts._replace(netloc=(f"[{address}]" if ":" in address else address) + port))
    trust = endpoint.trust and replace(endpoint.trust, verify_host=endpoint.trust.verify_host or parts.hostname or "")
    return replace(endpoint, url=url, trust=trust)


def _confine(endpoint: Endpoint) -> tuple[Endpoint, bool]:
    """Give up what is not needed; return what to open, and whether the kernel denies all of it.

    A name that another program of this machine resolves (mDNS) cannot be resolved any more: its address is taken.
    """
    host = urlsplit(endpoint.url).hostname or ""
    address = _resolve(host)
    readable = [Path(path) for path in _READABLE] + ([endpoint.trust.ca_file] if endpoint.trust is not None else [])
    is_walled = confine_client(memory_bytes=MAX_MEMORY_BYTES, readable=readable)
    return _name_by_address(endpoint, address) if address and not _resolve(host) else endpoint, is_walled


def main() -> int:
    """Read one session."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, size = wire.FRAME.unpack(sys.stdin.buffer.read(wire.FRAME.size))
    job = wire.parse_job(sys.stdin.buffer.read(size))
    _load()
    endpoint, is_walled = _confine(job.endpoint)
    with contextlib.suppress(BrokenPipeError):
        wire.write_message(_OUT, wire.READY, bytes([is_walled]))
        _serve(replace(job, endpoint=endpoint))
    os._exit(0)  # nothing is to be tidied up, and FFmpeg would not be the quicker for it


if __name__ == "__main__":
    raise SystemExit(main())
