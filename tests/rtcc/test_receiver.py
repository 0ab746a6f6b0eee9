"""The RTCC's receiver: who may put what where, and what a kill leaves."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.demo.broker import find_free_port, is_listening
from edge_agent.errors import DeliveryError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.rtcc import state_questions
from edge_agent.rtcc.receiver import Receiver, ReceiverSettings
from edge_agent.rtcc.receiver_storage import ReceiveStorage
from edge_agent.uplink.release.tus import TusUploader
from tests.peers.pki import Pki
from tests.peers.wait import wait_until

pytestmark = pytest.mark.peer
ROOT = Path(__file__).parents[2]
NAME = "upload-name-1"
DATA = bytes(range(256)) * 1000


def every(gateway: str, name: str) -> bool:
    """Every upload is announced."""
    return True


@pytest.fixture
def settings(tmp_path: Path, pki: Pki) -> ReceiverSettings:
    files = pki.server_files()
    folders = {"uploads_dir": tmp_path / "uploads", "received_dir": tmp_path / "received"}
    return ReceiverSettings(
        "127.0.0.1", 0, files.ca, files.certificate, files.key, max_upload_bytes=1 << 20, keep_free_bytes=0, **folders
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings, every) as running:
        yield running


@pytest.fixture
def client(receiver: Receiver, pki: Pki) -> Callable[[str], TusUploader]:
    return lambda gateway: connect(receiver.url, pki, gateway)


def connect(url: str, pki: Pki, gateway: str) -> TusUploader:
    return TusUploader(f"{url}{gateway}/", build_client_context(pki.client(gateway)), SystemClock())


def upload(client: TusUploader, name: str = NAME, data: bytes = DATA) -> str:
    return client.upload(io.BytesIO(data), len(data), {"filename": name}, upload_url=None, save_url=lambda _: None)


def test_what_an_earlier_version_received_is_put_in_order(settings: ReceiverSettings) -> None:
    """Into its gateway's folder, with its note; what was under way begins anew."""
    settings.received_dir.mkdir()
    settings.uploads_dir.mkdir()
    (settings.received_dir / NAME).write_bytes(DATA)
    (settings.received_dir / f"{NAME}.json").write_text('{"gateway": "gw1"}')
    (settings.uploads_dir / f"{'a' * 32}.json").write_text('{"gateway": "gw1", "offset": 0, "size": 5}')
    with Receiver(settings, every):
        pass
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA
    assert [path.name for path in settings.received_dir.iterdir()] == ["gw1"]
    assert list(settings.uploads_dir.iterdir()) == []


def test_who_takes_long_to_hash_keeps_nobody_waiting(
    settings: ReceiverSettings, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests have threads of their own: uploads begin and go on while as many as there are wait for theirs."""
    begun, end = threading.Semaphore(0), threading.Event()
    finalize = ReceiveStorage._finalize

    def slowly(self: ReceiveStorage, gateway: str, uid: str) -> None:
        begun.release()
        assert end.wait(20)
        finalize(self, gateway, uid)

    monkeypatch.setattr(ReceiveStorage, "_finalize", slowly)
    with Receiver(settings, every) as receiver:
        senders = [
            threading.Thread(target=upload, args=(connect(receiver.url, pki, f"gw{number}"),)) for number in range(40)
        ]
        try:
            for sender in senders:
                sender.start()
            assert begun.acquire(timeout=10)
            other = connect(receiver.url, pki, "other")
            assert other.find_offset(other.create(10, {"filename": NAME}), 10) == 0
        finally:
            end.set()
            for sender in senders:
                sender.join(20)


def test_bytes_that_no_offset_promised_are_cut_off(
    client: Callable[[str], TusUploader], settings: ReceiverSettings
) -> None:
    """Bytes that a kill left behind the last known offset are not appended to."""
    gateway = client("gw1")
    url = gateway.create(len(DATA), {"filename": NAME})
    (part,) = settings.uploads_dir.glob("*/*.part")
    part.write_bytes(b"left by a kill")
    assert gateway.find_offset(url, len(DATA)) == 0
    gateway.send(url, io.BytesIO(DATA), 0, len(DATA))
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA


def test_a_kill_before_the_move_is_made_good_at_the_next_start(settings: ReceiverSettings) -> None:
    """An upload that was whole but not moved yet is received; one without a size, or too old, is dropped."""
    folder = settings.uploads_dir / "gw1"
    folder.mkdir(parents=True)
    for uid, info in {
        "a" * 32: {"gateway": "gw1", "offset": 5, "size": 5, "metadata": {"filename": NAME}},
        "b" * 32: {"gateway": "gw1", "offset": 0},
        "c" * 32: {"gateway": "gw1", "offset": 2, "size": 5, "metadata": {"filename": "other-name"}},
    }.items():
        (folder / f"{uid}.json").write_text(json.dumps(info))
        (folder / f"{uid}.part").write_bytes(b"hello")
    told: list[str] = []
    with Receiver(settings, every, lambda _, name: told.append(name)):
        pass
    assert told == [NAME]
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == b"hello"
    assert sorted(path.stem[0] for path in settings.uploads_dir.glob("*/*.json")) == ["a", "c"]
    with Receiver(settings, every, lambda _, name: told.append(name)):
        pass
    assert told == [NAME]


class Away:
    """A state that can be asked, or not; the receiver asks it for each upload that is whole."""

    def __init__(self) -> None:
        self.is_away, self.asked = True, 0

    def find_signed(self, gateway: str, name: str) -> None:
        self.asked += 1
        if self.is_away:
            raise UnavailableError("state cannot be read or written")


def test_nothing_is_called_whole_that_was_not_received(settings: ReceiverSettings, pki: Pki) -> None:
    """An upload whose end fails, as the state is away, has no offset for its gateway until it was received."""
    state = Away()
    with Receiver(settings, every, find_signed=state.find_signed) as receiver:
        gateway = connect(receiver.url, pki, "gw1")
        url = gateway.create(len(DATA), {"filename": NAME})
        with pytest.raises(DeliveryError):
            gateway.send(url, io.BytesIO(DATA), 0, len(DATA))
        with pytest.raises(DeliveryError, match="status=5"):
            gateway.find_offset(url, len(DATA))
        state.is_away = False
        assert gateway.find_offset(url, len(DATA)) == len(DATA)
        assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA
        asked = state.asked
        assert gateway.find_offset(url, len(DATA)) == len(DATA)
        assert state.asked == asked


@pytest.mark.parametrize("is_moved", [False, True], ids=["still-in-uploads", "moved-but-not-noted"])
def test_what_is_whole_is_received_however_old(settings: ReceiverSettings, pki: Pki, is_moved: bool) -> None:
    """A start looks whether an upload is whole before it looks at its age, and finds what a kill left half noted."""
    with Receiver(settings, every) as receiver:
        url = upload(connect(receiver.url, pki, "gw1"))
    (info,), payload = settings.uploads_dir.glob("*/*.json"), settings.received_dir / "gw1" / NAME
    known = json.loads(info.read_text())
    info.write_text(json.dumps({name: value for name, value in known.items() if name != "received"}))
    os.utime(info, (0, 0))
    if not is_moved:
        payload.rename(info.with_suffix(".part"))
    with Receiver(replace(settings, port=int(url.split(":")[2].split("/")[0])), every) as receiver:
        assert connect(receiver.url, pki, "gw1").find_offset(url, len(DATA)) == len(DATA)
    assert payload.read_bytes() == DATA


def test_a_write_that_fails_promises_nothing(settings: ReceiverSettings, pki: Pki, tmp_path: Path) -> None:
    """A disk that is full in the middle of a PATCH: the offset is what lies on the disk, and the rest comes later."""
    # A process, because its limit on file sizes stands for the full disk.
    words = {name: str(getattr(settings, name)) for name in ("ca", "certificate", "key", "uploads_dir", "received_dir")}
    port = find_free_port()
    data = DATA * 40
    limit = 3 << 20
    url = f"https://127.0.0.1:{port}/files/"
    gateway = connect(url, pki, "gw1")
    with running(words | {"port": port}, limit):
        upload_url = gateway.create(len(data), {"filename": NAME})
        with pytest.raises(DeliveryError):
            gateway.send(upload_url, io.BytesIO(data), 0, len(data))
        assert gateway.find_offset(upload_url, len(data)) <= limit
    with running(words | {"port": port}, None):
        gateway.upload(io.BytesIO(data), len(data), {}, upload_url=upload_url, save_url=pytest.fail)
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == data


@contextmanager
def running(words: dict[str, object], limit_bytes: int | None) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.peers.receiver_process", json.dumps(words)]
    if limit_bytes is not None:
        command = ["sh", "-c", f'ulimit -f {limit_bytes // 512} && exec "$@"', "sh", *command]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(int(str(words["port"]))), 20)
        yield
    finally:
        process.kill()
        process.wait(10)


def test_the_receiver_stops_and_its_port_is_free(settings: ReceiverSettings) -> None:
    """Start, stop, start on the same port."""
    first = Receiver(settings, every)
    first.start()
    first.stop()
    wait_until(lambda: first.port)
    with Receiver(replace(settings, port=first.port), every) as second:
        assert second.port == first.port


QUESTIONS = ("is_announced", "is_revoked", "find_signed")


@pytest.mark.parametrize("question", QUESTIONS)
def test_who_waits_for_the_state_keeps_nobody_waiting(settings: ReceiverSettings, pki: Pki, question: str) -> None:
    """A database that answers slowly to one gateway's question: another one's upload is received meanwhile."""
    asked, answered = threading.Event(), threading.Event()

    def wait(gateway: str, _name: str = "") -> bool | None:
        if gateway == "gw1":
            asked.set()
            assert answered.wait(30)
        return {"is_announced": True, "is_revoked": False, "find_signed": None}[question]

    with Receiver(settings, **{"is_announced": every, question: wait}) as receiver:
        slow = threading.Thread(target=upload_all, args=(connect(receiver.url, pki, "gw1"),))
        slow.start()
        assert asked.wait(10)
        upload_all(connect(receiver.url, pki, "gw2"))
        assert not answered.is_set()
        assert (settings.received_dir / "gw2" / NAME).read_bytes() == DATA
        answered.set()
        slow.join(30)
        assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA


def upload_all(client: TusUploader) -> None:
    client.upload(io.BytesIO(DATA), len(DATA), {"filename": NAME}, upload_url=None, save_url=lambda _: None)


def test_a_state_that_never_answers_is_said_to_be_away(
    settings: ReceiverSettings, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a limit, with 503: a gateway does not wait for a connection that hangs."""
    monkeypatch.setattr(state_questions, "ANSWER_WITHIN_S", 0.2)
    answered = threading.Event()
    with Receiver(settings, lambda *_: answered.wait(30)) as receiver:
        with pytest.raises(DeliveryError, match="503"):
            connect(receiver.url, pki, "gw1").create(3, {"filename": NAME})
        answered.set()
