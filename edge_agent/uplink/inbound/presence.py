"""The gateway's side of the connection to the broker: addresses, subscriptions, retained state."""

import json

from edge_agent import __version__
from edge_agent.mqtt.connection import BrokerSettings, TopicSubscription
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.geohash import geohash_encode
from edge_agent.settings.gateway import Config
from edge_agent.units import SECOND_NS
from edge_agent.uplink.inbound.intake import TRUST_TOPIC

# The least that `uplink.keepalive` allows.
_SHORTEST_KEEPALIVE_S = 5


def encode_state(*, online: bool, checkpoint: str | None = None) -> bytes:
    """Write the retained state of a gateway (PROTOCOL 2): whether it is there, and its last daily checkpoint."""
    return json.dumps({"online": online, "version": __version__, "checkpoint": checkpoint}).encode()


def make_broker_settings(config: Config, enrolment: Enrolment, identity: TlsIdentity) -> BrokerSettings:
    """Return the settings of the connection to the RTCC (PROTOCOL 2)."""
    gateway, keepalive_s = enrolment.gateway, max(_SHORTEST_KEEPALIVE_S, config.uplink.keepalive_ns // SECOND_NS)
    subscriptions = [TopicSubscription(TRUST_TOPIC, retained=True), TopicSubscription(f"rtcc/1/req/g/{gateway}")]
    cell = find_cell(config)
    if cell:
        subscriptions.append(TopicSubscription(f"rtcc/1/req/a/{cell}"))
    return BrokerSettings(
        host=enrolment.broker_host,
        port=enrolment.broker_port,
        client_id=gateway,
        tls=identity,
        subscriptions=tuple(subscriptions),
        state_topic=f"rtcc/1/gw/{gateway}/state",
        online=encode_state(online=True),
        offline=encode_state(online=False),
        others=enrolment.more_brokers,
        keepalive_s=keepalive_s,
        # PROTOCOL 2, M5: the first wait is of up to one keepalive.
        first_retry_s=float(keepalive_s),
    )


def find_cell(config: Config) -> str:
    """Return the geohash of five letters in which the gateway lies; empty if no place is configured."""
    location = config.gateway.location
    return "" if location is None else geohash_encode(location.lat, location.lon)
