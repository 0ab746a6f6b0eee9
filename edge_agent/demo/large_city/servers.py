"""The city's side beyond one machine, all of it on loopback: broker, readers, workers, upload server, state and store.

Owns which programs run and how they are brought up and ended together. All of them are the real ones, as docs/rtcc.md
starts them; PostgreSQL holds the state and SeaweedFS the uploads.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.demo.city import HOST, RTCC, City
from edge_agent.demo.large_city.object_store import SeaweedFs, build_uploads
from edge_agent.demo.large_city.postgresql import PostgreSql
from edge_agent.demo.large_city.program import CityProgram
from edge_agent.errors import UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.answer import Delivery
from edge_agent.rtcc.deliveries import deliveries
from edge_agent.rtcc.office.enrol import enrol_server
from edge_agent.rtcc.office.home import RtccHome

_COMMAND_S = 120.0
_TAKE_OVER_S = 60.0
_ROOM_BYTES = 2 << 30


class Servers:
    """Everything that the city runs; made by ``run_servers``.

    Args:
        folder: Of logs, and of the programs' own files.
        city: Home and broker.
        store: Where uploads go.
    """

    def __init__(self, folder: Path, city: City, store: SeaweedFs) -> None:
        self._folder, self.city, self._store = folder, city, store
        self.bucket = f"s3://{store.make_bucket()}"
        self._programs: dict[str, CityProgram] = {}

    def start(self) -> None:
        """Start a reader and its standby, two workers, and the receiver of uploads; returns once all are at work.

        Raises:
            UnavailableError: One of them does not start.
        """
        self._start_rtcc("reader", "intake").wait_said("reading ")
        self._start_rtcc("standby", "intake").wait_said("standing by ")
        for name in ("worker-1", "worker-2"):
            self._start_rtcc(name, "work").wait_said("working: ")
        self._start_rtcc("rules", "receive", "--rules", str(self._folder / "rules")).wait_said("answering at ")
        self._start_uploads().wait_said("receiving at ")

    def kill(self, name: str) -> None:
        """Take a program away at once: ``reader``, ``standby``, ``worker-1``, ``worker-2``."""
        self._programs[name].kill()

    @property
    def home(self) -> RtccHome:
        """Return the RTCC's home."""
        return self.city.home

    @property
    def variables(self) -> dict[str, str]:
        """Return what opens the object store."""
        return self._store.variables

    def ask_rtcc(self, *words: str) -> dict[str, object]:
        """Run one command of ``rtcc`` that prints one line of JSON; return that.

        Raises:
            UnavailableError: It ended with another code than 0.
        """
        found: dict[str, object] = json.loads(run_rtcc(*words, "--home", str(self.home.path)))
        return found

    def list_deliveries(self) -> list[Delivery]:
        """Return all that workers have kept a key of."""
        return list(deliveries(self.home))

    def has_judged_all(self) -> bool:
        """Tell whether no message waits for a worker or for a person."""
        return self.home.state.inbound.count() == (0, 0)

    def count_contradictions(self) -> int:
        """Return how many messages were set aside because they contradict an earlier one."""
        return sum(1 for _ in self.home.state.exchanges.conflicts())

    def wait_taken_over(self) -> None:
        """Wait until the standby has the broker."""
        self._programs["standby"].wait_said("reading ", _TAKE_OVER_S)

    def stop(self) -> None:
        """End all programs of ours; again does nothing."""
        for each in reversed(self._programs.values()):
            each.stop()

    def _start_rtcc(self, name: str, *words: str) -> CityProgram:
        self._programs[name] = CityProgram(name, [*RTCC, *words, "--home", str(self.home.path)], self._folder)
        return self._programs[name]

    def _start_uploads(self) -> CityProgram:
        certificate, key = self.home.tls_paths(HOST)
        port = urlsplit(self.home.settings.uploads["evidence"]).port
        words = {
            "listen": f"127.0.0.1:{port}", "ca": self.home.ca_path, "certificate": certificate, "key": key,
            "rules": self._folder / "rules", "bucket": self.bucket.removeprefix("s3://"), "room": _ROOM_BYTES,
        }  # fmt: skip
        options = [f"-{name}={value}" for name, value in words.items()]
        program = self._folder / "uploads"
        build_uploads(program)  # Go keeps what it has compiled once.
        self._programs["uploads"] = CityProgram("upload-server", [program, *options], self._folder, self.variables)
        return self._programs["uploads"]


def run_rtcc(*words: str) -> str:
    """Run one command of ``rtcc``; return what it printed.

    Raises:
        UnavailableError: It ended with another code than 0.
    """
    done = subprocess.run(
        [*RTCC, *words], capture_output=True, text=True, timeout=_COMMAND_S, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise UnavailableError(f"rtcc {words[0]} fails: exit={done.returncode} {done.stderr.strip()[-500:]}")
    return done.stdout


@contextmanager
def run_servers(folder: Path) -> Iterator[Servers]:
    """Bring the city up; all of it ends with the context.

    Raises:
        UnavailableError: A program is not installed, or does not start.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Entered in the order in which they need each other: they end in the reverse one.
        url = stack.enter_context(PostgreSql()).make_database()
        store = stack.enter_context(SeaweedFs(folder / "store"))
        city = City(folder / "city")
        stack.callback(city.stop)
        enrol_server(city.home, (HOST, "127.0.0.1"), SystemClock().utc())
        run_rtcc("state", "create", "--url", url)
        city.home.write_settings(replace(city.home.settings, database=url))
        stack.callback(city.home.state.database.close)
        city.start_broker()
        servers = Servers(folder, city, store)
        stack.callback(servers.stop)
        servers.start()
        city.publish_trust()
        yield servers
