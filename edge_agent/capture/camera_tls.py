"""The certificate that a camera shows over TLS: of a trusted authority, the pinned one, or refused, with the cause.

Owns the turning of a pin into something FFmpeg can verify, and the telling apart of certificates that are refused.
Our reader, FFmpeg and the ONVIF child verify on their own connections: what is fetched here is only compared, and
never believed.
"""

import contextlib
import errno
import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from edge_agent.capture.reasons import CaptureError
from edge_agent.printable_text import show_line

TIMEOUT_S = 5.0
# Of `rtsps` in the IANA registry of service names and ports.
RTSPS_PORT = 322
_PORTS = {"rtsps": RTSPS_PORT, "https": 443}
# OpenSSL's numbers (x509_vfy.h).
_REASONS = {9: "tls-not-yet-valid", 10: "tls-expired", 62: "tls-wrong-name", 64: "tls-wrong-name"}
_MOST_NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Trust:
    """The means to verify a camera: a file of certificates, and the name that the camera's must carry."""

    ca_file: Path
    verify_host: str = ""
    """Empty: the host of the URL."""


def system_trust() -> Trust:
    """Trust what this machine trusts."""
    paths = ssl.get_default_verify_paths()
    return Trust(Path(paths.cafile or paths.openssl_cafile))


def pin_trust(url: str, pin: str, folder: Path) -> Trust:
    """Fetch the camera's certificate, compare it with ``sha256:…``, and trust it alone.

    A pinned certificate may carry any name: a camera's own is seldom its address.

    Args:
        url: Of the stream.
        pin: ``sha256:`` and 64 hexadecimal digits, over the certificate's DER.
        folder: Where to keep the certificate for FFmpeg: one that only we may write.

    Raises:
        CaptureError: No connection, or another certificate.
    """
    der = fetch_certificate(url)
    check_pin(der, pin)
    path = folder / f"pinned-{pin[-16:]}.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    return Trust(path, _name_in(der))


def check_pin(der: bytes, pin: str) -> None:
    """Raise CaptureError if a certificate is not the pinned one."""
    if (shown := pin_of(der)) != pin:
        raise CaptureError("tls-wrong-pin", f"it shows {shown}")


def pin_of(der: bytes) -> str:
    """Return the pin of a certificate: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def fetch_certificate(url: str) -> bytes:
    """Return the DER of the certificate that a server shows; it proves nothing by itself.

    Raises:
        CaptureError: No connection, or no TLS there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connected(url, context, "") as secure:
            der = secure.getpeercert(binary_form=True)
    except OSError as error:
        raise CaptureError("unreachable", _word_for(error)) from None
    if not der:
        raise CaptureError("tls-failed", "the camera shows no certificate")
    return der


def find_fault(url: str, trust: Trust) -> CaptureError | None:
    """Tell why a camera's certificate is refused; None if it is not, or if there is no connection.

    FFmpeg reports each of these as an I/O error like any other.
    """
    try:
        context = verifying_context(trust)
    except OSError:
        return CaptureError("tls-untrusted", "ca_file cannot be read, or holds no certificate")
    try:
        with _connected(url, context, trust.verify_host):
            return None
    except ssl.SSLCertVerificationError as error:
        reason = _REASONS.get(error.verify_code, "tls-untrusted")
        with contextlib.suppress(CaptureError, ValueError):
            return CaptureError(reason, _detail(reason, fetch_certificate(url)))
        return CaptureError(reason)
    except CaptureError as error:
        return error
    except OSError:
        # Nobody answers: that is no fault of the certificate.
        return None


def verifying_context(trust: Trust) -> ssl.SSLContext:
    """Return the context that believes no certificate but a trusted one; OSError if the file cannot be used."""
    context = ssl.create_default_context(cafile=str(trust.ca_file))
    # As FFmpeg's library does it: a certificate in the file counts, whoever signed it. That is the meaning of a pin.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@contextmanager
def _connected(url: str, context: ssl.SSLContext, verify_host: str) -> Iterator[ssl.SSLSocket]:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, RTSPS_PORT))
    with socket.create_connection(address, TIMEOUT_S) as plain:
        try:
            secure = context.wrap_socket(plain, server_hostname=verify_host or parts.hostname)
        except ssl.SSLCertVerificationError:
            raise
        except OSError as error:
            raise CaptureError("tls-failed", getattr(error, "reason", None) or _word_for(error)) from None
        with secure:
            yield secure


def _word_for(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _detail(reason: str, der: bytes) -> str:
    """Return what a certificate says of the matter; a camera's own words, so no more than a name's worth of them."""
    certificate = x509.load_der_x509_certificate(der)
    if reason == "tls-expired":
        return f"until {certificate.not_valid_after_utc:%Y-%m-%d}"
    if reason == "tls-not-yet-valid":
        return f"from {certificate.not_valid_before_utc:%Y-%m-%d}"
    if reason == "tls-wrong-name":
        return f"it names {show_line(', '.join(_names(certificate)), _MOST_NAME_CHARACTERS) or 'nobody'}"
    return f"it shows {pin_of(der)}"


def _names(certificate: x509.Certificate) -> list[str]:
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += [str(name) for kind in (x509.DNSName, x509.IPAddress) for name in found.get_values_for_type(kind)]
    return names or [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _name_in(der: bytes) -> str:
    """Return a name that the certificate carries, for a library that insists on comparing one."""
    names = _names(x509.load_der_x509_certificate(der))
    if not names:
        raise CaptureError("tls-wrong-name", "it names nobody")
    return names[0]
