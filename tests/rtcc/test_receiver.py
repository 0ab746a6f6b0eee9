"""The RTCC's receiver: who may put what where, and what a kill leaves."""

import hashlib
import io
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from edge_agent.demo.broker import find_free_port, is_listening
from edge_agent.errors import DeliveryError, UploadLostError, UploadRefusedError
from edge_agent.host.accepting import HANDSHAKE_TIMEOUT_S
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.rtcc.receiver import Receiver, ReceiverSettings
from edge_agent.rtcc.receiver_connections import HEAD_TIMEOUT_S, MAX_CONNECTIONS, MAX_OF_ONE_ADDRESS
from edge_agent.rtcc.receiver_room import MAX_UNFINISHED, STALLED_S
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


def test_a_whole_upload_lies_under_its_name_with_a_note(settings: ReceiverSettings, pki: Pki) -> None:
    """The payload byte for byte, whose it is, how large, and its digest; the caller is told once."""
    told: list[tuple[str, str]] = []
    with Receiver(settings, every, lambda gateway, name: told.append((gateway, name))) as receiver:
        upload(connect(receiver.url, pki, "gw1"))
    assert told == [("gw1", NAME)]
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA
    note = json.loads((settings.received_dir / "gw1" / f"{NAME}.json").read_text())
    assert (note["gateway"], note["size"]) == ("gw1", len(DATA))
    assert note["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert not list(settings.uploads_dir.glob("*/*.part"))


def test_an_upload_does_not_exist_for_another_gateway(client: Callable[[str], TusUploader]) -> None:
    """Knowing the URL of another's upload gives nothing: no offset, no bytes, no deletion."""
    own, other = client("gw1"), client("gw2")
    url = own.create(len(DATA), {"filename": NAME})
    with pytest.raises(UploadLostError):
        other.find_offset(url, len(DATA))
    with pytest.raises(UploadLostError):
        other.send(url, io.BytesIO(DATA), 0, len(DATA))
    other.delete(url)
    assert own.find_offset(url, len(DATA)) == 0
    own.send(url, io.BytesIO(DATA), 0, len(DATA))


def test_one_name_is_two_uploads_of_two_gateways(
    client: Callable[[str], TusUploader], settings: ReceiverSettings
) -> None:
    """Whoever creates the victim's name first, or finishes it in between, replaces nothing of the victim's."""
    own, other = client("gw1"), client("gw2")
    url = own.create(len(DATA), {"filename": NAME})
    upload(other, data=b"forged")
    own.send(url, io.BytesIO(DATA), 0, len(DATA))
    upload(other, data=b"forged again")
    assert own.find_offset(url, len(DATA)) == len(DATA)
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA
    assert (settings.received_dir / "gw2" / NAME).read_bytes() == b"forged again"


def test_a_gateway_may_send_its_own_again(client: Callable[[str], TusUploader], settings: ReceiverSettings) -> None:
    """A bundle that was built anew, before its key was handed over, takes the place of the one before."""
    upload(client("gw1"))
    upload(client("gw1"), data=b"again")
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == b"again"


def test_what_a_signed_answer_names_is_never_replaced(settings: ReceiverSettings, pki: Pki) -> None:
    """Another payload under a delivered name is put aside for a person; its gateway finds it lost, not whole."""
    signed: dict[tuple[str, str], str] = {}
    with Receiver(settings, every, find_signed=lambda gateway, name: signed.get((gateway, name))) as receiver:
        gateway = connect(receiver.url, pki, "gw1")
        upload(gateway)
        signed["gw1", NAME] = hashlib.sha256(DATA).hexdigest()
        url = gateway.create(5, {"filename": NAME})
        gateway.send(url, io.BytesIO(b"other"), 0, 5)
        with pytest.raises(UploadLostError):
            gateway.find_offset(url, 5)
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA
    (kept,) = (settings.received_dir / "gw1" / "conflicts").glob(f"{NAME}.*[!n]")
    assert kept.read_bytes() == b"other"


FOREIGN: dict[str, tuple[str, str, dict[str, str]]] = {
    "a creation without a CN": ("POST", "", {}),
    "a creation in another's part": ("POST", "gw2/", {}),
    "a creation by the way of OPTIONS": ("OPTIONS", "", {"X_HTTP_Method_Override": "POST"}),
    "an offset by the old path": ("HEAD", "UID", {}),
    "an offset in another's part": ("HEAD", "gw2/UID", {}),
    "bytes by the old path": (
        "PATCH",
        "UID",
        {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"},
    ),
    "a deletion in another's part": ("DELETE", "gw2/UID", {}),
    "a path that leads out": ("HEAD", "gw1/../gw2/UID", {}),
    "an encoded path that leads out": ("HEAD", "gw1%2F..%2Fgw2/UID", {}),
}


@pytest.mark.parametrize(("method", "path", "headers"), FOREIGN.values(), ids=FOREIGN)
def test_nothing_is_reached_but_by_ones_own_path(
    receiver: Receiver, pki: Pki, settings: ReceiverSettings, method: str, path: str, headers: dict[str, str]
) -> None:
    """Every method, for uploads that are there: 404, and nothing changes."""
    for gateway in ("gw1", "gw2"):
        connect(receiver.url, pki, gateway).create(3, {"filename": NAME})
    (uid,) = (path.stem for path in (settings.uploads_dir / "gw2").glob("*.json"))
    before = sorted(settings.uploads_dir.rglob("*"))
    words = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU="} | headers
    answer = raw(method, receiver.url + path.replace("UID", uid), pki, **words)
    assert answer.status_code == (204 if method == "OPTIONS" else 404)
    assert sorted(settings.uploads_dir.rglob("*")) == before


def test_what_an_upload_is_was_said_at_its_creation(
    receiver: Receiver, pki: Pki, settings: ReceiverSettings, client: Callable[[str], TusUploader]
) -> None:
    """Neither its size nor its name follows a header of a later request."""
    gateway = client("gw1")
    url = gateway.create(3, {"filename": NAME})
    headers = {"Upload_Offset": "0", "Upload_Length": "6", "Content_Type": "application/offset+octet-stream"}
    raw("PATCH", url, pki, b"abc", Upload_Metadata="filename b3RoZXItbmFtZQ==", **headers)
    assert gateway.find_offset(url, 3) == 3
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == b"abc"


def test_options_announces_what_is_taken(receiver: Receiver, pki: Pki) -> None:
    """No extension that would be refused."""
    answer = raw("OPTIONS", receiver.url, pki)
    assert answer.headers["Tus-Extension"] == "creation,expiration,termination"


def test_an_upload_without_a_type_is_answered(receiver: Receiver, pki: Pki) -> None:
    """tus needs no metadata of a client but our filename."""
    words = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU="}
    created = raw("POST", f"{receiver.url}gw1/", pki, **words)
    answer = raw("HEAD", urljoin(receiver.url, created.headers["Location"]), pki)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (200, "0")


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


NAMES = {"none": "", "a path": "../../etc/passwd", "a dot": "upload.name", "short": "x", "long": "x" * 65}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_no_plain_file_name_is_refused(client: Callable[[str], TusUploader], name: str) -> None:
    """Nothing outside of the folder can be named."""
    with pytest.raises(UploadRefusedError):
        client("gw1").create(10, {"filename": name})


def test_sizes_are_bounded_before_a_byte_is_taken(client: Callable[[str], TusUploader]) -> None:
    """Too large, empty, or more than announced."""
    gateway = client("gw1")
    for size in ((1 << 20) + 1, 0):
        with pytest.raises(UploadRefusedError):
            gateway.create(size, {"filename": NAME})
    url = gateway.create(10, {"filename": NAME})
    with pytest.raises(DeliveryError):
        gateway.send(url, io.BytesIO(DATA), 0, 20)
    assert gateway.find_offset(url, 10) == 0


def test_a_full_disk_and_too_many_uploads_are_said(
    client: Callable[[str], TusUploader], settings: ReceiverSettings, pki: Pki
) -> None:
    """Both may mend, so both are tried again later; another gateway is not touched by one's many."""
    many = client("gw1")
    for _ in range(MAX_UNFINISHED):
        many.create(10, {"filename": NAME})
    with pytest.raises(DeliveryError, match="429"):
        many.create(10, {"filename": NAME})
    client("gw2").create(10, {"filename": NAME})
    with Receiver(replace(settings, keep_free_bytes=1 << 60), every) as full:
        gateway = connect(full.url, pki, "gw3")
        with pytest.raises(DeliveryError, match="503"):
            gateway.create(10, {"filename": NAME})


def test_only_what_was_announced_is_taken(settings: ReceiverSettings, pki: Pki) -> None:
    """Before a verified ``queued`` names it, an upload waits; it is not refused, for the answer may be on its way."""
    announced = set[tuple[str, str]]()
    with Receiver(settings, lambda gateway, name: (gateway, name) in announced) as receiver:
        answer = raw(
            "POST", f"{receiver.url}gw1/", pki, Upload_Length="10", Upload_Metadata="filename dXBsb2FkLW5hbWUtMQ=="
        )
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        announced.add(("gw2", NAME))
        with pytest.raises(DeliveryError, match="503"):
            connect(receiver.url, pki, "gw1").create(10, {"filename": NAME})
        announced.add(("gw1", NAME))
        upload(connect(receiver.url, pki, "gw1"))
    assert (settings.received_dir / "gw1" / NAME).exists()


def test_announced_bytes_are_reserved(settings: ReceiverSettings, pki: Pki) -> None:
    """Two uploads that each fit, and not both: the second one waits until the first is gone, also after a restart."""
    size = 400 << 20
    room = shutil.disk_usage(settings.uploads_dir.parent).free - 600 * (1 << 20)
    settings = replace(settings, max_upload_bytes=1 << 40, keep_free_bytes=room)
    with Receiver(settings, every) as receiver:
        url = connect(receiver.url, pki, "gw1").create(size, {"filename": NAME})
        with pytest.raises(DeliveryError, match="503"):
            connect(receiver.url, pki, "gw2").create(size, {"filename": NAME})
    with Receiver(replace(settings, port=receiver.port), every) as receiver:
        with pytest.raises(DeliveryError, match="503"):
            connect(receiver.url, pki, "gw2").create(size, {"filename": NAME})
        connect(receiver.url, pki, "gw1").delete(url)
        connect(receiver.url, pki, "gw2").create(size, {"filename": NAME})


@pytest.mark.parametrize("asks", ["gw1", "gw2"])
def test_room_that_nobody_uses_is_given_up(settings: ReceiverSettings, pki: Pki, asks: str) -> None:
    """A promise whose bytes do not come, for an hour, ends if another one needs the room; its file goes with it."""
    size = 400 << 20
    keep = shutil.disk_usage(settings.uploads_dir.parent).free - 600 * (1 << 20)
    settings = replace(settings, max_upload_bytes=1 << 40, keep_free_bytes=keep)
    with Receiver(settings, every) as receiver:
        clock = [0.0]
        receiver._storage.room._monotonic = lambda: clock[0]
        url = connect(receiver.url, pki, "gw1").create(size, {"filename": NAME})
        clock[0] = STALLED_S - 1
        with pytest.raises(DeliveryError, match="503"):
            connect(receiver.url, pki, asks).create(size, {"filename": "another-name"})
        clock[0] = STALLED_S + 1
        connect(receiver.url, pki, asks).create(size, {"filename": "another-name"})
        with pytest.raises(UploadLostError):
            connect(receiver.url, pki, "gw1").find_offset(url, size)
    assert len(list(settings.uploads_dir.rglob("*.part"))) == 1


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


def test_one_certificate_cannot_take_the_places_of_others(receiver: Receiver, pki: Pki) -> None:
    """However many connections one gateway opens, another one is served at once."""
    context = build_client_context(pki.client("gw1"))
    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            plain = socket.create_connection(("127.0.0.1", receiver.port), 5)
            stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        upload(connect(receiver.url, pki, "gw2"))
        with pytest.raises(DeliveryError):
            connect(receiver.url, pki, "gw1").create(10, {"filename": NAME})


def test_who_shows_no_certificate_takes_few_places(receiver: Receiver, pki: Pki) -> None:
    """A connection that never begins TLS is counted by its address when it is accepted, and soon ended."""
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port), 5))
            for _ in range(MAX_OF_ONE_ADDRESS + 5)
        ]
        began = time.monotonic()
        silent[-1].settimeout(HANDSHAKE_TIMEOUT_S)
        with suppress(ConnectionError):
            assert silent[-1].recv(1) == b""
        assert time.monotonic() - began < HANDSHAKE_TIMEOUT_S / 2
        for one in silent:
            one.settimeout(HANDSHAKE_TIMEOUT_S + 3)
            with suppress(ConnectionError):
                assert one.recv(1) == b""
    upload(connect(receiver.url, pki, "gw2"))


@pytest.mark.slow
def test_who_says_nothing_is_not_waited_for(receiver: Receiver, pki: Pki) -> None:
    """In the handshake, before a first request, and in the middle of the head of a further one."""
    context = build_client_context(pki.client("gw1"))

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", receiver.port), 5)

    silent = [dial() for _ in range(20)]
    idle = context.wrap_socket(dial(), server_hostname="127.0.0.1")
    half = context.wrap_socket(dial(), server_hostname="127.0.0.1")
    half.sendall(b"OPTIONS /files/ HTTP/1.1\r\nhost: x\r\n\r\n")
    assert half.recv(1 << 16).startswith(b"HTTP/1.1 2")
    half.sendall(b"OPTIONS /files/ HTTP/1.1\r\nhost")
    began = time.monotonic()
    for connection in (*silent, idle, half):
        connection.settimeout(HEAD_TIMEOUT_S + HANDSHAKE_TIMEOUT_S)
        with suppress(OSError):
            while connection.recv(1 << 16):
                pass
        connection.close()
    assert time.monotonic() - began < HEAD_TIMEOUT_S + 5
    upload(connect(receiver.url, pki, "gw1"))


def raw(method: str, url: str, pki: Pki, body: bytes = b"", **headers: str) -> requests.Response:
    files = pki.client_files("gw1")
    return requests.request(
        method,
        url,
        data=body,
        headers={"Tus-Resumable": "1.0.0", **{name.replace("_", "-"): value for name, value in headers.items()}},
        cert=(str(files.certificate), str(files.key)),
        verify=str(files.ca),
        timeout=5,
    )


WRONG: dict[str, dict[str, str]] = {
    "a length to come": {"Upload_Defer_Length": "1"},
    "concatenation": {"Upload_Concat": "partial", "Upload_Length": "10"},
    "no metadata": {"Upload_Length": "10", "Upload_Metadata": ""},
    "no number": {"Upload_Length": "x"},
    "another version": {"Upload_Length": "10", "Tus_Resumable": "0.9"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_a_creation_that_we_do_not_want_is_refused(receiver: Receiver, pki: Pki, headers: dict[str, str]) -> None:
    """What the client never does, the server does not take."""
    metadata = {"Upload_Metadata": "filename dXBsb2FkLW5hbWU="}
    assert 400 <= raw("POST", f"{receiver.url}gw1/", pki, **(metadata | headers)).status_code < 500


def test_a_creation_with_a_body_is_refused(receiver: Receiver, pki: Pki, settings: ReceiverSettings) -> None:
    """tuspyserver would hold it all in memory, and count it past every bound."""
    headers = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU=", "Content_Type": "x/y"}
    assert raw("POST", f"{receiver.url}gw1/", pki, b"0123456789", **headers).status_code == 400
    assert not list(settings.uploads_dir.glob("*/*.part"))


def test_nobody_gets_in_without_a_certificate(receiver: Receiver, pki: Pki, tmp_path: Path) -> None:
    """No certificate, or one of another authority, ends in the handshake."""
    stranger = Pki(tmp_path / "stranger").client_files("gw1")
    for certificate in (None, (str(stranger.certificate), str(stranger.key))):
        with pytest.raises(requests.ConnectionError):
            requests.get(receiver.url, verify=str(pki.ca_path), cert=certificate, timeout=5)
    context = ssl.create_default_context(cafile=str(pki.ca_path))
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_bytes_that_no_offset_promised_are_cut_off(
    client: Callable[[str], TusUploader], settings: ReceiverSettings
) -> None:
    """What a kill left behind the last known offset is not appended to."""
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


def test_bytes_that_are_not_what_was_promised_are_not_received(
    client: Callable[[str], TusUploader], settings: ReceiverSettings
) -> None:
    """The digest in the metadata is checked when the last byte is there; the gateway begins anew."""
    gateway = client("gw1")
    promised = {"filename": NAME, "sha256": hashlib.sha256(DATA).hexdigest()}
    url = gateway.create(len(DATA), promised)
    gateway.send(url, io.BytesIO(bytes(len(DATA))), 0, len(DATA))
    with pytest.raises(UploadLostError):
        gateway.find_offset(url, len(DATA))
    assert not (settings.received_dir / "gw1" / NAME).exists()
    url = gateway.create(len(DATA), promised)
    gateway.send(url, io.BytesIO(DATA), 0, len(DATA))
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA


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


def test_what_was_received_cannot_be_deleted(client: Callable[[str], TusUploader], settings: ReceiverSettings) -> None:
    """DELETE forgets an upload that is under way; what arrived is the RTCC's."""
    gateway = client("gw1")
    url = upload(gateway)
    gateway.delete(url)
    assert (settings.received_dir / "gw1" / NAME).read_bytes() == DATA


def test_the_receiver_stops_and_its_port_is_free(settings: ReceiverSettings) -> None:
    """Start, stop, start on the same port."""
    first = Receiver(settings, every)
    first.start()
    first.stop()
    wait_until(lambda: first.port)
    with Receiver(replace(settings, port=first.port), every) as second:
        assert second.port == first.port


def test_a_revoked_gateway_is_cut_off_at_once(settings: ReceiverSettings, pki: Pki) -> None:
    """In the middle of a body, and at every method after; another gateway's upload goes on."""
    revoked: set[str] = set()
    with Receiver(settings, every, is_revoked=revoked.__contains__) as receiver:
        client = connect(receiver.url, pki, "gw1")
        url = client.create(len(DATA), {"filename": NAME})
        client.send(url, io.BytesIO(DATA), 0, len(DATA) // 2)

        class Revoking(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                revoked.add("gw1")
                return super().read(size)

        with pytest.raises((DeliveryError, UploadLostError)):
            client.send(url, Revoking(DATA), len(DATA) // 2, len(DATA))
        for attempt in (lambda: client.find_offset(url, len(DATA)), lambda: upload(client, "upload-name-2")):
            with pytest.raises((UploadLostError, UploadRefusedError)):
                attempt()
        upload(connect(receiver.url, pki, "gw2"))
    assert not (settings.received_dir / "gw1").exists()
