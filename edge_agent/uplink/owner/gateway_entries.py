"""Ledger entries about this gateway itself: which RTCC it belongs to, and where each of its rings stands."""

import logging

from edge_agent.errors import RingError
from edge_agent.host.clock import Clock
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.gateway_kinds import EnrolmentEntry, RingsEntry
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)


def enter_heads(config: Config, footage: Footage, store: Database, clock: Clock) -> None:
    """Enter where every ring stands, so that the recorder's key alone cannot rewrite what was recorded."""
    heads: dict[str, str] = {}
    for camera, quality in config.rings():
        try:
            with footage.open(camera.id, Quality(quality)) as reader:
                seq, chain = reader.head()
            ring_id = reader.superblock.ring_id.hex()
            heads[f"{camera.id}.{quality}"] = f"{ring_id}:{seq}:{chain.hex()}"
        except RingError as error:
            log.warning("ring has no head to enter: %s", error)
    with store.transaction() as connection:
        entries.append(connection, RingsEntry(heads), clock.utc())


def enter_enrolment(store: Database, enrolment: Enrolment, now: UtcNs) -> None:
    """Enter an RTCC that is not the one of the last such entry; the ledger's checkpoints are under its id from here."""
    roots = tuple(enrolment.root_thumbprints)
    entry = EnrolmentEntry(enrolment.gateway, enrolment.iss, roots, enrolment.threshold)
    with store.transaction() as connection:
        known = [each.entry for each in ledger.entries(connection, kinds=[entry.kind])]
        if not known or dict(known[-1]) != entry.members():
            entries.append(connection, entry, now)
