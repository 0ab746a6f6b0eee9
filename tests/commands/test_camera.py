"""``edge-agent camera record-tape`` and ``edge-agent check --compare``: what a user types, on a real stream."""

import gzip
import json
from pathlib import Path

import pytest

from edge_agent.capture.rtsp.tape import read_tape
from edge_agent.commands.check_compare import run_comparison
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.source import LiveSettings
from edge_agent.errors import UsageError
from edge_agent.settings.gateway import load_config
from edge_agent.setup.reader_comparison import Reading, SeenPicture, compare
from tests.commands import typed

pytestmark = pytest.mark.peer
LIVE = LiveSettings(gop=8)
PASSWORD = "p@ss:w/rd"


def write_config(folder: Path, url: str) -> Path:
    """Write a gateway's two files for one camera."""
    path = folder / "edge-agent.yaml"
    path.write_text(f"gateway: {{state_dir: {folder}}}\ncameras: [{{id: door, url: '{url}', credentials: door}}]\n")
    secret = folder / "credentials.yaml"
    secret.write_text(f"door: {{username: owner, password: '{PASSWORD}'}}\n")
    secret.chmod(0o600)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, "rtsp://127.0.0.1:9/none")


def camera() -> SimulatedCamera:
    return SimulatedCamera(CameraSettings(live=LIVE, account=Account("owner", PASSWORD)))


def test_tape_is_written_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second session is announced; the file is new, of mode 0600, and has neither address nor login."""
    path = tmp_path / "door.tape.gz"
    with camera() as made:
        words = ("--config", str(write_config(tmp_path, made.url)), "--output", str(path), "--for", "2s")
        assert typed.run("camera", "record-tape", "door", *words) == 0
        with pytest.raises(UsageError, match="there already"):
            typed.run("camera", "record-tape", "door", *words)
    said = capsys.readouterr().out
    assert said.startswith("The camera gets a second session now; the recorder goes on.")
    assert path.stat().st_mode & 0o777 == 0o600
    text = gzip.decompress(path.read_bytes()).decode()
    assert not any(word in text for word in ("127.0.0.1", "owner", PASSWORD))
    assert sum(len(data) for kind, data in read_tape(path.read_bytes()) if kind == "came") > 10_000


WRONG = {
    "no such camera": ("door2", ()),
    "no substream": ("door.sub", ()),
    "too long": ("door", ("--for", "2m")),
    "no time": ("door", ("--for", "soon")),
}


@pytest.mark.parametrize(("name", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_words_dial_nobody(config: Path, tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    """They end with a hint, and leave no file."""
    with pytest.raises(UsageError):
        typed.run("camera", "record-tape", name, "--config", str(config), "--output", str(tmp_path / "tape"), *words)
    assert not (tmp_path / "tape").exists()


def test_camera_that_is_off_leaves_no_tape(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is said; the exit code is 1."""
    assert typed.run("camera", "record-tape", "door", "--config", str(config), "--output", str(tmp_path / "tape")) == 1
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "tape").exists()


@pytest.mark.slow
def test_readers_are_held_against_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a good camera both have the same pictures, keyframes, sizes and times; that two sessions come is said."""
    with camera() as made:
        config = load_config(write_config(tmp_path, made.url))
        code = run_comparison(config, "door", is_json=True, seconds=8.0)
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert "two more sessions" in said.err
    assert told["own"]["pictures"] > 60
    assert told["ffmpeg"]["keyframes"] > 3
    assert told["own"]["distance_ms"] == told["ffmpeg"]["distance_ms"] == pytest.approx(1000 / LIVE.fps, abs=1)
    assert told["differences"]["same_pictures"] > 40
    assert (code, told["is_alike"]) == (0, True), told


def test_time_begins_when_both_readers_are_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FFmpeg's child takes longer to start than half a second: it is compared all the same."""
    with camera() as made:
        config = load_config(write_config(tmp_path, made.url))
        run_comparison(config, "door", is_json=True, seconds=0.5)
    assert json.loads(capsys.readouterr().out)["ffmpeg"]["opened_ms"] is not None


def pictures(*marks: str) -> list[SeenPicture]:
    """Make pictures of words such as ``a``, ``b+`` (a keyframe) and ``c@5`` (at another time)."""
    made = []
    for place, mark in enumerate(marks):
        name, _, time = mark.partition("@")
        made.append(SeenPicture(name[:1].encode(), 9, int(time) if time else 100 + place, name.endswith("+")))
    return made


DIFFERENCES = {
    "none": (("a+", "b", "c"), ("a+", "b", "c"), (3, 0, 0, 0, 0), True),
    "begins later": (("b", "c", "d"), ("a+", "b@101", "c@102", "d@103"), (3, 0, 0, 0, 0), True),
    "one has more between": (("a+", "x", "c"), ("a+", "c@102"), (2, 1, 0, 0, 0), False),
    "the other has more between": (("a+", "c@102"), ("a+", "x", "c"), (2, 0, 1, 0, 0), False),
    "another keyframe": (("a+", "b+"), ("a+", "b"), (2, 0, 0, 1, 0), False),
    "another time": (("a+", "b", "c", "d"), ("a+", "b", "c@999", "d"), (4, 0, 0, 0, 1), False),
    "a still scene": (
        ("a+", "s", "s", "s", "b+", "s", "s"),
        ("s@102", "s@103", "b+@104", "s@105", "s@106"),
        (5, 0, 0, 0, 0),
        True,
    ),
    "one picture all the time": (("s",) * 9, ("s@103", "s@104", "s@105"), (3, 0, 0, 0, 0), True),
    "one of a still scene is missing": (
        ("a+", "s", "s", "s", "b+"),
        ("a+", "s", "s", "b+@104"),
        (4, 1, 0, 0, 0),
        False,
    ),
    "nothing in common": (("a+",), ("b+",), (0, 0, 0, 0, 0), False),
    "nothing at all": ((), (), (0, 0, 0, 0, 0), False),
}


@pytest.mark.parametrize(("own", "ffmpeg", "counts", "is_alike"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_differences_are_counted(
    own: tuple[str, ...], ffmpeg: tuple[str, ...], counts: tuple[int, ...], is_alike: bool
) -> None:
    """Between the first and the last picture that both have; outside of these one of them was not open."""
    found = compare({"own": Reading(pictures(*own)), "ffmpeg": Reading(pictures(*ffmpeg))})
    told = (found.same, found.only_own, found.only_ffmpeg, found.other_keyframes, found.other_times)
    assert (told, found.is_alike) == (counts, is_alike)


LOSSES = {
    "as many as are told": (1, None, "", True),
    "fewer told than are missing": (0, None, "", False),
    "packets that were missing": (0, 4, "", True),
    "a reader that stopped": (1, None, "out of step", False),
}


@pytest.mark.parametrize(("damaged", "lost", "fault", "is_alike"), LOSSES.values(), ids=LOSSES.keys())
def test_losses_explain_as_much_as_was_lost(damaged: int, lost: int | None, fault: str, is_alike: bool) -> None:
    """One damaged picture excuses one that only FFmpeg has; and a reader that stopped agrees with nobody."""
    own = Reading(pictures("a+", "c@102"), damaged=damaged, lost_packets=lost, fault=fault)
    assert compare({"own": own, "ffmpeg": Reading(pictures("a+", "b", "c"))}).is_alike is is_alike
