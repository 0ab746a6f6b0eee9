"""Descriptions as cameras write them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.sdp import MOST_MEDIA, parameter_set_nals, parse_sdp
from edge_agent.capture.rtsp.sound import find_sound

SPS, PPS = b"\x67\x64\x00\x1f", b"\x68\xee\x3c\x80"
SETS = ",".join(base64.b64encode(each).decode() for each in (SPS, PPS))
USUAL = f"""v=0
o=- 1 1 IN IP4 0.0.0.0
a=control:*
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; sprop-parameter-sets={SETS}; profile-level-id=64001F
a=control:trackID=0
m=audio 0 RTP/AVP 97
a=rtpmap:97 mpeg4-generic/16000/1
a=fmtp:97 streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408
a=control:trackID=1
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_usual_description_is_read(ends: str) -> None:
    """Tracks with their codec, rate, control and parameters, whatever ends the lines."""
    description = parse_sdp(USUAL.replace("\n", ends).encode())
    video, audio = description.find("video"), description.find("audio")
    assert video is not None
    assert audio is not None
    assert (description.control, video.codec, video.clock_rate, video.control) == ("*", "H264", 90_000, "trackID=0")
    assert (audio.codec, audio.clock_rate, audio.channels) == ("MPEG4-GENERIC", 16_000, 1)
    assert parameter_set_nals(video) == [SPS, PPS]
    sound = find_sound(audio)
    assert sound is not None
    assert (sound.codec, sound.extradata) == ("aac", b"\x14\x08")


ODD = {
    "no rtpmap, static type": ("m=audio 0 RTP/AVP 8", "audio", ("PCMA", 8000, 1)),
    "blanks in the rtpmap": ("m=video 0 RTP/AVP 96\na=rtpmap:96  h265 / 90000", "video", ("H265", 90_000, 1)),
    "no rate": ("m=video 0 RTP/AVP 96\na=rtpmap:96 H264", "video", ("", 90_000, 1)),
    "a rate of nothing": ("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/0", "video", ("H264", 90_000, 1)),
    "rtpmap of another type": ("m=video 0 RTP/AVP 96\na=rtpmap:97 H264/90000", "video", ("", 90_000, 1)),
    "two types": ("m=video 0 RTP/AVP 96 97\na=rtpmap:97 X/1\na=rtpmap:96 H264/90000", "video", ("H264", 90_000, 1)),
}


@pytest.mark.parametrize(("text", "kind", "expected"), ODD.values(), ids=ODD.keys())
def test_odd_track_is_read(text: str, kind: str, expected: tuple[str, int, int]) -> None:
    """What is missing is the usual; what is wrong is no codec."""
    medium = parse_sdp(text.encode()).find(kind)
    assert medium is not None
    assert (medium.codec, medium.clock_rate, medium.channels) == expected


SPROPS = {
    "start codes inside": (base64.b64encode(b"\0\0\0\1" + SPS).decode(), [SPS]),
    "zeros behind": (base64.b64encode(SPS + b"\0\0").decode(), [SPS]),
    "no padding": (base64.b64encode(SPS).decode().rstrip("="), [SPS]),
    "a comma at the end": (SETS + ",", [SPS, PPS]),
    "not base64": ("!!!!,", []),
    "empty": ("", []),
}


@pytest.mark.parametrize(("text", "nals"), SPROPS.values(), ids=SPROPS.keys())
def test_parameter_sets_are_found(text: str, nals: list[bytes]) -> None:
    """Each as the NAL unit that it is, and wrong ones left out."""
    sdp = f"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets={text}"
    medium = parse_sdp(sdp.encode()).media[0]
    assert parameter_set_nals(medium) == nals


def test_description_of_ever_more_tracks_is_bounded() -> None:
    """Lines without end, in number and length, give a bounded description."""
    sdp = b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n" * 2000 + b"a=control:" + b"x" * 60_000
    description = parse_sdp(sdp)
    assert len(description.media) == MOST_MEDIA
    assert all(len(medium.control) <= 8192 for medium in description.media)


@given(st.binary(max_size=400) | st.text("amvo=: /0169\n,;xHsprop-timeconfgldDV", max_size=300).map(str.encode))
def test_any_bytes_are_a_description(body: bytes) -> None:
    """Nothing is raised."""
    for medium in parse_sdp(USUAL.encode()[:200] + body).media:
        parameter_set_nals(medium)
        find_sound(medium)
