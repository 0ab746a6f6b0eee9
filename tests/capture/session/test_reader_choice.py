"""Which reader a stream is read with."""

import pytest

from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.reader_choice import ReaderChoice, SessionAccount
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

FAILED = ("no-keyframe", "")
MJPEG = ("unsupported-codec", "codec=JPEG")


def picture(second: int, *, key: bool = False, damaged: bool = False) -> Arrival:
    return Arrival(0, 0, 0, key, b"", UtcNs(0), MonoNs(second * SECOND_NS), None, None, is_damaged=damaged)


def account(*pictures: Arrival) -> SessionAccount:
    made = SessionAccount()
    for each in pictures:
        made.take(each)
    return made


FRUITLESS = account(picture(0), picture(20))
WHOLE = account(picture(0, key=True), picture(1), picture(2, key=True), picture(20))
DAMAGED = account(picture(0, key=True), picture(1, damaged=True), picture(2, key=True), picture(20, damaged=True))
SHORT = account(picture(0, key=True), picture(5))
SILENT = account()


def endpoint(reader: str = "auto", **options: str) -> Endpoint:
    return Endpoint("rtsp://camera/x", reader=reader, **options)  # type: ignore[arg-type]


def read(choice: ReaderChoice, accounts: list[SessionAccount], end: tuple[str, str] = FAILED) -> str:
    """Let sessions end; return the reader of the next one."""
    for each in accounts:
        choice.note(choice.pick(endpoint()), each, end)
    return choice.pick(endpoint()).reader


CASES: dict[str, tuple[list[SessionAccount], tuple[str, str], str]] = {
    "at first": ([], FAILED, "own"),
    "after two sessions of nothing": ([FRUITLESS] * 2, FAILED, "own"),
    "after three": ([FRUITLESS] * 3, FAILED, "ffmpeg"),
    "after three of damage": ([DAMAGED] * 3, FAILED, "ffmpeg"),
    "a whole GOP between": ([FRUITLESS, FRUITLESS, WHOLE, FRUITLESS], FAILED, "own"),
    "short ones": ([SHORT] * 9, FAILED, "own"),
    "silent ones": ([SILENT] * 9, FAILED, "own"),
    "FFmpeg does no better": ([FRUITLESS] * 6, FAILED, "own"),
    "FFmpeg does": ([FRUITLESS] * 3 + [WHOLE] * 9, FAILED, "ffmpeg"),
    "out of step again and again": ([WHOLE, WHOLE, WHOLE], ("protocol-error", "out of step"), "ffmpeg"),
    "open and silent": ([SILENT] * 3, ("stalled", ""), "ffmpeg"),
    "open and silent twice": ([SILENT] * 2, ("stalled", ""), "own"),
    "open, silent and ended": ([SILENT] * 3, ("ended", ""), "ffmpeg"),
    "FFmpeg finds it silent too": ([SILENT] * 6, ("stalled", ""), "own"),
    "the transport refused": ([SILENT] * 3, ("transport-refused", "status=461"), "ffmpeg"),
    "out of step at once": ([SILENT] * 3, ("protocol-error", "out of step"), "ffmpeg"),
    "stalled after media": ([WHOLE] * 9, ("stalled", ""), "own"),
    "silent twice, with pictures between": ([SILENT, SILENT, SHORT, SHORT], ("stalled", ""), "own"),
    "ended by the owner": ([SILENT] * 9, ("", ""), "own"),
    "off": ([SILENT] * 9, ("unreachable", "ECONNREFUSED"), "own"),
    "a wrong password": ([SILENT] * 9, ("unauthorized", "status=401"), "own"),
    "no answer": ([SILENT] * 9, ("no-answer", ""), "own"),
    "MJPEG": ([SILENT], MJPEG, "ffmpeg"),
    "another codec": ([SILENT], ("unsupported-codec", "codec=THEORA"), "own"),
}


@pytest.mark.parametrize(("accounts", "end", "reader"), CASES.values(), ids=CASES.keys())
def test_reader_follows_from_what_came(accounts: list[SessionAccount], end: tuple[str, str], reader: str) -> None:
    """The other one after three sessions with media and no whole GOP; FFmpeg at once for what our own cannot read."""
    assert read(ReaderChoice(), accounts, end) == reader


def test_silence_of_a_camera_that_was_read_tells_nothing_of_the_reader() -> None:
    """It restarts, or has too many viewers; the reader that made whole GOPs of it before is not to blame."""
    for end in ("stalled", "ended"):
        choice = ReaderChoice()
        read(choice, [WHOLE])
        assert read(choice, [SILENT] * 9, (end, "")) == "own"
        assert read(choice, [FRUITLESS] * 3) == "ffmpeg"


@pytest.mark.parametrize("end", ["transport-refused", "protocol-error"])
def test_camera_that_answers_otherwise_since_its_update_gets_the_other_reader(end: str) -> None:
    """It was read before; now it refuses how the reader asks, and no restart of ours is to be waited for."""
    choice = ReaderChoice()
    read(choice, [WHOLE])
    assert read(choice, [SILENT] * 3, (end, "")) == "ffmpeg"


def test_what_was_proved_ends_when_the_reader_fails() -> None:
    """A camera that has changed: a reader that failed with its media has nothing to show for itself."""
    choice = ReaderChoice()
    read(choice, [WHOLE, FRUITLESS, FRUITLESS, FRUITLESS])  # our own reader fails,
    read(choice, [SILENT] * 3, ("stalled", ""))  # and FFmpeg too
    assert read(choice, []) == "own"
    assert read(choice, [SILENT] * 3, ("stalled", "")) == "ffmpeg"


def test_named_reader_is_kept() -> None:
    """What the owner chose is never changed, whatever comes of it."""
    choice = ReaderChoice()
    for reader in ("own", "ffmpeg"):
        for _ in range(9):
            choice.note(choice.pick(endpoint(reader)), FRUITLESS, FAILED)
        assert choice.pick(endpoint(reader)).reader == reader


def test_udp_is_read_by_ffmpeg_and_tls_by_our_own() -> None:
    """``rtsps`` comes over TCP, whatever the transport is said to be."""
    assert ReaderChoice().pick(endpoint(transport="udp")).reader == "ffmpeg"
    assert ReaderChoice().pick(Endpoint("rtsps://camera/x", transport="udp", reader="auto")).reader == "own"


def test_a_remembered_need_of_ffmpeg_is_not_given_up_for_silence() -> None:
    """It was remembered because FFmpeg recorded the camera, which sleeps now: silence tells nothing of a reader."""
    choice = ReaderChoice()
    for _ in range(9):
        picked = choice.pick(endpoint(known_reader="ffmpeg"))
        assert picked.reader == "ffmpeg"
        choice.note(picked, SILENT, ("stalled", ""))
    for _ in range(3):
        choice.note(choice.pick(endpoint(known_reader="ffmpeg")), FRUITLESS, FAILED)
    assert choice.pick(endpoint(known_reader="ffmpeg")).reader == "own"
