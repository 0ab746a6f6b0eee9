"""Opens the delivered bundles, out of the object store, and tells which ones are whole.

Owns the meaning of *whole*: the payload is the one that its gateway signed for, nothing in the bundle failed, no part
of the granted time is missing, and a clip is there to be played.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_agent.demo.large_city.comparison import ClipId
from edge_agent.errors import EdgeAgentError, EvidenceError
from edge_agent.protocol.answer import Delivery
from edge_agent.protocol.manifest import MANIFEST, parse_manifest
from edge_agent.rtcc.deliveries import open_delivery
from edge_agent.rtcc.object_store import ObjectStore
from edge_agent.rtcc.office.home import RtccHome


def open_all(
    home: RtccHome, store: ObjectStore, wanted: Iterable[Delivery], folder: Path
) -> tuple[frozenset[ClipId], Mapping[ClipId, str]]:
    """Open each delivery; return those that are whole, and why another is not.

    Args:
        home: Has the keys that open them, and the pins of the gateways.
        store: Has the payloads.
        wanted: Keys that were handed over.
        folder: For one opened bundle after the other; nothing stays in it.
    """
    whole, faults = set[ClipId](), dict[ClipId, str]()
    for delivery in wanted:
        clip = (delivery.gateway, delivery.jti, delivery.file.camera)
        try:
            _open(home, store, delivery, folder)
            whole.add(clip)
        except EdgeAgentError as error:
            faults[clip] = str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return frozenset(whole), faults


def _open(home: RtccHome, store: ObjectStore, delivery: Delivery, folder: Path) -> None:
    received, opened = folder / "received", folder / "opened"
    received.mkdir(parents=True)
    store.fetch(delivery.gateway, delivery.file.upload, received)
    findings = open_delivery(home, delivery, opened, received)
    if not findings.ok:
        raise EvidenceError(f"it does not verify: {', '.join(sorted(findings.failed_parts()))}")
    manifest, _ = parse_manifest((opened / MANIFEST).read_bytes())
    if manifest.gaps:
        raise EvidenceError(f"a part is missing: {manifest.gaps[0].reason}")
    if not any((opened / "progressive").glob("*.mp4")):
        raise EvidenceError("it holds no clip")
