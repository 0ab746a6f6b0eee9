"""The releaser's part of ``edge-agent status``, of an enrolled gateway."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent import __version__
from edge_agent.consent.camera_state import encode_consents
from edge_agent.host.control_socket import Peer, Reply
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.mqtt.connection import BrokerStatus
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.owner.figures import make_figures
from edge_agent.uplink.owner.notifier import NoticeCounts
from edge_agent.uplink.owner.page_reads import FindConsents
from edge_agent.uplink.release.certificate_renewal import CertificateRenewal
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState


def find_ends(renewal: CertificateRenewal, trust: TrustStore) -> dict[str, UtcNs | None]:
    """Return when the certificate and the trust bundle end; None if there is no bundle."""
    certificate_end = UtcNs(renewal.enrolment.not_after_s * SECOND_NS)
    return {"certificate": certificate_end, "trust": None if trust.bundle is None else trust.bundle.expires}


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """Reads the parts of the process; each callable tells one thing of now."""

    renewal: CertificateRenewal
    """Knows the enrolment, with the certificate that is shown now."""
    custody: str
    """How the keys are kept."""
    store: Database
    clock: KeptClock
    trust: TrustStore
    broker: Callable[[], BrokerStatus]
    consents: FindConsents
    ends: Callable[[], dict[str, UtcNs | None]]
    faults: Callable[[], list[str]]
    notices: Callable[[], NoticeCounts]
    unread: Callable[[], Mapping[str, int]]
    """Messages that were refused unread, by reason."""
    counted: Callable[[], int]
    """Refusals that are only counted."""

    def read(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Answer the command."""
        now = self.clock.utc()
        consents = self.consents(now)
        bundle, broker, clock = self.trust.bundle, self.broker(), self.clock.facts()
        open_requests = self.store.requests.list_newest(OPEN_STATES)
        return {
            "gateway": self.renewal.enrolment.gateway,
            "enrolment": self.renewal.enrolment.iss,
            "version": __version__,
            "broker": "connected" if broker.connected else "not connected",
            "clock": ": ".join(filter(None, (clock["state"], clock["why"]))),
            "trust_bundle": "none" if bundle is None else f"{bundle.version} until {encode_rfc3339(bundle.expires)}",
            "certificate": self.renewal.describe(now),
            "custody": self.custody,
            "store": self.store.read_id(),
            "recipients": {} if bundle is None else {each.role: each.age for each in bundle.recipients},
            "consents": encode_consents(consents),
            "release_paused": sorted(self.store.pauses.list_current(now)),
            "faults": self.faults(),
            "figures": make_figures(self.store.requests.count(), self.ends(), consents.values(), self.notices(), now),
            "refused_unread": self.unread(),
            "refused_counted": self.counted(),
            "waiting_for_you": [each.id for each in open_requests if each.state is RequestState.ASKED],
            "releasing": [each.id for each in open_requests if each.state is not RequestState.ASKED],
        }
