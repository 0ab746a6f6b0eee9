"""The papers behind the owner's own export: the owner's signed order, and its entry in the ledger.

No request and no consent: an order of another kind, for a copy in the clear or for a look, authorises no bundle.
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.consent.owner_order import verify_order
from edge_agent.errors import EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.checkpoint import ledger_origin, verify_proof
from edge_agent.protocol.manifest import ExportManifest
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import encode_rfc3339
from edge_agent.verifier.opened_bundle import SignedBundle


def check_order(case: SignedBundle, manifest: ExportManifest) -> None:
    """The owner signed it, for this camera, this stream, this window, and whom the bundle is sealed to."""
    about, owner = manifest.order, case.known.owner
    assert owner is not None  # an export brings its owner's key, if none is pinned
    if case.stored[names.ORDER] != about.sha256:
        raise EvidenceError("order.jws is not the order that the manifest names")
    # Without a time: the order was good for five minutes, and the ledger's entry says that it was
    # met.
    order = verify_order(case.read(names.ORDER), case.known.gateway_id, owner, None).value
    if not isinstance(order, ExportOrder) or order.recipients is None:
        raise EvidenceError("order.jws is no order for a bundle")
    if (order.order_id, order.thumbprint, order.signed_at) != (about.order_id, about.owner, about.ordered_at):
        raise EvidenceError("order.jws is another order than the manifest says")
    if (order.camera, order.quality.value) != (manifest.camera.id, manifest.camera.quality):
        raise EvidenceError("order.jws orders another camera or stream")
    if order.window != manifest.windows.ordered.window():
        raise EvidenceError("the manifest says that another window was ordered")
    own = [each.age for each in manifest.recipients if each.role == "owner"]
    named = {each.age for each in manifest.recipients if each.role == "named"}
    if len(own) != 1 or named != set(order.recipients) - set(own):
        raise EvidenceError("the manifest names other recipients than the owner did")
    case.findings.prove(
        "order",
        f"The owner ordered this export at {encode_rfc3339(order.signed_at)}: camera {order.camera}, {order.window}, to"
        f" be opened by the owner{f' and {len(named)} named by the owner' if named else ' alone'}.",
    )


def check_ledger(case: SignedBundle, manifest: ExportManifest) -> None:
    """The entry is of this very order."""
    value = jws.parse_strict_json(case.read(names.LEDGER), 1 << 20)
    proved = verify_proof(value, ledger_origin(case.known.gateway_id), case.known.gateway)
    about, camera = manifest.order, manifest.camera
    entry: Mapping[str, Any] = proved.leaf.entry
    if proved.leaf.kind != "export" or entry["what"] != names.EXPORTED:
        raise EvidenceError("ledger entry is not of an export as a bundle")
    if (entry["order_id"], entry["order_sha256"]) != (about.order_id, about.sha256):
        raise EvidenceError("ledger entry is of another order")
    ordered = str(manifest.windows.ordered.window())
    if (entry["camera"], entry["quality"], entry["window"]) != (camera.id, camera.quality, ordered):
        raise EvidenceError("ledger entry is of another camera, stream or window")
    case.findings.prove(
        "ledger",
        f"The order stands in the gateway's ledger as entry {proved.index}"
        f" of {encode_rfc3339(proved.leaf.at)}; it cannot be taken out unnoticed.",
    )
