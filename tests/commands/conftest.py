"""An enrolled gateway's files, for commands that sign."""

import time
from pathlib import Path

import pytest

from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.setup.provision import create_state, write_csr
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database


@pytest.fixture
def enrolled(tmp_path: Path) -> Path:
    """A folder with ``state``, ``enrolment.json`` and ``passphrase`` of one gateway."""
    now = UtcNs(time.time_ns())
    settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, {"evidence": "https://127.0.0.1:2/files/"})
    home = RtccHome.create(tmp_path / "rtcc", settings, now)
    create_state(tmp_path / "state", "correct horse battery")
    write_csr(tmp_path / "state", tmp_path / "gateway.csr")
    (tmp_path / "enrolment.json").write_bytes(enrol(home, (tmp_path / "gateway.csr").read_bytes(), now).content)
    (tmp_path / "enrolment.json").chmod(0o644)
    store = tmp_path / "state" / "releaser" / "state.sqlite"
    store.parent.mkdir(mode=0o700, exist_ok=True)
    Database(store).close()
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    return tmp_path
