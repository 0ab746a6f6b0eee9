"""The audit of the RTCC's own side: whoever works adds to it and does no more, and a change is found."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from edge_agent.errors import ConfigError, EvidenceError
from edge_agent.protocol.checkpoint import verify_growth
from edge_agent.rtcc.cli import main
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import audit, audit_tree, guards
from edge_agent.rtcc.state.audit import AuditEvent
from edge_agent.rtcc.state.audit_tree import AuditTree
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import AUDIT, audit_events, audit_leaves
from tests.rtcc.conftest import NOW, SETTINGS, Applicant

ORIGIN = "edge-agent-rtcc/rtcc.example-city"
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def tree(home):
    for _ in range(3):
        enrol(home, Applicant().csr, NOW)
    return AuditTree(home.state.database, ORIGIN)


def test_an_audit_grows_and_each_head_is_in_the_next(home, tree):
    """Signed, grown, signed again: the first note is provably the beginning of the second."""
    first = tree.sign(KEY, NOW)
    assert tree.sign(KEY, NOW) == first
    enrol(home, Applicant().csr, NOW)
    assert tree.check(KEY.public_key()).waiting == 1
    second = tree.sign(KEY, NOW)
    old, new = verify_growth(tree.prove_growth(int(first.split("\n")[1])), first, ORIGIN, KEY.public_key())
    assert (new.size, second.split("\n")[1]) == (2 * old.size, str(new.size))
    found = tree.check(KEY.public_key())
    assert (found.waiting, found.checkpoints, found.leaves) == (0, 2, new.size)


def test_nothing_in_an_audit_is_changed_or_deleted(home, tree):
    """The database itself refuses it, also to the owner of the tables."""
    tree.sign(KEY, NOW)
    for table in AUDIT:
        column = table.c[list(table.c.keys())[-1]]
        for statement in (update(table).values({column.name: column}), delete(table)):
            with pytest.raises(DBAPIError, match="only grows"), home.state.database.begin() as conn:
                conn.execute(statement)


def test_an_event_of_a_late_commit_is_in_the_next_head(home, tree):
    """Its number is below those that were signed before: it is put behind them, and no event is left out."""
    with home.state.database.begin() as connection:
        row = {"number": 900, "kind": "answer", "at_ns": 1, "entry": "{}"}
        connection.execute(insert(audit_events), row)
    tree.sign(KEY, NOW)
    with home.state.database.begin() as connection:
        connection.execute(insert(audit_events), row | {"number": 800})
    tree.sign(KEY, NOW)
    assert tree.check(KEY.public_key()).waiting == 0


def test_a_head_costs_as_much_however_short_its_pages_are(tmp_path, monkeypatch):
    """No page looks again at what an earlier one has put into the tree: steps of SQLite's machine are counted."""
    steps = {}
    for page in (5, 1000):
        home = RtccHome.create(tmp_path / str(page), SETTINGS, NOW)
        monkeypatch.setattr(audit_tree, "_PAGE", page)
        with home.state.database.begin() as connection:
            audit.add(connection, *[AuditEvent("answer", {"number": number}) for number in range(600)])
            raw = connection.connection.dbapi_connection
        count = itertools.count()
        raw.set_progress_handler(lambda count=count: next(count) < 0, 100)
        AuditTree(home.state.database, ORIGIN).sign(KEY, NOW)
        steps[page] = next(count)
        home.state.database.close()
    assert steps[5] < 2 * steps[1000]


CHANGES = {
    "an event's words": (audit_events, {"entry": '{"gateway": "another"}'}, "not what was signed"),
    "an event's time": (audit_events, {"at_ns": 1}, "not what was signed"),
    "a leaf": (audit_leaves, {"leaf": b"{}"}, "changed after"),
}


@pytest.mark.parametrize(("table", "values", "words"), CHANGES.values(), ids=CHANGES)
def test_a_change_behind_the_guards_is_found(home, tree, table, values, words):
    """An owner of the tables, who may drop the guards, can change a row, and not its signed leaf."""
    tree.sign(KEY, NOW)
    key = next(iter(table.primary_key.columns))
    with home.state.database.begin() as connection:
        drop_guards(connection)
        first = connection.execute(select(func.min(key))).scalar()
        connection.execute(update(table).where(key == first).values(**values))
    with pytest.raises(EvidenceError, match=words):
        tree.check(KEY.public_key())


def test_leaves_that_are_gone_are_missed(home, tree):
    """A tree that is shorter than a signed head is no tree of it."""
    tree.sign(KEY, NOW)
    with home.state.database.begin() as connection:
        drop_guards(connection)
        connection.execute(delete(audit_leaves).where(audit_leaves.c.idx > 100))
    with pytest.raises(EvidenceError, match="lacks leaves"):
        tree.check(KEY.public_key())


def drop_guards(connection):
    for table in AUDIT:
        if connection.dialect.name == "sqlite":
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER {table.name}_no_{verb}"))
        else:
            connection.execute(text(f"DROP TRIGGER {table.name}_grows ON {table.name}"))


@pytest.mark.city
def test_whoever_works_may_add_to_the_audit_and_do_no_more(postgresql):
    """The writers' role enrols; it can neither read the audit nor change it, nor the guards."""
    url = postgresql.make_database()
    owner = CityDatabase(url)
    owner.create()
    with owner.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS worker"))
        connection.execute(text("CREATE ROLE worker LOGIN"))
        guards.grant_writer(connection, "worker")
    writer = CityDatabase(url.replace("office@", "worker@"))
    writer.check()
    with writer.begin() as connection:
        audit.add(connection, AuditEvent("answer", {}))
    refused = (
        "SELECT * FROM audit_events", "UPDATE audit_events SET at_ns = 2", "DELETE FROM audit_events",
        "TRUNCATE audit_events", "DROP TRIGGER audit_events_grows ON audit_events", "SELECT * FROM audit_leaves",
        "INSERT INTO audit_checkpoints VALUES (1, 1, '')", "DROP TABLE audit_events",
    )  # fmt: skip
    for statement in refused:
        with pytest.raises(ConfigError, match=r"permission denied|must be owner"), writer.begin() as connection:
            connection.execute(text(statement))
    with owner.read() as connection:
        assert connection.execute(select(func.count()).select_from(audit_events)).scalar() == 1
    writer.close()
    owner.close()


def test_the_commands_sign_and_check(home, tree, tmp_path, capsys):
    """Typed: the note lies in its file, and the check says what it found."""
    note = tmp_path / "audit.note"
    assert main(["audit", "sign", "--home", str(home.path), "--out", str(note)]) == 0
    assert main(["audit", "check", "--home", str(home.path), "--remembered", str(note)]) == 0
    assert "nothing of it was rewritten" in capsys.readouterr().out
