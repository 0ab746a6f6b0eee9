"""From keys to an enrolled gateway: the owner's commands work before an RTCC is there, and nothing is started anew."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import HOUSE_TERMS, TrialCamera, TrialHome
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def folder() -> Iterator[Path]:
    short = Path(tempfile.mkdtemp(prefix="ef-"))  # Unix sockets have short paths
    yield short
    shutil.rmtree(short, ignore_errors=True)


def test_a_gateway_without_an_rtcc_serves_its_owner_and_goes_on_by_itself(folder):
    """Pause, resume, ledger, export, bundle, erase work before `enrol`; after it the same process answers requests."""
    with ExitStack() as stack:
        camera = stack.enter_context(SimulatedCamera(CameraSettings()))
        city = stack.enter_context(City(folder / "city"))
        trial = TrialCamera("front-door", camera.url, {"mode": "auto", "categories": ["robbery"]})
        home = TrialHome(folder / "home", (trial,), HOUSE_TERMS)
        stack.callback(home.stop)
        home.init()
        home.start()
        home.wait_for("the releaser", lambda: home.ask("releaser", "status"))
        status = home.ask("releaser", "status")
        assert (status["gateway"], status["enrolment"], status["broker"]) == (None, "not enrolled", "not enrolled")
        home.wait_for("the camera", lambda: "recording" in str(home.ask("recorder", "status")["cameras"]))
        passphrase = ("--passphrase-file", str(home.passphrase_path))
        for what in ("release", "recording"):
            home.run("pause", what)
            home.run("resume", what, *passphrase)
        time.sleep(4)  # of footage
        now = time.time_ns()
        span = ("--from", encode_rfc3339(UtcNs(now - 3 * SECOND_NS)), "--to", encode_rfc3339(UtcNs(now - SECOND_NS)))
        home.run("export", "front-door", *span, "--out", str(folder / "own.mp4"), *passphrase)
        home.run("export", "front-door", *span, "--out", str(folder / "own.age"), "--bundle", *passphrase)
        assert (folder / "own.mp4").stat().st_size > 1000
        checkpoint = home.run("ledger", "checkpoint")
        (folder / "kept").write_text(checkpoint)
        home.run("ledger", "verify", "--remembered", str(folder / "kept"))
        home.run("erase", "front-door", "--yes")

        wrong = home.config_path.parent / "enrolment.json"
        wrong.write_text("{}")
        wrong.chmod(0o644)
        home.wait_for("the fault", lambda: "enrolment.json" in home.ask("releaser", "status")["enrolment"])

        pid = home.processes["release"].pid
        home.enrol(city)
        home.wait_ready()
        assert home.processes["release"].pid == pid
        assert home.processes["release"].poll() is None
        assert home.ask("releaser", "status")["gateway"] == home.gateway
        # What was signed before stays part of the same ledger, and the enrolment is in it.
        home.run("ledger", "verify", "--remembered", str(folder / "kept"))
        kinds = [each["kind"] for each in json.loads(home.run("ledger", "show", "--all", "--json"))]
        for kind in ("pause", "resume", "export", "erase", "enrolment"):
            assert kind in kinds
        home.run("resume", *passphrase)
