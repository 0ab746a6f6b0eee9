"""``city/uploads`` beyond what both upload servers keep: its store, its questions, and what the RTCC reads there."""

import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import DeliveryError, EvidenceError, UnavailableError, UploadLostError
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.rtcc import cli
from edge_agent.rtcc.object_store import ObjectStore as Bucket
from edge_agent.rtcc.office.enrol import enrol
from tests.peers.object_store import ROOT, ObjectStore
from tests.peers.pki import Pki
from tests.peers.proxy import Proxy
from tests.peers.upload_hosts import StoreHost
from tests.rtcc.conftest import take
from tests.rtcc.test_upload_servers import raw

pytestmark = [pytest.mark.peer, pytest.mark.city, pytest.mark.needs("go", "weed")]
NAME = "upload-name-1"
DATA = bytes(range(256)) * 1000


@pytest.fixture
def host(tmp_path: Path, pki: Pki, uploads_program: Path, object_store: ObjectStore) -> Iterator[StoreHost]:
    with StoreHost(tmp_path, pki, uploads_program, object_store) as made:
        yield made


def test_while_nobody_answers_nothing_is_taken_and_nothing_is_whole(host: StoreHost) -> None:
    """The last byte is here, and nobody can say whether it is wanted: 503 until somebody can; then it is whole."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA) - 1)
    host.fall_silent()
    for attempt in (
        lambda: client.create(10, {"filename": NAME}),
        lambda: client.find_offset(url, len(DATA)),
        lambda: client.send(url, io.BytesIO(DATA), len(DATA) - 1, len(DATA)),
    ):
        with pytest.raises(DeliveryError, match="503"):
            attempt()
    assert host.find("gw1", NAME) is None
    host.speak()
    offset = client.find_offset(url, len(DATA))
    client.send(url, io.BytesIO(DATA), offset, len(DATA))
    assert host.find("gw1", NAME) == DATA


def test_a_kill_in_the_middle_costs_no_more_than_what_was_under_way(host: StoreHost) -> None:
    """The offset that comes back is no larger than what the store has; the rest makes the same bytes."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA) // 2)
    host.stop(signal.SIGKILL)
    host.start()
    offset = client.find_offset(url, len(DATA))
    assert offset <= len(DATA) // 2
    client.send(url, io.BytesIO(DATA), offset, len(DATA))
    assert host.find("gw1", NAME) == DATA


def test_a_kill_before_the_note_is_made_good_when_the_gateway_asks(host: StoreHost, object_store: ObjectStore) -> None:
    """All bytes are one object, and its note is missing: it is checked again, and the note is written."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA))
    Bucket(f"s3://{host.bucket}", object_store.variables)._store.delete(f"received/gw1/{NAME}.json")
    assert host.find("gw1", NAME) is None
    host.restart()
    assert client.find_offset(url, len(DATA)) == len(DATA)
    assert host.find("gw1", NAME) == DATA


def test_bytes_that_the_store_lost_are_not_whole(host: StoreHost, object_store: ObjectStore) -> None:
    """tusd's store calls an upload complete whose parts are gone; its gateway would delete the only copy."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA))
    bucket = Bucket(f"s3://{host.bucket}", object_store.variables)
    key = host.read_note("gw1", NAME)["object"]
    for gone in (f"received/gw1/{NAME}.json", key):
        bucket._store.delete(gone)
    with pytest.raises(UploadLostError):
        client.find_offset(url, len(DATA))


def test_bytes_that_go_while_they_are_judged_are_not_whole(host: StoreHost) -> None:
    """Hashing takes its time: what was deleted meanwhile gets no note, and its gateway keeps its copy."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA) - 1)

    class Forgetting(dict[tuple[str, str], str]):
        def get(self, *_: object) -> None:
            for key in host._open.list("uploads/gw1/"):
                if not key.endswith((".info", ".part")):
                    host._open._store.delete(key)

    host.signed = Forgetting()
    with pytest.raises(UploadLostError):
        client.send(url, io.BytesIO(DATA), len(DATA) - 1, len(DATA))
    assert host._open.list("received/") == []


def test_a_payload_that_is_not_taken_is_said_with_its_last_byte(host: StoreHost) -> None:
    """A 204 with the whole length would be the word that it is here."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME, "sha256": "0" * 64})
    with pytest.raises(UploadLostError):
        client.send(url, io.BytesIO(DATA), 0, len(DATA))


def test_another_number_of_the_parts_is_another_upload(host: StoreHost, pki: Pki) -> None:
    """A client that makes up the store's part of an id finds nothing, and spoils nothing of the present upload."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, 1000)
    made_up = url.rpartition("+")[0] + "+made-up"
    for method in ("HEAD", "DELETE"):
        assert raw(method, made_up, pki).status_code == 404
    assert client.find_offset(url, len(DATA)) == 1000


def test_the_program_keeps_its_promises_whatever_the_store_says(uploads_program: Path) -> None:
    """Its own tests, in Go: faults of a store that SeaweedFS does not have at a word."""
    done = subprocess.run(
        ["go", "test", "-mod=readonly", "./..."], cwd=ROOT / "city" / "uploads", capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_socket_is_its_users_alone(host: StoreHost) -> None:
    """A stranger who could ask could learn the announced names, and could say that something was received."""
    assert stat.S_IMODE(host._socket.stat().st_mode) == 0o600


def test_a_further_certificate_is_had_through_the_upload_server(host: StoreHost, pki: Pki) -> None:
    """The RTCC sees the certificate that was shown; at another's path there is none."""
    seen: list[tuple[str, bytes, bytes]] = []

    def renew(gateway: str, shown: bytes, message: bytes) -> bytes:
        seen.append((gateway, shown, message))
        return b"a certificate"

    host.fall_silent()
    host.renew = renew
    host.speak()
    answer = raw("POST", f"https://127.0.0.1:{host.port}/certificates/gw1", pki, b"signed")
    assert (answer.status_code, answer.content) == (200, b"a certificate")
    assert answer.headers["Content-Type"] == "application/pem-certificate-chain"
    assert [(gateway, message) for gateway, _, message in seen] == [("gw1", b"signed")]
    assert seen[0][1].startswith(b"\x30\x82")
    assert raw("POST", f"https://127.0.0.1:{host.port}/certificates/gw2", pki, b"signed").status_code == 404


def test_no_certificate_while_the_state_is_away_is_said_with_a_time(host: StoreHost, pki: Pki) -> None:
    """503 goes through with its Retry-After."""

    def renew(_gateway: str, _shown: bytes, _message: bytes) -> bytes:
        raise UnavailableError("state cannot be read or written: the server is away")

    host.fall_silent()
    host.renew = renew
    host.speak()
    answer = raw("POST", f"https://127.0.0.1:{host.port}/certificates/gw1", pki, b"signed")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)


@pytest.fixture
def delivery(home, applicant, now, host: StoreHost):
    """A payload in the store, and the key that was handed over for it: gateway and upload."""
    jti = "j" * 22
    home.write_request(jti, b"{}")
    gateway = enrol(home, applicant.csr, now).gateway
    upload = upload_name(gateway, jti, "door")
    client = host.connect(gateway)
    url = client.create(len(DATA), {"filename": upload})
    client.send(url, io.BytesIO(DATA), 0, len(DATA))
    files = (DeliveredFile("door", upload, hashlib.sha256(DATA).digest(), len(DATA), b"header"),)
    answer = Answer(gateway, home.settings.iss, jti, 0, now, Status.DELIVERED, files=files)
    take(home, f"rtcc/1/gw/{gateway}/res", encode_answer(answer, applicant.gateway))
    return gateway, upload


def test_what_lies_in_the_store_is_opened_from_there(
    home, host: StoreHost, object_store: ObjectStore, delivery, tmp_path: Path, monkeypatch, capsys
) -> None:
    """`rtcc open --received s3://BUCKET` lists it, and joins it with its key; nothing fetched stays behind."""
    for name, value in object_store.variables.items():
        monkeypatch.setenv(name, value)
    words = ["open", "--home", str(home.path), "--received", f"s3://{host.bucket}"]
    assert cli.main([*words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["upload"], row["received"]) == (delivery[1], True)
    assert cli.main([*words, delivery[1], "--age", str(tmp_path / "bundle.age")]) == 0
    assert (tmp_path / "bundle.age").read_bytes() == b"header" + DATA
    assert not list(home.path.glob(".fetched-*"))


FORGED = {
    "another gateway's": "uploads/" + "h" * 22 + "/" + "0" * 32,
    "elsewhere": "received/" + "h" * 22 + "/x",
    "none": None,
}


def test_a_slow_store_is_not_a_silent_one(
    host: StoreHost, object_store: ObjectStore, delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload may take longer than the store may say nothing: the limit is for a silence, and there is one."""
    monkeypatch.setattr("edge_agent.rtcc.object_store._SILENT_S", 1)
    gateway, upload = delivery
    with Proxy(int(object_store.variables["AWS_ENDPOINT_URL"].rpartition(":")[2])) as proxy:
        variables = object_store.variables | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        bucket = Bucket(f"s3://{host.bucket}", variables)
        proxy.rate_bytes_s = len(DATA) / 3
        began = time.monotonic()
        assert bucket.fetch(gateway, upload, tmp_path / "slow")
        assert time.monotonic() - began > 2
        assert (tmp_path / "slow" / gateway / upload).read_bytes() == DATA
        proxy.silent = True
        with pytest.raises(UnavailableError, match="does not answer"):
            bucket.fetch(gateway, upload, tmp_path / "silent")


def test_a_full_disk_here_is_no_store_that_is_away(host: StoreHost, object_store: ObjectStore, delivery) -> None:
    """Who reads "the store does not answer" looks in the wrong place; and a payload that is gone is said to be."""
    gateway, upload = delivery
    bucket = Bucket(f"s3://{host.bucket}", object_store.variables)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / gateway
        full.mkdir()
        (full / upload).symlink_to("/dev/full")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edge_agent.rtcc.object_store._NEW", os.O_WRONLY)
            with pytest.raises(OSError, match="No space left"):
                bucket.fetch(gateway, upload, Path(folder))
        (full / upload).unlink()
        bucket._store.delete(host.read_note(gateway, upload)["object"])
        with pytest.raises(EvidenceError, match="gone"):
            bucket.fetch(gateway, upload, Path(folder))


@pytest.mark.parametrize("key", FORGED.values(), ids=FORGED)
def test_a_note_that_leads_elsewhere_is_not_followed(
    host: StoreHost, object_store: ObjectStore, delivery, key, tmp_path
) -> None:
    """A writer into the store cannot make the RTCC read another gateway's payload."""
    bucket = Bucket(f"s3://{host.bucket}", object_store.variables)
    gateway, upload = delivery
    note = f"received/{gateway}/{upload}.json"
    bucket._store.put(note, json.dumps({"object": key}).encode())
    with pytest.raises(EvidenceError):
        bucket.fetch(gateway, upload, tmp_path)
