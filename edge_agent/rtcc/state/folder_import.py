"""The folders in which earlier versions kept an RTCC's state, taken over into its database: whole or not at all.

Owns the old layout: ``gateways/ requests/ announced/ deliveries/ conflicts/ drafts/ watched``. The
folders are put aside under ``former-state/`` after the commit, and nothing in them is changed. They
are taken over once: files that an older program writes later are reported, never merged and never
moved out of sight.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from edge_agent.base64url import parse_b64
from edge_agent.errors import ConfigError
from edge_agent.host.atomic_file import sync_folder, write_small_file
from edge_agent.protocol import jws
from edge_agent.protocol.answer import TYP, Status
from edge_agent.rtcc.state import tables
from edge_agent.rtcc.state.gateways import insert_gateway
from edge_agent.rtcc.state.sent_requests import insert_request

FOLDERS = ("gateways", "requests", "announced", "deliveries", "conflicts", "drafts")
_ASIDE = "former-state"
_UNFINISHED = ".state.taken-over"
"""There from before the database has its name until every folder is put aside."""


def take_over(home: Path, connection: Connection) -> None:
    """Insert everything that lies in the folders, inside the caller's transaction.

    Raises:
        ConfigError: A file of them cannot be read; nothing was taken over.
    """
    steps: tuple[Callable[[Path, Connection], None], ...] = (
        _gateways, _requests, _answers, _announced, _deliveries, _conflicts, _drafts,
    )  # fmt: skip
    for step in steps:
        step(home, connection)


def is_unfinished(home: Path) -> bool:
    """Tell whether a take-over was committed, and killed before all of its folders were put aside."""
    return (home / _UNFINISHED).exists()


def begin(home: Path) -> None:
    """Note that the folders are taken over by the database that is about to get its name.

    Raises:
        ConfigError: Folders of this name were put aside before: which of the two are the state, a person must say.
    """
    for name in FOLDERS:
        if (home / name).exists() and (home / _ASIDE / name).exists():
            raise ConfigError(
                f"state of an earlier version is here twice: {home / name} and {home / _ASIDE / name}",
                "move one of them out of the home",
            )
    write_small_file(home / _UNFINISHED, b"", mode=0o600)


def refuse_later(home: Path) -> None:
    """Refuse folders beside a database that was made without them.

    Raises:
        ConfigError: There are some: an older program writes into this home, or somebody brought them back.
    """
    if found := [name for name in FOLDERS if (home / name).is_dir()]:
        raise ConfigError(
            f"folders of an earlier version are in a home that has its state in state.sqlite3: {home / found[0]}",
            "no older rtcc may use this home; what is in the folders is not taken over: move them out of it",
        )


def put_aside(home: Path) -> None:
    """Move the folders away, so that no person takes them for the state; again after a kill."""
    aside = home / _ASIDE
    for name in (*FOLDERS, "watched"):
        if (home / name).exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            (home / name).rename(aside / name)
    sync_folder(home)
    # After the renames are durable: else a power cut could leave a folder here that is refused as
    # new.
    (home / _UNFINISHED).unlink()


def _gateways(home: Path, connection: Connection) -> None:
    for path in sorted((home / "gateways").glob("*.json")):
        revoked = home / "gateways" / "revoked" / path.stem
        with _Reading(path) as record:
            insert_gateway(connection, record, revoked.read_text() if revoked.exists() else None)


def _requests(home: Path, connection: Connection) -> None:
    for path in sorted((home / "requests").glob("*/request.jws")):
        insert_request(connection, path.parent.name, path.read_bytes())


@dataclass(frozen=True, slots=True)
class _Kept:
    """One answer's file."""

    path: Path
    seq: int
    status: str


def _answers(home: Path, connection: Connection) -> None:
    for folder in sorted((home / "requests").glob("*/*/")):
        kept = {each.seq: each for each in _read_answers(folder)}
        if not kept:
            continue
        place = {"jti": folder.parent.name, "gateway": folder.name}
        last = kept[max(kept)]
        final = Status(last.status).is_final
        statuses = [each.status for each in kept.values()]
        counted = len([each for each in statuses if each != Status.UPLOADING.value]) - final
        connection.execute(insert(tables.exchanges).values(**place, last_seq=last.seq, is_final=final, kept=counted))
        for each in kept.values():
            taken = each.path.stat().st_mtime_ns
            values = {**place, "seq": each.seq, "status": each.status, "raw": each.path.read_bytes()}
            connection.execute(insert(tables.answers).values(**values, taken_at_ns=taken))


def _read_answers(folder: Path) -> Iterator[_Kept]:
    # Each was verified before it was kept.
    for path in sorted(folder.glob("*.jws")):
        with _Reading(path, lambda raw: jws.parse(raw, TYP, 1 << 20).payload) as payload:
            yield _Kept(path, payload["seq"], payload["status"])


def _announced(home: Path, connection: Connection) -> None:
    for path in sorted((home / "announced").glob("*/*.json")):
        with _Reading(path) as content:
            values = {"gateway": path.parent.name, "upload": path.stem, "jti": content["jti"]}
            connection.execute(insert(tables.announced).values(**values))


def _deliveries(home: Path, connection: Connection) -> None:
    for path in sorted((home / "deliveries").glob("*.json")):
        with _Reading(path) as content:
            header = parse_b64(content["age_header"])
            connection.execute(insert(tables.deliveries).values({**content, "age_header": header}))


def _conflicts(home: Path, connection: Connection) -> None:
    for path in sorted((home / "conflicts").glob("*/*.jws")):
        with _Reading(path, lambda raw: jws.parse(raw, TYP, 1 << 20).payload) as payload:
            values = {"gateway": path.parent.name, "sha256": path.stem, "jti": payload["jti"]}
            kept_at = path.stat().st_mtime_ns
            connection.execute(insert(tables.conflicts).values(**values, raw=path.read_bytes(), kept_at_ns=kept_at))


def _drafts(home: Path, connection: Connection) -> None:
    for path in sorted((home / "drafts").glob("*/*")):
        values = {"draft": path.parent.name, "name": path.name, "content": path.read_bytes()}
        connection.execute(insert(tables.drafts).values(**values))


class _Reading:
    """A file's content; an error in it, or in the rows made of it, names the file."""

    def __init__(self, path: Path, parse: Callable[[bytes], Any] = json.loads) -> None:
        self._path, self._parse = path, parse

    def __enter__(self) -> Any:
        try:
            return self._parse(self._path.read_bytes())
        except Exception as error:
            raise self._say(error) from error

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception):
            raise self._say(error) from error

    def _say(self, error: Exception) -> ConfigError:
        return ConfigError(f"state of an earlier version cannot be taken over: {self._path}: {error}"[:300])
