"""Revoking a gateway: nothing more is taken from it, and the broker closes its connection and lets it in no more.

Owns the proof that a broker keeps to it. No broker closes a connection because a certificate was revoked; each
closes one whose client id connects again, so the authority, which may issue any certificate, does that in the
gateway's name. The broker's acts show whether it has read the list; its words do not count.
"""

import time
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.mqtt.connection import BrokerSettings
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import generate_tls_key
from edge_agent.rtcc.probe_client import ProbeClient
from edge_agent.rtcc.session import FIRST_RETRY_S
from edge_agent.units import encode_rfc3339

PROBE_DAYS = 1 / 24
"""An hour: long enough for the proof, too short to be worth stealing."""
WITHIN_S = 60.0
"""So long a broker may take to read the list again."""
_CONNECT_S = 5.0
_NAP_S = 1.0


class Revocation:
    """One gateway's.

    Args:
        home: The RTCC's authority and broker.
        gateway: Its id.
        clock: For times and connections.

    Raises:
        ConfigError: No gateway of this id is enrolled here.
    """

    def __init__(self, home: RtccHome, gateway: str, clock: Clock | None = None) -> None:
        self._home, self._gateway, self._clock = home, gateway, clock or SystemClock()
        home.demand_gateway(gateway)  # Its keys do not matter here: one whose row is damaged can be revoked.
        self._refused = self._issue()

    def record(self) -> int:
        """Take nothing more from the gateway here, and put its certificates on the list; durable on return.

        Returns:
            How many certificates of it are on the list now. None for a gateway that was enrolled before certificates
            were recorded: then the broker cannot be told.
        """
        now = self._clock.utc()
        # First that it is revoked: an issue of a certificate to it looks again once that is recorded.
        self._home.revoke_gateway(self._gateway, encode_rfc3339(now))
        return self._home.certificates.revoke_gateway(self._gateway, [self._refused[0]], now)

    def end_session(self, within_s: float = WITHIN_S) -> None:
        """Wait until each broker refuses what is on the list, then close the gateway's connection and drop its queue.

        Raises:
            UnavailableError: A broker still lets a revoked certificate in, or cannot be reached. The others were told.
        """
        faults = []
        for address in self._home.settings.brokers:
            try:
                self._end_session_at(address, within_s)
            except UnavailableError as error:
                faults.append(error)
        if faults:
            raise UnavailableError("; ".join(map(str, faults)), faults[0].hint)

    def _end_session_at(self, address: tuple[str, int], within_s: float) -> None:
        where = f"broker={address[0]}:{address[1]}"
        deadline = time.monotonic() + within_s
        while self._lets_in(address, self._refused[1]):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"broker still lets in what was revoked: {where}",
                    "have it read tls/crl.pem again (mosquitto: SIGHUP)",
                )
            time.sleep(_NAP_S)
        # A new certificate, not on the list, in the gateway's name: its connection ends the
        # gateway's own.
        if not self._lets_in(address, self._issue()[1]):
            raise UnavailableError(f"broker does not answer: the gateway's connection may still be open: {where}")

    def _issue(self) -> tuple[x509.Certificate, TlsIdentity]:
        """Make a certificate in the gateway's name, for an hour."""
        ca, ca_key = self._home.load_ca()
        key = generate_tls_key()
        certificate = authority.issue_client(
            ca, ca_key, key.public_key(), self._gateway, self._clock.utc(), days=PROBE_DAYS
        )
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return certificate, TlsIdentity(self._home.ca_path.read_text(), pem, key)

    def _lets_in(self, address: tuple[str, int], identity: TlsIdentity) -> bool:
        settings = BrokerSettings(
            host=address[0],
            port=address[1],
            client_id=self._gateway,
            tls=identity,
            subscriptions=(),
            first_retry_s=FIRST_RETRY_S,
            # The broker ends the session of this id and its queue (MQTT 5, sections 3.1.2.4 and 3.1.4).
            clean_start=True,
            session_expiry_s=0,
        )
        client = ProbeClient(settings, self._clock)
        try:
            return client.connect(_CONNECT_S)
        finally:
            client.broker.close(2.0)


def revoke(home: RtccHome, gateway: str, reload: Callable[[], None], clock: Clock | None = None) -> int:
    """Revoke a gateway: here at once, at the broker once ``reload`` made it read the list.

    Returns:
        How many of its certificates are on the list.
    """
    revocation = Revocation(home, gateway, clock)
    count = revocation.record()
    reload()
    revocation.end_session()
    return count
