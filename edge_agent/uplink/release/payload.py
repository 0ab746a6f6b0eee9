"""The grant that a camera's payload was built under: a later decision is compared with that. Pure."""

from collections.abc import Mapping
from typing import Any

from edge_agent.protocol.trust_bundle import TrustBundle, list_recipients
from edge_agent.protocol.verdict import CameraGrant, Grant
from edge_agent.units import UtcNs, Window


def describe(grant: Grant, camera: CameraGrant, trust: TrustBundle | None) -> dict[str, Any]:
    """Write down the terms that a bundle is built under and the age keys that it is sealed to, for ``covers``."""
    return {
        "windows": [[window.start, window.end] for window in camera.windows],
        "audio": camera.audio,
        "quality": camera.quality.value,
        "masks": [[list(point) for point in mask.points] for mask in camera.masks],
        "recipients": [each.age for each in list_recipients(trust, escrow=grant.escrow)],
        "consent_sha256": camera.consent_sha256.hex(),
    }


def covers(grant: Grant, camera: str, built: Mapping[str, Any], trust: TrustBundle | None) -> bool:
    """Tell whether the current grant allows everything that a bundle was built under (PROTOCOL 6.2, O14).

    True only if the current recipients alone can open it, and it cites the current consent.
    """
    now = next((each for each in grant.cameras if each.camera == camera), None)
    if now is None:
        return False
    described = describe(grant, now, trust)
    windows = [Window(UtcNs(start), UtcNs(end)) for start, end in built["windows"]]
    return (
        all(any(allowed.contains(window) for allowed in now.windows) for window in windows)
        and (now.audio or not built["audio"])
        and set(built["recipients"]) <= set(described["recipients"])
        # Equal, not narrower: other masks or another stream are other pictures, and the bundle
        # names its consent.
        and all(built[name] == described[name] for name in ("quality", "masks", "consent_sha256"))
    )
