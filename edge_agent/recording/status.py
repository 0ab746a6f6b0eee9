"""A stream's part of the status, put together from all parts that know something of it.

Part of the recorder process. Pure: the values are asked for elsewhere.
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.capture.reasons import REASONS
from edge_agent.capture.status import list_warnings
from edge_agent.units import UtcNs, encode_rfc3339


def report_stream(
    stream: Mapping[str, Any],
    storage: Mapping[str, Any],
    *,
    picture: Mapping[str, Any],
    events: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a stream's part of the status, as JSON values; ``docs/cameras.md`` explains each.

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
