"""The rules that a broker keeps before it is trusted (docs/rtcc.md, "Prove a broker"): a numbered checklist.

Owns the probes. They come as two gateways that were never enrolled, with certificates of our authority for an hour that
are revoked after. They judge a broker by the messages that arrive, never by its answers: one that grants a forbidden
subscription and filters later passes, one that refuses it and delivers does not.
"""

import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import EvidenceError, UnavailableError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.mqtt.connection import BrokerSettings, TopicSubscription, wait_connected
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.home import CLIENT_NAME, RtccHome
from edge_agent.rtcc.office.keys import generate_tls_key, make_id
from edge_agent.rtcc.probe_client import WAIT_S, ProbeClient
from edge_agent.rtcc.session import FIRST_RETRY_S
from edge_agent.units import UtcNs

CERTIFICATE_DAYS = 1 / 24
EXPIRY_S = 2
RESTART_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One line of the checklist."""

    name: str
    fault: str
    """The broker's breach of the rule; empty if it kept the rule."""


class BrokerCheck:
    """The checklist against the brokers of a home, or against one of them.

    The RTCC itself connects to the first one in every line: its messages there must arrive at the others.

    Args:
        home: Its authority signs the two certificates; each address that an enrolment file names is judged.
        now: Start of the certificates.
        clock: For the connections.
    """

    def __init__(self, home: RtccHome, now: UtcNs, clock: Clock | None = None) -> None:
        self._home, self._clock = home, clock or SystemClock()
        self._address = home.settings.brokers[0]
        ca, ca_key = home.load_ca()
        self.one, self.other = make_id(), make_id()
        """Ids of the two gateways."""
        self._identities: dict[str, TlsIdentity] = {}
        self._certificates: list[x509.Certificate] = []
        for name in (self.one, self.other):
            key = generate_tls_key()
            certificate = authority.issue_client(ca, ca_key, key.public_key(), name, now, days=CERTIFICATE_DAYS)
            self._certificates.append(certificate)
            self._identities[name] = TlsIdentity(
                home.ca_path.read_text(), certificate.public_bytes(Encoding.PEM).decode(), key
            )
        self._rtcc = TlsIdentity(
            home.ca_path.read_text(), home.tls_paths(CLIENT_NAME)[0].read_text(), home.load_tls_key(CLIENT_NAME)
        )

    def run(self) -> Iterator[ProbeResult]:
        """Go through the checklist, broker by broker; each line is made whether the others hold or not.

        Raises:
            UnavailableError: The broker does not let the RTCC itself in.
        """
        with self._rtcc_client():
            pass
        probes: tuple[tuple[str, Callable[[], None]], ...] = (
            ("1 only certificates of our authority are let in", self._probe_certificate),
            ("2 a client id cannot be taken over: a message", self._probe_theft),
            ("3 a client id cannot be taken over: a session", self._probe_session),
            ("4 a gateway reads its own topics alone", self._probe_reading),
            ("5 a gateway writes its own topics alone", self._probe_writing),
            ("6 state is retained, and left by the last will", self._probe_will),
            ("7 a message waits for a gateway that is away", self._probe_queue),
            ("8 a message is forgotten when it expires", self._probe_expiry),
            ("9 what is not acknowledged comes again", self._probe_redelivery),
        )
        for name, probe in probes:
            yield from self._attempt(name, probe)

    def run_across_restart(self, restart: Callable[[], None]) -> Iterator[ProbeResult]:
        """Check that nothing is lost while ``restart`` restarts the brokers; it is called once for each of them."""
        yield from self._attempt("10 nothing is lost across a restart", lambda: self._probe_restart(restart))

    def revoke(self) -> None:
        """Put both certificates on the list of revoked ones, which the broker reads."""
        self._home.certificates.revoke(self._certificates, self._clock.utc())

    def run_revoked(self, reload: Callable[[], None]) -> Iterator[ProbeResult]:
        """Check that each broker refuses both certificates, once ``reload`` made it read the list: the last check."""
        self.revoke()
        reload()
        yield from self._attempt("11 a revoked certificate is refused", self._probe_revoked)

    def _attempt(self, name: str, probe: Callable[[], None]) -> Iterator[ProbeResult]:
        """Make one line at every address."""
        brokers = self._home.settings.brokers
        for self._address in brokers:
            shown = name if len(brokers) == 1 else f"{name} ({self._address[0]}:{self._address[1]})"
            try:
                probe()
            except (EvidenceError, UnavailableError) as error:
                yield ProbeResult(shown, str(error))
            else:
                yield ProbeResult(shown, "")

    # Connections.

    def _gateway(self, name: str, client_id: str | None = None, **changes: object) -> BrokerSettings:
        own = (TopicSubscription(f"rtcc/1/req/g/{name}"), TopicSubscription(_area(name)))
        settings = BrokerSettings(
            host=self._address[0],
            port=self._address[1],
            client_id=client_id or name,
            tls=self._identities[name],
            subscriptions=own,
            first_retry_s=FIRST_RETRY_S,
            session_expiry_s=600,
        )
        return replace(settings, **changes)  # type: ignore[arg-type]

    def _client(self, settings: BrokerSettings, *, acks: bool = True) -> ProbeClient:
        return ProbeClient(settings, self._clock, acks=acks)

    def _rtcc_client(self) -> ProbeClient:
        topics = tuple(
            TopicSubscription(f"rtcc/1/{topic}", retained=True)
            for name in (self.one, self.other)
            for topic in (f"gw/{name}/res", f"gw/{name}/state", f"req/g/{name}")
        )
        settings = BrokerSettings(
            host=self._home.settings.broker_host,
            port=self._home.settings.rtcc_port,
            client_id=f"{CLIENT_NAME}-{secrets.token_hex(8)}",
            tls=self._rtcc,
            subscriptions=topics[:2] + topics[3:5],
            clean_start=True,
            session_expiry_s=0,
        )
        return self._client(settings)

    @contextmanager
    def _away(self, name: str) -> Iterator[None]:
        """Make a session for a gateway, as a gateway does, and leave it."""
        # No clean start: mosquitto 2.0.11 writes no session to its disk that began with one.
        with self._client(self._gateway(name)):
            pass
        yield
        # Ends the session: the broker must keep nothing for a gateway that never existed.
        with self._client(self._gateway(name, clean_start=True, session_expiry_s=0)):
            pass

    # The checklist.

    def _probe_certificate(self) -> None:
        context = ssl.create_default_context(cafile=str(self._home.ca_path))
        settings = self._home.settings
        for host, port in (self._address, (settings.broker_host, settings.rtcc_port)):
            try:
                with (
                    socket.create_connection((host, port), WAIT_S) as plain,
                    context.wrap_socket(plain, server_hostname=host) as connection,
                ):
                    # CONNECT of MQTT 5: TLS 1.3 tells only at the first read that it wants a certificate.
                    connection.sendall(bytes.fromhex("101000044d51545405020005000003") + b"abc")
                    answer = connection.recv(4)
            except OSError:
                continue
            # CONNACK; a reason code from 0x80 on is a refusal (MQTT 5, section 2.4).
            if answer[:1] == b"\x20" and answer[3:4] < b"\x80":
                raise EvidenceError(f"a client without a certificate was let in: port={port}")

    def _probe_theft(self) -> None:
        """One gateway names the other's client id and topics; the other one is there."""
        secret, mark = _payload(), _payload()
        stolen = (TopicSubscription(f"rtcc/1/req/g/{self.other}"), TopicSubscription(_area(self.one)))
        with ExitStack() as stack:
            victim = stack.enter_context(self._client(self._gateway(self.other, clean_start=True)))
            before = victim.broker.status().counts.get("connected", 0)
            thief = self._client(self._gateway(self.one, self.other, subscriptions=stolen, clean_start=True))
            stack.callback(thief.broker.close, 2.0)
            thief.connect(WAIT_S / 2)
            rtcc = stack.enter_context(self._rtcc_client())
            rtcc.broker.publish(f"rtcc/1/req/g/{self.other}", secret, expiry_s=60)
            rtcc.broker.publish(_area(self.one), mark, expiry_s=60)
            arrived = victim.has(secret, WAIT_S)
            thief.has(mark, WAIT_S / 2)
            if thief.has(secret):
                raise EvidenceError("a gateway that named another's client id received its request")
            if not arrived or victim.broker.status().counts.get("connected", 0) != before:
                raise EvidenceError("a gateway was disconnected by another that named its client id")

    def _probe_session(self) -> None:
        """One gateway names the other's client id and a clean session, while a message waits for the other one."""
        secret = _payload()
        with self._away(self.other):
            with self._rtcc_client() as rtcc:
                rtcc.broker.publish(f"rtcc/1/req/g/{self.other}", secret, expiry_s=60)
            thief = self._client(self._gateway(self.one, self.other, clean_start=True, session_expiry_s=0))
            thief.connect(WAIT_S / 2)
            thief.broker.close(2.0)
            with self._client(self._gateway(self.other)) as victim:
                if thief.has(secret) or not victim.has(secret, WAIT_S):
                    raise EvidenceError("a gateway that named another's client id took what waited for it")

    def _probe_reading(self) -> None:
        foreign = (f"rtcc/1/req/g/{self.other}", f"rtcc/1/gw/{self.other}/res", f"rtcc/1/gw/{self.other}/state")
        wide = tuple(TopicSubscription(topic) for topic in (*foreign, "rtcc/1/req/g/+", "rtcc/1/gw/#", "#"))
        secret, answer, mark = _payload(), _payload(), _payload()
        with ExitStack() as stack:
            own = (TopicSubscription(f"rtcc/1/req/g/{self.one}"),)
            curious = stack.enter_context(self._client(self._gateway(self.one, subscriptions=own + wide)))
            other = stack.enter_context(self._client(self._gateway(self.other)))
            rtcc = stack.enter_context(self._rtcc_client())
            rtcc.broker.publish(f"rtcc/1/req/g/{self.other}", secret, expiry_s=60)
            other.broker.publish(f"rtcc/1/gw/{self.other}/res", answer, expiry_s=60)
            rtcc.broker.publish(f"rtcc/1/req/g/{self.one}", mark, expiry_s=60)
            if not curious.has(mark, WAIT_S):
                raise EvidenceError("a gateway did not receive what is for it")
            if curious.has(secret) or curious.has(answer):
                raise EvidenceError("a gateway received what is for another one, or from it")

    def _probe_writing(self) -> None:
        mark = _payload()
        forged = {
            topic: _payload()
            for topic in (f"rtcc/1/gw/{self.other}/res", f"rtcc/1/req/g/{self.other}", _area(self.other))
        }
        with ExitStack() as stack:
            other = stack.enter_context(self._client(self._gateway(self.other, clean_start=True)))
            rtcc = stack.enter_context(self._rtcc_client())
            liar = stack.enter_context(self._client(self._gateway(self.one)))
            for topic, payload in forged.items():
                _publish_anyway(liar, topic, payload)
            # A broker may have closed the connection for it.
            if not wait_connected(liar.broker, 3 * WAIT_S):
                raise EvidenceError("a gateway cannot come back after a message that it may not send")
            liar.broker.publish(f"rtcc/1/gw/{self.one}/res", mark, expiry_s=60)
            if not rtcc.has(mark, WAIT_S):
                raise EvidenceError("a gateway's own answer did not arrive")
            if wrong := [topic for topic, payload in forged.items() if rtcc.has(payload) or other.has(payload)]:
                raise EvidenceError(f"a gateway wrote what is not its own: {wrong[0].replace(self.other, 'OTHER')}")

    def _probe_will(self) -> None:
        topic, online, offline = f"rtcc/1/gw/{self.one}/state", _payload(), _payload()
        settings = self._gateway(self.one, state_topic=topic, online=online, offline=offline)
        gateway = self._client(settings)
        with ExitStack() as stack:
            stack.callback(gateway.broker.abandon)
            if not gateway.connect():
                raise UnavailableError("broker does not let a probe in")
            with self._rtcc_client() as first:
                if not first.has(online, WAIT_S):
                    raise EvidenceError("a gateway's state is not retained")
                gateway.broker.abandon()
                if not first.has(offline, WAIT_S):
                    raise EvidenceError("the last will of a gateway that broke off did not come")
            with self._rtcc_client() as second:
                if not second.has(offline, WAIT_S, retained=True):
                    raise EvidenceError("the last will is not retained")
        with self._client(replace(settings, state_topic="")) as last:
            last.broker.publish(topic, b"", retain=True)

    def _probe_queue(self) -> None:
        payloads = [_payload() for _ in range(20)]
        with self._away(self.other):
            self._send_to_other(payloads)
            with self._client(self._gateway(self.other)) as gateway:
                if not all(gateway.has(payload, WAIT_S) for payload in payloads):
                    raise EvidenceError("a request to a gateway that was away was lost")

    def _probe_expiry(self) -> None:
        old, new = _payload(), _payload()
        with self._away(self.other):
            self._send_to_other([old], EXPIRY_S)
            time.sleep(EXPIRY_S + 1.5)
            self._send_to_other([new])
            with self._client(self._gateway(self.other)) as gateway:
                if not gateway.has(new, WAIT_S):
                    raise EvidenceError("a request to a gateway that was away was lost")
                if gateway.has(old):
                    raise EvidenceError("a request came after it had expired")

    def _probe_redelivery(self) -> None:
        payload = _payload()
        with self._away(self.other):
            self._send_to_other([payload])
            with self._client(self._gateway(self.other), acks=False) as gateway:
                if not gateway.has(payload, WAIT_S):
                    raise EvidenceError("a request to a gateway that was away was lost")
            with self._client(self._gateway(self.other)) as gateway:
                if not gateway.has(payload, WAIT_S):
                    raise EvidenceError("a request that was not acknowledged did not come again")

    def _probe_restart(self, restart: Callable[[], None]) -> None:
        payload = _payload()
        with self._away(self.other):
            self._send_to_other([payload], int(2 * RESTART_WAIT_S))
            restart()
            with self._client(self._gateway(self.other)) as gateway:
                if not gateway.has(payload, WAIT_S):
                    raise EvidenceError("a request that waited for a gateway was lost by the restart")

    def _probe_revoked(self) -> None:
        with self._rtcc_client():  # The broker is up, and lets in a certificate that is not revoked.
            pass
        client = self._client(self._gateway(self.one, clean_start=True, session_expiry_s=0))
        try:
            if client.connect(WAIT_S / 2):
                raise EvidenceError("a revoked certificate was let in")
        finally:
            client.broker.close(2.0)

    def _send_to_other(self, payloads: list[bytes], expiry_s: int = 60) -> None:
        with self._rtcc_client() as rtcc:
            for payload in payloads:
                rtcc.broker.publish(f"rtcc/1/req/g/{self.other}", payload, expiry_s=expiry_s)


def _payload() -> bytes:
    return f"probe {secrets.token_hex(16)}".encode()


def _area(name: str) -> str:
    """Return an area that no geohash names: ``a`` is no letter of theirs."""
    return f"rtcc/1/req/a/a{name[:4].lower()}"


def _publish_anyway(client: ProbeClient, topic: str, payload: bytes) -> None:
    with suppress(UnavailableError):  # Refused, which is one way to keep the rule.
        client.broker.publish(topic, payload, expiry_s=60)
