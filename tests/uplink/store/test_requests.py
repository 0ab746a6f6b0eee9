"""The releaser's SQLite file: one transaction a step, nothing lost, nothing twice."""

import shutil
import sqlite3
from dataclasses import replace

import pytest

from edge_agent.consent.house_state import CameraHistory
from edge_agent.errors import UnsupportedVersionError
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.in_force import StoredConsent
from edge_agent.uplink.store.outbox import OutboxMessage
from edge_agent.uplink.store.releases import Bundle, ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import MONTH_NS, QuotaUse, RequestChange, RequestState, StoredRequest

REQUEST = StoredRequest(
    0, "rtcc.test", "jti-1", b"p" * 32, b"{}", "24-1", "robbery", False, b"c", UtcNs(100), UtcNs(900),
    RequestState.ASKED, UtcNs(500), None, (),
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with Database(tmp_path / "state.sqlite") as opened:
        yield opened


def add(store: Database, **changes) -> StoredRequest:
    with store.transaction() as connection:
        request_id = store.requests.add(connection, replace(REQUEST, **changes))
    return store.requests.read(request_id)


def test_request_is_read_back_as_it_was_added(store):
    """A stored request survives the round trip, found by jti with and without its issuer."""
    request = add(store)
    assert replace(request, id=0) == REQUEST
    assert store.requests.find("jti-1") == store.requests.find("jti-1", "rtcc.test") == request
    assert store.requests.find("jti-1", "rtcc.other") is None


def test_same_jti_of_one_issuer_cannot_be_added_twice(store):
    """The database itself holds that a jti is burnt once."""
    add(store)
    with pytest.raises(sqlite3.IntegrityError):
        add(store)
    assert add(store, iss="rtcc.other").iss == "rtcc.other"


def test_failed_transaction_leaves_nothing(store):
    """An exception inside a step undoes all of it."""
    with pytest.raises(ZeroDivisionError), store.transaction() as connection:
        store.requests.add(connection, REQUEST)
        store.outbox.push(connection, OutboxMessage("t", b"m", b"", UtcNs(0), UtcNs(9)))
        raise ZeroDivisionError
    assert store.requests.list_newest() == []
    assert store.outbox.list_due(UtcNs(5)) == []


def test_a_pushed_message_is_told_and_nothing_else(store):
    """Who waits for messages is woken by one, and not by looking for them or by removing them: else it never rests."""
    assert not store.outbox.pushed.is_set()
    with store.transaction() as connection:
        store.outbox.push(connection, OutboxMessage("t", b"m", b"", UtcNs(0), UtcNs(9)))
    assert store.outbox.pushed.is_set()
    store.outbox.pushed.clear()
    (message,) = store.outbox.list_due(UtcNs(5))
    store.outbox.remove(message)
    assert store.outbox.list_due(UtcNs(10)) == []
    assert not store.outbox.pushed.is_set()


def test_update_leaves_what_it_does_not_name(store):
    """Moving a request on keeps its due time, reasons and approval unless told otherwise."""
    request = add(store)
    with store.transaction() as connection:
        store.requests.update(
            connection, request.id, RequestState.GRANTED, RequestChange(approval=b"signed", reasons=[{"code": "x"}])
        )
        store.requests.update(connection, request.id, RequestState.UPLOADING)
    assert store.requests.read(request.id) == replace(
        request, state=RequestState.UPLOADING, approval=b"signed", reasons=({"code": "x"},)
    )


def test_trust_bundle_never_rolls_back(store):
    """An older trust bundle changes nothing, whatever the caller believes."""
    for version, raw in ((3, b"three"), (2, b"two"), (3, b"other")):
        store.trust.save(version, raw, {"by": version})
    assert store.trust.load() == (b"three", {"by": 3})


def test_outbox_gives_a_message_at_its_moment_and_drops_it_at_its_end(store):
    """Nothing is sent early, nothing late, and what is not acknowledged stays."""
    with store.transaction() as connection:
        store.outbox.push(connection, OutboxMessage("t", b"m", b"", UtcNs(10), UtcNs(20)))
    assert store.outbox.list_due(UtcNs(9)) == []
    assert [message.payload for message in store.outbox.list_due(UtcNs(10))] == [b"m"]
    assert len(store.outbox.list_due(UtcNs(19))) == 1
    assert store.outbox.list_due(UtcNs(20)) == []


def test_last_answer_is_silent_before_its_moment(store):
    """A duplicate request learns nothing that its own answer would not have told yet."""
    request = add(store)
    with store.transaction() as connection:
        store.outbox.push_answer(
            connection, request.id, OutboxMessage("t", b"declined", request.correlation, UtcNs(50), UtcNs(90))
        )
    assert store.outbox.find_last_answer(request.id, UtcNs(49)) is None
    assert store.outbox.find_last_answer(request.id, UtcNs(50)) == b"declined"


def test_quota_counts_a_request_once_a_camera(store):
    """Deciding again does not use the quota again, and counts what requests with a smaller number used."""
    request = add(store)
    use = QuotaUse("door", UtcNs(100), 60, "rtcc.test", "24-1")
    for _ in range(2):
        with store.transaction() as connection:
            store.quotas.add_use(connection, request.id, use)

    def count(now: int, number: int = request.id + 1, incident: str = "24-1") -> CameraHistory | None:
        return store.quotas.count_uses("rtcc.test", incident, before=number, now=UtcNs(now)).get("door")

    assert count(100) == CameraHistory(1, 1, 1, 60)
    assert count(100, request.id) is None
    assert count(100, incident="24-2") == CameraHistory(1, 1, 0, 60)
    assert count(100 + DAY_NS) == CameraHistory(0, 1, 1, 60)
    assert count(99 + DAY_NS) == CameraHistory(1, 1, 1, 60)
    assert count(100 + MONTH_NS) == CameraHistory(0, 0, 1, 0)


def test_forgotten_header_is_gone_from_the_file(store, tmp_path):
    """A revocation during an upload destroys the key, on disk as well."""
    request = add(store)
    release = StoredRelease(request.id, "door", ReleaseState.BUILT, "f", Bundle({"a": 1}, "00", 9), b"HEADER" * 20, "")
    with store.transaction() as connection:
        store.releases.save(connection, release)
    store.releases.save_upload_url(release, "https://127.0.0.1/f/1")
    with store.transaction() as connection:
        store.releases.forget_header(connection, request.id)
    assert store.releases.list_of(request.id) == [replace(release, header=b"", upload_url="https://127.0.0.1/f/1")]
    store.close()
    assert b"HEADERHEADER" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_consent_only_ever_gives_way_to_a_newer_one(store):
    """Versions only rise, and a revocation is undone by a newer signature alone."""
    steps = (
        (2, True, StoredConsent(2, b"2", False)),
        ("revoke", True, StoredConsent(2, b"2", True)),
        (2, False, StoredConsent(2, b"2", True)),
        (1, False, StoredConsent(2, b"2", True)),
        (3, True, StoredConsent(3, b"3", False)),
    )
    for step, changes, expected in steps:
        with store.transaction() as connection:
            if isinstance(step, int):
                assert store.consents.save(connection, "door", step, b"%d" % step) == changes
            else:
                assert store.consents.revoke(connection, "door")
                assert not store.consents.revoke(connection, "other")
        assert store.consents.find("door") == expected
    assert store.consents.find("other") is None


def test_pause_ends_by_itself(store):
    """A pause with an end is over at that moment; one without an end is not."""
    with store.transaction() as connection:
        store.pauses.extend(connection, "*", UtcNs(10))
        store.pauses.extend(connection, "door", None)
    assert store.pauses.list_current(UtcNs(9)) == {"*": 10, "door": None}
    assert store.pauses.list_current(UtcNs(10)) == {"door": None}
    with store.transaction() as connection:
        store.pauses.clear(connection, "door")
    assert store.pauses.list_current(UtcNs(10)) == {}


def test_newer_schema_is_refused_as_such(tmp_path):
    """A file of a newer version is unsupported, not overwritten."""
    path = tmp_path / "state.sqlite"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(UnsupportedVersionError, match="schema=99"):
        Database(path)


def test_pauses_of_a_file_of_version_1_still_count(tmp_path):
    """An older file is brought up to date as it is opened: what the owner had paused stays paused."""
    path = tmp_path / "state.sqlite"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            DROP TABLE pause;
            DROP TABLE trust_floor;
            DROP TABLE doomed_upload;
            DROP TABLE notice_waiting;
            DROP TABLE notice;
            DROP TABLE request_number;
            DROP TABLE store;
            DROP TABLE refused;
            DROP TABLE refusal_count;
            DROP INDEX request_refused;
            ALTER TABLE request DROP COLUMN bound;
            CREATE TABLE stop (
              what TEXT NOT NULL, camera TEXT NOT NULL, until_ns INTEGER, PRIMARY KEY (what, camera)) STRICT;
            INSERT INTO stop VALUES ('release', '*', NULL), ('release', 'door', 90);
            PRAGMA user_version=1;
        """)
    for _ in range(2):
        with Database(path) as store:
            assert store.pauses.list_current(UtcNs(5)) == {"*": None, "door": 90}


def test_order_is_carried_out_once(store):
    """An owner's order that is sent again is known."""
    for expected in (True, False):
        with store.transaction() as connection:
            assert store.orders.mark_used(connection, "o" * 22, UtcNs(5)) is expected


def test_key_that_the_broker_has_not_taken_can_be_taken_back(store):
    """After a recall neither the outbox nor a duplicate request gives the age headers out."""
    request = add(store)
    with store.transaction() as connection:
        store.outbox.push_answer(
            connection, request.id, OutboxMessage("t", b"queued", request.correlation, UtcNs(1), UtcNs(90))
        )
        store.outbox.push_answer(
            connection, request.id, OutboxMessage("t", b"headers", request.correlation, UtcNs(2), UtcNs(90), request.id)
        )
    assert [message.key_of for message in store.outbox.list_due(UtcNs(5))] == [None, request.id]
    with store.transaction() as connection:
        store.outbox.recall_key(connection, request.id)
        assert not store.outbox.has_waiting_key(connection, request.id)
        store.outbox.recall_key(connection, request.id)
    assert [message.payload for message in store.outbox.list_due(UtcNs(5))] == [b"queued"]
    assert store.outbox.find_last_answer(request.id, UtcNs(5)) == b"queued"


HEADER = b"age-encryption.org/v1 and the file key, wrapped"
DESTROYED = {
    "of a release that was withdrawn": lambda store, connection, release: store.releases.forget_header(
        connection, release.request_id
    ),
    "of a release that is built anew": lambda store, connection, release: store.releases.remove(connection, release),
    "of a request that is forgotten": lambda store, connection, release: store.requests.remove(
        connection, release.request_id
    ),
}


def with_header(store: Database) -> StoredRelease:
    """A release whose age header lies in the store and waits in the outbox."""
    request = add(store)
    release = StoredRelease(request.id, "door", ReleaseState.UPLOADED, "f", Bundle({}, "00", 9), HEADER, "")
    with store.transaction() as connection:
        store.releases.save(connection, release)
        store.outbox.push_answer(
            connection,
            request.id,
            OutboxMessage("t", b"{" + HEADER + b"}", request.correlation, UtcNs(2), UtcNs(90), request.id),
        )
    return release


def holding(folder) -> list[str]:
    """Which files hold the age header."""
    return [path.name for path in sorted(folder.iterdir()) if path.is_file() and HEADER in path.read_bytes()]


@pytest.mark.parametrize("mode", ["FULL", "TRUNCATE"])
@pytest.mark.parametrize("destroy", DESTROYED.values(), ids=DESTROYED)
def test_destroyed_header_is_in_no_file(tmp_path, store, destroy, mode):
    """Once the transaction is through, neither the database nor its log holds what it destroyed (PROTOCOL R3)."""
    release = with_header(store)
    assert holding(tmp_path) == ["state.sqlite-wal"]
    with sqlite3.connect(tmp_path / "state.sqlite") as other:
        other.execute(f"PRAGMA wal_checkpoint({mode})")
    assert "state.sqlite" in holding(tmp_path)
    with store.transaction() as connection:
        store.outbox.recall_key(connection, release.request_id)
        destroy(store, connection, release)
    assert holding(tmp_path) == []


def test_destroyed_header_goes_as_soon_as_a_reader_is_done(tmp_path, store):
    """Somebody who reads the ledger holds up nobody; what was destroyed meanwhile is gone when they have read it."""
    release = with_header(store)
    with store.reading() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM request").fetchall()
        with store.transaction() as connection:
            store.outbox.recall_key(connection, release.request_id)
            store.releases.forget_header(connection, release.request_id)
        assert holding(tmp_path) == ["state.sqlite-wal"]
    assert holding(tmp_path) == []


def test_reader_that_outlives_the_store_is_no_error(tmp_path, store):
    """A read of the ledger may end after the releaser has closed its file; the next start destroys what is left."""
    release = with_header(store)
    with store.reading() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM request").fetchall()
        with store.transaction() as connection:
            store.outbox.recall_key(connection, release.request_id)
            store.releases.forget_header(connection, release.request_id)
        store.close()
    with Database(tmp_path / "state.sqlite"):
        assert holding(tmp_path) == []


def test_destroyed_header_is_in_no_file_after_a_kill(tmp_path, store):
    """A kill behind the commit leaves the header in the log; the next start empties it."""
    release = with_header(store)
    killed = tmp_path / "killed"
    killed.mkdir()
    with store.reading() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM request").fetchall()
        with store.transaction() as connection:
            store.outbox.recall_key(connection, release.request_id)
            store.releases.forget_header(connection, release.request_id)
        for path in tmp_path.glob("state.sqlite*"):
            shutil.copy(path, killed)
    assert holding(killed) == ["state.sqlite-wal"]
    with Database(killed / "state.sqlite") as again:
        assert holding(killed) == []
        assert [each.header for each in again.releases.list_all()] == [b""]


def test_a_count_of_refusals_that_grows_while_it_is_sent_is_told_as_well(store):
    """What a service was sent is marked by its number: the row that took its place has another."""
    store.notices.set_services(("phone",))
    with store.transaction() as connection:
        for request_id in (1, 2):
            store.notices.add(connection, request_id, "denied")
        store.notices.sum_up(connection, 1)
    sent = store.notices.find_house_notice("phone", refusals=True)
    with store.transaction() as connection:
        store.notices.sum_up(connection, 2)
    store.notices.mark_house_notice_told("phone", sent.id)
    left = store.notices.find_house_notice("phone", refusals=True)
    assert (sent.detail, left.detail) == ("1", "2")
