"""Uploads by tus 1.0 over mutual TLS: create, ask for the offset, send, resume, delete.

Owns the HTTP of an upload and nothing else: the caller keeps the bytes, the time, and the URL under which the upload
goes on after a restart. It dials the configured origin alone: no redirect, no proxy, no certificate store, no URL that
came from a request. Every call has a time-out; memory does not grow with the file.
"""

import base64
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from edge_agent.errors import DeliveryError, UploadLostError, UploadRefusedError, UploadStoppedError
from edge_agent.host.clock import Clock
from edge_agent.mqtt.mutual_tls import watch_reads
from edge_agent.units import SECOND_NS, MonoNs
from edge_agent.uplink.release.pinned_http import PIECE_BYTES, PinnedAdapter

PATCH_BYTES, MAX_PATCH_BYTES = 8 << 20, 64 << 20
"""Sent per PATCH; also what a server that keeps only whole requests loses at most. Behind one that took less than a
second the next is twice as long: on a fast link the pauses in between cost more than the bytes."""
CONNECT_TIMEOUT_S = 10.0
"""Also for every single write to the socket."""
READ_TIMEOUT_S = 60.0
MAX_BACKOFF_S = 60.0
"""The longest pause between two tries; the caller's watch ends them."""
MAX_LOSSES = 3
"""PROTOCOL 9, step 5: a payload that the server has lost is sent anew so often."""
_NAP_S = 0.25
"""A stop is heard within so long, however slow the rate is."""
_GONE = (403, 404, 410)
"""tus 1.0, HEAD: a server may answer any of these for an upload that it no longer knows."""

log = logging.getLogger(__name__)


class Pacer:
    """Keeps a rate steady: a piece goes when the ones before it have used up their time; a pause is not made up for.

    Args:
        rate_bytes_s: Bytes per second; None for no limit.
        monotonic: Seconds, never stepping.
        sleep: Waits so many seconds.
    """

    def __init__(
        self, rate_bytes_s: int | None, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate = rate_bytes_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._due = monotonic()

    @property
    def piece_bytes(self) -> int:
        """The largest piece that takes no longer than a tenth of a second, within reason."""
        return PIECE_BYTES if self._rate is None else max(1 << 10, min(PIECE_BYTES, self._rate // 10))

    def pause(self, sent_bytes: int, check: Callable[[], None]) -> None:
        """Wait until ``sent_bytes`` more may go; ``check`` runs every quarter of a second and may raise."""
        check()
        if self._rate is None:
            return
        while (wait_s := self._due - self._monotonic()) > 0:
            self._sleep(min(wait_s, _NAP_S))
            check()
        # At most a quarter of a second is made up for: a long pause must not end in a burst.
        self._due = max(self._due, self._monotonic() - _NAP_S) + sent_bytes / self._rate


class _Body:
    """A part of the file as an HTTP body: paced, stoppable, and of known length."""

    def __init__(self, file: BinaryIO, length: int, pacer: Pacer, check: Callable[[], None]) -> None:
        self._file = file
        self._left = length
        self._pacer = pacer
        self._check = check

    def __len__(self) -> int:
        return self._left

    def read(self, size: int = -1) -> bytes:
        wanted = min(self._left, self._pacer.piece_bytes, size if size > 0 else PIECE_BYTES)
        if not wanted:
            return b""
        self._pacer.pause(wanted, self._check)
        data = self._file.read(wanted)
        if not data:
            raise UploadStoppedError("file is shorter than its upload")
        self._left -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class UploadWatch:
    """The caller's side of an upload that runs."""

    on_progress: Callable[[int], None] = lambda _: None
    """Called with the number of bytes that the server has acknowledged."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked between two pieces."""
    deadline: MonoNs | None = None
    """Time since boot at which to give up."""


UNWATCHED = UploadWatch()


class TusUploader:
    """A client for one upload target. One thread at a time.

    Args:
        target_url: Where uploads are created: ``https``, from the enrolment file.
        context: TLS context with our certificate (``mqtt.mutual_tls``).
        clock: For deadlines.
        rate_bytes_s: Upper limit of bytes per second; None for none.
        sleep: Waits so many seconds.
        timeouts_s: To connect, and between two bytes of an answer.
    """

    def __init__(
        self,
        target_url: str,
        context: ssl.SSLContext,
        clock: Clock,
        *,
        rate_bytes_s: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timeouts_s: tuple[float, float] = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
    ) -> None:
        self._target_url = target_url
        self._origin = _parse_origin(target_url)
        self._clock = clock
        self._sleep = sleep
        self._timeouts = timeouts_s
        self._pacer = Pacer(rate_bytes_s, lambda: clock.boot() / SECOND_NS, sleep)
        self._answer_due: MonoNs | None = None
        watch_reads(context, self._check_answer)
        # No Session: it reads proxies and .netrc from the environment, and the whole body of a redirect into memory.
        self._adapter = PinnedAdapter(context)

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()

    def upload(
        self,
        file: BinaryIO,
        size: int,
        metadata: Mapping[str, str],
        *,
        upload_url: str | None,
        save_url: Callable[[str], None],
        watch: UploadWatch = UNWATCHED,
    ) -> str:
        """Upload a whole file, through whatever the network does, and return its URL.

        Resumes if there is an ``upload_url``, begins anew if the server has lost it, and tries
        again after 1 to 60 s if a failure may mend.

        Args:
            file: Seekable, at least ``size`` bytes.
            size: The part of it to send.
            metadata: Upload-Metadata; ``filename`` and ``filetype`` are added if they are missing.
            upload_url: Of an earlier attempt, from SQLite.
            save_url: Called with each new URL before the first byte is sent to it.
            watch: Told of progress, and ends it.

        Raises:
            UploadStoppedError: ``should_stop`` said so, or the deadline passed.
            UploadRefusedError: The server will never take it.
            UploadLostError: The server lost it again and again.
        """

        def check() -> None:
            self._check(watch)

        attempt, best, losses = 0, -1, 0
        while True:
            check()
            try:
                if upload_url is None:
                    upload_url, offset = self.create(size, metadata), 0
                    # Before the first byte: after a kill the upload is found again, not begun a
                    # second time.
                    save_url(upload_url)
                else:
                    offset = self.find_offset(upload_url, size)
                # Progress resets the pause; a server that takes bytes and loses them again does
                # not.
                if offset > best:
                    attempt, best = 0, offset
                self.send(upload_url, file, offset, size, watch)
                self._demand_whole(upload_url, size)
                return upload_url
            except (UploadStoppedError, UploadRefusedError):
                raise
            except UploadLostError as error:
                losses += 1
                if losses > MAX_LOSSES:
                    raise
                log.warning("upload begins anew: %s", error)
                upload_url, best = None, -1
            except DeliveryError as error:
                log.warning("upload interrupted: %s", error)
            self._nap(min(MAX_BACKOFF_S, 2.0**attempt) * random.uniform(0.5, 1), check)  # noqa: S311  (jitter)
            attempt = min(attempt + 1, 16)

    def create(self, size: int, metadata: Mapping[str, str]) -> str:
        """Announce an upload of ``size`` bytes and return its URL.

        Raises:
            UploadRefusedError: The server will not take it, or answers with a URL elsewhere.
            DeliveryError: It did not answer, or not now.
        """
        described = {"filename": "upload", "filetype": "application/octet-stream"} | dict(metadata)
        pairs = (f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in described.items())
        headers = {"Upload-Length": str(size), "Upload-Metadata": ",".join(pairs), "Content-Length": "0"}
        response = self._call("POST", self._target_url, headers)
        if response.status_code != 201:
            raise _failure("create", response.status_code)
        return self._locate(response.headers.get("Location", ""))

    def find_offset(self, upload_url: str, size: int) -> int:
        """Ask how many bytes the server has.

        Raises:
            UploadLostError: It does not know this upload, or one of another size.
            DeliveryError: It did not answer.
        """
        response = self._call("HEAD", self._locate(upload_url), {})
        if response.status_code in _GONE:
            raise UploadLostError(f"upload is gone: status={response.status_code}")
        if response.status_code not in (200, 204):
            raise _failure("offset", response.status_code)
        offset = _parse_number(response.headers.get("Upload-Offset"))
        length = _parse_number(response.headers.get("Upload-Length"))
        # The URL is stored and may be old: the server's own numbers say whether it is this upload.
        if offset is None or length != size or offset > size:
            raise UploadLostError(f"upload is another one: offset={offset} length={length} size={size}")
        return offset

    def send(
        self,
        upload_url: str,
        file: BinaryIO,
        offset: int,
        size: int,
        watch: UploadWatch = UNWATCHED,
    ) -> None:
        """Send the bytes from ``offset`` on; returns when the server has acknowledged the last one.

        Raises:
            UploadStoppedError: ``should_stop`` said so, or the deadline passed; between two pieces.
            UploadLostError: The server does not know this upload any more.
            UploadRefusedError: The server will not take it.
            DeliveryError: Interrupted, or the offsets disagree: ask for the offset and send again.
        """
        url = self._locate(upload_url)
        watch.on_progress(offset)
        most_bytes = PATCH_BYTES
        while offset < size:
            self._check(watch)
            began, length = self._clock.boot(), min(most_bytes, size - offset)
            file.seek(offset)
            body = _Body(file, length, self._pacer, lambda: self._check(watch))
            headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            response = self._call("PATCH", url, headers, body)
            if response.status_code in _GONE:
                raise UploadLostError(f"upload is gone: status={response.status_code}")
            if response.status_code != 204:
                raise _failure("send", response.status_code)
            acknowledged = _parse_number(response.headers.get("Upload-Offset"))
            # The next piece must follow the server's last byte: only the digest would find a
            # missing part.
            if acknowledged != offset + length:
                raise DeliveryError(f"server acknowledges another offset: {acknowledged}, not {offset + length}")
            offset += length
            if self._clock.boot() - began < SECOND_NS:
                most_bytes = min(2 * most_bytes, MAX_PATCH_BYTES)
            watch.on_progress(offset)

    def _demand_whole(self, upload_url: str, size: int) -> None:
        """Ask once more after the last byte: the key is handed over, and the only copy deleted, on this answer.

        A server that checks the whole at its end may not have kept it; one that was restarted may have lost what it
        had acknowledged and not synced (PROTOCOL A6).
        """
        if (offset := self.find_offset(upload_url, size)) != size:
            raise DeliveryError(f"server lost bytes that it had acknowledged: offset={offset} size={size}")

    def delete(self, upload_url: str) -> None:
        """Ask the server to forget an upload: after a revocation. A server that no longer knows it is content enough.

        Raises:
            DeliveryError: It did not answer, or does not do that.
        """
        response = self._call("DELETE", self._locate(upload_url), {"Content-Length": "0"})
        if response.status_code not in (204, *_GONE):
            raise _failure("delete", response.status_code)

    def _call(self, method: str, url: str, headers: Mapping[str, str], body: _Body | None = None) -> requests.Response:
        headers = {"Tus-Resumable": "1.0.0", **headers}
        self._answer_due = None
        request: Any = requests.Request(method, url, headers, data=body)
        try:
            # stream: the body of an answer is never looked at, so none is read.
            response = self._adapter.send(request.prepare(), stream=True, timeout=self._timeouts)
            if method == "HEAD" or response.status_code == 204 or response.headers.get("Content-Length") == "0":
                response.raw.read(1)  # nothing, to its end: the connection is kept
            else:
                response.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # The exception's text names host and path, which are the RTCC's own; nothing of it is secret.
            raise DeliveryError(f"upload server does not answer: {type(error).__name__}: {error}"[:300]) from error
        return response

    def _check_answer(self) -> None:
        """End a call whose answer does not end: the whole of it has as long as any single read."""
        now = self._clock.boot()
        if self._answer_due is None:
            self._answer_due = MonoNs(now + int(self._timeouts[1] * SECOND_NS))
        if now > self._answer_due:
            raise TimeoutError("answer does not end")

    def _locate(self, location: str) -> str:
        """Resolve a URL against the target; refuse any that leads to another host or port."""
        # R4: a `Location` may name another path of the same origin and nothing else.
        url = urljoin(self._target_url, location)
        # Servers behind a TLS proxy believe that they speak http; host and port count.
        if url.startswith("http://"):
            url = "https://" + url.removeprefix("http://")
        if not location or _parse_origin(url) != self._origin:
            raise UploadRefusedError(f"upload server points elsewhere: {url[:200]!r}")
        return url

    def _check(self, watch: UploadWatch) -> None:
        if watch.should_stop():
            raise UploadStoppedError("upload was stopped")
        if watch.deadline is not None and self._clock.boot() >= watch.deadline:
            raise UploadStoppedError("upload did not end before its deadline")

    def _nap(self, seconds: float, check: Callable[[], None]) -> None:
        end = self._clock.boot() + int(seconds * SECOND_NS)
        while (left := end - self._clock.boot()) > 0:
            check()
            self._sleep(min(left / SECOND_NS, _NAP_S))


def _parse_origin(url: str) -> tuple[str, int]:
    """Return host and port of an https URL without credentials."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme != "https" or "@" in parts.netloc:
        raise UploadRefusedError(f"not an https URL without credentials: {url[:200]!r}")
    return host, port or 443


def _parse_number(text: str | None) -> int | None:
    # `int` would also take spaces, signs, underscores and digits of other scripts.
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _failure(step: str, status: int) -> DeliveryError:
    """Tell failures that may mend (server errors, time-outs, locks, conflicts) from the others."""
    may_mend = status >= 500 or status in (408, 409, 423, 425, 429)
    kind = DeliveryError if may_mend else UploadRefusedError
    return kind(f"upload server refuses: step={step} status={status}")
