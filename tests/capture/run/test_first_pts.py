"""The time of the picture that a session begins with, which FFmpeg does not tell."""

from collections.abc import Sequence

import pytest

from edge_agent.capture.run.first_pts import FirstPicture
from edge_agent.capture.session.interface import Arrival
from edge_agent.media.commitments import CodecKind, codec_kind
from edge_agent.units import MonoNs, UtcNs
from tests.media.test_nut_writer import TICKS_PER_PICTURE, encode

H265 = "log-level=none:keyint=12:min-keyint=12:bframes=3"
STREAMS = {
    "h264 without B-frames": ("libx264", "h264", False, {"tune": "zerolatency", "g": "12"}),
    "h264 with B-frames": ("libx264", "h264", True, {"bf": "2", "g": "12", "sc_threshold": "0"}),
    "h264 with a pyramid": ("libx264", "h264", True, {"bf": "7", "g": "24", "x264-params": "b-pyramid=2:b-adapt=0"}),
    "h265 with B-frames": ("libx265", "hevc", True, {"x265-params": f"{H265}:no-open-gop=1"}),
    "h265 with leading pictures": ("libx265", "hevc", True, {"x265-params": f"{H265}:no-open-gop=1:radl=2"}),
    "h265 with open GOPs": ("libx265", "hevc", True, {"x265-params": H265}),
    "h265 with short open GOPs": ("libx265", "hevc", True, {"x265-params": H265.replace("12", "5")}),
    "mjpeg": ("mjpeg", "mjpeg", False, {}),
}  # fmt: skip


def arrivals(encoder: str, options: dict[str, str]) -> list[Arrival]:
    return [
        Arrival(
            track=0, pts=packet.pts, duration=TICKS_PER_PICTURE, is_keyframe=packet.is_keyframe,
            data=packet.data, utc=UtcNs(0), boot=MonoNs(0), camera_utc=None, report=None,
        )
        for packet in encode(encoder, 60, options)
    ]  # fmt: skip


def untimed(arrival: Arrival) -> Arrival:
    return arrival._replace(pts=None)


def pass_through(first: FirstPicture, session: Sequence[Arrival]) -> list[Arrival]:
    return [released for arrival in session for released in first.take(arrival)]


@pytest.mark.parametrize(("encoder", "codec", "reorders", "options"), STREAMS.values(), ids=STREAMS.keys())
def test_first_picture_gets_the_time_that_it_had(
    encoder: str, codec: str, reorders: bool, options: dict[str, str]
) -> None:
    """Whichever keyframe a session begins with, what comes out of it is what the camera sent, times included."""
    stream = arrivals(encoder, options)
    begins = [number for number, each in enumerate(stream[:-8]) if each.is_keyframe]
    assert len(begins) > 1
    for begin in begins:
        first = FirstPicture(codec_kind(codec), reorders)
        released = pass_through(first, [untimed(stream[begin]), *stream[begin + 1 :]])
        assert released == stream[begin:]


def test_streams_have_leading_pictures() -> None:
    """The cases above hold what they are named for: pictures that are shown before the keyframe they follow."""
    for name in ("h265 with leading pictures", "h265 with open GOPs"):
        encoder, _, _, options = STREAMS[name]
        stream = arrivals(encoder, options)
        keyframe = next(each for each in stream[1:] if each.is_keyframe)
        following = stream[stream.index(keyframe) + 1]
        assert (following.pts or 0) < (keyframe.pts or 0)


def test_second_picture_without_a_time_is_counted() -> None:
    """Where the time of more than one picture is missing, the first lies before all of them."""
    stream = arrivals("libx264", {"tune": "zerolatency", "g": "12"})
    session = [untimed(stream[0]), untimed(stream[1]), *stream[2:4]]
    released = pass_through(FirstPicture(CodecKind.H264, False), session)
    assert [each.pts for each in released] == [0, None, 2 * TICKS_PER_PICTURE, 3 * TICKS_PER_PICTURE]


def test_keyframe_whose_time_nobody_can_tell_is_dropped() -> None:
    """An H.264 recovery point may have leading pictures that do not say so: the next keyframe begins."""
    stream = arrivals("libx264", {"bf": "2", "g": "12", "sc_threshold": "0", "x264-params": "open-gop=1"})
    begin = next(number for number, each in enumerate(stream) if each.is_keyframe and number)
    session = [untimed(stream[begin]), *stream[begin + 1 :]]
    assert pass_through(FirstPicture(CodecKind.H264, True), session) == stream[begin + 1 :]


def test_rate_that_the_encoder_claims_is_not_believed() -> None:
    """The first picture of a camera of one picture a second lies a second before the next, whatever FFmpeg thinks."""
    stream = arrivals("libx264", {"tune": "zerolatency", "g": "12"})
    slow = [each._replace(pts=(each.pts or 0) * 25) for each in stream]
    assert pass_through(FirstPicture(CodecKind.H264, False), [untimed(slow[0]), *slow[1:]]) == slow


def test_session_that_has_its_times_waits_for_nothing() -> None:
    """A keyframe with a time goes on at once, and so does all that follows."""
    stream = arrivals("libx264", {"bf": "2", "g": "12"})
    first = FirstPicture(CodecKind.H264, True)
    assert [list(first.take(each)) for each in stream] == [[each] for each in stream]
    assert not first.is_held


def test_sound_waits_with_the_picture() -> None:
    """What came in between keeps its place."""
    stream = arrivals("libx264", {"tune": "zerolatency", "g": "12"})
    sound = stream[0]._replace(track=1, data=b"sound")
    released = pass_through(FirstPicture(CodecKind.H264, False), [untimed(stream[0]), sound, *stream[1:3]])
    order = [(0, stream[0].data), (1, b"sound"), (0, stream[1].data), (0, stream[2].data)]
    assert [(each.track, each.data) for each in released] == order


def test_camera_that_gives_no_times_is_not_kept_for_ever() -> None:
    """Where no picture has a PTS, what is held goes on as it came: it is for the run to judge."""
    stream = [untimed(each) for each in arrivals("libx264", {"tune": "zerolatency", "g": "12"}) * 10]
    first = FirstPicture(CodecKind.H264, False)
    assert pass_through(first, stream) == stream
    assert not first.is_held
