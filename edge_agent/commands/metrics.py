"""``edge-agent metrics``: figures in Prometheus's text format."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent import __version__
from edge_agent.commands.daemon import add_config
from edge_agent.consent.camera_state import parse_consents
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS

_DESCRIPTION = """\
Print figures in Prometheus's text format: whether each camera is recorded, bytes, gaps in seconds by reason, the oldest
footage, failures of the disk, requests by outcome, when consents and certificates end. Seconds and bytes, counted from
the start of the process. Nothing says why a request was refused, or where a camera is.

For the textfile collector of node_exporter, every minute:

  edge-agent metrics > /var/lib/prometheus/node-exporter/edge-agent.prom.new &&
    mv /var/lib/prometheus/node-exporter/edge-agent.prom.new /var/lib/prometheus/node-exporter/edge-agent.prom
"""
_Part = Mapping[str, Any] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the figures; 0 also if a process does not run, which is a figure as well."""
    config = load_config(args.config)
    print(encode_metrics(_ask(config, "recorder"), _ask(config, "releaser")), end="")
    return 0


def _ask(config: Config, process: Any) -> _Part:
    try:
        return call(config.control_path(process), "status")
    except EdgeAgentError:
        return None


def encode_metrics(recorder: _Part, releaser: _Part) -> str:
    """Return the exposition text of both processes' figures; None stands for a process that does not answer."""
    # Not the library's own registry: that has figures of this process, which lives for a moment.
    registry = CollectorRegistry()
    registry.register(_Figures(recorder, releaser))
    return generate_latest(registry).decode()


class _Figures(Collector):
    def __init__(self, recorder: _Part, releaser: _Part) -> None:
        self._recorder, self._releaser = recorder, releaser

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("edge_agent_build_info", "The release that prints this.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        up = GaugeMetricFamily("edge_agent_up", "Whether a process answers.", labels=["process"])
        up.add_metric(["recorder"], self._recorder is not None)
        up.add_metric(["releaser"], self._releaser is not None)
        yield up
        if self._recorder is not None:
            yield from _collect_recorder(self._recorder)
        if self._releaser is not None:
            yield from _collect_releaser(self._releaser)


def _collect_recorder(status: Mapping[str, Any]) -> Iterator[Metric]:
    up = GaugeMetricFamily("edge_agent_stream_up", "Whether a stream is recorded now.", labels=["stream"])
    bits = GaugeMetricFamily("edge_agent_stream_bits_per_second", "Bits that arrive.", labels=["stream"])
    # The library puts `_total` behind the name of a counter.
    stored = CounterMetricFamily("edge_agent_stored_bytes", "Bytes that the ring took.", labels=["stream"])
    gaps = CounterMetricFamily("edge_agent_gap_seconds", "Time without footage.", labels=["stream", "reason"])
    failures = CounterMetricFamily(
        "edge_agent_ring_failures", "Writes and syncs of a ring that failed.", labels=["stream"]
    )
    oldest = GaugeMetricFamily(
        "edge_agent_oldest_footage_timestamp_seconds", "When the oldest footage was recorded.", labels=["stream"]
    )
    for name, stream in sorted(status["cameras"].items()):
        figures = stream.get("figures", {})
        up.add_metric([name], stream.get("state") == "recording" and stream.get("storage") == "ok")
        bits.add_metric([name], stream.get("bitrate", 0))
        stored.add_metric([name], figures.get("stored_bytes", 0))
        failures.add_metric([name], figures.get("failures", 0))
        for reason, ns in sorted(figures.get("gap_ns", {}).items()):
            gaps.add_metric([name, reason], ns / SECOND_NS)
        if stream.get("oldest_ns"):
            oldest.add_metric([name], stream["oldest_ns"] / SECOND_NS)
    yield from (up, bits, stored, gaps, failures, oldest)


def _collect_releaser(status: Mapping[str, Any]) -> Iterator[Metric]:
    figures = status.get("figures", {})
    yield GaugeMetricFamily(
        "edge_agent_broker_up", "Whether the RTCC's broker is connected.", value=status["broker"] == "connected"
    )
    yield GaugeMetricFamily(
        "edge_agent_clock_synchronised",
        "Whether the clock is believed.",
        value=str(status["clock"]).startswith("synchronised"),
    )
    yield GaugeMetricFamily("edge_agent_faults", "Faults that the owner was told of.", value=len(status["faults"]))
    requests = GaugeMetricFamily("edge_agent_requests", "Requests of the last 32 days.", labels=["state"])
    for state, number in sorted(figures.get("requests", {}).items()):
        requests.add_metric([state], number)
    yield requests
    ends = GaugeMetricFamily("edge_agent_end_timestamp_seconds", "When something ends.", labels=["what", "camera"])
    for kind, ns in sorted(figures.get("ends_ns", {}).items()):
        ends.add_metric([kind, ""], ns / SECOND_NS)
    for camera, consent in sorted(parse_consents(status["consents"]).items()):
        if consent.until is not None:
            ends.add_metric(["consent", camera], consent.until / SECOND_NS)
    yield ends
    notices = CounterMetricFamily("edge_agent_notices", "Messages to the owner.", labels=["outcome"])
    for outcome, number in sorted(figures.get("notices", {}).items()):
        notices.add_metric([outcome], number)
    yield notices
