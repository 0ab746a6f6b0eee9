"""What a camera sends, looked at for a moment beside FFmpeg: why no picture comes of it.

Owns a short RTSP session of our own over TCP, and the words for what its packets are. Opens one connection, sends no
password but as a Digest answer, and ends within ``LONGEST_S``. Not for recording.
"""

import contextlib
import re
import secrets
import socket
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urljoin

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.login import answer, choose, read_offers
from edge_agent.capture.session.rtsp_probe import connect
from edge_agent.printable_text import show_line

LONGEST_S = 8.0
_WATCH_S = 3.0
_MOST_PACKETS = 2000
_MAX_ANSWER_BYTES = 64 << 10
_STATUS = re.compile(r"RTSP/1\.[01] ([0-9]{3})")
_HEAD_END, _END_BYTES = re.compile(rb"\r?\n\r?\n"), 4
# NAL unit types (H.264 table 7-1, H.265 table 7-1): SPS and PPS, or VPS, SPS and PPS; IDR, or BLA to CRA.
_SETS = {"H264": {7, 8}, "H265": {32, 33, 34}}
_KEYFRAMES = {"H264": {5}, "H265": set(range(16, 22))}
_MOST_NAME = 30


@dataclass(frozen=True, slots=True)
class VideoMedium:
    """What a description says of its first video track."""

    payload_types: tuple[int, ...]
    codec: str
    """As ``a=rtpmap`` names it, in capitals; empty if it does not."""
    control: str
    has_sets: bool


def read_video(sdp: str) -> VideoMedium | None:
    """Return the first video track of a description (RFC 8866), or None if there is none."""
    media = re.split(r"(?m)^m=", sdp)[1:]
    video = next((each for each in media if each.startswith("video ")), None)
    if video is None:
        return None
    named = re.search(r"(?m)^a=rtpmap:\s*\d+\s+([^/\s]+)", video, re.ASCII)
    control = re.search(r"(?m)^a=control:\s*(\S+)", video, re.ASCII)
    return VideoMedium(
        tuple(int(each) for each in video.splitlines()[0].split()[3:] if each.isdigit()),
        show_line(named[1].upper(), _MOST_NAME) if named else "",
        control[1] if control else "",
        "sprop-" in video,
    )


class _Conversation:
    """Requests and answers on one connection; what lies between them is skipped."""

    def __init__(self, connection: socket.socket, login: tuple[str, str]) -> None:
        self._connection, self._login = connection, login
        self._until = time.monotonic() + LONGEST_S
        self._bytes = bytearray()
        self._number = 0
        self.session = ""

    def ask(self, method: str, url: str, *headers: str) -> tuple[list[str], str]:
        """Return an answer's head and body, if the server grants the request; OSError otherwise."""
        head, body = self._ask(method, url, headers)
        # A second answer only for a nonce that went stale: a password that was refused is not sent again.
        for attempt in (1, 2):
            offer = choose(read_offers(head), may_send_password=False) if " 401 " in head[0] else None
            if offer is None or not self._login[0] or (attempt > 1 and not offer.is_stale):
                break
            signed = answer(offer, method, url, self._login, secrets.token_hex(8))
            head, body = self._ask(method, url, (*headers, f"Authorization: {signed}"))
        status = _STATUS.match(head[0])
        if status is None or status[1] != "200":
            raise OSError("refused")
        session = next((line[8:].split(";")[0].strip() for line in head if line.lower().startswith("session:")), "")
        self.session = session or self.session
        return head, body

    def _ask(self, method: str, url: str, headers: tuple[str, ...]) -> tuple[list[str], str]:
        self._number += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._number}", "User-Agent: edge-agent", *headers]
        lines += [f"Session: {self.session}"] if self.session else []
        self._connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while True:
            if self._peek() == b"$":
                self.packet()
                continue
            head = self._until_blank().replace("\r\n", "\n").split("\n")
            length = next((line[15:] for line in head if line.lower().startswith("content-length:")), "0")
            if not length.strip().isdigit() or int(length) > _MAX_ANSWER_BYTES:
                raise OSError("no length")
            return head, self._take(int(length)).decode("utf-8", "replace")

    def packet(self) -> tuple[int, bytes]:
        """Return the next packet's channel and bytes (RFC 2326 10.12); OSError if none comes."""
        if self._peek() != b"$":
            self._until_blank()  # an answer to something: none is awaited
            return -1, b""
        head = self._take(4)
        return head[1], self._take(int.from_bytes(head[2:], "big"))

    def _peek(self) -> bytes:
        self._fill(1)
        return bytes(self._bytes[:1])

    def _until_blank(self) -> str:
        searched = 0
        while (end := _HEAD_END.search(self._bytes, max(0, searched - _END_BYTES + 1))) is None:
            searched = len(self._bytes)
            if searched > _MAX_ANSWER_BYTES:
                raise OSError("no end")
            self._fill(searched + 1)
        return self._take(end.end()).decode("latin-1").rstrip("\r\n")

    def _take(self, count: int) -> bytes:
        self._fill(count)
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def _fill(self, count: int) -> None:
        while len(self._bytes) < count:
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
            more = self._connection.recv(65536)
            if not more:
                raise OSError("ended")
            self._bytes += more


def find_codec(url: str, login: tuple[str, str]) -> str:
    """Return the name that a camera's description gives its video's codec; empty if it cannot be had."""
    with contextlib.suppress(OSError, ValueError), connect(url) as connection:
        _, sdp = _Conversation(connection, login).ask("DESCRIBE", url, "Accept: application/sdp")
        if (video := read_video(sdp)) is not None:
            return video.codec
    return ""


def find_obstacle(url: str, login: tuple[str, str]) -> CaptureError | None:
    """Take a sample of what a camera sends; return why no picture comes of it, or None if that cannot be told."""
    with contextlib.suppress(OSError, ValueError), connect(url) as connection:
        talk = _Conversation(connection, login)
        head, sdp = talk.ask("DESCRIBE", url, "Accept: application/sdp")
        video = read_video(sdp)
        if video is None:
            return None
        based = next((line[13:].strip() for line in head if line.lower().startswith("content-base:")), url)
        base = based if based.endswith("/") else f"{based}/"
        track = base if video.control in ("", "*") else urljoin(base.replace("rtsp:", "http:", 1), video.control)
        talk.ask("SETUP", track.replace("http:", "rtsp:", 1), "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        talk.ask("PLAY", base, "Range: npt=0.000-")
        packets = _watch(talk)
        with contextlib.suppress(OSError):
            talk.ask("TEARDOWN", base)
        return judge(video, packets)
    return None


def _watch(talk: _Conversation) -> list[bytes]:
    packets: list[bytes] = []
    until = time.monotonic() + _WATCH_S
    while time.monotonic() < until and len(packets) < _MOST_PACKETS:
        try:
            channel, packet = talk.packet()
        except OSError:
            break
        if channel == 0 and len(packet) > 12:
            packets.append(packet)
    return packets


def judge(video: VideoMedium, packets: list[bytes]) -> CaptureError | None:
    """Return what is wrong with the RTP packets of a track, if that explains why no picture comes of them.

    Args:
        video: As described.
        packets: From the fixed RTP header on (RFC 3550 5.1); none shorter than that.
    """
    if not packets:
        return None
    types = Counter(packet[1] & 0x7F for packet in packets)
    (most, _), *_ = types.most_common(1)
    if video.payload_types and not set(types) & set(video.payload_types):
        told = "/".join(map(str, video.payload_types))
        return CaptureError("wrong-payload", f"payload={most} described={told}")
    if video.codec not in _SETS:
        return None
    seen = {unit_type for packet in packets for unit_type in _unit_types(video.codec, packet[_header_bytes(packet) :])}
    if not video.has_sets and not seen & _SETS[video.codec]:
        return CaptureError("no-parameter-sets")
    return None if seen & _KEYFRAMES[video.codec] else CaptureError("no-keyframe")


def _header_bytes(packet: bytes) -> int:
    # RFC 3550, 5.1 and 5.3.1: fixed part, contributing sources, extension.
    size = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        size += 4 + 4 * int.from_bytes(packet[size + 2 : size + 4], "big")
    return size


def _unit_types(codec: str, payload: bytes) -> set[int]:
    """Return the NAL unit types in an RTP payload (RFC 6184 5.2, RFC 7798 4.4)."""
    if len(payload) < 3:
        return set()
    # H.264: STAP-A 24, FU-A and FU-B 28 and 29, headers of one byte; H.265: AP 48, FU 49, headers of two.
    if codec == "H264":
        unit_type, single, fragments, inner, step = payload[0] & 0x1F, 24, {28, 29}, payload[1] & 0x1F, 1
    else:
        unit_type, single, fragments, inner, step = payload[0] >> 1 & 0x3F, 48, {49}, payload[2] & 0x3F, 2
    if unit_type in fragments:
        return {inner}
    if unit_type != single:
        return {unit_type}
    found, at = set(), step
    while at + 2 < len(payload):
        found.add(payload[at + 2] & 0x1F if codec == "H264" else payload[at + 2] >> 1 & 0x3F)
        at += 2 + int.from_bytes(payload[at : at + 2], "big")
    return found
