"""The form of every table of the releaser's file but the ledger's, and the steps from older forms to it."""

SCHEMA_VERSION = 10
_NUMBERS_AND_NOTICES = """
CREATE TABLE request_number (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT;
CREATE TABLE notice (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL,
  UNIQUE (request_id, event)) STRICT;
CREATE TABLE notice_waiting (
  service TEXT NOT NULL, notice_id INTEGER NOT NULL REFERENCES notice (id) ON DELETE CASCADE,
  PRIMARY KEY (service, notice_id)) STRICT, WITHOUT ROWID;
CREATE INDEX notice_waiting_notice ON notice_waiting (notice_id);
INSERT INTO request_number SELECT 1, coalesce(max(id), 0) FROM request;
"""
_REFUSALS = """
CREATE TABLE refused (
  iss TEXT NOT NULL, jti TEXT NOT NULL, payload_sha256 BLOB NOT NULL, until_ns INTEGER NOT NULL,
  declined_ns INTEGER NOT NULL, PRIMARY KEY (iss, jti)) STRICT, WITHOUT ROWID;
CREATE INDEX refused_until ON refused (until_ns);
CREATE TABLE refusal_count (
  hour INTEGER NOT NULL, kid TEXT NOT NULL, entered INTEGER NOT NULL, counted INTEGER NOT NULL,
  PRIMARY KEY (hour, kid)) STRICT, WITHOUT ROWID;
CREATE INDEX request_refused ON request (iss, id, length(raw)) WHERE state = 'denied';
"""
_BIRTH = """
CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, born_ns INTEGER) STRICT;
INSERT INTO store VALUES (1, lower(hex(randomblob(16))), NULL);
"""
SCHEMA = """
CREATE TABLE trust (
  one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, raw BLOB NOT NULL, roots TEXT NOT NULL) STRICT;
CREATE TABLE trust_floor (
  root TEXT PRIMARY KEY, version INTEGER NOT NULL, payload_sha256 BLOB NOT NULL) STRICT;
CREATE TABLE request (
  id INTEGER PRIMARY KEY, iss TEXT NOT NULL, jti TEXT NOT NULL, payload_sha256 BLOB NOT NULL, raw BLOB NOT NULL,
  incident TEXT NOT NULL, category TEXT NOT NULL, is_area INTEGER NOT NULL, correlation BLOB NOT NULL,
  arrived_ns INTEGER NOT NULL, release_by_ns INTEGER NOT NULL,
  state TEXT NOT NULL, due_ns INTEGER NOT NULL, approval BLOB, reasons TEXT NOT NULL,
  handed_over INTEGER NOT NULL, bound TEXT, UNIQUE (iss, jti)) STRICT;
CREATE INDEX request_state ON request (state);
CREATE TABLE incident (iss TEXT NOT NULL, number TEXT NOT NULL, facts BLOB NOT NULL, PRIMARY KEY (iss, number)) STRICT;
CREATE TABLE release (
  request_id INTEGER NOT NULL REFERENCES request (id), camera TEXT NOT NULL, state TEXT NOT NULL,
  file TEXT NOT NULL, info TEXT NOT NULL, header BLOB NOT NULL, upload_url TEXT NOT NULL,
  PRIMARY KEY (request_id, camera)) STRICT;
CREATE TABLE quota (
  request_id INTEGER NOT NULL REFERENCES request (id), camera TEXT NOT NULL, at_ns INTEGER NOT NULL,
  granted_ns INTEGER NOT NULL, iss TEXT NOT NULL, incident TEXT NOT NULL, PRIMARY KEY (request_id, camera)) STRICT;
CREATE TABLE answer (
  request_id INTEGER NOT NULL REFERENCES request (id), seq INTEGER NOT NULL, payload BLOB NOT NULL,
  due_ns INTEGER NOT NULL, PRIMARY KEY (request_id, seq)) STRICT;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, correlation BLOB NOT NULL,
  due_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, key_of INTEGER REFERENCES request (id)) STRICT;
CREATE TABLE doomed_upload (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL REFERENCES request (id), file TEXT NOT NULL, url TEXT NOT NULL,
  tries INTEGER NOT NULL) STRICT;
CREATE INDEX outbox_due ON outbox (due_ns);
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
CREATE TABLE owner_order (order_id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) STRICT;
CREATE TABLE consent (
  camera TEXT PRIMARY KEY, version INTEGER NOT NULL, raw BLOB NOT NULL, revoked INTEGER NOT NULL) STRICT;
"""
SCHEMA += _NUMBERS_AND_NOTICES + _REFUSALS + _BIRTH
MIGRATIONS = {
    # Version 1 named what was paused, and that was never anything but release.
    1: """
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
INSERT INTO pause SELECT camera, until_ns FROM stop WHERE what = 'release';
DROP TABLE stop;
""",
    # The clock has a memory of its own (`edge_agent.host.persistent_clock`).
    2: "DROP TABLE IF EXISTS floor;",
    # A request that was decided before there was a bound may release nothing: its next evaluation ends it.
    3: "ALTER TABLE request ADD COLUMN bound TEXT;",
    # A bound of before names no source, and may release nothing either. Floors are entered as the bundle is loaded.
    4: """
UPDATE request SET bound = NULL;
CREATE TABLE trust_floor (
  root TEXT PRIMARY KEY, version INTEGER NOT NULL, payload_sha256 BLOB NOT NULL) STRICT;
""",
    5: """
CREATE TABLE doomed_upload (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL REFERENCES request (id), file TEXT NOT NULL, url TEXT NOT NULL,
  tries INTEGER NOT NULL) STRICT;
""",
    6: _NUMBERS_AND_NOTICES,
    7: _REFUSALS,
    8: _BIRTH,
    # Consents lay in files, which could be exchanged. A consent that the store does not have does not count until it is
    # signed again; versions and revocations stay.
    9: """
CREATE TABLE consent_taken (
  camera TEXT PRIMARY KEY, version INTEGER NOT NULL, raw BLOB NOT NULL, revoked INTEGER NOT NULL) STRICT;
INSERT INTO consent_taken SELECT camera, version, x'', revoked FROM consent;
DROP TABLE consent;
ALTER TABLE consent_taken RENAME TO consent;
""",
}
"""The statements that turn a file of each version into one of the next."""
