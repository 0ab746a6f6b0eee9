"""The owner's own footage, as the releaser's control socket gives it out: exports, and looks at a few pictures.

Owns the way of an order: signed by the owner's key, good once, in the ledger before the first byte is read. Writes into
the descriptor that came along and nowhere else; a caller who does not wait for the end gets no more. Never a release.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.consent.owner_order import LONGEST_BUNDLE_NS, LONGEST_LOOK_NS
from edge_agent.errors import UsageError
from edge_agent.host.control_socket import ANSWER_TIMEOUT_S, Handler, Peer, Reply
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.owner_kinds import ExportedEntry
from edge_agent.protocol import manifest as names
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.export import (
    ExportError,
    ExportJob,
    describe_bundle,
    describe_export,
    describe_order,
    export_footage,
)
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.preview_commands import parse_wish, write_picture

STALL_S = 60.0
"""Without any progress: a disk that hangs, or a caller who does not read."""
_TELL_S = 0.5
"""Between two reports of progress."""


class ExportBuilder(Protocol):
    """Makes an export's bundle."""

    def build_export(
        self,
        order: ExportOrder,
        raw: bytes,
        owner: Ed25519PublicKey,
        proof: Mapping[str, object],
        out: IO[bytes],
        on_progress: Callable[[UtcNs], None],
    ) -> BundleInfo:
        """Write a whole age file to ``out``."""


class ExportCommands:
    """The handlers of ``export`` and ``look``.

    Args:
        orders: The owner's signed orders.
        footage: Opens rings and holds.
        builder: Makes bundles.
        sign: Signs a checkpoint inside a transaction: ``ledger.checkpoint`` with the gateway's key.
        stall_s: How long an export may make no progress.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        footage: Footage,
        builder: ExportBuilder,
        sign: Callable[[sqlite3.Connection, UtcNs], object],
        stall_s: float = STALL_S,
    ) -> None:
        self._orders, self._store, self._clock = orders, orders.store, orders.clock
        self._footage, self._builder, self._sign, self._stall_s = footage, builder, sign, stall_s
        # One at a time: each takes a process, memory, and one of the few threads that answer the owner.
        self._exporting = threading.Lock()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {"export": self._export, "look": self._look}

    def _look(self, members: Mapping[str, Any], peer: Peer) -> Reply:
        """Write pictures into the descriptor that came along."""
        order, raw, descriptor = self._verify(members, peer)
        if order.recipients is not None:
            raise UsageError("this order is for a bundle")
        if order.window.duration_ns > LONGEST_LOOK_NS:
            raise UsageError("a look is at twelve hours at most")
        take = parse_wish(members)
        self._enter(order, raw, "local look")
        with self._footage.open(order.camera, order.quality, str(members.get("jti", ""))[:64]) as reader:
            pictures = take(reader, order)
        return {"pictures": [write_picture(picture, descriptor) for picture in pictures]}

    def _export(self, members: Mapping[str, Any], peer: Peer) -> Iterator[Reply]:
        """Write own footage into the descriptor that came along: MP4, or a bundle if the order is for one."""
        order, raw, descriptor = self._verify(members, peer)
        if order.recipients is not None and order.window.duration_ns > LONGEST_BUNDLE_NS:
            raise UsageError("a bundle is of four hours at most")
        if not self._exporting.acquire(timeout=ANSWER_TIMEOUT_S):
            raise UsageError("another export is under way", "begin again when it has ended")
        try:
            write = self._prepare(order, raw)
            # A descriptor of its own: the socket closes the one that came along as soon as the
            # caller goes.
            job = ExportJob(order, write, os.dup(descriptor), self._exporting.release)
        except BaseException:
            self._exporting.release()
            raise
        job.start()
        try:
            yield from _follow(job, self._stall_s)
        finally:
            job.stop()

    def _prepare(self, order: ExportOrder, raw: bytes) -> Callable[[IO[bytes], Callable[[UtcNs], None]], Reply]:
        """Enter the order, and return what carries it out."""
        if order.recipients is None:
            self._enter(order, raw, "local export")
            return lambda out, tell: self._write_clips(order, out, tell)
        proof = self._enter(order, raw, names.EXPORTED)
        return lambda out, tell: self._write_bundle(order, raw, proof, out, tell)

    def _write_clips(self, order: ExportOrder, out: IO[bytes], tell: Callable[[UtcNs], None]) -> Reply:
        with self._footage.open_own(order) as reader:
            return describe_export(order, export_footage(reader, order, out, on_progress=tell))

    def _write_bundle(
        self, order: ExportOrder, raw: bytes, proof: Mapping[str, object], out: IO[bytes], tell: Callable[[UtcNs], None]
    ) -> Reply:
        info = self._builder.build_export(order, raw, self._orders.owner, proof, out, tell)
        described = describe_bundle(order, info)
        # So that the owner can tell later which file it was.
        entry = ExportedEntry(order.camera, order.order_id, info.sha256, info.size)
        with self._store.transaction() as connection:
            entries.append(connection, entry, self._clock.utc())
        return described

    def _verify(self, members: Mapping[str, Any], peer: Peer) -> tuple[ExportOrder, bytes, int]:
        raw = str(members["jws"]).encode()
        order = self._orders.verify(raw, self._clock.utc()).value
        if not isinstance(order, ExportOrder) or peer.fd is None:
            raise UsageError("this order is no export, or no file came with it")
        return order, raw, peer.fd

    def _enter(self, order: ExportOrder, raw: bytes, what: str) -> Mapping[str, object]:
        """Use the order up and enter it, durably; return the entry's proof if a bundle will need it."""
        now = self._clock.utc()
        with self._store.transaction() as connection:
            # In the entry's transaction: an order that counts as used stands in the ledger, and the
            # other way round.
            if not self._store.orders.mark_used(connection, order.order_id, now):
                raise UsageError("this order was carried out before")
            index = entries.append(connection, describe_order(order, raw, what), now)
            if order.recipients is None:
                return {}
            self._sign(connection, now)
            return ledger.prove(connection, index)


def _follow(job: ExportJob, stall_s: float) -> Iterator[Reply]:
    """Tell how far it is until it is done; give up if it does not move."""
    seen, since_s = job.moved, time.monotonic()
    while not job.wait(_TELL_S):
        if job.moved != seen:
            seen, since_s = job.moved, time.monotonic()
        elif time.monotonic() - since_s > stall_s:
            raise ExportError(f"export makes no progress: idle_s={stall_s:.0f}")
        yield {"permille": job.permille}
    yield {"result": job.result()}
