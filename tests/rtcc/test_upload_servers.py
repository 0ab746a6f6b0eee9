"""Both of the RTCC's upload servers keep the same rules: who may put what where, how much, and for how long.

The embedded receiver is tried by ``scripts/test``, ``city/uploads`` over an object store by ``scripts/test-city``.
"""

import hashlib
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from edge_agent.errors import DeliveryError, UploadLostError, UploadRefusedError
from edge_agent.host.accepting import HANDSHAKE_TIMEOUT_S
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.rtcc.receiver_connections import HEAD_TIMEOUT_S, MAX_CONNECTIONS, MAX_OF_ONE_ADDRESS
from edge_agent.rtcc.receiver_room import MAX_UNFINISHED
from edge_agent.uplink.release.tus import TusUploader
from tests.peers.pki import Pki
from tests.peers.upload_hosts import MAX_UPLOAD_BYTES, EmbeddedHost, StoreHost, UploadHost

pytestmark = pytest.mark.peer
NAME = "upload-name-1"
DATA = bytes(range(256)) * 1000
MIB = 1 << 20


@pytest.fixture(params=["embedded", pytest.param("store", marks=[pytest.mark.city, pytest.mark.needs("go", "weed")])])
def host(request: pytest.FixtureRequest, tmp_path: Path, pki: Pki) -> Iterator[UploadHost]:
    if request.param == "embedded":
        made: UploadHost = EmbeddedHost(tmp_path, pki)
    else:
        program, store = (request.getfixturevalue(name) for name in ("uploads_program", "object_store"))
        made = StoreHost(tmp_path, pki, program, store)
    with made:
        yield made


def upload(client: TusUploader, name: str = NAME, data: bytes = DATA) -> str:
    return client.upload(io.BytesIO(data), len(data), {"filename": name}, upload_url=None, save_url=lambda _: None)


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


def test_a_whole_upload_lies_under_its_name_with_a_note(host: UploadHost) -> None:
    """The payload byte for byte, whose it is, how large, and its digest; the caller is told once."""
    upload(host.connect("gw1"))
    assert host.told == [("gw1", NAME)]
    assert host.find("gw1", NAME) == DATA
    note = host.read_note("gw1", NAME)
    assert (note["gateway"], note["size"]) == ("gw1", len(DATA))
    assert note["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert host.count_unfinished() == 0


def test_an_upload_goes_on_after_a_restart(host: UploadHost) -> None:
    """From the offset that the server says, to the same bytes."""
    client, data = host.connect("gw1"), DATA[:200_000]
    url = client.create(len(data), {"filename": NAME})
    client.send(url, io.BytesIO(data), 0, 70_000)
    host.restart()
    client = host.connect("gw1")
    offset = client.find_offset(url, len(data))
    assert offset == 70_000
    client.send(url, io.BytesIO(data), offset, len(data))
    assert host.find("gw1", NAME) == data


def test_an_upload_does_not_exist_for_another_gateway(host: UploadHost) -> None:
    """Knowing the URL of another's upload gives nothing: no offset, no bytes, no deletion."""
    own, other = host.connect("gw1"), host.connect("gw2")
    url = own.create(len(DATA), {"filename": NAME})
    with pytest.raises(UploadLostError):
        other.find_offset(url, len(DATA))
    with pytest.raises(UploadLostError):
        other.send(url, io.BytesIO(DATA), 0, len(DATA))
    other.delete(url)
    assert own.find_offset(url, len(DATA)) == 0
    own.send(url, io.BytesIO(DATA), 0, len(DATA))


def test_one_name_is_two_uploads_of_two_gateways(host: UploadHost) -> None:
    """A client that creates the victim's name first, or finishes it in between, replaces nothing of the victim's."""
    own, other = host.connect("gw1"), host.connect("gw2")
    url = own.create(len(DATA), {"filename": NAME})
    upload(other, data=b"forged")
    own.send(url, io.BytesIO(DATA), 0, len(DATA))
    upload(other, data=b"forged again")
    assert own.find_offset(url, len(DATA)) == len(DATA)
    assert host.find("gw1", NAME) == DATA
    assert host.find("gw2", NAME) == b"forged again"


def test_a_gateway_may_send_its_own_again(host: UploadHost) -> None:
    """A bundle that was built anew, before its key was handed over, takes the place of the one before."""
    upload(host.connect("gw1"))
    upload(host.connect("gw1"), data=b"again")
    assert host.find("gw1", NAME) == b"again"


def test_what_a_signed_answer_names_is_never_replaced(host: UploadHost) -> None:
    """Another payload under a delivered name is put aside for a person; its gateway finds it lost, not whole."""
    gateway = host.connect("gw1")
    upload(gateway)
    host.signed["gw1", NAME] = hashlib.sha256(DATA).hexdigest()
    url = gateway.create(5, {"filename": NAME})
    with pytest.raises(UploadLostError):  # said with the last byte, or at the next question
        gateway.send(url, io.BytesIO(b"other"), 0, 5)
        gateway.find_offset(url, 5)
    with pytest.raises(UploadLostError):
        gateway.find_offset(url, 5)
    assert host.find("gw1", NAME) == DATA
    assert host.find_conflicts("gw1", NAME) == [b"other"]


FOREIGN: dict[str, tuple[str, str, dict[str, str]]] = {
    "a creation without a CN": ("POST", "", {}),
    "a creation in another's part": ("POST", "gw2/", {}),
    "a creation by the way of OPTIONS": ("OPTIONS", "", {"X_HTTP_Method_Override": "POST"}),
    "a deletion by the way of a creation": ("POST", "gw2/UID", {"X_HTTP_Method_Override": "DELETE"}),
    "an offset by the old path": ("HEAD", "UID", {}),
    "an offset in another's part": ("HEAD", "gw2/UID", {}),
    "an offset as if it were one's own": ("HEAD", "gw1/UID", {}),
    "bytes by the old path": (
        "PATCH",
        "UID",
        {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"},
    ),
    "a deletion in another's part": ("DELETE", "gw2/UID", {}),
    "a deletion as if it were one's own": ("DELETE", "gw1/UID", {}),
    "a path that leads out": ("HEAD", "gw1/../gw2/UID", {}),
    "an encoded path that leads out": ("HEAD", "gw1%2F..%2Fgw2/UID", {}),
    "an encoded path to another's": ("HEAD", "gw1/..%2Fgw2%2FUID", {}),
    "the bytes of one that is under way": ("GET", "gw1/OWN", {}),
}


@pytest.mark.parametrize(("method", "path", "headers"), FOREIGN.values(), ids=FOREIGN)
def test_nothing_is_reached_but_by_ones_own_path(
    host: UploadHost, pki: Pki, method: str, path: str, headers: dict[str, str]
) -> None:
    """Every method, for uploads that are there: 404, and nothing changes."""
    own, uid = (host.connect(gateway).create(3, {"filename": NAME}).rpartition("/")[2] for gateway in ("gw1", "gw2"))
    before = host.list()
    words = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU="} | headers
    answer = raw(method, host.url + path.replace("UID", uid).replace("OWN", own), pki, **words)
    if method == "DELETE":
        assert answer.status_code in (204, 404)
    elif path.endswith("OWN"):
        assert answer.status_code in (404, 405)
    else:
        assert answer.status_code == (204 if method == "OPTIONS" else 404)
    assert host.list() == before


def test_what_an_upload_is_was_said_at_its_creation(host: UploadHost, pki: Pki) -> None:
    """Neither its size nor its name follows a header of a later request."""
    gateway = host.connect("gw1")
    url = gateway.create(3, {"filename": NAME})
    headers = {"Upload_Offset": "0", "Upload_Length": "6", "Content_Type": "application/offset+octet-stream"}
    answer = raw("PATCH", url, pki, b"abc", Upload_Metadata="filename b3RoZXItbmFtZQ==", **headers)
    if answer.status_code != 204:  # refused as a whole
        gateway.send(url, io.BytesIO(b"abc"), 0, 3)
    assert gateway.find_offset(url, 3) == 3
    assert host.find("gw1", NAME) == b"abc"
    assert host.find("gw1", "other-name") is None


def test_options_announces_what_is_taken(host: UploadHost, pki: Pki) -> None:
    """No extension that would be refused."""
    assert raw("OPTIONS", host.url, pki).headers["Tus-Extension"] == host.extensions


def test_an_upload_without_a_type_is_answered(host: UploadHost, pki: Pki) -> None:
    """tus needs no metadata of a client but our filename."""
    words = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU="}
    created = raw("POST", f"{host.url}gw1/", pki, **words)
    assert created.headers["Location"].startswith("/files/gw1/")
    answer = raw("HEAD", urljoin(host.url, created.headers["Location"]), pki)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (200, "0")


NAMES = {"none": "", "a path": "../../etc/passwd", "a dot": "upload.name", "short": "x", "long": "x" * 65}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_no_plain_file_name_is_refused(host: UploadHost, name: str) -> None:
    """Nothing outside of the folder can be named."""
    with pytest.raises(UploadRefusedError):
        host.connect("gw1").create(10, {"filename": name})


def test_sizes_are_bounded_before_a_byte_is_taken(host: UploadHost) -> None:
    """Too large, empty, or more than announced."""
    gateway = host.connect("gw1")
    for size in (MAX_UPLOAD_BYTES + 1, 0):
        with pytest.raises(UploadRefusedError):
            gateway.create(size, {"filename": NAME})
    url = gateway.create(10, {"filename": NAME})
    with pytest.raises(DeliveryError):
        gateway.send(url, io.BytesIO(DATA), 0, 20)
    assert gateway.find_offset(url, 10) == 0


def test_too_little_room_and_too_many_uploads_are_said(host: UploadHost) -> None:
    """Both may mend, so both are tried again later; another gateway is not touched by one's many."""
    many = host.connect("gw1")
    for _ in range(MAX_UNFINISHED):
        many.create(10, {"filename": NAME})
    with pytest.raises(DeliveryError, match="429"):
        many.create(10, {"filename": NAME})
    host.connect("gw2").create(10, {"filename": NAME})
    host.restart(room=0)
    with pytest.raises(DeliveryError, match="503"):
        host.connect("gw3").create(10, {"filename": NAME})


def test_only_what_was_announced_is_taken(host: UploadHost, pki: Pki) -> None:
    """Before a verified ``queued`` names it, an upload waits; it is not refused, for the answer may be on its way."""
    host.announced = set()
    answer = raw("POST", f"{host.url}gw1/", pki, Upload_Length="10", Upload_Metadata="filename dXBsb2FkLW5hbWUtMQ==")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    host.announced.add(("gw2", NAME))
    with pytest.raises(DeliveryError, match="503"):
        host.connect("gw1").create(10, {"filename": NAME})
    host.announced.add(("gw1", NAME))
    upload(host.connect("gw1"))
    assert host.find("gw1", NAME) == DATA


def test_announced_bytes_are_reserved(host: UploadHost) -> None:
    """Two uploads that each fit, and not both: the second one waits until the first is gone, also after a restart."""
    size, limits = 400 * MIB, {"room": 600 * MIB, "max_upload": 1 << 40}
    host.restart(**limits)
    url = host.connect("gw1").create(size, {"filename": NAME})
    with pytest.raises(DeliveryError, match="503"):
        host.connect("gw2").create(size, {"filename": NAME})
    host.restart(**limits)
    with pytest.raises(DeliveryError, match="503"):
        host.connect("gw2").create(size, {"filename": NAME})
    host.connect("gw1").delete(url)
    host.connect("gw2").create(size, {"filename": NAME})


@pytest.mark.parametrize("asks", ["gw1", "gw2"])
def test_room_that_nobody_uses_is_given_up(host: UploadHost, asks: str) -> None:
    """A promise whose bytes do not come for long ends if another one needs the room; its bytes go with it."""
    size = 400 * MIB
    host.restart(room=600 * MIB, max_upload=1 << 40)
    url = host.connect("gw1").create(size, {"filename": NAME})
    host.nearly_stall()
    with pytest.raises(DeliveryError, match="503"):
        host.connect(asks).create(size, {"filename": "another-name"})
    host.stall()
    host.connect(asks).create(size, {"filename": "another-name"})
    with pytest.raises(UploadLostError):
        host.connect("gw1").find_offset(url, size)
    assert host.count_unfinished() == 1


def test_one_certificate_cannot_take_the_places_of_others(host: UploadHost, pki: Pki) -> None:
    """However many connections one gateway opens, another one is served at once."""
    context = build_client_context(pki.client("gw1"))
    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            plain = socket.create_connection(("127.0.0.1", host.port), 5)
            stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        upload(host.connect("gw2"))
        with pytest.raises(DeliveryError):
            host.connect("gw1").create(10, {"filename": NAME})


def test_a_certificate_without_its_key_takes_no_place_of_its_gateway(host: UploadHost, pki: Pki) -> None:
    """Certificates are no secret: who stops before the proof (RFC 8446, 4.4.3) is not counted as their gateway."""
    context = build_client_context(pki.client("gw1"))
    with ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", host.port), 5))
            show_certificate(plain, context)
        host.connect("gw1").create(10, {"filename": NAME})


def show_certificate(plain: socket.socket, context: ssl.SSLContext) -> None:
    """Go through a handshake up to the client's certificate, and send nothing of what follows it."""
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, goes, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(goes.read())
            came.write(plain.recv(1 << 16))
        else:
            break
    assert tls.version() == "TLSv1.3"
    flight, end, is_encrypted = goes.read(), 0, False
    while not is_encrypted:  # RFC 8446, 5.1: type, version, length; of type 23 the first is the certificate
        is_encrypted = flight[end] == 23
        end += 5 + int.from_bytes(flight[end + 3 : end + 5])
    assert end < len(flight)
    plain.sendall(flight[:end])


def test_who_shows_no_certificate_takes_few_places(host: UploadHost) -> None:
    """A connection that never begins TLS is counted by its address when it is accepted, and soon ended."""
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", host.port), 5))
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
    upload(host.connect("gw2"))


@pytest.mark.slow
def test_who_says_nothing_is_not_waited_for(host: UploadHost, pki: Pki) -> None:
    """In the handshake, before a first request, and in the middle of the head of a further one."""
    context = build_client_context(pki.client("gw1"))

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", host.port), 5)

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
    upload(host.connect("gw1"))


WRONG: dict[str, dict[str, str]] = {
    "a length to come": {"Upload_Defer_Length": "1"},
    "concatenation": {"Upload_Concat": "partial", "Upload_Length": "10"},
    "no metadata": {"Upload_Length": "10", "Upload_Metadata": ""},
    "no number": {"Upload_Length": "x"},
    "another version": {"Upload_Length": "10", "Tus_Resumable": "0.9"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_a_creation_that_we_do_not_want_is_refused(host: UploadHost, pki: Pki, headers: dict[str, str]) -> None:
    """The server takes no step that the client never does."""
    metadata = {"Upload_Metadata": "filename dXBsb2FkLW5hbWU="}
    assert 400 <= raw("POST", f"{host.url}gw1/", pki, **(metadata | headers)).status_code < 500


def test_a_creation_with_a_body_is_refused(host: UploadHost, pki: Pki) -> None:
    """A first part of the bytes would come before anybody knows whether there is room for it."""
    for kind in ("x/y", "application/offset+octet-stream"):
        headers = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWU=", "Content_Type": kind}
        assert raw("POST", f"{host.url}gw1/", pki, b"0123456789", **headers).status_code == 400
    assert host.count_unfinished() == 0


def test_nobody_gets_in_without_a_certificate(host: UploadHost, pki: Pki, tmp_path: Path) -> None:
    """No certificate, or one of another authority, ends in the handshake."""
    stranger = Pki(tmp_path / "stranger").client_files("gw1")
    for certificate in (None, (str(stranger.certificate), str(stranger.key))):
        with pytest.raises(requests.ConnectionError):
            requests.get(host.url, verify=str(pki.ca_path), cert=certificate, timeout=5)
    context = ssl.create_default_context(cafile=str(pki.ca_path))
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_bytes_that_are_not_what_was_promised_are_not_received(host: UploadHost) -> None:
    """The digest in the metadata is checked when the last byte is there; the gateway begins anew."""
    gateway = host.connect("gw1")
    promised = {"filename": NAME, "sha256": hashlib.sha256(DATA).hexdigest()}
    url = gateway.create(len(DATA), promised)
    with pytest.raises(UploadLostError):  # said with the last byte, or at the next question
        gateway.send(url, io.BytesIO(bytes(len(DATA))), 0, len(DATA))
        gateway.find_offset(url, len(DATA))
    with pytest.raises(UploadLostError):
        gateway.find_offset(url, len(DATA))
    assert host.find("gw1", NAME) is None
    url = gateway.create(len(DATA), promised)
    gateway.send(url, io.BytesIO(DATA), 0, len(DATA))
    assert host.find("gw1", NAME) == DATA


def test_what_was_received_cannot_be_deleted(host: UploadHost) -> None:
    """DELETE forgets an upload that is under way; what arrived is the RTCC's."""
    gateway = host.connect("gw1")
    url = upload(gateway)
    gateway.delete(url)
    assert host.find("gw1", NAME) == DATA


def test_a_revoked_gateway_is_cut_off_at_once(host: UploadHost) -> None:
    """In the middle of a body, and at every method after; another gateway's upload goes on."""
    client = host.connect("gw1")
    url = client.create(len(DATA), {"filename": NAME})
    client.send(url, io.BytesIO(DATA), 0, len(DATA) // 2)

    class Revoking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            host.revoked.add("gw1")
            return super().read(size)

    with pytest.raises((DeliveryError, UploadLostError)):
        client.send(url, Revoking(DATA), len(DATA) // 2, len(DATA))
    for attempt in (lambda: client.find_offset(url, len(DATA)), lambda: upload(client, "upload-name-2")):
        with pytest.raises((UploadLostError, UploadRefusedError)):
            attempt()
    upload(host.connect("gw2"))
    assert host.find("gw1", NAME) is None


def test_while_the_state_is_away_nothing_is_taken_and_nothing_lost(host: UploadHost, pki: Pki) -> None:
    """Every method says when to come again; then the upload goes on from the byte to which it had come."""
    gateway = host.connect("gw1")
    url = gateway.create(len(DATA), {"filename": NAME})
    gateway.send(url, io.BytesIO(DATA), 0, 1000)
    host.away = {"announced", "signed", "revoked"}
    appended = {"Upload_Offset": "1000", "Content_Type": "application/offset+octet-stream"}
    created = {"Upload_Length": "10", "Upload_Metadata": "filename dXBsb2FkLW5hbWUtMg=="}
    for method, at, words in (
        ("HEAD", url, {}), ("PATCH", url, appended), ("DELETE", url, {}), ("POST", f"{host.url}gw1/", created)
    ):  # fmt: skip
        answer = raw(method, at, pki, b"x" if method == "PATCH" else b"", **words)
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True), method
    host.away = set()
    assert gateway.find_offset(url, len(DATA)) == 1000
    gateway.send(url, io.BytesIO(DATA), 1000, len(DATA))
    assert host.find("gw1", NAME) == DATA


def test_a_state_that_goes_in_the_middle_of_a_body_costs_no_byte_twice(host: UploadHost) -> None:
    """The body is cut off, for nobody can say whether its gateway was revoked; what had come is kept."""
    gateway = host.connect("gw1")
    url = gateway.create(len(DATA), {"filename": NAME})
    gateway.send(url, io.BytesIO(DATA), 0, 1000)

    class Losing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            host.away = {"revoked", "signed"}
            return super().read(size)

    with pytest.raises(DeliveryError):
        gateway.send(url, Losing(DATA), 1000, len(DATA))
    assert host.find("gw1", NAME) is None
    host.away = set()
    offset = gateway.find_offset(url, len(DATA))
    assert offset >= 1000
    gateway.send(url, io.BytesIO(DATA), offset, len(DATA))
    assert host.find("gw1", NAME) == DATA


def test_a_state_that_is_away_at_the_last_byte_ends_no_upload(host: UploadHost, pki: Pki) -> None:
    """Not said to be whole, and not lost: the next question finds it received."""
    gateway = host.connect("gw1")
    url = gateway.create(3, {"filename": NAME})
    host.away = {"signed"}
    answer = raw("PATCH", url, pki, b"abc", Upload_Offset="0", Content_Type="application/offset+octet-stream")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    answer = raw("HEAD", url, pki)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    host.away = set()
    assert gateway.find_offset(url, 3) == 3
    assert host.find("gw1", NAME) == b"abc"
