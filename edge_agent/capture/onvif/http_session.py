"""The border between an ONVIF child and its camera: one HTTP session with one host, verified where it is HTTPS.

Owns time-outs, the size of answers, TLS, and the turning of foreign errors into ours. No host but the configured one is
ever dialled, no scheme but the configured one is ever used, whatever an answer, an address in it or a redirect says.
Imported by child processes only.
"""

# zeep is half typed.
# mypy: disable-error-code="no-untyped-call"

import io
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import requests
import zeep
import zeep.exceptions
from requests.adapters import HTTPAdapter

from edge_agent.capture.camera_tls import Trust, check_pin, fetch_certificate, find_fault, system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.printable_text import show_line

TIMEOUT_S = 4.0
MAX_ANSWER_BYTES = 1 << 20


class DeviceError(Exception):
    """The device gives no usable answer; ``reason`` is one of ``capture.reasons``, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OnvifTls:
    """Whose certificate counts over HTTPS; where neither is given, what this machine trusts."""

    ca_file: str = ""
    pin: str = ""
    """``sha256:`` and 64 hexadecimal digits: this certificate and no other, whatever name and dates it carries."""

    @property
    def trust(self) -> Trust:
        """The authorities, if there is no pin."""
        return Trust(Path(self.ca_file)) if self.ca_file else system_trust()


class Border:
    """A session with one camera.

    Args:
        base: Its address; no other host, and no other scheme, is let out.
        tls: For ``https``.

    Raises:
        DeviceError: The file of authorities cannot be used.
    """

    def __init__(self, base: SplitResult, tls: OnvifTls) -> None:
        self._url, self._tls = urlunsplit(base), tls
        self.session = requests.Session()
        self.session.trust_env = False  # neither proxies nor ~/.netrc
        self.session.max_redirects = 0
        options: dict[str, Any] = {}
        if base.scheme == "https":
            options = self._verify()
        guard = _OneHost(base, options)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, guard)
        self.transport = zeep.Transport(session=self.session, timeout=TIMEOUT_S, operation_timeout=TIMEOUT_S)

    def _verify(self) -> dict[str, Any]:
        """Have every connection verified; return what urllib3 does it with."""
        if self._tls.pin:
            # Compared on each connection, before anything is sent. No authority and no name are looked at besides.
            self.session.verify = False
            return {"assert_fingerprint": self._tls.pin.removeprefix("sha256:")}
        path = str(self._tls.trust.ca_file)
        try:
            context = ssl.create_default_context(cafile=path)
        except OSError:
            raise DeviceError("tls-untrusted", "ca_file cannot be read, or holds no certificate") from None
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as for rtsps: what is in the file counts
        self.session.verify = path  # True would add the authorities that requests brings along
        return {"ssl_context": context}

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn foreign errors into ours; texts of libraries are not repeated, they may quote a login."""
        try:
            yield
        except DeviceError:
            raise
        except requests.exceptions.SSLError:
            raise self._tls_fault() from None
        except requests.exceptions.TooManyRedirects:
            raise DeviceError("onvif-failed", "it redirects elsewhere, which is not followed") from None
        except requests.exceptions.ConnectTimeout:
            raise DeviceError("unreachable", "time-out") from None
        except requests.exceptions.Timeout:
            raise DeviceError("no-answer", "its ONVIF service") from None
        except requests.exceptions.RequestException as error:
            raise DeviceError("unreachable", type(error).__name__) from None
        except (zeep.exceptions.Fault, zeep.exceptions.TransportError) as error:
            if is_unauthorised(error):
                words = "its ONVIF service; many makers want a user of its own for it"
                raise DeviceError("unauthorized", words) from None
            raise DeviceError("onvif-failed", _harmless(error)) from None
        except (AttributeError, TypeError, ValueError, LookupError, zeep.exceptions.Error) as error:
            raise DeviceError("onvif-failed", f"its answer makes no sense: {type(error).__name__}") from None

    def _tls_fault(self) -> DeviceError:
        """Look at the certificate again, to tell its fault in words."""
        try:
            if self._tls.pin:
                check_pin(fetch_certificate(self._url), self._tls.pin)
            elif (fault := find_fault(self._url, self._tls.trust)) is not None:
                raise fault
        except CaptureError as error:
            return DeviceError(error.reason, error.detail or "its ONVIF service")
        return DeviceError("tls-failed", "its ONVIF service")


class _OneHost(HTTPAdapter):
    """Lets requests out to one host only, and no endless answer in."""

    def __init__(self, base: SplitResult, options: dict[str, Any]) -> None:
        self._scheme, self._host, self._options = base.scheme, base.hostname, options
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Make every pool of connections with its means of verification."""
        super().init_poolmanager(connections, maxsize, block, **options, **self._options)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send, unless it is for somebody else."""
        # Also of the addresses that zeep takes from answers: every request passes here.
        parts = urlsplit(request.url or "")
        if (parts.scheme, parts.hostname) != (self._scheme, self._host):
            raise DeviceError("onvif-failed", "an answer led to another host, which is not dialled")
        response = super().send(request, *arguments, **options)
        # Read here, with a bound: requests itself would read to the end.
        content = _read_all(response)
        response.raw.release_conn()
        response.raw = io.BytesIO(content)
        return response


def _read_all(response: requests.Response) -> bytes:
    content = b""
    try:
        while part := response.raw.read(MAX_ANSWER_BYTES, decode_content=True):
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise DeviceError("onvif-failed", f"it answers with more than {MAX_ANSWER_BYTES >> 20} MiB")
    except DeviceError:
        response.close()
        raise
    except Exception as error:
        response.close()
        raise DeviceError("no-answer", f"its answer broke off: {type(error).__name__}") from None
    return content


def is_unauthorised(error: Exception) -> bool:
    """Tell whether a camera refuses the login."""
    if isinstance(error, zeep.exceptions.TransportError) and error.status_code in (401, 403):
        return True
    codes = " ".join(str(code) for code in (getattr(error, "code", ""), *(getattr(error, "subcodes", None) or ())))
    # Makers put the fault into code, subcode or text, in one word or two.
    text = f"{codes} {getattr(error, 'message', '')} {error}".lower().replace(" ", "")
    return "notauthorized" in text or "failedauthentication" in text or "unauthorized" in text


def _harmless(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    if status:
        return f"it answers HTTP {status}"
    text = show_line(str(getattr(error, "message", "")), 120)
    return f"it answers: {text}" if text else "it answers with a fault"
