"""Uploads to real tus servers behind mutual TLS, over links that drop, stall and crawl."""

import hashlib
import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DeliveryError, UploadLostError, UploadRefusedError, UploadStoppedError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.mqtt.mutual_tls import build_client_context
from edge_agent.units import SECOND_NS, MonoNs
from edge_agent.uplink.release.tus import (
    CONNECT_TIMEOUT_S,
    MAX_LOSSES,
    PATCH_BYTES,
    PIECE_BYTES,
    Pacer,
    TusUploader,
    UploadWatch,
)
from tests.peers.pki import Pki
from tests.peers.proxy import Proxy
from tests.peers.uploads import UploadServer
from tests.peers.wait import wait_until
from tests.support.fakes import FakeClock

NAME = "aW5jaWRlbnQ-door"
METADATA = {"filename": NAME}
DATA = random.Random(1).randbytes(2 * PATCH_BYTES + 12345)


def uploader(
    server: UploadServer, pki: Pki, port: int | None = None, clock: Clock | None = None, **options: Any
) -> TusUploader:
    url = server.url if port is None else f"https://127.0.0.1:{port}{server.path}"
    return TusUploader(url, build_client_context(pki.client("gw1")), clock or SystemClock(), **options)


def start(client: TusUploader, **options: Any) -> tuple[threading.Thread, list[int], list[Any]]:
    """Upload DATA in a thread; returns it with the list of acknowledged offsets and that of outcomes."""
    progress: list[int] = []
    outcome: list[Any] = []
    urls = options.setdefault("urls", [])

    def run() -> None:
        try:
            outcome.append(
                client.upload(
                    io.BytesIO(DATA),
                    len(DATA),
                    METADATA,
                    upload_url=None,
                    save_url=urls.append,
                    watch=UploadWatch(progress.append, options.get("should_stop", lambda: False)),
                )
            )
        except DeliveryError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, progress, outcome


LINKS = {
    "a slow link": (SECOND_NS // 100, [0, PATCH_BYTES, 2 * PATCH_BYTES, len(DATA)]),
    "a fast link": (0, [0, PATCH_BYTES, len(DATA)]),
}
"""How long a piece takes, and the offsets that the server then acknowledges."""


@pytest.mark.peer
@pytest.mark.parametrize(("piece_ns", "offsets"), LINKS.values(), ids=LINKS)
def test_an_upload_arrives_byte_for_byte(
    upload_server: UploadServer, pki: Pki, piece_ns: int, offsets: list[int]
) -> None:
    """Offsets rise to the size, in longer steps where they are quick; the server has exactly these bytes."""
    clock = FakeClock()
    client, urls, progress = uploader(upload_server, pki, clock=clock), list[str](), list[int]()

    def pass_time() -> bool:
        clock.advance(piece_ns)
        return False

    url = client.upload(
        io.BytesIO(DATA), len(DATA), METADATA, upload_url=None, save_url=urls.append,
        watch=UploadWatch(progress.append, pass_time),
    )  # fmt: skip
    assert urls == [url]
    assert progress == offsets
    assert hashlib.sha256(upload_server.stored(url, NAME)).digest() == hashlib.sha256(DATA).digest()
    assert client.find_offset(url, len(DATA)) == len(DATA)
    client.close()


@pytest.mark.peer
def test_a_server_killed_in_mid_patch_gets_the_rest_after_its_restart(upload_server: UploadServer, pki: Pki) -> None:
    """SIGKILL while bytes flow; the upload goes on at the server's offset and arrives byte for byte."""
    client = uploader(upload_server, pki, rate_bytes_s=8 << 20)
    thread, progress, outcome = start(client)
    wait_until(lambda: PATCH_BYTES in progress)
    # Pieces of the second PATCH are on their way: let some be written before the kill.
    wait_until(lambda: _written(upload_server) > PATCH_BYTES + 4 * PIECE_BYTES)
    upload_server.kill()
    upload_server.start()
    thread.join(60)
    assert isinstance(outcome[0], str)
    assert upload_server.stored(outcome[0], NAME) == DATA


def _written(server: UploadServer) -> int:
    return sum(path.stat().st_size for path in server.folder.rglob("*") if path.is_file() and path.suffix != ".log")


@pytest.mark.peer
def test_an_agent_killed_in_mid_patch_resumes_from_the_url_it_kept(
    upload_server: UploadServer, pki: Pki, make_proxy: Callable[[int], Proxy]
) -> None:
    """A new process with the stored URL sends only what is missing."""
    proxy = make_proxy(upload_server.port)
    proxy.cut_after = PATCH_BYTES + 100_000
    first = uploader(upload_server, pki, proxy.port)
    url = first.create(len(DATA), METADATA)
    with pytest.raises(DeliveryError):
        first.send(url, io.BytesIO(DATA), 0, len(DATA))
    first.close()
    second = uploader(upload_server, pki, proxy.port)
    offset = second.find_offset(url, len(DATA))
    assert offset >= PATCH_BYTES
    proxy.passed = 0
    second.upload(io.BytesIO(DATA), len(DATA), METADATA, upload_url=url, save_url=pytest.fail)
    assert proxy.passed < len(DATA) - PATCH_BYTES + 200_000
    assert upload_server.stored(url, NAME) == DATA


@pytest.mark.peer
def test_a_link_that_keeps_breaking_still_delivers(
    upload_server: UploadServer, pki: Pki, make_proxy: Callable[[int], Proxy]
) -> None:
    """Cuts in the middle, a refused reconnect, delay and throttling: it arrives byte for byte."""
    proxy = make_proxy(upload_server.port)
    client = uploader(upload_server, pki, proxy.port, timeouts_s=(CONNECT_TIMEOUT_S, 10))
    proxy.delay_s = 0.002
    proxy.cut_after = PATCH_BYTES // 2
    thread, progress, outcome = start(client)
    wait_until(lambda: proxy.cut_after is None)
    proxy.refuse = True
    wait_until(lambda: proxy.connections >= 2, 20)
    proxy.refuse = False
    proxy.rate_bytes_s = 20 << 20
    wait_until(lambda: max(progress) > 0, 30)
    proxy.cut()
    thread.join(60)
    assert isinstance(outcome[0], str)
    assert upload_server.stored(outcome[0], NAME) == DATA


@pytest.mark.peer
def test_an_upload_that_the_server_lost_begins_anew(upload_server: UploadServer, pki: Pki) -> None:
    """404 or 410 for the stored URL: a new one is created, saved, and filled."""
    client, urls = uploader(upload_server, pki), list[str]()
    lost = client.create(len(DATA), METADATA)
    client.delete(lost)
    client.delete(lost)
    with pytest.raises(UploadLostError):
        client.find_offset(lost, len(DATA))
    with pytest.raises(UploadLostError):
        client.send(lost, io.BytesIO(DATA), 0, 1000)
    url = client.upload(io.BytesIO(DATA), len(DATA), METADATA, upload_url=lost, save_url=urls.append)
    assert urls == [url] != [lost]
    assert upload_server.stored(url, NAME) == DATA


@pytest.mark.peer
def test_an_upload_that_is_lost_again_and_again_is_given_back(upload_server: UploadServer, pki: Pki) -> None:
    """A server that forgets everything does not keep the line busy indefinitely."""
    clock, urls = FakeClock(), list[str]()
    client = uploader(
        upload_server, pki, clock=clock, sleep=lambda seconds: clock.advance(int(seconds * SECOND_NS) + 1)
    )

    def forget(url: str) -> None:
        urls.append(url)
        client.delete(url)

    with pytest.raises(UploadLostError):
        client.upload(io.BytesIO(DATA), len(DATA), METADATA, upload_url=None, save_url=forget)
    assert len(urls) == MAX_LOSSES + 1


@pytest.mark.peer
def test_a_wrong_offset_is_told_apart_from_a_lost_upload(upload_server: UploadServer, pki: Pki) -> None:
    """409 is asked again; an upload of another size is not ours."""
    client = uploader(upload_server, pki)
    url = client.create(1000, METADATA)
    with pytest.raises(DeliveryError, match="409") as caught:
        client.send(url, io.BytesIO(DATA), 500, 1000)
    assert type(caught.value) is DeliveryError
    with pytest.raises(UploadLostError):
        client.find_offset(url, 1001)


@pytest.mark.peer
def test_a_revocation_stops_the_upload_at_once(upload_server: UploadServer, pki: Pki) -> None:
    """``should_stop`` is asked between two pieces, and the rest never leaves."""
    stop = threading.Event()
    client = uploader(upload_server, pki, rate_bytes_s=4 << 20)
    urls: list[str] = []
    thread, _, outcome = start(client, should_stop=stop.is_set, urls=urls)
    wait_until(lambda: _written(upload_server) > 4 * PIECE_BYTES)
    stop.set()
    thread.join(5)
    assert isinstance(outcome[0], UploadStoppedError)
    client.delete(urls[0])
    with pytest.raises(UploadLostError):
        client.find_offset(urls[0], len(DATA))


@pytest.mark.peer
def test_a_silent_server_is_given_up_at_the_deadline(
    upload_server: UploadServer, pki: Pki, make_proxy: Callable[[int], Proxy]
) -> None:
    """A link on which nothing passes ends by time-outs, is tried again, and ends permanently at the deadline."""
    proxy = make_proxy(upload_server.port)
    proxy.silent = True
    client = uploader(upload_server, pki, proxy.port, timeouts_s=(0.3, 0.3))
    deadline = MonoNs(SystemClock().boot() + 2 * SECOND_NS)
    with pytest.raises(UploadStoppedError, match="deadline"):
        client.upload(
            io.BytesIO(DATA),
            len(DATA),
            METADATA,
            upload_url=None,
            save_url=pytest.fail,
            watch=UploadWatch(deadline=deadline),
        )
    assert proxy.connections >= 1


@pytest.mark.peer
def test_only_the_rtccs_own_server_is_believed(upload_server: UploadServer, pki: Pki, tmp_path: Path) -> None:
    """Another authority, another host name, no certificate of ours: nothing is sent."""
    stranger = Pki(tmp_path / "stranger")
    for context, url in (
        (build_client_context(stranger.client("gw1")), upload_server.url),
        (build_client_context(pki.client("gw1")), upload_server.url.replace("127.0.0.1", "127.0.0.2")),
    ):
        with pytest.raises(DeliveryError):
            TusUploader(url, context, SystemClock()).create(10, METADATA)


class _Liar(BaseHTTPRequestHandler):
    """Answers what the test told it to."""

    protocol_version = "HTTP/1.1"
    status: int
    answer: dict[str, str]
    seen: list[str]

    def _reply(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        self.send_response(self.status)
        for name, value in self.answer.items():
            self.send_header(name, value)
        self.end_headers()

    do_POST = do_HEAD = do_DELETE = do_PATCH = _reply

    def _dawdle(self) -> None:
        """Send something now and then, and never an answer."""
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def liar(
    pki: Pki, status: int, read_timeout_s: float = 5, kind: type[_Liar] = _Liar, **answer: Any
) -> Iterator[tuple[TusUploader, type[_Liar]]]:
    import ssl

    handler = type("Handler", (kind,), {"status": status, "answer": answer, "seen": [], **answer})
    files = pki.server_files(label="liar")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"https://127.0.0.1:{server.server_address[1]}/files/"
    client = TusUploader(
        url, build_client_context(pki.client("gw1")), SystemClock(), timeouts_s=(CONNECT_TIMEOUT_S, read_timeout_s)
    )
    yield client, handler
    client.close()
    server.shutdown()
    server.server_close()


class _Forgetful(_Liar):
    """A server with one upload, which loses the end of it as often as ``losses`` says after it acknowledged it."""

    stored: bytearray
    losses: list[int]

    def _reply(self) -> None:
        self.seen.append(f"{self.command} {self.headers.get('Upload-Offset', '')}".strip())
        self.send_response({"POST": 201, "PATCH": 204}.get(self.command, 200))
        if self.command == "PATCH":
            del self.stored[int(self.headers["Upload-Offset"]) :]
            self.stored += self.rfile.read(int(self.headers["Content-Length"]))
        for name, value in {"Location": "1", "Upload-Length": "5000", "Upload-Offset": str(len(self.stored))}.items():
            self.send_header(name, value)
        if self.command == "PATCH" and self.losses:
            del self.stored[self.losses.pop() :]
        if self.command == "POST":
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_PATCH = _reply


def test_an_upload_counts_only_when_the_server_still_has_the_last_byte(pki: Pki) -> None:
    """Bytes that the server acknowledged and lost, as one without power does, are sent again from where it is now."""
    data, stored = random.Random(3).randbytes(5000), bytearray()
    with liar(pki, 0, kind=_Forgetful, stored=stored, losses=[0, 1000]) as (client, handler):
        client.upload(io.BytesIO(data), 5000, METADATA, upload_url=None, save_url=lambda _: None)
    assert stored == data
    assert handler.seen == ["POST", "PATCH 0", "HEAD", "HEAD", "PATCH 1000", "HEAD", "HEAD", "PATCH 0", "HEAD"]


def test_an_answer_that_never_ends_ends_the_call(pki: Pki) -> None:
    """A byte now and then keeps within the time-out of every read, not within that of the answer."""
    with liar(pki, 201, read_timeout_s=1) as (client, handler):
        handler.do_POST = handler._dawdle  # type: ignore[attr-defined]
        started = time.monotonic()
        with pytest.raises(DeliveryError):
            client.create(10, METADATA)
        assert time.monotonic() - started < 10


LOCATIONS = {
    "another host": "https://evil.example/files/1",
    "another port": "https://127.0.0.1:1/files/1",
    "another scheme": "ftp://127.0.0.1/files/1",
    "credentials": "https://user:password@127.0.0.1/files/1",
    "none": "",
    "a bad port": "https://127.0.0.1:x/",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_a_location_elsewhere_is_refused(pki: Pki, location: str) -> None:
    """A server cannot send us to another one."""
    with liar(pki, 201, Location=location) as (client, _), pytest.raises(UploadRefusedError):
        client.create(10, METADATA)


def test_a_location_in_the_form_of_a_path_or_of_http_is_the_same_server(pki: Pki) -> None:
    """Relative URLs, and those of a server behind a TLS proxy, stay with host and port."""
    with liar(pki, 201, Location="1") as (client, handler):
        url = client.create(10, METADATA)
        assert url.endswith("/files/1")
        handler.answer = {"Location": url.replace("https", "http")}
        assert client.create(10, METADATA) == url


def test_a_redirect_is_not_followed(pki: Pki) -> None:
    """307 is a refusal like any other; only one request was made."""
    with liar(pki, 307, Location="/files/elsewhere") as (client, handler):
        with pytest.raises(UploadRefusedError):
            client.create(10, METADATA)
        assert handler.seen == ["POST /files/"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, UploadRefusedError), (413, UploadRefusedError), (500, DeliveryError), (429, DeliveryError)],
)
def test_refusals_are_told_from_what_may_mend(pki: Pki, status: int, kind: type[DeliveryError]) -> None:
    """Only what may mend is tried again."""
    with liar(pki, status) as (client, _):
        with pytest.raises(DeliveryError) as caught:
            client.create(10, METADATA)
        assert type(caught.value) is kind


ANSWERS: dict[str, dict[str, str]] = {
    "no offset": {},
    "no number": {"Upload-Offset": "x"},
    "negative": {"Upload-Offset": "-1"},
    "beyond the end": {"Upload-Offset": "11", "Upload-Length": "10"},
    "another size": {"Upload-Offset": "1", "Upload-Length": "11"},
    "no size": {"Upload-Offset": "1"},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_offset_that_makes_no_sense_is_a_lost_upload(pki: Pki, answer: dict[str, str]) -> None:
    """Whatever the server claims, we never seek outside of the file."""
    with liar(pki, 200, **answer) as (client, _), pytest.raises(UploadLostError):
        client.find_offset("1", 10)


def test_an_acknowledgement_of_something_else_is_an_error(pki: Pki) -> None:
    """A PATCH counts only with the offset that it must lead to."""
    with liar(pki, 204, **{"Upload-Offset": "7"}) as (client, _), pytest.raises(DeliveryError, match="another offset"):
        client.send("1", io.BytesIO(b"0123456789"), 0, 10)


def test_the_environment_changes_nothing(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, certificate bundles and key logs from the environment are ignored."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/keys")
    with liar(pki, 201, Location="1") as (client, _):
        assert client.create(10, METADATA).endswith("/1")
    assert not os.path.exists("/nowhere")


def test_a_target_that_is_not_https_is_refused(pki: Pki) -> None:
    """There is no upload without TLS."""
    for url in ("http://127.0.0.1/files/", "https://user@127.0.0.1/", "files", ""):
        with pytest.raises(UploadRefusedError):
            TusUploader(url, build_client_context(pki.client("gw1")), SystemClock())


def test_the_rate_is_steady() -> None:
    """In every second of an hour no more than the rate leaves, and no less; a pause is not made up for."""
    now, slept = [0.0], [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        slept[0] += seconds

    pacer = Pacer(100_000, lambda: now[0], sleep)
    sent: list[tuple[float, int]] = []
    while now[0] < 10:
        pacer.pause(pacer.piece_bytes, lambda: None)
        sent.append((now[0], pacer.piece_bytes))
    now[0] += 60
    while now[0] < 80:
        pacer.pause(pacer.piece_bytes, lambda: None)
        sent.append((now[0], pacer.piece_bytes))
    for second in (*range(10), *range(71, 79)):
        amount = sum(size for at, size in sent if second <= at < second + 1)
        assert 85_000 <= amount <= 125_000


def test_a_slow_rate_can_still_be_stopped() -> None:
    """With a piece every ten seconds, stopping takes a quarter of a second."""
    now, checks = [0.0], [0]

    def check() -> None:
        checks[0] += 1
        if checks[0] == 5:
            raise UploadStoppedError("stop")

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pacer = Pacer(100, lambda: now[0], sleep)
    pacer.pause(1000, check)
    with pytest.raises(UploadStoppedError):
        pacer.pause(1000, check)
    assert now[0] <= 1.0
