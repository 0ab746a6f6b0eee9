"""A sample of RTP packets: what is wrong with it, told from its bytes alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.session.sample import VideoMedium, judge, read_video


def rtp(payload: str, payload_type: int = 96) -> bytes:
    return bytes((0x80, payload_type)) + bytes(10) + bytes.fromhex(payload)


H264 = VideoMedium((96,), "H264", "track0", has_sets=False)
H265 = VideoMedium((96,), "H265", "track0", has_sets=False)
SAMPLES = {
    "nothing": (H264, [], ""),
    "whole": (H264, [rtp("6742c0"), rtp("68ce09"), rtp("658880")], ""),
    "sets in an aggregate": (H264, [rtp("7800036742c0000368ce09"), rtp("7c8588")], ""),
    "fragments of an IDR picture, no sets": (H264, [rtp("7c8588"), rtp("7c0511")], "no-parameter-sets"),
    "no keyframe": (VideoMedium((96,), "H264", "", has_sets=True), [rtp("419a02")], "no-keyframe"),
    "H.265 whole": (H265, [rtp("400100"), rtp("420100"), rtp("440100"), rtp("260100")], ""),
    "H.265 fragments, no sets": (H265, [rtp("620193"), rtp("620113")], "no-parameter-sets"),
    "another payload type": (H264, [rtp("658880", 97)], "wrong-payload"),
    "a codec that nobody looks into": (VideoMedium((26,), "JPEG", "", has_sets=False), [rtp("000000", 26)], ""),
}


@pytest.mark.parametrize(("video", "packets", "reason"), SAMPLES.values(), ids=SAMPLES.keys())
def test_sample_is_judged(video: VideoMedium, packets: list[bytes], reason: str) -> None:
    """What explains that no picture comes is told; what does not is told as nothing."""
    found = judge(video, packets)
    assert (found.reason if found else "") == reason


@given(st.lists(st.binary(min_size=13, max_size=40), max_size=5), st.sampled_from([H264, H265]))
def test_no_packet_breaks_it(packets: list[bytes], video: VideoMedium) -> None:
    """Random bytes, padded headers and lengths beyond the end raise nothing."""
    judge(video, packets)


@given(st.text(max_size=80))
def test_no_description_breaks_it(text: str) -> None:
    """Whatever stands in an SDP, a video track is found or not."""
    read_video("v=0\r\nm=video 0 RTP/AVP 96\r\n" + text)
