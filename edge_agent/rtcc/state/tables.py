"""The tables of an RTCC's state (docs/adr/0070), for SQLite and PostgreSQL alike.

Owns names, types and keys, and nothing that reads or writes them. Times are nanoseconds since 1970, UTC.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

VERSION = 2
metadata = MetaData()
# SQLite numbers the rows of an INTEGER PRIMARY KEY by itself, and of no other.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

state_version = Table("state_version", metadata, Column("version", Integer, primary_key=True))

gateways = Table(
    "gateways",
    metadata,
    Column("gateway", String(22), primary_key=True),
    # RFC 7638 thumbprint of the key that signs its answers: one gateway for each.
    Column("kid", String(43), nullable=False, unique=True),
    Column("enrolled_at", Text, nullable=False),
    Column("pinned_keys", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("revoked_at", Text),
)

requests = Table(
    "requests",
    metadata,
    Column("jti", String(22), primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    # A gateway's id, `*` for an area; NULL if it asks nobody.
    Column("audience", String(22)),
    Column("release_by_ns", BigInteger),
)

drafts = Table(
    "drafts",
    metadata,
    Column("draft", String(22), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

# One row for each request and gateway that answered it: the worker that takes an answer in holds its lock.
exchanges = Table(
    "exchanges",
    metadata,
    Column("jti", String(22), primary_key=True),
    Column("gateway", String(22), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("is_final", Boolean, nullable=False),
    Column("kept", Integer, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("jti", String(22), primary_key=True),
    Column("gateway", String(22), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("taken_at_ns", BigInteger, nullable=False),
)
Index("answers_taken", answers.c.taken_at_ns)

announced = Table(
    "announced",
    metadata,
    Column("gateway", String(22), primary_key=True),
    Column("upload", String(64), primary_key=True),
    Column("jti", String(22), nullable=False),
)
Index("announced_exchange", announced.c.gateway, announced.c.jti)

deliveries = Table(
    "deliveries",
    metadata,
    Column("upload", String(64), primary_key=True),
    Column("gateway", String(22), nullable=False),
    Column("jti", String(22), nullable=False),
    Column("camera", String(32), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("age_header", LargeBinary, nullable=False),
    Column("delivered_at", Text, nullable=False),
)
Index("deliveries_request", deliveries.c.jti)

conflicts = Table(
    "conflicts",
    metadata,
    Column("gateway", String(22), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("jti", String(22), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("kept_at_ns", BigInteger, nullable=False),
)

# Messages that a reader has taken from its broker and no worker has judged yet: nothing in them is verified.
inbound = Table(
    "inbound",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("gateway", String(22), nullable=False),
    Column("jti", String(22), nullable=False),
    # Of topic and payload: a message that comes again before it was judged is one row.
    Column("sha256", String(64), nullable=False, unique=True),
    Column("failures", Integer, nullable=False, default=0),
    # Its place among those of its gateway that wait: the lowest of all gateways come first.
    Column("turn", BigInteger, nullable=False, default=0),
    Column("topic", Text, nullable=False),
    # Last: SQLite reads through whatever lies before a column.
    Column("payload", LargeBinary, nullable=False),
)
Index("inbound_exchange", inbound.c.gateway, inbound.c.jti, inbound.c.number)
Index("inbound_turn", inbound.c.turn, inbound.c.number)

# The reader of each broker, and the end of its lease.
readers = Table(
    "readers",
    metadata,
    Column("broker", String(300), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("read_at_ns", BigInteger, nullable=False),
)

# Events in no order yet; the database refuses to change or delete a row.
audit_events = Table(
    "audit_events",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("entry", Text, nullable=False),
)

# The Merkle tree over the events (RFC 6962), in the order in which they were put into it.
audit_leaves = Table(
    "audit_leaves",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("event", BigInteger, unique=True),
    Column("leaf", LargeBinary, nullable=False),
)
audit_nodes = Table(
    "audit_nodes",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("idx", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

AUDIT = (audit_events, audit_leaves, audit_nodes, audit_checkpoints)
"""Tables that only grow."""
