"""Mutual TLS towards the RTCC: one way to build a context, for the broker and for uploads.

Owns the way from the private CA, the gateway's certificate and its key to an ``ssl.SSLContext``.
The key goes through anonymous memory, never through a file; the system's certificate store is never
asked, and no environment variable (``SSLKEYLOGFILE``, ``SSL_CERT_FILE``) changes anything.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.errors import CustodyError


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Our certificate, and the authority of the servers that we believe."""

    ca_pem: str
    certificate_pem: str
    key: EllipticCurvePrivateKey = field(repr=False)


def build_client_context(identity: TlsIdentity) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or 1.3 that shows our certificate and checks the server's name and chain.

    Raises:
        CustodyError: Certificate and key do not belong together, or one of the texts is no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # PARTIAL_CHAIN: the enrolment file's `ca` is the end of the chain, whoever signed that one
    # (M1).
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    load_identity(context, identity)
    return context


def load_identity(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    """Show this certificate from the next handshake of a context on. From the thread that shakes hands alone.

    Raises:
        CustodyError: As ``build_client_context``.
    """
    key_pem = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # OpenSSL reads certificate and key from one path; a memory file has one and is on no disk.
    descriptor = os.memfd_create("edge-agent-tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(key_pem + b"\n" + identity.certificate_pem.encode())
        context.load_verify_locations(cadata=identity.ca_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, ValueError) as error:
        raise CustodyError(f"TLS certificate, key and CA do not fit together: {error}") from None
    finally:
        os.close(descriptor)


def watch_reads(context: ssl.SSLContext, before_read: Callable[[], None]) -> None:
    """Make the context's sockets call ``before_read`` before every read into a buffer, which is how HTTP is read.

    A server that sends a byte now and then keeps within every time-out of a single read; an error of it ends the call.
    """

    class TimedSocket(ssl.SSLSocket):
        def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
            before_read()
            return super().recv_into(buffer, nbytes, flags)

    context.sslsocket_class = TimedSocket


def watch_socket(context: ssl.SSLContext, heard: Callable[[], None], max_read_bytes: int) -> ssl.SSLContext:
    """Make the context's sockets call ``heard`` whenever bytes arrive, and refuse to read more than so many at once.

    paho asks for exactly the announced rest of a packet: a hostile broker that announces 256 MiB is refused before
    anything is allocated, and ``heard`` is the sign of life: paho's own clock also counts what was sent.
    """

    class WatchedSocket(ssl.SSLSocket):
        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            if buflen > max_read_bytes:
                raise OSError(f"packet is too large: bytes={buflen} limit={max_read_bytes}")
            data = super().recv(buflen, flags)
            if data:
                heard()
            return data

    context.sslsocket_class = WatchedSocket
    return context
