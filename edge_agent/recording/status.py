"""The recorder's status, put together from all parts that know something of a stream.

Part of the recorder process.
"""

import os
from collections.abc import Mapping
from typing import Any

from edge_agent.capture.reasons import REASONS
from edge_agent.capture.status import list_warnings
from edge_agent.host.clock import Clock
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.mirrors import Mirrors
from edge_agent.recording.picture_watch import PictureWatches
from edge_agent.recording.streams import RunningStream, Streams
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs, encode_rfc3339


class RecorderStatus:
    """Asks all parts. Any thread.

    Args:
        boot_id: The kernel's id of this boot.
        clock: The gateway's clocks.
        streams: What is recorded.
        mirrors: The copies of its rings.
        views: The health of its pictures.
        triggers: The events that open it.
    """

    def __init__(
        self,
        boot_id: bytes,
        clock: Clock,
        streams: Streams,
        mirrors: Mirrors,
        views: PictureWatches,
        triggers: Triggers,
    ) -> None:
        self._boot_id, self._clock, self._streams = boot_id.hex(), clock, streams
        self._mirrors, self._views, self._triggers = mirrors, views, triggers

    def read(self, config: Config) -> dict[str, Any]:
        """Return how everything of a configuration does, as JSON values."""
        cameras = {name: self._read_stream(name, stream) for name, stream in self._streams.running.items()}
        for camera in config.cameras:
            if not camera.enabled:
                cameras[f"{camera.id}.main"] = {"state": "off", "since": "", "reason": "disabled"}
        return {
            "written_at": encode_rfc3339(self._clock.utc()),
            "boot_id": self._boot_id,
            "pid": os.getpid(),
            "clock": self._clock.state().value,
            "cameras": cameras,
        }

    def _read_stream(self, name: str, stream: RunningStream) -> dict[str, Any]:
        camera = name.rpartition(".")[0]
        return report_stream(
            stream.thread.status.snapshot(),
            {**stream.sink.facts(), **self._mirrors.facts(name)},
            picture=self._views.facts(camera),
            events=self._triggers.facts(camera),
        )


def report_stream(
    stream: Mapping[str, Any],
    storage: Mapping[str, Any],
    *,
    picture: Mapping[str, Any],
    events: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a stream's part of the status, as JSON values; ``docs/cameras.md`` explains each. Pure.

    Args:
        stream: How its session does (``StreamStatus.snapshot``).
        storage: How its ring does.
        picture: The health of its pictures.
        events: How the events come that open it.
    """
    facts = {**events, **picture, **stream, **storage}
    facts["reason_text"] = REASONS.get(str(stream.get("reason")), "")
    facts["since"] = encode_rfc3339(UtcNs(facts["since"]))
    if storage["storage"] != "ok" and facts["state"] == "recording":
        # The camera is read, and nothing of it is kept.
        facts["state"] = "not-stored"
    warnings = [f"nothing is stored: {storage['storage']}"] if storage["storage"] != "ok" else []
    if storage.get("mirror", "ok") != "ok":
        warnings.append(f"not mirrored: {storage['mirror']}")
    if "mirror_older" in storage:
        warnings.append(f"a copy of the ring before this one is kept (docs/recovery.md): {storage['mirror_older']}")
    if events.get("events") == "trouble":
        warnings.append(f"no events come: {events['events_detail']}")
    warnings += list_warnings(stream)
    warnings += [str(picture["warning"])] if "warning" in picture else []
    if storage.get("clock_held_back"):
        warnings.append("footage stays for longer than you said, the clock was set ahead: see edge-agent clock")
    if warnings:
        facts |= {"warning": "; ".join(warnings), "warnings": warnings}
    return facts
