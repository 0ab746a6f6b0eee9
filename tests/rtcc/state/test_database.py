"""The state's database: what is an outage and what is not, whose file it is, and that a moved one is used no more."""

import shutil
import threading

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from edge_agent.errors import ConfigError, UnavailableError
from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import tables
from edge_agent.rtcc.state.copying import move_state
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.inbound import MAX_FAILURES, NewMessage
from tests.rtcc.conftest import NOW, SETTINGS

FAULTS = {
    "a statement that is wrong": text("SELECT no_such_column FROM gateways"),
    "a table that is not there": text("SELECT * FROM no_such_table"),
    "no SQL": text("SELEKT 1"),
    "a row that is there already": insert(tables.state_version).values(version=tables.VERSION),
    "a row without what it needs": insert(tables.drafts).values(draft="d", name="n", content=None),
}


@pytest.mark.parametrize("statement", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_ours_is_no_outage(home, statement):
    """A program that waits for the database would wait indefinitely; and no text of it holds a row's values."""
    with pytest.raises(DBAPIError) as caught, home.state.database.begin() as connection:
        connection.execute(statement)
    assert not isinstance(caught.value, UnavailableError)


def test_no_error_tells_the_values_of_a_row(home):
    """A payload never comes into a log by the way of an error."""
    values = {"draft": "d", "name": "n", "content": b"what only the incident's persons may read"}
    with pytest.raises(IntegrityError) as caught, home.state.database.begin() as connection:
        connection.execute(insert(tables.drafts), [values])
        connection.execute(insert(tables.drafts), [values])
    assert "persons may read" not in str(caught.value)


def test_a_message_that_the_database_refuses_holds_no_worker_up(home, monkeypatch):
    """It is counted as a failure, and other messages are judged; a worker that saw an outage would wait on and on."""
    worker = AnswerWorker(home)
    judge = worker._inbox.judge

    def refuse(connection, messages):
        if any(each.payload == b"refused" for each in messages):
            connection.execute(text("SELECT no_such_column FROM gateways"))
        return judge(connection, messages)

    monkeypatch.setattr(worker._inbox, "judge", refuse)
    home.state.inbound.put([NewMessage("t", b"refused", "1" * 22, "j" * 22), NewMessage("t", b"", "2" * 22, "")])
    for _ in range(MAX_FAILURES + 1):
        worker.turn()
    assert home.state.inbound.count() == (1, 1)


def test_a_file_that_is_busy_is_an_outage(home):
    """Somebody else writes for long: that ends, and is tried again."""
    if home.state.database.is_shared:
        pytest.xfail("PostgreSQL locks rows")
    quick = CityDatabase(f"sqlite:///{home.path}/state.sqlite3")
    with quick.read() as connection:
        raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.execute("PRAGMA busy_timeout = 10")
    with home.state.database.begin(), pytest.raises(UnavailableError, match="locked"), quick.begin():
        pass
    quick.close()


def damage(path):
    path.write_bytes(b"no database" * 1000)


def make_newer(path):
    database = CityDatabase(f"sqlite:///{path}")
    with database.begin() as connection:
        connection.execute(update(tables.state_version).values(version=tables.VERSION + 1))
    database.close()


def empty(path):
    path.write_bytes(b"")


FILES = {
    "a damaged file": (damage, "damaged"),
    "of a newer version": (make_newer, "version"),
    "empty": (empty, "no state"),
}


@pytest.mark.parametrize(("change", "words"), FILES.values(), ids=FILES)
def test_a_file_that_is_none_of_ours_is_said_at_the_start(tmp_path, change, words):
    """Before anything is read or written by it, and in words."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW)
    home.state.database.close()
    change(home.path / "state.sqlite3")
    with pytest.raises(ConfigError, match=words):
        assert RtccHome.load(home.path).state


def make_target(tmp_path):
    target = CityDatabase(f"sqlite:///{tmp_path}/target.sqlite3")
    target.create()
    return target


def test_nobody_uses_what_was_moved(tmp_path):
    """A program that ran on, and one that is started on the old file, are told; nothing is written beside the new."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW)
    home.state.drafts.add("d" * 22, "draft.json", b"{}")
    target = make_target(tmp_path)
    assert move_state(home.state.database, target) == 1
    for use in (
        lambda: home.state.drafts.add("d" * 22, "other.json", b"{}"),
        lambda: home.state.drafts.names("d" * 22),
        lambda: RtccHome.load(home.path).state,
    ):
        with pytest.raises(ConfigError, match="moved"):
            use()
    with target.read() as connection:
        assert len(connection.execute(select(tables.drafts)).all()) == 1


def test_what_is_written_during_a_move_is_moved_or_refused(tmp_path):
    """A writer beside it ends before the copy, or comes after it and is told: no row is in the old file alone."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW)
    begun, written = threading.Event(), []

    def write():
        try:
            for number in range(10_000):
                home.state.drafts.add(f"{number:022}", "draft.json", b"{}")
                written.append(number)
                begun.set()
        except ConfigError:
            pass

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(10)
    target = make_target(tmp_path)
    moved = move_state(CityDatabase(f"sqlite:///{home.path}/state.sqlite3"), target)
    thread.join(30)
    assert moved == len(written)


def test_a_move_that_fails_leaves_the_state_in_use(tmp_path):
    """A target that holds rows already: nothing is copied, and the old file is not marked."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW)
    home.state.drafts.add("d" * 22, "draft.json", b"{}")
    shutil.copy(home.path / "state.sqlite3", tmp_path / "target.sqlite3")
    with pytest.raises(ConfigError, match="rows already"):
        move_state(home.state.database, CityDatabase(f"sqlite:///{tmp_path}/target.sqlite3"))
    assert home.state.drafts.names("d" * 22) == ("draft.json",)


@pytest.mark.city
def test_a_server_ends_what_takes_too_long(postgresql):
    """Every statement, a transaction that is silent, and a connection whose bytes nobody acknowledges."""
    url = postgresql.make_database()
    database = CityDatabase(url)
    with database.read() as connection:
        found = {
            name: connection.execute(text(f"SHOW {name}")).scalar()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout")
        }
        parameters = connection.connection.dbapi_connection.info.get_parameters()
    assert found == {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "1min"}
    assert parameters["tcp_user_timeout"] == "20000"
    database.close()
    quick = CityDatabase(f"{url}&options=-c%20statement_timeout%3D50ms")
    with pytest.raises(UnavailableError, match="timeout"), quick.begin() as connection:
        connection.execute(text("SELECT pg_sleep(5)"))
    quick.close()


@pytest.mark.city
def test_a_server_that_is_gone_is_an_outage_and_comes_back(postgresql):
    """With a connection in hand or without one; afterwards the same program goes on."""
    url = postgresql.make_database()
    database = CityDatabase(url)
    database.create()
    postgresql.stop()
    try:
        for _ in range(2):
            with pytest.raises(UnavailableError), database.begin() as connection:
                connection.execute(select(tables.state_version))
    finally:
        postgresql.start()
    database.check()
    database.close()
