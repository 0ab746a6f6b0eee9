"""The findings of ``edge-agent check`` on the network: cameras, broker, upload targets, each within a few seconds.

Sends a password to its own camera alone, in a Digest answer or over TLS. Never raises for a fault that it finds.
"""

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from edge_agent.capture.camera_tls import Trust, find_fault, pin_trust, system_trust
from edge_agent.capture.onvif.query import find_stream
from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.session.login import is_answered_by_ffmpeg
from edge_agent.capture.session.rtsp_probe import LONGEST_S, ask_description, receive_by
from edge_agent.custody.credentials import Login
from edge_agent.errors import EdgeAgentError
from edge_agent.mqtt.mutual_tls import TlsIdentity, build_client_context
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.recording.stream_addresses import make_device
from edge_agent.settings.gateway import Camera, Config
from edge_agent.setup.inspection import Inspected, Level, fault, is_sealed, load_key

CONNECT_TIMEOUT_S = 3.0
_MAX_ANSWER_BYTES = 16 * 1024
"""Of a server's head: one that sends more is none of ours, or means ill."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TUS = re.compile(rb"\ntus-(?:resumable|version):", re.IGNORECASE)

_CAMERA_ANSWERS = {
    401: "refuses the user name or password",
    403: "refuses the user name or password",
    404: "knows no such path",
    453: "serves no further client: close other viewers, or use its substream",
}


def probe_cameras(config: Config, logins: Mapping[str, Login]) -> list[Inspected]:
    """Ask every camera for its stream's description, at most eight at a time."""
    cameras = [camera for camera in config.cameras if camera.enabled]
    with ThreadPoolExecutor(8, thread_name_prefix="probe") as pool:
        return list(pool.map(lambda camera: _probe_camera(camera, logins.get(camera.credentials or "")), cameras))


def _probe_camera(camera: Camera, login: Login | None) -> Inspected:
    topic = f"camera {camera.id}"
    url, gives = camera.url, "gives its stream"
    if url is None:
        try:
            stream = find_stream(make_device(camera, login), camera.profile, camera.transport)
        except CaptureError as error:
            hint = f"edge-agent discover --try {camera.onvif} --credentials {camera.credentials or 'NAME'}"
            return Inspected(Level.FAULT, topic, str(error), hint)
        url, gives = stream.url, f"gives its stream ({stream.profile}, {stream.why})"
        if (camera.onvif or "").startswith("https://") and url.startswith("rtsp://"):
            gives += "; the stream itself is not encrypted on the way"
    if url.startswith("rtsps://") and (distrust := _find_distrust(camera, url)) is not None:
        return Inspected(Level.FAULT, topic, str(distrust), f"docs/cameras.md explains `{distrust.reason}`")
    is_tls = url.startswith("rtsps://")
    secret = ("", "") if login is None else (login.username, login.password)
    try:
        # Over TLS it is enough that it answers: this connection's certificate is not verified.
        status, offers = ask_description(url, secret, lambda _: not is_tls)
    except OSError as error:
        # ssl's and socket's texts name hosts and certificates, never what we sent.
        text = f"does not answer: {error.strerror or error or 'time-out'}"
        return Inspected(Level.FAULT, topic, text, "is it on, and is the address right?")
    is_ffmpeg = camera.reader == "ffmpeg" or (camera.transport == "udp" and not is_tls)
    if is_ffmpeg and status in (200, 401) and offers and not is_answered_by_ffmpeg(offers):
        hint = "docs/cameras.md explains `digest-sha256-only`"
        return Inspected(Level.FAULT, topic, REASONS["digest-sha256-only"], hint)
    if status == 200 or (status == 401 and is_tls):
        return Inspected(Level.OK, topic, gives)
    if status in (401, 403) and login is None:
        hint = "give it `credentials: NAME` in edge-agent.yaml"
        return Inspected(Level.FAULT, topic, "asks for a user name and password, and has none", hint)
    return Inspected(Level.FAULT, topic, _CAMERA_ANSWERS.get(status, f"answers RTSP status {status}"))


def _find_distrust(camera: Camera, url: str) -> CaptureError | None:
    """Name the fault of a camera's certificate, or why there is none."""
    if camera.tls is None or camera.tls.pin is None:
        ca_file = camera.tls.ca_file if camera.tls is not None else None
        return find_fault(url, Trust(ca_file) if ca_file is not None else system_trust())
    with TemporaryDirectory() as folder:
        try:
            return find_fault(url, pin_trust(url, camera.tls.pin, Path(folder)))
        except CaptureError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Server:
    topic: str
    host: str
    port: int
    is_upload: bool
    path: str = "/"


def probe_rtcc(config: Config, enrolment: Enrolment) -> Iterator[Inspected]:
    """Shake hands, by mutual TLS, with the broker and with every upload target."""
    if os.geteuid() != 0 and is_sealed(config, "releaser"):
        hint = "`edge-agent status` shows the releaser's own connection; root tries with `sudo edge-agent check`"
        yield Inspected(Level.WARNING, "broker", "not tried: the TLS key is sealed", hint)
        return
    try:
        key = load_key(config, "tls")
        context = build_client_context(TlsIdentity(enrolment.ca_pem, enrolment.certificate_pem, key))
    except EdgeAgentError as error:
        yield fault("broker", error)
        return
    servers = [_Server("broker", enrolment.broker_host, enrolment.broker_port, is_upload=False)]
    for name, url in sorted(enrolment.uploads.items()):
        parts = urlsplit(url)
        servers.append(_Server(f"upload {name}", parts.hostname or "", parts.port or 443, True, parts.path or "/"))
    for server in servers:
        yield _probe_server(server, context)


def _probe_server(server: _Server, context: ssl.SSLContext) -> Inspected:
    where = f"{server.host}:{server.port}"
    try:
        with (
            socket.create_connection((server.host, server.port), CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as connection,
        ):
            connection.settimeout(CONNECT_TIMEOUT_S)
            answer = _ask_tus(connection, server) if server.is_upload else _connect_mqtt(connection)
            version = connection.version()
    except OSError as error:
        hint = "is the line up, and does the RTCC's server run?"
        return Inspected(Level.FAULT, server.topic, f"{where}: {error.strerror or error or 'time-out'}", hint)
    if answer:
        return Inspected(Level.FAULT, server.topic, f"{where}: {answer}")
    return Inspected(Level.OK, server.topic, f"{where} answers by {version}, and takes our certificate")


def _connect_mqtt(connection: ssl.SSLSocket) -> str:
    """Send an MQTT PINGREQ before any CONNECT, which a broker answers by closing.

    With TLS 1.3 a client learns of its refused certificate only when it reads: that read raises.
    """
    # MQTT 5, 3.12: PINGREQ. A CONNECT under our client id would take the releaser's session over
    # (3.1.4).
    connection.sendall(b"\xc0\x00")
    # The broker may close without an alert; the handshake is what was asked.
    with contextlib.suppress(ConnectionResetError):
        connection.recv(16)
    return ""


def read_head(connection: socket.socket, longest_s: float = LONGEST_S) -> bytes:
    """Read until the empty line, or as soon as it cannot be an answer; OSError if that takes too long."""
    until, answer = time.monotonic() + longest_s, b""
    while _HEAD_END.search(answer) is None and len(answer) < _MAX_ANSWER_BYTES:
        more = receive_by(connection, until)
        answer += more
        if not more or not b"HTTP/".startswith(answer[:5]):
            break
    return answer


def _ask_tus(connection: ssl.SSLSocket, server: _Server) -> str:
    request = f"OPTIONS {server.path} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    answer = read_head(connection)
    if _TUS.search(answer):
        return ""
    status = _STATUS.match(answer)
    return f"is no tus server (HTTP status {status[1].decode()})" if status else "is no tus server"
