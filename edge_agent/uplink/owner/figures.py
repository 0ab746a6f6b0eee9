"""The releaser's part of ``edge-agent metrics`` and of the home's sensors: numbers, no reason of any refusal. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from edge_agent.consent.camera_state import CameraConsent
from edge_agent.units import UtcNs
from edge_agent.uplink.owner.notifier import NoticeCounts


def make_figures(
    requests: Mapping[str, int],
    ends: Mapping[str, UtcNs | None],
    consents: Iterable[CameraConsent],
    notices: NoticeCounts,
    now: UtcNs,
) -> dict[str, Any]:
    """Return the figures as JSON values.

    Args:
        requests: How many are kept, by state.
        ends: When the certificate and the trust bundle end.
        consents: Of every camera.
        notices: The outcomes of messages.
        now: Of the ends, only those to come count.
    """
    known = [end for end in (*ends.values(), *(each.until for each in consents)) if end is not None]
    return {
        "next_end_ns": min((end for end in known if end > now), default=None),
        "requests": dict(requests),
        "ends_ns": {kind: end for kind, end in ends.items() if end is not None},
        "notices": {"sent": notices.told, "failed": notices.failed},
    }
