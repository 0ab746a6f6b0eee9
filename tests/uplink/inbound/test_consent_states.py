"""What ``check`` and ``consent`` read of the releaser's store, beside it."""

import sqlite3
from contextlib import closing

import pytest

from edge_agent.errors import CustodyError
from edge_agent.settings.gateway import parse_config
from edge_agent.uplink.inbound.consent_states import read_marks
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.schema import SCHEMA_VERSION


def test_a_store_of_an_older_release_says_what_to_do(tmp_path):
    """After an update and before the releaser's first start: no table's name, and no word of root."""
    config = parse_config(f"gateway: {{state_dir: {tmp_path}}}\ncameras: []\n", "test", tmp_path)
    config.store_path.parent.mkdir(parents=True)
    with Database(config.store_path) as store:
        store_id = store.read_id()
    assert read_marks(config).store_id == store_id
    with closing(sqlite3.connect(config.store_path)) as connection:
        connection.executescript(f"DROP TABLE store; PRAGMA user_version={SCHEMA_VERSION - 1};")
    with pytest.raises(CustodyError, match="older version") as caught:
        read_marks(config)
    assert "restart the releaser" in caught.value.hint
