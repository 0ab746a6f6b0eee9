"""The beginning of a new ledger: the last signed head of the one that was restored as an archive.

``edge-agent init --from-backup`` lays the archive down as root: the group may read it, and no other
user may write it.
"""

from pathlib import Path

from edge_agent.errors import EvidenceError
from edge_agent.host.regular_file import read_regular
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.gateway_kinds import RestoredEntry
from edge_agent.protocol.checkpoint import MAX_NOTE_BYTES
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database

FOLDER, CHECKPOINT = "ledger-archive", "checkpoint.txt"


def begin_from_archive(store: Database, state_dir: Path, now: UtcNs) -> None:
    """Make the archive's head the first entry of a ledger that is empty; nothing if there is no archive.

    Raises:
        EvidenceError: The head is there and cannot be read: a ledger that hides what it continues must not begin.
    """
    path = state_dir / FOLDER / CHECKPOINT
    with store.transaction() as connection:
        if ledger.read_size(connection) or not path.exists():
            return
        try:
            note = read_regular(path, MAX_NOTE_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise EvidenceError(f"the archive's checkpoint cannot be read: {path}") from error
        entries.append(connection, RestoredEntry(note), now)
