"""Which of a camera's profiles is recorded."""

import pytest

from edge_agent.capture.onvif.profiles import Profile, choose_profile, codec_name

BIG = Profile("big", "big", "h264", 2560, 1440, 20)
BIG_265 = Profile("big265", "big", "hevc", 2560, 1440, 25)
FULL = Profile("full", "full", "h264", 1920, 1080, 25)
SMALL = Profile("small", "small", "h264", 640, 360, 15)
STILLS = Profile("stills", "stills", "mjpeg", 3840, 2160, 1)
ODD = Profile("odd", "odd", "mpeg4", 8000, 6000, 25)
SIZELESS = Profile("sizeless", "", "h264")

CHOICES = {
    "the largest, whatever comes first": ((SMALL, FULL, BIG), "main", "big"),
    "the smallest is the substream": ((SMALL, FULL, BIG), "sub", "small"),
    "H.264 before H.265 of the same size": ((BIG_265, BIG), "main", "big"),
    "then H.265 is the substream": ((BIG_265, BIG), "sub", "big265"),
    "no MJPEG where there is better": ((STILLS, FULL, SMALL), "main", "full"),
    "MJPEG where there is nothing else": ((STILLS,), "main", "stills"),
    "what cannot be recorded is left out": ((ODD, SMALL), "main", "small"),
    "a size that was not told counts as none": ((SIZELESS, SMALL), "main", "small"),
    "a token": ((SMALL, FULL, BIG), "full", "full"),
    "a token that nobody else would choose": ((ODD, SMALL), "odd", "odd"),
}


@pytest.mark.parametrize(("profiles", "wanted", "token"), CHOICES.values(), ids=CHOICES.keys())
def test_choice(profiles: tuple[Profile, ...], wanted: str, token: str) -> None:
    """The profile is chosen by codec, then by size; the reason is told."""
    profile, why = choose_profile(profiles, wanted)
    assert profile.token == token
    assert why


NO_CHOICE = {
    "no profiles": ((), "main", "none with video"),
    "no such token": ((SMALL,), "tall", "small: h264 640x360 15 fps"),
    "no second profile": ((FULL,), "sub", "no second profile"),
    "nothing that can be recorded": ((ODD,), "main", "mpeg4"),
}


@pytest.mark.parametrize(("profiles", "wanted", "words"), NO_CHOICE.values(), ids=NO_CHOICE.keys())
def test_no_choice_says_what_there_is(profiles: tuple[Profile, ...], wanted: str, words: str) -> None:
    """Where nothing fits, the message lists what the camera has."""
    with pytest.raises(LookupError, match=words):
        choose_profile(profiles, wanted)


def test_codec_names() -> None:
    """ONVIF's names become FFmpeg's, in whatever spelling cameras use."""
    assert [codec_name(name) for name in ("H264", "h.265", "JPEG", "MPEG4")] == ["h264", "hevc", "mjpeg", "mpeg4"]
