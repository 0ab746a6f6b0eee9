"""Whose certificate an ``rtsps`` camera shows: the trusted authority's, or the one that was pinned.

Owns the turning of a pin into something FFmpeg can verify. FFmpeg checks the certificate again on its own connection:
what is fetched here is only compared, never believed.
"""

import hashlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from edge_agent.capture.reasons import CaptureError

TIMEOUT_S = 5.0
RTSPS_PORT = 322


@dataclass(frozen=True, slots=True)
class Trust:
    """What FFmpeg verifies a camera by: a file of certificates, and the name that the camera's must carry."""

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
    if f"sha256:{hashlib.sha256(der).hexdigest()}" != pin:
        raise CaptureError("tls-untrusted", "the certificate is not the pinned one")
    path = folder / f"pinned-{pin[-16:]}.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    return Trust(path, _name_in(der))


def fetch_certificate(url: str) -> bytes:
    """Return the DER of the certificate that a server shows; it proves nothing by itself.

    Raises:
        CaptureError: No connection, or no TLS there.
    """
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or RTSPS_PORT), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
    except OSError as error:
        raise CaptureError("unreachable", type(error).__name__) from None
    if not der:
        raise CaptureError("tls-untrusted", "the camera shows no certificate")
    return der


def is_untrusted(url: str, trust: Trust) -> bool:
    """Tell whether a handshake fails just for the certificate: FFmpeg calls that an I/O error like any other."""
    parts = urlsplit(url)
    try:
        context = ssl.create_default_context(cafile=str(trust.ca_file))
        # As FFmpeg's library does it: a certificate in the file counts, whoever signed it. That is what a pin means.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with (
            socket.create_connection((parts.hostname or "", parts.port or RTSPS_PORT), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=trust.verify_host or parts.hostname),
        ):
            return False
    except ssl.SSLCertVerificationError:
        return True
    except OSError:
        return False


def _name_in(der: bytes) -> str:
    """Return a name that the certificate carries, for a library that insists on comparing one."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.DNSName, x509.IPAddress):
            if found := names.get_values_for_type(kind):
                return str(found[0])
    except x509.ExtensionNotFound:
        pass
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not common:
        raise CaptureError("tls-untrusted", "the certificate carries no name")
    return str(common[0].value)
