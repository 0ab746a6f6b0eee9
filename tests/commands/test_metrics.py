"""``edge-agent metrics``: base units, counters that are counters, and nothing that says why or where."""

from prometheus_client.parser import text_string_to_metric_families

from edge_agent.commands.metrics import encode_metrics
from edge_agent.consent.camera_state import CameraConsent, ConsentState, encode_consents
from edge_agent.units import SECOND_NS, UtcNs

STREAM = {
    "state": "recording",
    "storage": "ok",
    "bitrate": 4_000_000,
    "reason": "",
    "oldest_ns": 1_790_000_000 * SECOND_NS,
    "figures": {"stored_bytes": 1000, "failures": 2, "gap_ns": {"unreachable": 90 * SECOND_NS}},
}
RECORDER = {"cameras": {"door.main": STREAM, "yard.main": {"state": "down", "reason": "unreachable"}}}
RELEASER = {
    "broker": "connected",
    "clock": "synchronised",
    "faults": ["Not recorded: Yard"],
    "consents": encode_consents(
        {"door": CameraConsent(ConsentState.IN_FORCE, "ask", UtcNs(1_800_000_000 * SECOND_NS))}
    ),
    "figures": {
        "requests": {"denied": 3, "delivered": 1},
        "ends_ns": {"certificate": 1_900_000_000 * SECOND_NS},
        "notices": {"sent": 5},
    },
}


def read(recorder, releaser) -> dict[tuple[str, ...], float]:
    text = encode_metrics(recorder, releaser)
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_figures_are_in_base_units():
    """Seconds, bytes, UNIX times; counters end in ``_total``."""
    found = read(RECORDER, RELEASER)
    assert found["edge_agent_stream_up", "door.main"] == 1
    assert found["edge_agent_stream_up", "yard.main"] == 0
    assert found["edge_agent_stored_bytes_total", "door.main"] == 1000
    assert found["edge_agent_gap_seconds_total", "unreachable", "door.main"] == 90
    assert found["edge_agent_ring_failures_total", "door.main"] == 2
    assert found["edge_agent_oldest_footage_timestamp_seconds", "door.main"] == 1_790_000_000
    assert found["edge_agent_requests", "denied"] == 3
    assert found["edge_agent_end_timestamp_seconds", "door", "consent"] == 1_800_000_000
    assert found["edge_agent_end_timestamp_seconds", "", "certificate"] == 1_900_000_000
    assert found["edge_agent_notices_total", "sent"] == 5
    assert found["edge_agent_faults",] == 1


def test_a_process_that_does_not_run_is_a_figure():
    """An alarm can be set on it; nothing else is said of it."""
    found = read(None, None)
    assert found["edge_agent_up", "recorder"] == found["edge_agent_up", "releaser"] == 0
    assert len(found) == 3


def test_no_reason_of_a_refusal_is_among_them():
    """Whoever reads the figures learns how many, and never why."""
    text = encode_metrics(RECORDER, RELEASER | {"refused_unread": {"too-far": 3}, "secret": "Elm Street"})
    assert "too-far" not in text
    assert "Elm" not in text
