"""``edge-agent export`` as it is typed: what it orders, what it leaves behind, and what it says."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyrage
import pytest

from edge_agent.cli import main
from edge_agent.consent.owner_order import verify_order
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.home import TrialCamera, TrialHome
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import ControlServer
from edge_agent.host.unnamed_file import WriteError
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.units import HOUR_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle.builder import BundleBuilder, BundleKeys
from edge_agent.uplink.bundle.export import NoFootageError
from edge_agent.uplink.owner.export_commands import ExportCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.store.database import Database
from edge_agent.verifier.open import open_bundle
from edge_agent.verifier.opened_bundle import Pins
from tests.peers.wait import wait_until
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.release import House

SETTINGS = HomeSettings("rtcc.example-city", "localhost", 8883, 8884, {"evidence": "https://localhost:8443/files/"})
COURT = pyrage.x25519.Identity.generate()


class Owner:
    """A house that is set up and enrolled, without its processes; ``releaser`` answers in their place."""

    def __init__(self, folder: Path) -> None:
        self.home = TrialHome(folder, tuple(TrialCamera(name, "rtsp://127.0.0.1:1", {}) for name in ("door", "yard")))
        rtcc = RtccHome.create(folder / "rtcc", SETTINGS, START)
        self.home.create(SimpleNamespace(enrol=lambda csr: enrol(rtcc, csr, START)))
        self.config = self.home.config
        self.path = self.config.control_path("releaser")
        self.path.parent.mkdir(exist_ok=True)
        self.passphrase = self.home.passphrase_path.read_text().strip()

    @contextlib.contextmanager
    def releaser(self, **handlers):
        stop = threading.Event()
        server = ControlServer(self.path, handlers, stop)
        server.start()
        try:
            yield
        finally:
            stop.set()
            server.join(10)

    def words(self, out: Path, span: Window, *more: str, cameras=("door",)) -> list[str]:
        return [
            "export", *cameras, "--from", encode_rfc3339(span.start), "--to", encode_rfc3339(span.end),
            "--out", str(out), "--passphrase-file", str(self.home.passphrase_path),
            "--config", str(self.home.config_path), *more,
        ]  # fmt: skip

    def house(self, folder: Path) -> House:
        keys = KeyStore(self.config.state_dir, "releaser")
        recorder = KeyStore(self.config.state_dir, "recorder").load_private("recorder")
        owner = KeyStore(self.config.state_dir, "owner").load_private("owner", self.passphrase.encode())
        return House(folder, recorder=recorder, gateway=keys.load_private("gateway"), owner=owner)


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    return Owner(tmp_path_factory.mktemp("owner"))


class Releaser:
    """Takes orders down, writes a little, and answers."""

    def __init__(self, owner: Owner, result=None, error=None) -> None:
        self.owner, self.result, self.error = owner, result, error
        self.orders: list[ExportOrder] = []

    def __call__(self, members, peer) -> Iterator[dict]:
        public = KeyStore(self.owner.config.state_dir, "owner").load_public("owner")
        order = verify_order(members["jws"].encode(), self.owner.home.gateway, public, None).value
        self.orders.append(order)
        os.write(peer.fd, b"data")
        yield {"permille": 500}
        if self.error is not None:
            raise self.error
        span = {"start": encode_rfc3339(order.window.start), "end": encode_rfc3339(order.window.end)}
        bundle = {"sha256": "00" * 32, "size": 4, "delivered": [span], "gaps": []}
        clips = {"files": [{"size": 3, "window": span}, {"size": 1, "window": span}], "gaps": []}
        yield {"result": clips if order.recipients is None else bundle}


class Desk:
    """What the releaser has: a ring with footage, and a desk over it."""

    def __init__(self, owner: Owner, folder: Path) -> None:
        self.house = owner.house(folder)
        self.house.record(records(encode(60)))
        gateway, origin = owner.home.gateway, ledger_origin(owner.home.gateway)
        recorder, own = self.house.recorder.public_key(), str(self.house.own.to_public())
        keys = BundleKeys(gateway, self.house.gateway, recorder, "bare", own)
        builder = BundleBuilder(owner.config, keys, self, None, SystemClock())
        self.desk = ExportCommands(
            OwnerOrders(gateway, self.house.owner.public_key(), Database(folder / "store.sqlite"), SystemClock()),
            self, builder, lambda connection, now: ledger.checkpoint(connection, origin, self.house.gateway, now),
        )  # fmt: skip

    @contextlib.contextmanager
    def open(self, *_):
        with self.house.reader() as reader:
            yield reader

    open_own = open


def test_a_bundle_for_a_court_proves_with_the_thumbprints_that_were_printed(owner, tmp_path, capsys):
    """Written to the owner's path, mode 0600, nothing beside it; the court needs the file and three thumbprints."""
    out = tmp_path / "out" / "case.age"
    out.parent.mkdir()
    keys = tmp_path / "court.txt"
    keys.write_text(f"# the county court\n\n{COURT.to_public()}\n")
    with owner.releaser(**Desk(owner, tmp_path).desk.handlers):
        words = owner.words(out, window(0.5, 4.25), "--bundle", "--recipients-file", str(keys), "--json")
        assert main(words) == 0
        told = json.loads(capsys.readouterr().out)
        assert main(owner.words(out.with_name("again.age"), window(0, 1), "--bundle")) == 0
    text = capsys.readouterr().out
    assert [path.name for path in sorted(out.parent.iterdir())] == ["again.age", "case.age"]
    assert out.stat().st_mode & 0o777 == 0o600
    findings = open_bundle(out, b"", str(COURT), Pins(frozenset(told["thumbprints"].values())), tmp_path / "opened")
    assert findings.ok, findings.as_text()
    assert findings.unpinned == frozenset()
    assert read_numbers((tmp_path / "opened/clips/001.mp4").read_bytes()) == list(range(10, 43))
    (file,) = told["files"]
    assert (file["path"], file["camera"], file["size"]) == (str(out), "door", out.stat().st_size)
    assert [(gap["camera"], gap["reason"]) for gap in told["gaps"]] == [("door", "before-first-keyframe")]
    for name in ("gateway", "recorder", "owner"):
        public = KeyStore(owner.config.state_dir, "owner").load_public(name)
        assert told["thumbprints"][name] == thumbprint(public)
        assert thumbprint(public) in text
    assert "age -d -i" in text


def test_mp4_files_get_their_names_when_they_are_whole(owner, tmp_path, capsys):
    """One for each unbroken recording, numbered from the second on."""
    releaser = Releaser(owner)
    with owner.releaser(export=releaser):
        assert main(owner.words(tmp_path / "door.mp4", window(0, 2))) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["door-2.mp4", "door.mp4"]
    assert (tmp_path / "door.mp4").read_bytes() + (tmp_path / "door-2.mp4").read_bytes() == b"data"
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    assert releaser.orders[0].recipients is None
    assert "thumbprint" not in capsys.readouterr().out


def test_the_order_names_whom_the_bundle_is_for(owner, tmp_path):
    """Each recipient once, in the order of the words; nobody where nobody is named."""
    releaser, lawyer = Releaser(owner), str(pyrage.x25519.Identity.generate().to_public())
    court = str(COURT.to_public())
    with owner.releaser(export=releaser):
        named = ("--recipient", court, "--recipient", lawyer, "--recipient", court)
        assert main(owner.words(tmp_path / "a.age", window(0, 2), "--bundle", *named)) == 0
        assert main(owner.words(tmp_path / "b.age", window(0, 2), "--bundle", "--quality", "sub")) == 0
    assert [order.recipients for order in releaser.orders] == [(court, lawyer), ()]
    assert releaser.orders[1].quality.value == "sub"


def test_several_cameras_have_a_file_each(owner, tmp_path):
    """Ordered one by one, under one passphrase; each one's name is in its file's."""
    releaser = Releaser(owner)
    with owner.releaser(export=releaser):
        assert main(owner.words(tmp_path / "case.age", window(0, 2), "--bundle", cameras=("door", "yard"))) == 0
    assert [order.camera for order in releaser.orders] == ["door", "yard"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case-door.age", "case-yard.age"]


def test_a_long_span_is_several_bundles_that_overlap(owner, tmp_path):
    """Each of four hours at most; a minute is in both, so that no picture before a keyframe is lost."""
    releaser = Releaser(owner)
    span = Window(START, UtcNs(START + 10 * HOUR_NS))
    with owner.releaser(export=releaser):
        assert main(owner.words(tmp_path / "case.age", span, "--bundle")) == 0
    windows = [order.window for order in releaser.orders]
    assert (windows[0].start, windows[-1].end) == (span.start, span.end)
    assert all(each.duration_ns <= 4 * HOUR_NS for each in windows)
    assert [late.start - early.end for early, late in pairwise(windows)] == [-60 * 10**9] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case-2.age", "case-3.age", "case.age"]


ERRORS = {
    "no footage": (NoFootageError("nothing there"), os.EX_NOINPUT),
    "a full disk": (WriteError("the disk is full"), os.EX_IOERR),
}


@pytest.mark.parametrize("more", [(), ("--bundle",)], ids=["copy", "bundle"])
@pytest.mark.parametrize(("error", "code"), ERRORS.values(), ids=ERRORS.keys())
def test_what_goes_wrong_leaves_no_file(owner, tmp_path, capsys, error, code, more):
    """It is said in words and by the exit code; not a byte stays."""
    with owner.releaser(export=Releaser(owner, error=error)):
        assert main(owner.words(tmp_path / "out.age", window(0, 2), *more)) == code
    assert list(tmp_path.iterdir()) == []
    assert str(error) in capsys.readouterr().err


def test_of_several_cameras_one_without_footage_is_told(owner, tmp_path, capsys):
    """The others are exported all the same."""
    releaser = Releaser(owner)

    def export(members, peer):
        for answer in releaser(members, peer):
            if releaser.orders[-1].camera == "door":
                raise NoFootageError("nothing there")
            yield answer

    with owner.releaser(export=export):
        assert main(owner.words(tmp_path / "case.age", window(0, 2), "--bundle", cameras=("door", "yard"))) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["case-yard.age"]
    assert "no footage: door" in capsys.readouterr().out


def _spoil(recipient: str) -> str:
    return recipient[:-1] + ("p" if recipient[-1] == "q" else "q")


WORDS = {
    "a recipient of MP4": (("--recipient", str(COURT.to_public())), "not encrypted to anybody"),
    "an SSH key": (("--bundle", "--recipient", "ssh-ed25519 AAAA"), "not an age public key"),
    "a secret key": (("--bundle", "--recipient", str(COURT)), "not an age public key"),
    "a letter wrong": (("--bundle", "--recipient", _spoil(str(COURT.to_public()))), "not an age public key"),
    "a file that is not there": (("--bundle", "--recipients-file", "/nonexistent"), "cannot be read"),
}


@pytest.mark.parametrize(("more", "says"), WORDS.values(), ids=WORDS.keys())
def test_words_that_do_not_fit_are_refused_before_the_passphrase(owner, tmp_path, capsys, more, says):
    """Nothing is signed, nothing is made."""
    words = owner.words(tmp_path / "out", window(0, 2), *more)
    words[words.index("--passphrase-file") + 1] = "/nonexistent"
    assert main(words) == os.EX_USAGE
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_touched(owner, tmp_path, capsys):
    """It is refused before the passphrase is asked for."""
    (tmp_path / "out.age").write_bytes(b"mine")
    words = owner.words(tmp_path / "out.age", window(0, 2), "--bundle")
    words[words.index("--passphrase-file") + 1] = "/nonexistent"
    assert main(words) == os.EX_USAGE
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out.age").read_bytes() == b"mine"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_kill_in_the_middle_leaves_nothing_and_ends_the_export(owner, tmp_path, how):
    """No file under any name, readable or not; and the releaser hears that nobody waits any more."""
    begun, ended = threading.Event(), threading.Event()

    def export(_members, peer):
        os.write(peer.fd, b"age-encryption.org/v1\n" + bytes(100_000))
        begun.set()
        try:
            while True:
                yield {"permille": 1}
                ended.wait(0.05)
        finally:
            ended.set()

    with owner.releaser(export=export):
        words = owner.words(tmp_path / "case.age", window(0, 2), "--bundle")
        client = subprocess.Popen([sys.executable, "-m", "edge_agent", *words], stderr=subprocess.DEVNULL)
        try:
            wait_until(begun.is_set, 30)
            client.send_signal(how)
        finally:
            client.wait(30)
        wait_until(ended.is_set, 30)
    assert client.returncode != 0
    assert list(tmp_path.iterdir()) == []
