"""Releases over a bad uplink to the RTCC's real receiver, and releases that cannot be built."""

import hashlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.protocol.answer import Note, Status, upload_name
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import load_config, parse_config
from edge_agent.units import HOUR_NS, SECOND_NS, parse_rfc3339
from edge_agent.uplink.bundle.rings import Footage, NotRecordedError
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.release.staging import PayloadLostError, Staging, StagingFullError
from edge_agent.uplink.release.tus import MAX_LOSSES
from edge_agent.uplink.release.upload_targets import UploadTargets, make_hours
from edge_agent.uplink.store.requests import RequestState
from tests.peers.pki import Pki
from tests.peers.proxy import Proxy
from tests.peers.uploads import ReceiverProcess
from tests.peers.wait import wait_until
from tests.support import gate
from tests.support.fakes import FakeClock
from tests.support.releaser import HEADER, House

PAYLOAD = random.Random(2).randbytes(900_000)
RATE_BYTES_S = 512 << 10


@dataclass
class PayloadBuilder:
    """Makes one payload of almost a megabyte."""

    built: int = 0

    def build(self, _grant, camera, _recipients, _proof, out) -> BundleInfo:
        out.write(PAYLOAD)
        self.built += 1
        digest = hashlib.sha256(PAYLOAD).digest()
        return BundleInfo(digest, len(PAYLOAD), HEADER + b"door", camera.windows, (), bytes(32), 1)


@dataclass
class Line:
    """A house, its uplink and the receiver at the end of it."""

    house: House
    proxy: Proxy
    receiver: ReceiverProcess
    hours: list[bool] = field(default_factory=lambda: [True])
    name: str = ""

    def ask(self) -> None:
        self.name = upload_name(gate.GATEWAY, self.house.ask().jti, "door")

    def received(self) -> bytes | None:
        path = self.receiver.folder / "received_dir" / gate.GATEWAY / self.name
        return path.read_bytes() if path.exists() else None

    def turns(self) -> None:
        """Let the worker go on for as long as it has to wait and try again."""
        for _ in range(20):
            self.house.carry_on()
            self.house.sender.turn()
            if self.house.state() not in (RequestState.GRANTED, RequestState.UPLOADING):
                return
            self.house.clock.advance(10 * SECOND_NS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have the worker do one turn while the test does something to it."""
        thread = threading.Thread(target=self.house.carry_on)
        thread.start()
        yield
        thread.join(60)
        assert not thread.is_alive()

    def assert_delivered(self) -> None:
        assert self.house.state() is RequestState.DELIVERED
        assert self.received() == PAYLOAD
        assert self.house.keys_out() == 1
        assert self.house.staged() == []

    def assert_closed(self) -> None:
        """No key is out, and none is left that could get out."""
        assert self.house.keys_out() == 0
        assert self.house.staged() == []
        assert all(each.header == b"" for each in self.house.store.releases.list_all())


@pytest.fixture
def line(tmp_path: Path, pki: Pki, receiver_process: ReceiverProcess, make_proxy: Callable[[int], Proxy]):
    house, proxy = House(tmp_path), make_proxy(receiver_process.port)
    enrolment = Enrolment(
        gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
        uploads={"evidence": f"https://127.0.0.1:{proxy.port}/files/"}, roots=(), threshold=1, not_after_s=2**31,
        tls_thumbprint="",
    )  # fmt: skip
    line = Line(house, proxy, receiver_process)
    identity = pki.client(gate.GATEWAY)
    house.builder = PayloadBuilder()  # type: ignore[assignment]
    house.uploader = UploadTargets(  # type: ignore[assignment]
        enrolment, lambda: build_client_context(identity), Staging(tmp_path / "staging", 1 << 20), SystemClock(),
        RATE_BYTES_S, lambda: line.hours[0],
    )  # fmt: skip
    house.restart()
    yield line
    house.store.close()


HALF = len(PAYLOAD) // 2


@pytest.mark.peer
def test_receiver_killed_in_mid_upload_gets_the_rest_and_the_key_only_then(line: Line) -> None:
    """SIGKILL of the receiver while bytes flow: no key is out before the whole payload is there, byte for byte."""
    line.ask()
    with line.working():
        wait_until(lambda: line.proxy.passed > HALF)
        line.receiver.kill()
        assert line.house.keys_out() == 0
        line.receiver.start()
    line.turns()
    line.assert_delivered()
    assert line.house.builder.built == 1


@pytest.mark.peer
def test_releaser_stopped_in_mid_upload_goes_on_where_it_was(line: Line) -> None:
    """A new process finds payload, URL and offset in its store: nothing is built anew or sent twice."""
    line.ask()
    with line.working():
        wait_until(lambda: line.proxy.passed > HALF)
        line.house.stop.set()
    assert line.house.state() is RequestState.UPLOADING
    line.house.restart()
    line.turns()
    line.assert_delivered()
    assert line.house.builder.built == 1
    assert line.proxy.passed < len(PAYLOAD) + HALF


@pytest.mark.peer
def test_link_that_drops_delivers_in_the_end(line: Line) -> None:
    """Connections reset again and again, and refused for a while."""
    line.ask()
    with line.working():
        for share in (0.2, 0.5, 0.8):
            wait_until(lambda share=share: line.proxy.passed > share * len(PAYLOAD), 30)
            line.proxy.refuse = True
            line.proxy.cut()
            seen = line.proxy.connections
            wait_until(lambda seen=seen: line.proxy.connections > seen, 30)
            line.proxy.refuse = False
    line.turns()
    line.assert_delivered()


@pytest.mark.peer
def test_upload_that_is_not_done_in_time_ends_and_stays_closed(line: Line) -> None:
    """`release_by` passes while the link is down: failed, said so, and nothing that was sent can be opened."""
    line.ask()
    with line.working():
        wait_until(lambda: line.proxy.passed > HALF)
        line.proxy.refuse = True
        line.proxy.cut()
        line.house.clock.advance(7 * HOUR_NS)
    line.turns()
    assert line.house.state() is RequestState.FAILED
    assert line.house.answers(Status.FAILED)[0].reason == "release-by-passed"
    line.assert_closed()
    assert line.received() is None


@pytest.mark.peer
def test_upload_waits_for_its_hours_and_stops_when_they_end(line: Line) -> None:
    """Outside of the hours not a byte goes out; when they end in mid-upload, the rest goes in the next ones."""
    line.hours[0] = False
    line.ask()
    line.house.carry_on()
    assert line.house.state() is RequestState.UPLOADING
    assert line.proxy.connections == 0
    line.hours[0] = True
    line.house.clock.advance(10 * SECOND_NS)
    with line.working():
        wait_until(lambda: line.proxy.passed > HALF)
        line.hours[0] = False
    assert line.received() is None
    sent = line.proxy.passed
    line.house.carry_on()
    assert line.proxy.passed == sent
    line.hours[0] = True
    line.turns()
    line.assert_delivered()


LOST = {"gone": lambda path: path.unlink(), "cut short": lambda path: os.truncate(path, HALF)}


@pytest.mark.peer
@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_staged_payload_that_is_lost_is_built_again(line: Line, lose: Callable[[Path], None]) -> None:
    """A disk that lost what was built while it waited: the ring still has the footage, and it is delivered."""
    line.hours[0] = False
    line.ask()
    line.house.carry_on()
    lose(line.house.staging.path(line.name))
    line.hours[0] = True
    line.turns()
    line.assert_delivered()
    assert line.house.builder.built == 2


@pytest.mark.peer
def test_receiver_that_loses_a_whole_upload_gets_it_again_before_the_key(line: Line) -> None:
    """What was uploaded is asked for before its key leaves: a receiver restored from before gets it again."""
    carry = line.house.uploader.upload

    def upload(*args) -> bool:
        done = carry(*args)
        if line.house.builder.built == 1:
            line.receiver.kill()
            shutil.rmtree(line.receiver.folder / "uploads_dir")
            shutil.rmtree(line.receiver.folder / "received_dir")
            line.receiver.start()
        return done

    line.house.uploader.upload = upload  # type: ignore[method-assign]
    line.ask()
    line.turns()
    line.assert_delivered()
    assert line.house.builder.built == 2


# What cannot be built


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.store.close()


def end(house: House) -> None:
    house.ask()
    house.carry_on()
    house.sender.turn()


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(("has_other", "code"), [(True, "quality-not-recorded"), (False, "no-footage")])
def test_what_was_not_recorded_is_said_plainly(house: House, has_other: bool, code: str):
    """One final answer with the reason, the same in the owner's list and in the ledger, and nothing left behind."""
    house.builder.before = failing(NotRecordedError("door", Quality.SUB, has_other=has_other))
    end(house)
    assert house.state() is RequestState.NO_FOOTAGE
    answer = house.answers()[-1]
    assert (answer.status, answer.missing) == (Status.NO_FOOTAGE, (Note(code, "door"),))
    assert house.newest().reasons[0]["code"] == code
    assert [each["outcome"] for each in house.entries("release")] == [code]
    assert house.staged() == []
    assert house.keys_out() == 0


def test_a_stream_that_is_not_recorded_leaves_the_other_camera_its_clip(house: House) -> None:
    """Partial: one camera is delivered, the other is named with the reason."""
    house.signed["yard"] = gate.terms()

    def fail() -> None:
        if len(house.builder.built) == 1:
            raise NotRecordedError("yard", Quality.MAIN, has_other=True)

    house.builder.before = fail
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    house.sender.turn()
    (answer,) = house.answers(Status.PARTIAL)
    assert [file.camera for file in answer.files] == ["door"]
    assert answer.missing == (Note("quality-not-recorded", "yard"),)


def test_camera_whose_upload_was_lost_meanwhile_is_built_again(house: House) -> None:
    """The server loses the first camera's payload, which is no longer at home, while the second one's is sent."""
    house.signed["yard"] = gate.terms()
    house.uploader.loses = 1
    house.ask({"clip.cameras": ["door", "yard"]})
    house.carry_on()
    assert house.state() is RequestState.UPLOADING
    house.clock.advance(10 * SECOND_NS)
    house.worker.turn()
    house.sender.turn()
    assert [sorted(file.camera for file in each.files) for each in house.answers(Status.DELIVERED)] == [
        ["door", "yard"]
    ]
    assert house.builder.tries == {"door": 2, "yard": 1}


def test_server_that_loses_everything_ends_the_release(house: House) -> None:
    """A server that forgets what it acknowledged is not fed indefinitely: the release fails, and says why."""
    house.uploader.loses = 99
    house.ask()
    for _ in range(20):
        house.carry_on()
        house.sender.turn()
        house.clock.advance(10 * SECOND_NS)
    assert house.answers()[-1].reason == "upload-refused"
    assert house.builder.tries == {"door": MAX_LOSSES + 1}
    assert (house.keys_out(), house.staged()) == (0, [])


def test_payload_that_a_cancel_deletes_is_not_taken_for_a_lost_one(house: House) -> None:
    """The owner cancels as the upload opens its file: the request stays cancelled, and nothing is built anew."""
    request = house.ask()
    house.uploader.before = lambda: (house.call("cancel", number=request.id), failing(PayloadLostError("gone"))())
    house.carry_on()
    house.worker.turn()
    assert house.state() is RequestState.CANCELLED
    assert len(house.store.releases.list_of(request.id)) == 1
    assert house.builder.tries == {"door": 1}


def test_a_disk_that_fills_up_while_it_is_written_refuses_the_release(tmp_path: Path) -> None:
    """ENOSPC from the kernel is the same refusal as the folder's own bound, and the file is gone."""
    staging = Staging(tmp_path / "staging", 1 << 20)
    for size in (10, 100_000):  # the first fails when it is closed, the second when it is written
        with pytest.raises(StagingFullError, match="disk is full"), staging.create("payload") as out:
            with open("/dev/full", "wb") as full:
                replace_descriptor(staging.path("payload"), full.fileno())
            out.write(bytes(size))
        assert list((tmp_path / "staging").iterdir()) == []


def replace_descriptor(path: Path, by: int) -> None:
    """Have the open file of this path write somewhere else."""
    (found,) = [int(each) for each in os.listdir("/proc/self/fd") if _is_at(each, path)]
    os.dup2(by, found)


def _is_at(descriptor: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    except OSError:
        return False


CONFIG = """\
gateway: {{state_dir: {folder}}}
cameras:
  - {{id: door, url: "rtsp://127.0.0.1/"}}
"""


@pytest.mark.parametrize(("other", "code"), [(True, "quality-not-recorded"), (False, "no-footage")])
def test_a_ring_that_is_not_there_is_told_from_a_stream_that_is_not(tmp_path: Path, other: bool, code: str) -> None:
    """Asked for the substream where only the main one is recorded: said so; where nothing is, nothing was recorded."""
    (tmp_path / "edge-agent.yaml").write_text(CONFIG.format(folder=tmp_path))
    config = load_config(tmp_path / "edge-agent.yaml")
    if other:
        config.ring_path("door", "main").parent.mkdir()
        config.ring_path("door", "main").touch()
    footage = Footage(config, None, None)  # type: ignore[arg-type]
    with pytest.raises(NotRecordedError) as caught, footage.open("door", Quality.SUB):
        pass
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("hours", "now", "is_allowed"),
    [
        ("[]", "2026-11-28T12:00:00Z", True),
        ("['22:00-06:00']", "2026-11-29T03:59:59Z", False),
        ("['22:00-06:00']", "2026-11-29T04:00:00Z", True),
        ("['22:00-06:00']", "2026-11-29T12:00:00Z", False),
        ("['01:00-02:00', '12:00-13:00']", "2026-11-28T18:30:00Z", True),
    ],
)
def test_hours_of_uploads_are_those_of_the_place(tmp_path, hours, now, is_allowed):
    """Local time decides, over midnight too; without hours an upload is always allowed."""
    text = f"gateway: {{time_zone: America/Chicago}}\nuplink: {{upload_hours: {hours}}}\ncameras: []\n"
    config = parse_config(text, "test", tmp_path)
    assert make_hours(config, FakeClock(utc=parse_rfc3339(now)))() is is_allowed
