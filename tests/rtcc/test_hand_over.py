"""The handed-over folder explains itself: names, report, digests, and a bundle that other programs verify."""

import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest

from edge_agent.errors import EvidenceError
from edge_agent.rtcc.hand_over import HandedOver, hand_over
from edge_agent.verifier.open import open_bundle
from tests.support.footage import encode, read_numbers, records, window
from tests.support.opened import Opened, open_release, pack
from tests.support.release import House

STEM = "JPD-2026-0042_door_20231114T161320-0600"


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    """Two clips, a day in November in Chicago."""
    folder = tmp_path_factory.mktemp("bundle")
    pieces = records(encode(200, gop=10))
    return open_release(folder, House(folder), window(0, 20), pieces, granted=(window(0, 3), window(15, 18)))


def hand(opened: Opened, folder: Path, parts: dict[str, bytes] | None = None) -> HandedOver:
    findings = opened.open(parts)
    return hand_over(opened.folder / "out", findings, opened.house.known(), folder)


def test_a_folder_and_a_zip_hold_the_same(opened, tmp_path):
    """Clips by incident, camera and local time; everything is in SHA256SUMS, which sha256sum checks."""
    written = hand(opened, tmp_path)
    assert written.folder.name == STEM
    names = {path.relative_to(written.folder).as_posix() for path in written.folder.rglob("*") if path.is_file()}
    assert names == {
        f"{STEM}.mp4", "JPD-2026-0042_door_20231114T161335-0600.mp4", "report.html", "certificate.txt", "bundle.zip",
        "HOW-TO-VERIFY.txt", "SHA256SUMS", "keys/gateway.pem", "keys/recorder.pem", "keys/owner.pem",
        "keys/signer-o.perator.pem", "keys/signer-s.upervisor.pem",
    }  # fmt: skip
    with zipfile.ZipFile(written.archive) as archive:
        assert archive.testzip() is None
        assert {name.removeprefix(f"{STEM}/") for name in archive.namelist()} == names
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=written.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ", 1)[1] for line in (written.folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    video = (written.folder / f"{STEM}.mp4").read_bytes()
    assert video.index(b"moov") < video.index(b"mdat")
    assert read_numbers(video) == read_numbers(opened.parts["clips/001.mp4"])


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data):
        self.text += data


def read_page(folder: Path) -> Page:
    page = Page()
    page.feed((folder / "report.html").read_text())
    return page


def test_the_report_says_what_was_found_and_loads_nothing(opened, tmp_path):
    """Findings of each kind, pictures of each clip, the gap in between, the clock; all of it in the one file."""
    page = read_page(hand(opened, tmp_path).folder)
    assert "Nothing failed" in page.text
    for said in (
        "Proved",
        "Not proved",
        "JPD-2026-0042",
        "2023-11-14 16:13:20 -0600",
        "America/Chicago",
        "synchronised",
    ):
        assert said in page.text
    assert "script" not in page.tags
    assert len(page.sources) >= 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_the_pictures_are_those_of_the_clip(opened, tmp_path):
    """Each still is a JPEG that decodes, of the clip's own size or smaller."""
    import base64
    import io

    for source in read_page(hand(opened, tmp_path).folder).sources:
        with av.open(io.BytesIO(base64.b64decode(source.partition(",")[2])), format="image2pipe") as image:
            frame = next(image.decode(video=0))
        assert frame.width <= 640


BROKEN = {
    "a decoder that gives up": ZeroDivisionError("integer division"),
    "a picture beyond all memory": MemoryError(),
    "a time that no calendar has": [(1e18, b"jpeg")],
    "a time that is no number": [(float("nan"), b"jpeg")],
}


@pytest.mark.parametrize("drawn", BROKEN.values(), ids=BROKEN)
def test_a_clip_that_cannot_be_drawn_is_a_line_of_the_report(opened, tmp_path, monkeypatch, drawn):
    """Pictures are there for people: whatever is wrong with one, the rest is handed over whole."""

    def read_stills(*_):
        if isinstance(drawn, BaseException):
            raise drawn
        return drawn

    monkeypatch.setattr("edge_agent.rtcc.hand_over.read_stills", read_stills)
    folder = hand(opened, tmp_path).folder
    assert len(list(folder.glob("*.mp4"))) == 2
    assert read_page(folder).text.count("no pictures could be drawn") == 2


def test_what_failed_stands_on_top(opened, tmp_path):
    """A clip that failed is in the bundle alone; the report begins with the warning."""
    parts = opened.sign(opened.parts | {"clips/002.mp4": bytes(500)})
    folder = hand(opened, tmp_path, parts).folder
    page = read_page(folder)
    assert "Do not use this" in page.text
    assert page.text.index("FAILED") < page.text.index("What this is")
    assert len(list(folder.glob("*.mp4"))) == 1


def test_a_name_in_a_bundle_is_text_and_no_markup(opened, tmp_path):
    """Whatever a gateway calls its camera, or an incident is called, runs nowhere and leads nowhere."""
    members = opened.manifest
    members["camera"]["name"] = "<script>alert(1)</script>"
    members["request"]["incident"] = "../../<img src=x>"
    folder = hand(opened, tmp_path, opened.sign(opened.parts, members)).folder
    assert folder.parent == tmp_path
    assert re.fullmatch(r"[A-Za-z0-9._-]+", folder.name)
    page = read_page(folder)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert all(source.startswith("data:") for source in page.sources)


def test_a_bundle_without_a_manifest_is_not_handed_over(opened, tmp_path):
    """Nobody knows what it is."""
    with pytest.raises(EvidenceError, match="cannot be handed over"):
        hand(opened, tmp_path, opened.parts | {"manifest.jws": b"{}"})
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(opened, tmp_path):
    """A folder that was handed over once stays as it is."""
    hand(opened, tmp_path)
    with pytest.raises(EvidenceError, match="handed over before"):
        hand(opened, tmp_path)


@pytest.mark.needs("unzip", "jq", "openssl", "basenc")
def test_the_steps_by_hand_verify_it(opened, tmp_path):
    """HOW-TO-VERIFY.txt is typed as it stands, without our program."""
    folder = hand(opened, tmp_path).folder
    text = (folder / "HOW-TO-VERIFY.txt").read_text()
    steps = "\n".join(line.strip() for line in text.splitlines() if line.startswith("     "))
    script = "set -e\n" + "\n".join(line for line in steps.splitlines() if not line.startswith("rtcc "))
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert shutil.which("rtcc") is None or "rtcc open" in text


def test_the_bundle_in_it_opens_again(opened, tmp_path):
    """bundle.zip is what was decrypted: it verifies as before, without any key of ours."""
    folder = hand(opened, tmp_path).folder
    findings = open_bundle(folder / "bundle.zip", b"", "", opened.house.known(), tmp_path / "again")
    assert findings.ok, findings.as_text()
    assert (folder / "bundle.zip").read_bytes() == pack(opened.parts)
