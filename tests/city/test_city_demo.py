"""``scripts/demo --city``, small: parts of the city are killed, and what was granted is what was opened whole."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.large_city.postgresql import find_programs
from edge_agent.demo.large_city.scenario import CityScenario
from edge_agent.rtcc.object_store import ObjectStore

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.city,
    pytest.mark.needs("go", "weed"),
    pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed"),
    pytest.mark.timeout(600),
]
GATEWAYS = 12
GRANTS = 12
"""What the terms of twelve houses allow: eight cameras of seven, and two of three houses that consent to burglary."""
INTERRUPTED = ["env", "--default-signal=INT"]
"""What a shell starts in its background ignores interrupts; so does all that it starts itself, as a test run."""


@pytest.fixture
def short() -> Iterator[Path]:
    # pytest's own folders are too deep for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="ed-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def city() -> Iterator[CityScenario]:
    """A city in which two requests were carried out while its parts went."""
    with (
        tempfile.TemporaryDirectory(prefix="ed-", ignore_cleanup_errors=True) as name,
        CityScenario(Path(name), GATEWAYS, print) as scenario,
    ):
        scenario.carry_out()
        yield scenario


def test_what_was_granted_was_opened_whole(city: CityScenario) -> None:
    """By three sources: the owners' terms, the gateways' ledgers, the store; something was under way at every kill."""
    found = city.compare()
    assert found.is_equal, found.as_text()
    assert len(found.granted) == GRANTS
    assert len({jti for _, jti, _ in found.granted}) == 2
    assert max(len([1 for gateway, *_ in found.granted if gateway == each]) for each, *_ in found.granted) == 2
    assert len(city.under_way) == 3
    assert min(city.under_way.values()) > 0


def payload_key(store: ObjectStore, gateway: str, upload: str) -> str:
    return str(json.loads(store.read(f"received/{gateway}/{upload}.json") or b"")["object"])


def flip(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


DROPS = {
    "payload is gone": (payload_key, lambda _: None),
    "payload has another byte": (payload_key, flip),
    "payload ends early": (payload_key, lambda raw: raw[:-1]),
    "note is gone": (lambda _, gateway, upload: f"received/{gateway}/{upload}.json", lambda _: None),
}


@pytest.mark.parametrize(("find", "change"), DROPS.values(), ids=DROPS)
def test_one_delivery_that_is_dropped_is_named(city: CityScenario, find, change) -> None:
    """Of all that was granted, one is not whole any more in the store: the sets differ by that one."""
    store = ObjectStore(city.servers.bucket, city.servers.variables)
    victim = city.servers.list_deliveries()[1]
    key = find(store, victim.gateway, victim.file.upload)
    whole = store.read(key)
    broken = change(whole)
    if broken is None:
        store._store.delete(key)
    else:
        store._store.put(key, broken)
    try:
        found = city.compare()
    finally:
        store._store.put(key, whole)
    assert not found.is_equal
    lost = (victim.gateway, victim.jti, victim.file.camera)
    assert found.granted - found.opened == {lost}
    assert " ".join(lost) in found.as_text()


def test_one_answer_that_no_worker_kept_is_named(city: CityScenario, monkeypatch) -> None:
    """The payload lies in the store, and nobody has its key."""
    every = city.servers.list_deliveries()
    monkeypatch.setattr(city.servers, "list_deliveries", lambda: every[:-1])
    found = city.compare()
    assert not found.is_equal
    assert found.granted - found.opened == {(every[-1].gateway, every[-1].jti, every[-1].file.camera)}


def processes_with(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # It has just ended, or is another user's.
    return found


@pytest.mark.parametrize(
    ("name", "step"), [("SIGINT", "start PostgreSQL"), ("SIGTERM", "enrol each"), ("SIGINT", "an area request")]
)
def test_a_city_that_is_stopped_leaves_nothing(short: Path, name: str, step: str) -> None:
    """No process, no folder, and it says so."""
    folder, mark = short / "city", uuid.uuid4().hex
    with subprocess.Popen(
        [
            *INTERRUPTED,
            sys.executable,
            "-m",
            "edge_agent.demo",
            "--city",
            "--gateways",
            str(GATEWAYS),
            "--folder",
            str(folder),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "EDGE_AGENT_TEST": mark},
    ) as process:
        assert process.stdout is not None
        assert any(step in line for line in process.stdout)
        assert processes_with(mark)
        os.killpg(process.pid, signal.Signals[name])
        said = process.stdout.read()
        # Python ends itself by SIGINT if the interrupt came while it compiled text, as in an import; a shell sees 130.
        assert process.wait(120) in (130, -signal.SIGINT), said
    assert "nothing is left running" in said
    assert "Traceback" not in said
    assert processes_with(mark) == []
    assert not folder.exists()
