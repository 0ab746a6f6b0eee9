"""This gateway's certificate is renewed on the wire from two thirds of its life on (PROTOCOL 7.5).

Owns the message and the one call; the answer is a certificate for our own key, under our own id, or nothing. It goes to
the hosts of the enrolment's upload targets alone.
"""

import dataclasses
import logging
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from edge_agent.custody.enrolment_file import renewed_path
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, DeliveryError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import Clock
from edge_agent.mqtt.mutual_tls import TlsIdentity, build_client_context
from edge_agent.protocol.application import encode_csr
from edge_agent.protocol.enrolment import Enrolment, renew_enrolment
from edge_agent.protocol.renewal import MAX_CERTIFICATE_BYTES, PATH, due_at_s, sign_renewal
from edge_agent.settings.gateway import Config
from edge_agent.units import SECOND_NS, ClockState, UtcNs, encode_rfc3339
from edge_agent.uplink.release.pinned_http import post_small

EVERY_S = 3600.0
"""Between two looks: a certificate lives for months, and a third of its life is left at the
first try."""

log = logging.getLogger(__name__)


class CertificateRenewal:
    """Keeps the certificate of one gateway current.

    Args:
        config: Names the file of the renewed certificate.
        enrolment: With the certificate that is shown now.
        keys: The TLS key, and those that the application names.
        clock: The gateway's; a certificate is not judged by a clock that is in doubt.
        take_over: Called with the certificate that is shown from now on, once it is durable.
    """

    def __init__(
        self,
        config: Config,
        enrolment: Enrolment,
        keys: KeyStore,
        clock: Clock,
        take_over: Callable[[TlsIdentity], None],
    ) -> None:
        self.enrolment = enrolment
        self._path, self._keys, self._clock, self._take_over = renewed_path(config.store_path), keys, clock, take_over
        self._tls: EllipticCurvePrivateKey = keys.load_private("tls")

    def identity(self) -> TlsIdentity:
        """Return the certificate that is shown now, with its key and its authorities."""
        return TlsIdentity(self.enrolment.ca_pem, self.enrolment.certificate_pem, self._tls)

    def context(self) -> ssl.SSLContext:
        """Return a new context for one connection."""
        return build_client_context(self.identity())

    def is_due(self) -> bool:
        """Tell whether two thirds of the certificate's life are over, by a clock that is right."""
        now_s = self._clock.utc() // SECOND_NS
        is_over = now_s >= due_at_s(self.enrolment.not_before_s, self.enrolment.not_after_s)
        return is_over and self._clock.state() is ClockState.SYNCHRONISED

    def look(self) -> None:
        """Renew it if that is due: a failure is logged, and tried again at the next look."""
        if not self.is_due():
            return
        if self._clock.utc() // SECOND_NS >= self.enrolment.not_after_s:
            log.error("certificate has ended, neither broker nor upload server lets this gateway in: ask the RTCC")
        raw = self._apply()
        for host in dict.fromkeys(urlsplit(url).netloc for url in self.enrolment.uploads.values()):
            try:
                self._take(self._ask(f"https://{host}{PATH}{self.enrolment.gateway}", raw))
            except (DeliveryError, ConfigError) as error:
                log.warning("certificate is not renewed yet: host=%s: %s", host, error)
            else:
                return

    def take_certificate(self, new: Enrolment) -> bool:
        """Show the certificate of an enrolment file that was installed meanwhile.

        Returns:
            False if more than the certificate differs: nothing was taken over then.
        """
        old = self.enrolment
        of_old = {name: getattr(old, name) for name in ("certificate_pem", "not_before_s", "not_after_s")}
        # Another broker, root or upload target is a new enrolment: the process begins anew with it.
        if dataclasses.replace(new, **of_old) != old:
            return False
        if new != old:
            self.enrolment = new
            self._take_over(self.identity())
            log.info("certificate of the enrolment file is shown from now on: until=%d", new.not_after_s)
        return True

    def describe(self, now: UtcNs) -> str:
        """Say when the certificate ends or has ended."""
        end = UtcNs(self.enrolment.not_after_s * SECOND_NS)
        return f"until {encode_rfc3339(end)}" if now < end else f"ended at {encode_rfc3339(end)}: nobody lets us in"

    def _apply(self) -> bytes:
        keys = {name: self._keys.load_public(name) for name in ("gateway", "recorder", "owner")}
        csr = encode_csr(self._tls, **keys)
        return sign_renewal(self.enrolment.iss, self.enrolment.gateway, csr, self._keys.load_private("gateway"))

    def _take(self, pem: str) -> None:
        # PROTOCOL 7.5: only a certificate of our own key and our own id from the same authority
        # passes.
        renewed = renew_enrolment(self.enrolment, pem, "the RTCC's answer")
        # Durable before it is shown: after a kill the one before still counts.
        write_small_file(self._path, pem.encode(), mode=0o640)
        self.enrolment = renewed
        self._take_over(self.identity())
        log.info("certificate renewed: until=%d", renewed.not_after_s)

    def _ask(self, url: str, raw: bytes) -> str:
        content = post_small(url, self.context(), raw, "application/jose+json", MAX_CERTIFICATE_BYTES, self._clock)
        return content.decode("ascii", errors="replace")
