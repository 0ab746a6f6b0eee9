"""The owner exports: by an order alone, just what it names, entered before it is read; and nothing after giving up."""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from edge_agent.errors import DenialError, EdgeAgentError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.host.unnamed_file import WriteError
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.settings.gateway import parse_config
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, Window
from edge_agent.uplink.bundle.builder import BundleBuilder, BundleKeys
from edge_agent.uplink.bundle.export import ExportError, NoFootageError
from edge_agent.uplink.bundle.rings import NotRecordedError
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.owner.export_commands import ExportCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.verifier.open import open_bundle
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.footage_owner import Owner
from tests.support.release import GATEWAY, House

CONFIG = parse_config(
    "cameras:\n  - {id: door, name: Front door, url: 'rtsp://127.0.0.1:1'}\n",
    "edge-agent.yaml",
    Path("/etc/edge-agent"),
)


class Exporting(Owner):
    """A desk over one ring, and an owner who signs."""

    def __init__(self, house: House, builder=None, stall_s: float = 60.0) -> None:
        super().__init__(house)
        recorder, own = house.recorder.public_key(), str(house.own.to_public())
        keys = BundleKeys(GATEWAY, house.gateway, recorder, "bare", own)
        builder = builder or BundleBuilder(CONFIG, keys, self, None, house.clock)
        origin = ledger_origin(GATEWAY)
        self.desk = ExportCommands(
            OwnerOrders(GATEWAY, house.owner.public_key(), self.store, house.clock), self, builder,
            lambda connection, now: ledger.checkpoint(connection, origin, house.gateway, now), stall_s,
        )  # fmt: skip

    @contextlib.contextmanager
    def open_own(self, order: ExportOrder):
        return self.open(order.camera, order.quality)

    def open(self, camera: str, quality: Quality, jti: str = ""):
        assert jti == ""
        if quality is Quality.SUB:
            raise NotRecordedError(camera, quality, has_other=True)
        with self.house.reader() as reader:
            yield reader

    def start(self, signed: str, descriptor: int) -> Iterator[dict]:
        return self.desk.handlers["export"]({"jws": signed}, Peer(1, 1000, 1000, descriptor))

    def export(self, signed: str) -> tuple[dict, bytes]:
        with os.fdopen(os.memfd_create("export"), "r+b") as file:
            *_, answer = self.start(signed, file.fileno())
            file.seek(0)
            return answer["result"], file.read()


@pytest.fixture
def exporting(tmp_path):
    house = House(tmp_path)
    house.record(records(encode(60, audio="aac")))
    return Exporting(house)


def test_a_bundle_is_made_for_the_owner_and_whom_they_name(exporting, tmp_path):
    """A whole age file that each of them opens, of which everything verifies; the ledger tells order and digest."""
    court = pyrage.x25519.Identity.generate()
    signed = exporting.sign(window(0.5, 4.25), recipients=[str(court.to_public())])
    result, data = exporting.export(signed)
    path = tmp_path / "bundle.age"
    path.write_bytes(data)
    for identity in (court, exporting.house.own):
        findings = open_bundle(path, b"", str(identity), exporting.house.known(), tmp_path / "out")
        assert findings.ok, findings.as_text()
        assert findings.kind == "export"
    assert read_numbers((tmp_path / "out/clips/001.mp4").read_bytes()) == list(range(10, 43))
    assert "Front door" in (tmp_path / "out/README.txt").read_text()
    assert (result["sha256"], result["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert [gap["reason"] for gap in result["gaps"]] == ["before-first-keyframe"]
    ordered, written = exporting.entries()
    assert (ordered["what"], ordered["camera"]) == ("local export as a bundle", "door")
    assert ordered["recipients"] == [str(court.to_public())]
    assert ordered["order_sha256"] == hashlib.sha256(signed.encode()).hexdigest()
    assert (written["what"], written["order_id"]) == ("bundle written", ordered["order_id"])
    assert written["sha256"] == result["sha256"]


def test_only_those_named_can_open_it(exporting):
    """Sealed to the owner where nobody is named, and to nobody else; the owner named twice is there once."""
    _, data = exporting.export(exporting.sign(window(0, 2), recipients=[str(exporting.house.own.to_public())]))
    assert data.count(b"-> X25519") == 1
    assert pyrage.decrypt(data, [exporting.house.own]).startswith(b"PK")
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(data, [exporting.house.evidence])


def test_a_copy_in_the_clear_is_mp4(exporting):
    """An order without recipients is for MP4 files, one behind the other."""
    result, data = exporting.export(exporting.sign(window(1, 3)))
    (file,) = result["files"]
    assert file["size"] == len(data)
    assert read_numbers(data) == list(range(10, 30))
    (entry,) = exporting.entries()
    assert entry["what"] == "local export"
    assert "recipients" not in entry


def test_progress_is_told_until_the_result(exporting):
    """Whoever waits is told how far it is, in thousandths of the window."""
    builder = HeldBuilder()
    waiting = Exporting(exporting.house, builder)
    with open(os.devnull, "wb") as sink:
        answers = waiting.start(waiting.sign(window(0, 4), recipients=[]), sink.fileno())
        assert next(answers) == {"permille": 250}
        builder.go_on.set()
        *_, last = answers
    assert "result" in last


class HeldBuilder:
    """Writes a little, says that it is at one second, and waits; then writes until it is stopped, or ends."""

    def __init__(self, *, is_endless: bool = False) -> None:
        self.go_on, self.stopped = threading.Event(), threading.Event()
        self.is_endless = is_endless

    def build_export(self, _order, _raw, _owner, proof, out, on_progress) -> BundleInfo:
        assert proof["index"] == 0
        out.write(b"x")
        on_progress(UtcNs(START + SECOND_NS))
        assert self.go_on.wait(20)
        try:
            out.write(b"y")
            while self.is_endless:
                out.write(b"z")
        except EdgeAgentError:
            self.stopped.set()
            raise
        return BundleInfo(bytes(32), 2, b"", (window(0, 4),), (), bytes(32), 1)


def test_who_gives_up_gets_no_more_and_the_next_one_can_begin(exporting):
    """A client that went away ends the export: nothing is written or entered for nobody."""
    builder = HeldBuilder(is_endless=True)
    waiting = Exporting(exporting.house, builder)
    with open(os.devnull, "wb") as sink:
        answers = waiting.start(waiting.sign(window(0, 4), recipients=[]), sink.fileno())
        next(answers)
        with pytest.raises(UsageError, match="under way"):
            next(waiting.start(waiting.sign(window(0, 4)), sink.fileno()))
        answers.close()
        builder.go_on.set()
        assert builder.stopped.wait(20)
        assert waiting.export(waiting.sign(window(0, 1)))[1]
    assert [entry["what"] for entry in waiting.entries()] == ["local export as a bundle", "local export"]


def test_an_export_that_does_not_move_is_given_up(exporting):
    """A disk that takes nothing any more holds up nobody indefinitely."""
    builder = HeldBuilder()
    waiting = Exporting(exporting.house, builder, stall_s=0.1)
    with open(os.devnull, "wb") as sink, pytest.raises(ExportError, match="no progress"):
        list(waiting.start(waiting.sign(window(0, 4), recipients=[]), sink.fileno()))
    builder.go_on.set()


@pytest.mark.parametrize("recipients", [{}, {"recipients": []}], ids=["copy", "bundle"])
def test_a_full_disk_is_told(exporting, recipients):
    """In words that help; the next export is not held up."""
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(WriteError, match="is full"):
        list(exporting.start(exporting.sign(window(0, 6), **recipients), full.fileno()))
    assert exporting.export(exporting.sign(window(0, 6), **recipients))[1]


@pytest.mark.parametrize(("number", "words"), [
    (errno.EDQUOT, "is full"), (errno.EFBIG, "no file as large"), (errno.EIO, "cannot be written"),
])  # fmt: skip
def test_what_a_disk_says_is_told_in_words(exporting, number, words):
    """Too much for the quota, for the file system, for the disk."""

    class Failing:
        def build_export(self, *_):
            raise OSError(number, os.strerror(number))

    failing = Exporting(exporting.house, Failing())
    with open(os.devnull, "wb") as sink, pytest.raises(WriteError, match=words):
        list(failing.start(failing.sign(window(0, 4), recipients=[]), sink.fileno()))


@pytest.mark.parametrize("recipients", [{}, {"recipients": []}], ids=["copy", "bundle"])
def test_a_span_without_footage_is_an_error(exporting, recipients):
    """Nothing recorded is no empty file: it is said, with the reason; the order is in the ledger all the same."""
    with pytest.raises(NoFootageError, match=r"no footage of door .* no-footage"):
        exporting.export(exporting.sign(window(100, 110), **recipients))
    assert [entry["what"] for entry in exporting.entries()][-1].startswith("local export")


def test_a_stream_that_is_not_recorded_is_said(exporting):
    """With a hint to the one that is."""
    with pytest.raises(NoFootageError, match="not recorded in this quality") as caught:
        exporting.export(exporting.sign(window(0, 2), quality="sub"))
    assert "--quality" in caught.value.hint


def test_only_the_owners_order_exports_and_only_once(exporting):
    """Another's key, a second use, a bundle of more than four hours, no file: nothing is read or entered."""
    with pytest.raises(DenialError):
        exporting.export(exporting.sign(window(0, 6), key=exporting.house.operator))
    with pytest.raises(UsageError, match="four hours"):
        exporting.export(exporting.sign(Window(START, UtcNs(START + 4 * HOUR_NS + 1)), recipients=[]))
    signed = exporting.sign(window(0, 6))
    with pytest.raises(UsageError, match="no file"):
        list(exporting.start(signed, None))
    assert exporting.entries() == []
    assert exporting.export(signed)[1]
    with pytest.raises(UsageError, match="carried out before"):
        exporting.export(signed)


def test_an_order_for_a_bundle_shows_no_picture(exporting):
    """What was signed for ciphertext gives nothing in the clear."""
    signed = exporting.sign(window(0, 6), recipients=[])
    with pytest.raises(UsageError, match="for a bundle"):
        exporting.desk.handlers["look"]({"jws": signed, "stills": 1}, Peer(1, 1000, 1000, 1))
    assert exporting.entries() == []
