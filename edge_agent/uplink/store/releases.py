"""The outcome of each camera of a request: its bundle, its upload, and the uploads that are to be deleted.

Owns the fields of a release that waits, of one that is built, and of one that ended without a bundle.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from edge_agent.uplink.store.sqlite_file import SqliteFile

_SELECT, _ORDER = "SELECT * FROM release", "ORDER BY camera"


class ReleaseState(Enum):
    """The state of one camera's bundle; the last three are final."""

    WAITING = "waiting"
    """Its grant is in the ledger; it is not built yet, or could not be built so far."""
    BUILT = "built"
    UPLOADED = "uploaded"
    DELIVERED = "delivered"
    NO_FOOTAGE = "no-footage"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The grant is in the ledger; there is no bundle yet."""

    entry: int
    """Index of the grant's entry."""
    tries: int = 0
    crashes: int = 0
    """How often the process that cuts clips died over it."""
    needs: int = 0
    """Bytes of the staging folder that it needs at least, as far as is known."""
    reason: str | None = None
    """Why the last try failed, if that may still be told at the end."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """There is a bundle: staged, uploaded, or delivered."""

    granted: Mapping[str, Any]
    """The grant that it was built under, and its recipients; see ``payload.describe``."""
    sha256: str
    """Of the payload, hexadecimal."""
    size: int
    """Of the payload, bytes."""
    delivered: tuple[str, ...] = ()
    """Spans, ``<start>/<end>``."""
    gaps: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no bundle, and there will be none."""

    granted: Mapping[str, Any]
    reason: str
    """A code of PROTOCOL 8.2."""


ReleaseInfo = Waiting | Bundle | Ended
_SHAPES: Mapping[ReleaseState, type[ReleaseInfo]] = {
    ReleaseState.WAITING: Waiting,
    ReleaseState.BUILT: Bundle,
    ReleaseState.UPLOADED: Bundle,
    ReleaseState.DELIVERED: Bundle,
    ReleaseState.NO_FOOTAGE: Ended,
    ReleaseState.FAILED: Ended,
}


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """One camera's bundle: the place of its ciphertext, and how far its upload is."""

    request_id: int
    camera: str
    state: ReleaseState
    file: str
    info: ReleaseInfo
    """In the shape of the state: ``Waiting``, ``Bundle`` or ``Ended``."""
    header: bytes
    """The age header: stays here until the key is handed over."""
    upload_url: str

    @property
    def waiting(self) -> Waiting:
        """The fields of a release that waits."""
        assert isinstance(self.info, Waiting)
        return self.info

    @property
    def bundle(self) -> Bundle:
        """The fields of a release with a bundle."""
        assert isinstance(self.info, Bundle)
        return self.info


@dataclass(frozen=True, slots=True)
class DoomedUpload:
    """An upload that the server is still to be asked to delete."""

    id: int
    request_id: int
    file: str
    url: str


class ReleaseTable:
    """Releases by request and camera."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def save(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Insert or replace one camera's release."""
        connection.execute(
            "INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?, ?, ?)",
            (release.request_id, release.camera, release.state.value, release.file,
             json.dumps(encode_info(release.info)), release.header, release.upload_url),
        )  # fmt: skip

    def save_without_header(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Insert or replace one camera's release, and destroy its age header."""
        self.save(connection, replace(release, header=b""))
        # R3: the header's bytes may live on in SQLite's journal; `destroy_remains` ends them after
        # the commit.
        self._file.note_remains()

    def list_of(self, request_id: int) -> list[StoredRelease]:
        """Return the releases of one request, in the order of their cameras."""
        return [_release(row) for row in self._file.list_rows(f"{_SELECT} WHERE request_id = ? {_ORDER}", request_id)]

    def list_all(self) -> list[StoredRelease]:
        """Return the releases of all requests, in the order of their cameras."""
        return [_release(row) for row in self._file.list_rows(f"{_SELECT} {_ORDER}")]

    def remove(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Forget one camera's release, its age header included."""
        connection.execute(
            "DELETE FROM release WHERE request_id = ? AND camera = ?", (release.request_id, release.camera)
        )
        self._file.note_remains()

    def save_upload_url(self, release: StoredRelease, url: str) -> None:
        """Remember where an upload goes on; empty to start anew."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE release SET upload_url = ? WHERE request_id = ? AND camera = ?",
                (url, release.request_id, release.camera),
            )

    def forget_header(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Destroy the age headers of a request: without them the uploaded payloads can never be opened."""
        connection.execute("UPDATE release SET header = x'' WHERE request_id = ?", (request_id,))
        self._file.note_remains()

    def doom_upload(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Remember that the server's part of a release is to be deleted."""
        connection.execute(
            "INSERT INTO doomed_upload VALUES (NULL, ?, ?, ?, 0)",
            (release.request_id, release.file, release.upload_url),
        )

    def find_doomed_upload(self) -> DoomedUpload | None:
        """Return the upload that was tried least often, the oldest of them."""
        # By the number of tries: a server that never answers for one upload does not hold up the
        # others.
        row = self._file.find_row("SELECT id, request_id, file, url FROM doomed_upload ORDER BY tries, id LIMIT 1")
        return None if row is None else DoomedUpload(*row)

    def put_off_doomed(self, doomed: DoomedUpload, max_tries: int) -> None:
        """Note that deleting an upload was tried; forget it after so many tries (0: it is done)."""
        with self._file.transaction() as connection:
            connection.execute("UPDATE doomed_upload SET tries = tries + 1 WHERE id = ?", (doomed.id,))
            connection.execute("DELETE FROM doomed_upload WHERE id = ? AND tries >= ?", (doomed.id, max_tries))


def encode_info(info: ReleaseInfo) -> dict[str, Any]:
    """Write the fields of a release as JSON values."""
    return {name: value for name, value in asdict(info).items() if value is not None}


def parse_info(state: ReleaseState, found: Mapping[str, Any]) -> ReleaseInfo:
    """Read the fields of a release in a state.

    Of one that ended, earlier versions stored the bundle's members as well, and no reason if nothing was recorded.
    """
    shape = _SHAPES[state]
    if shape is Ended:
        return Ended(found.get("granted", {}), str(found.get("reason", "no-footage")))
    if shape is Waiting:
        return Waiting(**found)
    return Bundle(**{**found, "delivered": tuple(found["delivered"]), "gaps": tuple(found["gaps"])})


def _release(row: sqlite3.Row) -> StoredRelease:
    return StoredRelease(
        row["request_id"],
        row["camera"],
        ReleaseState(row["state"]),
        row["file"],
        parse_info(ReleaseState(row["state"]), json.loads(row["info"])),
        bytes(row["header"]),
        row["upload_url"],
    )
