"""RTSP as cameras write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.messages import (
    RtspResponse,
    RtspSyntaxError,
    SessionName,
    encode_request,
    find_base,
    find_redirect,
    join_control,
    parse_channels,
    parse_response,
    parse_session,
)

HEADS = {
    "plain": (b"RTSP/1.0 200 OK\r\nCSeq: 7", 7),
    "a blank after the number": (b"RTSP/1.0 200 OK\r\nCSeq: 7 \r\nDate: x", 7),
    "a blank before the colon": (b"RTSP/1.0 200 OK\r\ncseq : 7", 7),
    "bare line feeds": (b"RTSP/1.0 200 OK\nCSeq: 7\n", 7),
    "no number": (b"RTSP/1.0 200 OK\r\nServer: y", -1),
    "a number that is none": (b"RTSP/1.0 200 OK\r\nCSeq: seven", -1),
    "no reason phrase": (b"RTSP/1.0 200\r\nCSeq:7", 7),
    "letters of another alphabet": "RTSP/1.0 200 好\r\nCSeq: 7".encode(),
}


@pytest.mark.parametrize("case", HEADS.values(), ids=HEADS.keys())
def test_status_and_number_are_read(case: tuple[bytes, int] | bytes) -> None:
    """Blanks, capitals and line ends as some cameras write them."""
    head, number = case if isinstance(case, tuple) else (case, 7)
    response = parse_response(head, b"body")
    assert response is not None
    assert (response.status, response.number, response.body) == (200, number, b"body")


def test_request_of_a_camera_is_no_answer() -> None:
    """A server may ask, too; nothing is taken from it."""
    assert parse_response(b"OPTIONS * RTSP/1.0\r\nCSeq: 1", b"") is None


TRANSPORTS: dict[str, tuple[str, tuple[int, int] | None]] = {
    "as asked": ("RTP/AVP/TCP;unicast;interleaved=0-1", (0, 1)),
    "other channels": ("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=1", (4, 5)),
    "ssrc first, blanks": ("ssrc=12AB; RTP/AVP/TCP ; unicast; interleaved = 2 - 3 ;", (2, 3)),
    "one channel": ("RTP/AVP/TCP;interleaved=6", (6, 7)),
    "none named": ("RTP/AVP/TCP;unicast", (0, 1)),
    "no header": ("", (0, 1)),
    "UDP": ("RTP/AVP;unicast;client_port=5000-5001", None),
    "UDP by name": ("RTP/AVP/UDP;unicast", None),
    "a channel that is none": ("RTP/AVP/TCP;interleaved=300-301", None),
    "one for both": ("RTP/AVP/TCP;interleaved=1-1", None),
}


@pytest.mark.parametrize(("value", "channels"), TRANSPORTS.values(), ids=TRANSPORTS.keys())
def test_channels_are_those_that_are_granted(value: str, channels: tuple[int, int] | None) -> None:
    """Whatever the order of the parameters; another transport is none."""
    assert parse_channels(value, (0, 1)) == channels


SESSIONS = {
    "12345678": SessionName("12345678", 60),
    "12345678;timeout=30": SessionName("12345678", 30),
    " 12 ; Timeout = 90 ;": SessionName("12", 90),
    "12;timeout=0": SessionName("12", 60),
    "12;timeout=999999": SessionName("12", 3600),
    "": SessionName("", 60),
}


@pytest.mark.parametrize(("value", "session"), SESSIONS.items())
def test_session_has_a_time_out(value: str, session: SessionName) -> None:
    """A minute unless it says otherwise, and never none or for ever."""
    assert parse_session(value) == session


CONTROLS = {
    "relative": ("rtsp://h/cam/", "track1", "rtsp://h/cam/track1"),
    "relative, no slash": ("rtsp://h/cam", "track1", "rtsp://h/cam/track1"),
    "a query": ("rtsp://h/cam?channel=1&subtype=0", "trackID=0", "rtsp://h/cam?channel=1&subtype=0/trackID=0"),
    "absolute, another host": ("rtsp://h/cam", "rtsp://10.0.0.1/cam/track1", "rtsp://10.0.0.1/cam/track1"),
    "aggregate": ("rtsp://h/cam/", "*", "rtsp://h/cam/"),
    "none": ("rtsp://h/cam/", "", "rtsp://h/cam/"),
}


@pytest.mark.parametrize(("base", "control", "url"), CONTROLS.values(), ids=CONTROLS.keys())
def test_control_is_joined_as_servers_mean_it(base: str, control: str, url: str) -> None:
    """Behind a slash, query and all."""
    assert join_control(base, control) == url


BASES = {
    "named": (("Content-Base: rtsp://h/cam/",), "rtsp://h/cam/"),
    "location": (("Content-Location: rtsp://h/x",), "rtsp://h/x"),
    "without a scheme": (("Content-Base: 192.168.1.2/cam/",), "rtsp://asked/"),
    "not named": ((), "rtsp://asked/"),
}


@pytest.mark.parametrize(("head", "base"), BASES.values(), ids=BASES.keys())
def test_base_is_the_described_one_if_it_is_usable(head: tuple[str, ...], base: str) -> None:
    """Else what was asked for."""
    assert find_base(RtspResponse(200, head), "rtsp://asked/") == base


def test_redirect_is_read() -> None:
    """Scheme and host, or nothing that could be dialled."""
    assert find_redirect(RtspResponse(302, ("Location: RTSP://Other:9/x",)))[:2] == ("rtsp", "other")
    assert find_redirect(RtspResponse(302, ("Location: rtsp://[::1/x",)))[:2] == ("", "")


@pytest.mark.parametrize("word", ["rtsp://h/\r\nEvil: 1", "rtsp://h/ x", "rtsp://h/\0"])
def test_request_holds_no_line_of_another(word: str) -> None:
    """What a camera named as its track cannot add a header to our request."""
    with pytest.raises(RtspSyntaxError):
        encode_request("SETUP", word, ())
    with pytest.raises(RtspSyntaxError):
        encode_request("SETUP", "rtsp://h/", (("Session", "1\r\nEvil: 1"),))


@given(st.binary(max_size=300))
def test_any_head_is_read_or_none(head: bytes) -> None:
    """No bytes make an error."""
    response = parse_response(head, b"")
    if response is not None:
        assert 100 <= response.status <= 999
        parse_session(response.find("session"))
        parse_channels(response.find("transport"), (0, 1))
        find_redirect(response)
