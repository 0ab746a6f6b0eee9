"""This gateway in Home Assistant: its MQTT discovery messages, and the state that they read.

Pure. Read only: no button, no switch, no topic that is listened to for a command. Never a picture, a place, a name that
people gave, an agency, a category or a reason. Format: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339

PREFIX = "homeassistant"
EXPIRE_AFTER_S = 180
"""A sensor whose state is older is shown as unavailable."""


def state_topic(node: str) -> str:
    """Return the topic of the state, one JSON object."""
    return f"edge-agent/{node}/state"


def availability_topic(node: str) -> str:
    """Return the topic that says ``online`` or ``offline``."""
    return f"edge-agent/{node}/availability"


def list_discovery(node: str, cameras: Sequence[str], version: str) -> Iterator[tuple[str, bytes]]:
    """Yield topic and payload of every sensor; all are retained."""
    shared = {
        "state_topic": state_topic(node),
        "availability_topic": availability_topic(node),
        "expire_after": EXPIRE_AFTER_S,
        "entity_category": "diagnostic",
        "device": {"identifiers": [node], "name": "edge agent", "sw_version": version},
    }
    for camera in cameras:
        yield _sensor(node, "binary_sensor", f"{camera}_recorded", shared, {
            "name": f"{camera} recorded",
            "device_class": "connectivity",
            "value_template": f"{{{{ value_json.cameras['{camera}'].recorded }}}}",
        })  # fmt: skip
        yield _sensor(node, "sensor", f"{camera}_footage", shared, {
            "name": f"{camera} footage",
            "device_class": "duration",
            "unit_of_measurement": "h",
            "state_class": "measurement",
            "value_template": f"{{{{ value_json.cameras['{camera}'].footage_h }}}}",
        })  # fmt: skip
    yield _sensor(node, "sensor", "requests_waiting", shared, {
        "name": "requests waiting",
        "state_class": "measurement",
        "value_template": "{{ value_json.requests_waiting }}",
    })  # fmt: skip
    yield _sensor(node, "sensor", "faults", shared, {
        "name": "faults",
        "state_class": "measurement",
        "value_template": "{{ value_json.faults }}",
    })  # fmt: skip
    yield _sensor(node, "sensor", "next_end", shared, {
        "name": "next end of a consent or certificate",
        "device_class": "timestamp",
        "value_template": "{{ value_json.next_end }}",
    })  # fmt: skip


def encode_state(
    cameras: Sequence[str], recorder: Mapping[str, Any] | None, releaser: Mapping[str, Any] | None, now: UtcNs
) -> bytes:
    """Write the state from both processes' own status; None: that one does not answer."""
    streams = {} if recorder is None else recorder["cameras"]
    found = {}
    for camera in cameras:
        stream = streams.get(f"{camera}.main", {})
        oldest = stream.get("oldest_ns")
        is_recorded = stream.get("state") == "recording" and stream.get("storage") == "ok"
        found[camera] = {
            "recorded": "ON" if is_recorded else "OFF",
            "footage_h": round((now - oldest) / HOUR_NS, 1) if oldest else 0,
        }
    figures = {} if releaser is None else releaser.get("figures", {})
    end = figures.get("next_end_ns")
    return json.dumps(
        {
            "cameras": found,
            "requests_waiting": None if releaser is None else len(releaser["waiting_for_you"]),
            "faults": None if releaser is None else len(releaser["faults"]),
            "next_end": None if end is None else encode_rfc3339(UtcNs(end)),
        }
    ).encode()


def _sensor(
    node: str, component: str, name: str, shared: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[str, bytes]:
    members = {**shared, **own, "unique_id": f"{node}_{name}"}
    return f"{PREFIX}/{component}/{node}/{name}/config", json.dumps(members).encode()
