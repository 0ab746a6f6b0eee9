"""What the fuzzers try on our own RTSP reader, and what must hold whatever a camera sends.

    python -m tests.fuzz capture-TARGET [-max_total_time=60] [libFuzzer options]      needs atheris

Run as a program, this file writes the first files of the corpus.
"""

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

from edge_agent.capture.rtsp.access_units import MAX_UNIT_BYTES
from edge_agent.capture.rtsp.messages import (
    RtspSyntaxError,
    find_base,
    find_redirect,
    parse_channels,
    parse_response,
    parse_session,
)
from edge_agent.capture.rtsp.rtp import RtpOrder, RtpPacket, parse_report
from edge_agent.capture.rtsp.sdp import MOST_MEDIA, SdpMedium, parameter_set_nals, parse_sdp
from edge_agent.capture.rtsp.sound import find_sound
from edge_agent.capture.rtsp.sound_unit import MAX_SOUND_BYTES
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.capture.rtsp.tape import TapeError, read_tape
from edge_agent.capture.rtsp.tape_media import mask_packet
from edge_agent.capture.rtsp.tape_text import mask_answer
from edge_agent.capture.session.login import answer, choose, read_offers
from edge_agent.media.commitments import CodecKind
from edge_agent.media.sps import parse_sps
from tests.capture.rtsp.packets import depacketize, frame, make_picture, send

CORPUS = Path(__file__).parent / "corpus"


def split(data: bytes) -> None:
    """A stream cut where its first byte says gives the same as in one piece, or is refused in both."""
    if not data:
        return
    cut, stream = data[0] * 8 % len(data), data[1:]

    def take(*chunks: bytes) -> list[bytes] | None:
        splitter, found = Splitter(), []
        try:
            for chunk in chunks:
                pieces = splitter.feed(chunk) if chunk else None
                found += [pieces.data[a:b] for _, a, b in pieces.frames] if pieces else []
        except RtspSyntaxError:
            return None
        return found

    whole, parts = take(stream), take(stream[:cut], stream[cut:])
    assert whole == parts or whole is None or parts is None


def text(data: bytes) -> None:
    """An answer is read, or is none; what a login answers holds no password."""
    response = parse_response(data, b"")
    if response is None:
        return
    assert parse_session(response.find("session")).timeout_s > 0
    channels = parse_channels(response.find("transport"), (0, 1))
    assert channels is None or all(0 <= channel < 256 for channel in channels)
    find_redirect(response)
    assert find_base(response, "rtsp://camera/").lower().startswith("rtsp")
    offer = choose(read_offers(response.head), may_send_password=False)
    if offer is not None:
        assert "secret-word" not in answer(offer, "PLAY", "rtsp://camera/", ("owner", "secret-word"), "00")


def sdp(data: bytes) -> None:
    """A description is bounded, whatever it says."""
    described = parse_sdp(data)
    assert len(described.media) <= MOST_MEDIA
    for medium in described.media:
        parameter_set_nals(medium)
        sound = find_sound(medium)
        if sound is not None:
            units = sound.depacketizer.take(data, RtpPacket(0, len(data), 1, True, 0))
            assert sum(len(unit[2]) for unit in units) <= len(data)


def sps(data: bytes) -> None:
    """A parameter set has a size, or is refused."""
    for kind in (CodecKind.H264, CodecKind.H265):
        try:
            form = parse_sps(kind, data)
        except ValueError:
            continue
        assert form.width > 0
        assert form.height > 0


def _units(codec: str, data: bytes) -> None:
    try:
        units = depacketize(codec, data)
    except RtspSyntaxError:
        return
    assert all(len(unit.data) <= MAX_UNIT_BYTES + 64 for unit in units)
    assert all(not (unit.is_damaged and unit.data) for unit in units)
    assert not any(unit.is_damaged and unit.is_keyframe for unit in units)
    order = RtpOrder(frozenset({96}))
    order.take(data, 0, len(data))
    parse_report(data, 0, len(data))


def h264(data: bytes) -> None:
    """Access units are bounded, and a damaged one has no bytes."""
    _units("h264", data)


def h265(data: bytes) -> None:
    """Likewise."""
    _units("hevc", data)


_SOUND = (
    SdpMedium("audio", (97,), "MPEG4-GENERIC", 16_000, 1, "", {"mode": "AAC-hbr", "config": "1408"}),
    SdpMedium("audio", (97,), "MPEG4-GENERIC", 16_000, 1, "", {"sizelength": "6", "indexlength": "2", "config": "11"}),
    SdpMedium("audio", (97,), "MP4A-LATM", 16_000, 1, "", {"cpresent": "0", "config": "400028103fc0"}),
    SdpMedium("audio", (97,), "OPUS", 48_000, 2, ""),
    SdpMedium("audio", (0,), "PCMU", 8000, 2, ""),
)


def sound(data: bytes) -> None:
    """Sound in any packets: no unit is longer than a bound, and all of them no longer than what came."""
    form = find_sound(_SOUND[data[0] % len(_SOUND)]) if data else None
    if form is None:
        return
    came, got = 0, 0
    for number, part in enumerate(data[1:].split(b"\0\0\1")[:200]):
        packet = RtpPacket(0, len(part), number // 3, bool(number & 1), int(number % 17 == 16))
        for _, duration, unit in form.depacketizer.take(part, packet):
            assert duration >= 0
            assert len(unit) <= MAX_SOUND_BYTES
            got += len(unit)
        came += len(part)
    assert got <= came


def tape(data: bytes) -> None:
    """What is masked keeps its size and no word of the owner's; any file is a tape or none."""
    head, _ = mask_answer(data, b"v=0\r\n" + data)
    assert "rtsp://10." not in head.lower()
    for codec in ("H264", "H265", "JPEG"):
        assert len(mask_packet(codec, data)) == len(data)
    with contextlib.suppress(TapeError):
        list(read_tape(data))
    with contextlib.suppress(TapeError):
        list(read_tape(gzip.compress(b'{"tape":1}\n' + data, 1)))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "split": split,
    "text": text,
    "sdp": sdp,
    "sps": sps,
    "h264": h264,
    "h265": h265,
    "sound": sound,
    "tape": tape,
}


def _seeds() -> dict[str, bytes]:
    from tests.capture.rtsp.test_sdp import USUAL

    streams = {
        codec: b"".join(
            map(frame, send(codec, [make_picture(codec, n, key=n % 3 == 0, slices=2, size=1800) for n in range(5)]))
        )
        for codec in ("h264", "hevc")
    }
    answered = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 12;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n"
    refused = b'RTSP/1.0 401 No\r\nCSeq: 2\r\nWWW-Authenticate: Digest realm="a", nonce="b", qop="auth"\r\n'
    return {
        "split/answer-and-frames": b"\x09" + answered + b"Content-Length: 4\r\n\r\nbody" + streams["h264"][:3000],
        "text/answer": answered,
        "text/challenge": refused,
        "sdp/usual": USUAL.encode(),
        "sps/h264": bytes.fromhex("674d400ceca0a0cfcf080000030008000003 00f078a14cb0".replace(" ", "")),
        "sps/h265": bytes.fromhex("420101016000000300900000030000030078a003c08010e59"[:48]),
        "sound/aac": b"\0"
        + b"\0\0\1".join([b"\0\x10\0\x20abcd", b"\0\x20\0\x10\0\x10abcd", b"\0\x10\x7f\xf8" + b"x" * 50]),
        "sound/latm": b"\2\4abcd\0\0\1\xff\1" + b"y" * 256,
        "sound/opus": b"\3\x78abc\0\0\1\x0b\3abc",
        "tape/answer": answered + b'Content-Base: rtsp://u:p@10.1.2.3/a?b=c\r\nWWW-Authenticate: Basic realm="r"\r\n',
        "tape/lines": b'{"ms":1,"sent":"PLAY"}\n{"ms":2,"head":"RTSP/1.0 200 OK","body":""}\n'
        b'{"ms":3,"frames":[[0,"gGAA"]]}\n',
        "h264/pictures": streams["h264"],
        "h265/pictures": streams["hevc"],
    }


if __name__ == "__main__":
    for name, seed in _seeds().items():
        path = CORPUS / f"capture-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seed)
