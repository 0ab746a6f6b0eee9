"""``scripts/demo --city``: two area requests to a city of many gateways, while a worker, a reader and the broker go.

Owns the order of events, what is printed of them, and the verdict: what the gateways granted against what was opened
whole.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.demo.large_city.comparison import ClipId, GrantComparison
from edge_agent.demo.large_city.film import FILM_S
from edge_agent.demo.large_city.houses import AREA_M, PLACE, House, count_kinds
from edge_agent.demo.large_city.load import measure_cpu_s, measure_memory_gib
from edge_agent.demo.large_city.opening import open_all
from edge_agent.demo.large_city.servers import run_servers
from edge_agent.demo.large_city.streets import Streets
from edge_agent.demo.scenario import tell_failure
from edge_agent.errors import EdgeAgentError, EvidenceError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.request import Category
from edge_agent.rtcc.object_store import ObjectStore
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, Window, encode_rfc3339

AWAY_S = 3.0
"""How long the broker is away."""
WORKER_GOES, READER_GOES, BROKER_GOES = 0.1, 0.3, 0.6
"""The shares of all clips that are delivered as each of them goes."""
_STILL_S = 180.0
"""So long without a delivery, nothing more is waited for: gateways come back within 90 s, owners wait at most 36 s."""
_POLL_S, _TELL_S = 0.5, 10.0
_LIGHTER = """\
Lighter than in a city: gateways share processes, cut one clip at a time in each, and have a film in their rings in
place of cameras and a recorder; owners' keys have no passphrase. Keys, certificates, stores, ledgers, decisions,
bundles, uploads and the hand-over of keys are each gateway's own, by the product's releaser."""


class CityScenario:
    """The steps, in order; as a context, all that was started ends with it.

    Args:
        folder: Keeps everything.
        count: How many gateways.
        say: Prints a line.
    """

    def __init__(self, folder: Path, count: int, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._houses = [House(number) for number in range(count)]
        # A minute ago: the film is over before the first request asks for it.
        self._film = UtcNs((SystemClock().utc() - MINUTE_NS) // SECOND_NS * SECOND_NS)
        self._jtis: dict[Category, str] = {}
        self._every = sum(len(cameras) for house in self._houses for cameras in house.kind.grants.values())
        self.peak_gib = 0.0
        self.under_way: dict[str, int] = {}
        """How many clips were not delivered as each part went."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            with self._step(
                "start PostgreSQL, SeaweedFS, mosquitto, a reader, its standby, two workers, an upload server"
            ):
                self.servers = stack.enter_context(run_servers(self._folder / "servers"))
            self._streets = stack.enter_context(Streets(self._folder / "houses", self._houses))
            self._settle()
            self._started = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()

    def carry_out(self) -> None:
        """Ask twice, take parts away, and wait until all is delivered.

        Raises:
            EdgeAgentError: A program ended by itself, or does not do what it is told; a clip does not come.
        """
        with self._step("an area request, signed by two persons, goes to everybody within 400 m"):
            self._ask(Category.ROBBERY)
        self._go_on_while_parts_go()
        self._wait_for_the_rest()

    def compare(self) -> GrantComparison:
        """Read every gateway's ledger, open what was delivered, and compare."""
        with self._step("read the ledger of each gateway; fetch, decrypt and verify each bundle (rtcc open)"):
            granted = frozenset(self._streets.read_grants())
            store = ObjectStore(self.servers.bucket, self.servers.variables)
            wanted = self.servers.list_deliveries()
            opened, faults = open_all(self.servers.home, store, wanted, self._folder / "opening")
        return GrantComparison(self._find_expected(), granted, opened, faults)

    def _settle(self) -> None:
        with self._step(
            f"make {len(self._houses)} houses: keys, terms, and a ring with {FILM_S} s of footage a camera"
        ):
            for what, count in count_kinds(self._houses).items():
                self._say(f"   {count:3} {what}")
            self._streets.build(self._film)
        with self._step("enrol each gateway: a certificate and an id of its own"):
            for house in self._houses:
                issued = self.servers.city.enrol(self._streets.read_csr(house))
                self._streets.enrol(house, issued)
        with self._step("start the gateways; each connects by TLS, and each owner signs"):
            self._streets.move_in()

    def _ask(self, category: Category) -> None:
        film = Window(self._film, UtcNs(self._film + FILM_S * SECOND_NS))
        # Inside the film by one GOP: each clip begins with a keyframe of its own.
        clip = Window(UtcNs(film.start + 2 * SECOND_NS), UtcNs(film.end - 2 * SECOND_NS))
        answer = self.servers.ask_rtcc(
            "request", "--area", f"{AREA_M:.0f}m", "--operator", "operator-1", "--supervisor", "supervisor-1",
            "--incident", f"D-{category.value}", "--category", category.value, "--place", f"{PLACE.lat},{PLACE.lon}",
            "--reported-at", encode_rfc3339(film.end), "--incident-window", _say_window(film),
            "--clip", _say_window(clip), "--purpose", "demonstration", "--contact", "desk 1", "--json",
        )  # fmt: skip
        self._jtis[category] = str(answer["jti"])
        self._say(f"   {category.value}: jti {answer['jti']}")

    def _go_on_while_parts_go(self) -> None:
        self._wait_delivered(WORKER_GOES)
        self.servers.kill("worker-1")
        self._tell_event("killed worker 1; the other one goes on")
        with self._step("a second area request, about another incident"):
            self._ask(Category.BURGLARY)
        self._wait_delivered(READER_GOES)
        self.servers.kill("reader")
        self._tell_event("killed the reader; the broker keeps what gateways say")
        began = time.monotonic()
        self.servers.wait_taken_over()
        self._say(f"the standby has taken the broker over, {time.monotonic() - began:.0f} s later")
        self._wait_delivered(BROKER_GOES)
        self.servers.city.stop_broker()
        self._tell_event("ended the broker; gateways and reader keep what they have to say")
        time.sleep(AWAY_S)
        self.servers.city.start_broker()
        self._say(f"started the broker again, {AWAY_S:.0f} s later; gateways come back at random within 30 s")

    def _tell_event(self, what: str) -> None:
        delivered = self._count()
        self.under_way[what] = self._every - delivered
        self._say(f"{what} ({delivered} of {self._every} clips delivered)")

    def _wait_for_the_rest(self) -> None:
        with self._step("wait until all is delivered, and every gateway is back"):
            self._wait_delivered(1.0)
            self._wait_for(self.servers.has_judged_all, "the worker has judged all that was read")
            if contradictions := self.servers.count_contradictions():
                raise EvidenceError(f"gateways contradict themselves: messages={contradictions}")
            self._wait_for(
                lambda: self._streets.count_connected() == len(self._houses), "every gateway is connected again"
            )

    def _wait_delivered(self, share: float) -> None:
        """Wait until this share of all clips that the terms allow is delivered.

        Raises:
            UnavailableError: Nothing comes any more; the message says which clips are missing, and why.
        """
        wanted = max(1, int(self._every * share))
        known, moved_at, told, told_at = self._count(), time.monotonic(), 0, time.monotonic()
        while (now := self._count()) < wanted:
            if now != known:
                known, moved_at = now, time.monotonic()
            if now != told and time.monotonic() - told_at >= _TELL_S:
                told, told_at = now, time.monotonic()
                self.peak_gib = max(self.peak_gib, measure_memory_gib())
                self._say(f"   {now} of {self._every} clips delivered")
            if time.monotonic() - moved_at > _STILL_S:
                self._say(f"   nothing was delivered for {_STILL_S:.0f} s")
                raise UnavailableError(f"clips do not come:\n{self.compare().as_text()}")
            time.sleep(_POLL_S)

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _STILL_S
        while not condition():
            if time.monotonic() > deadline:
                raise UnavailableError(f"not within {_STILL_S:.0f} s: {what}")
            time.sleep(_POLL_S)

    def _count(self) -> int:
        return len(self.servers.list_deliveries())

    def _find_expected(self) -> frozenset[ClipId]:
        return frozenset(
            (self._streets.gateways[house], self._jtis[category], camera)
            for house in self._houses
            for category, cameras in house.kind.grants.items()
            for camera in cameras
        )

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._say(f"{what} …")
        began = time.monotonic()
        yield
        self.peak_gib = max(self.peak_gib, measure_memory_gib())
        self._say(f"   ok ({time.monotonic() - began:.1f} s)")


def run(folder: Path, count: int, say: Callable[[str], None] = print) -> int:
    """Run the demonstration; 0 only if the granted footage, and no other, was opened whole."""
    began, scenario = time.monotonic(), CityScenario(folder, count, say)
    say(f"{count} gateways on {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; everything on loopback")
    say(_LIGHTER)
    try:
        with scenario:
            scenario.carry_out()
            found = scenario.compare()
    except EdgeAgentError as error:
        return tell_failure(error, folder)
    say("")
    say(found.as_text())
    say(
        f"{time.monotonic() - began:.0f} s, {measure_cpu_s():.0f} s of CPU, at most {scenario.peak_gib:.1f} GiB of"
        f" memory at once, load {os.getloadavg()[0]:.1f} at the end"
    )
    if not found.is_equal:
        print(f"logs are in {folder}", file=sys.stderr)
    return 0 if found.is_equal else 1


def _say_window(window: Window) -> str:
    return f"{encode_rfc3339(window.start)}/{encode_rfc3339(window.end)}"
