"""Properties and options of MQTT 5 packets, in paho's types."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions


def connect_properties(session_expiry_s: int, receive_maximum: int, max_packet_bytes: int) -> Properties:
    """Return what CONNECT says: how long the session is kept, and how much may be under way to us."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry_s
    properties.ReceiveMaximum = receive_maximum
    properties.MaximumPacketSize = max_packet_bytes
    return properties


def publish_properties(correlation: bytes | None, expiry_s: int | None) -> Properties:
    """Return what PUBLISH says beside its payload."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if correlation is not None:
        properties.CorrelationData = correlation
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    return properties


def subscribe_options(*, retained: bool) -> SubscribeOptions:
    """Return the options of a subscription at QoS 1, with or without what the broker has kept."""
    handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
    return SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=handling)
