"""What a watcher of the wire learns of a verdict: the time from a request's arrival to its PUBACK, ask against denial.

A real gateway's gate, register and store behind a real connection to a real mosquitto, through a proxy that sees what a
watcher of the encrypted wire sees: when something went to the gateway, and when something came back. Asks and denials
arrive in random order, in blocks of a few of each. They count as equal if the difference of their mean times lies
within ``BOUND_MS`` at 95 % confidence (TOST, two one-sided tests). As a positive control the old order, which
acknowledged as soon as it had committed and planned what follows, goes through the same watcher: if its difference is
not found, the watcher is blind and nothing is proved. Found is what a rank test within the blocks finds (Wilcoxon,
stratified as by van Elteren): a machine that is slow for a while is slow for both kinds.
"""

import contextlib
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Row, parse_arguments, report
from edge_agent.consent.house_state import CameraInForce
from edge_agent.consent.policy import Mode
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker, wait_connected
from edge_agent.protocol.geohash import geohash_encode
from edge_agent.protocol.verdict import Ask
from edge_agent.units import MINUTE_NS, ClockState, MonoNs, UtcNs, encode_rfc3339
from edge_agent.uplink.inbound.ack_pace import AckPace
from edge_agent.uplink.inbound.refusal_limits import RefusalRoom
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.store.requests import StoredRequest
from tests.peers.mosquitto import Mosquitto
from tests.peers.pki import Pki
from tests.peers.proxy import Proxy
from tests.support import gate
from tests.support.releaser import FakeStanding, House, InstantPace

BOUND_MS = 5.0
Z_95 = 1.645
"""One-sided, 95 %."""
Z_FOUND = 5.0
"""A difference of the control counts as found beyond so many standard errors of its rank sum: one in three million."""
N = 2000
GATEWAYS = 6
"""So many at once, each with a broker and a process of its own: one alone takes two requests a second, as it must."""
DOORS = 30
"""Cameras that ask: each takes a hundred requests a day, which is the most that an owner can sign."""
PAIRS = 40
"""Pairs of signers, so that the refusals of none are too many to be entered one by one."""
WAIT_S = 10.0
KINDS = ("ask", "denial")
FRESH = 200
"""A gateway of the control takes so many of each kind. As a store fills, asks and denials become slower in different
ways, and which is the slower one changes: over a long run of one gateway the two differences cancel out."""
BLOCK = 10
"""So many of each kind make a block."""


class RunningClock:
    """Begins at the moment of the test's papers and runs."""

    def __init__(self) -> None:
        self._system = SystemClock(0)
        self._offset = gate.NOW - self._system.boot()

    def utc(self) -> UtcNs:
        return UtcNs(self._system.boot() + self._offset)

    def boot(self) -> MonoNs:
        return self._system.boot()

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


class SignedStanding(FakeStanding):
    """Consents that are signed once."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self._known: dict[tuple[object, ...], CameraInForce] = {}

    def _stand_of(self, name: str, paused_until: UtcNs) -> CameraInForce:
        key = (name, paused_until, self._store.consents.find(name))
        if key not in self._known:
            self._known[key] = super()._stand_of(name, paused_until)
        return self._known[key]


class TimedPace(AckPace):
    """Notes how long the gateway took, before it holds what it took."""

    def __init__(self, pace: AckPace) -> None:
        self._pace = pace
        self.took_ms = 0.0
        self._began_ns = 0

    def arrive(self) -> MonoNs:
        self._began_ns = time.perf_counter_ns()
        return self._pace.arrive()

    def hold(self, arrival: MonoNs) -> bool:
        self.took_ms = (time.perf_counter_ns() - self._began_ns) / 1e6
        return self._pace.hold(arrival)


class Gateway(House):
    """A house that asks about its doors and says no to everything about the yard."""

    standing_type = SignedStanding
    room = RefusalRoom(entered_in_all=10**6)

    def __init__(self, folder: Path, *, paced: bool) -> None:
        self._paced = paced
        self._jobs: Jobs | None = None
        super().__init__(folder)
        ask = gate.terms(mode=Mode.ASK, requests_per_day=100, requests_per_month=1000, minutes_per_month=43200)
        self.signed.clear()
        self.signed |= {"yard": gate.terms(mode=Mode.DENY), **{f"door-{number}": ask for number in range(DOORS)}}
        self.clock = RunningClock()  # type: ignore[assignment]
        for number in range(PAIRS):
            for role, name in (("operator", f"op-{number}"), ("supervisor", f"su-{number}")):
                self.rtcc.people[name] = Ed25519PrivateKey.generate()
                gate.ROLES[name] = role
        self.restart()
        self.intake.handle(self.trust_message(version=2))

    def make_pace(self) -> AckPace:
        kind = AckPace if self._paced else InstantPace
        self.pace = TimedPace(kind(self.clock, threading.Event().wait))
        return self.pace

    def on_verdict(self, request: StoredRequest, verdict: object) -> None:
        """Plan what the releaser plans: the end of the question, its reminder, and the copy of its footage."""
        if self._jobs is None:
            self._jobs = Jobs(self.clock, lambda _: None, self.stop)
            self._jobs.start()
        if isinstance(verdict, Ask):
            for name in ("ask", "remind", "hold"):
                self._jobs.at(f"{name} {request.id}", request.due, lambda: None)
        self.worker.wake()

    def draw(self, kind: str) -> bytes:
        """Return a new request to the area, that is asked about, or denied in silence."""
        now = self.clock.utc()
        self.numbers += 1
        pair = self.numbers % PAIRS
        changes = {
            "jti": f"{self.numbers:022d}",
            "aud": {"cells": [geohash_encode(gate.HOME.lat, gate.HOME.lon)]},
            "iat": encode_rfc3339(now),
            "nbf": encode_rfc3339(now),
            "exp": encode_rfc3339(UtcNs(now + 9 * MINUTE_NS)),
            "release_by": encode_rfc3339(UtcNs(now + 300 * MINUTE_NS)),
            "incident.number": f"24-{self.numbers:08d}",
            "clip.cameras": [f"door-{self.numbers % DOORS}" if kind == "ask" else "yard"],
        }
        return self.rtcc.sign(gate.request_payload(changes), f"op-{pair}", f"su-{pair}")


class Watcher:
    """Notes when a request went to the gateway, and when the next bytes came back."""

    def __init__(self, proxy: Proxy) -> None:
        self._arrived = 0
        self._took: list[float] = []
        self._back = threading.Event()
        proxy.watch = self._see

    def _see(self, to_broker: bool, _size: int) -> None:
        now = time.perf_counter_ns()
        if not to_broker:
            self._arrived = self._arrived or now
        elif self._arrived:
            self._took.append((now - self._arrived) / 1e6)
            self._arrived = 0
            self._back.set()

    def time(self, send: Callable[[], None]) -> float:
        """Return the milliseconds between what ``send`` sends and what comes back of it."""
        self._arrived = 0
        self._back.clear()
        send()
        if not self._back.wait(WAIT_S):
            raise SystemExit("a request was not acknowledged")
        return self._took[-1]


@dataclass(frozen=True)
class Sample:
    """What one gateway showed, in milliseconds by kind, in the order of arrival."""

    seen: dict[str, list[float]]
    inside: dict[str, list[float]]


@dataclass(frozen=True)
class Comparison:
    """Asks against denials, in milliseconds."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    medians: tuple[float, float]
    low: float
    high: float
    """The difference of the means lies between these with 90 % confidence, above and below with 95 % each."""
    rank_z: float
    """Standard errors of the blocks' rank sums from those of no difference."""
    inside: tuple[float, float]
    """What each kind took inside the gateway, from arrival until it could be acknowledged: medians, milliseconds."""

    @property
    def bound(self) -> float:
        """The least bound within which they would count as equal."""
        return max(abs(self.low), abs(self.high))


def compare(samples: Sequence["Sample"]) -> Comparison:
    """Compare the two kinds over all samples (Welch; Wilcoxon in blocks)."""
    asks, denials = ([took for one in samples for took in one.seen[kind]] for kind in KINDS)
    means = (statistics.fmean(asks), statistics.fmean(denials))
    deviations = (statistics.stdev(asks), statistics.stdev(denials))
    error = math.sqrt(deviations[0] ** 2 / len(asks) + deviations[1] ** 2 / len(denials))
    difference = means[0] - means[1]
    inside = ([took for one in samples for took in one.inside[kind]] for kind in KINDS)
    return Comparison(
        means,
        deviations,
        (statistics.median(asks), statistics.median(denials)),
        difference - Z_95 * error,
        difference + Z_95 * error,
        _rank(samples),
        tuple(statistics.median(each) for each in inside),  # type: ignore[arg-type]
    )


def _rank(samples: Sequence["Sample"]) -> float:
    """Return how many standard errors the asks' rank sum lies from that of no difference, block by block."""
    difference = variance = 0.0
    for sample in samples:
        asks, denials = (sample.seen[kind] for kind in KINDS)
        for start in range(0, len(asks), BLOCK):
            mine, theirs = asks[start : start + BLOCK], denials[start : start + BLOCK]
            ranked = sorted([*((each, True) for each in mine), *((each, False) for each in theirs)])
            n, m = len(mine), len(theirs)
            difference += sum(rank for rank, (_, is_ask) in enumerate(ranked, 1) if is_ask) - n * (n + m + 1) / 2
            variance += n * m * (n + m + 1) / 12
    return difference / math.sqrt(variance)


@contextlib.contextmanager
def running(folder: Path, *, paced: bool) -> Iterator[tuple[Gateway, Broker, Watcher]]:
    """Run a gateway behind a watched connection; yield it, the RTCC's connection, and the watcher."""
    folder.mkdir()
    mosquitto = Mosquitto(folder / "broker", Pki(folder / "pki"))
    mosquitto.start()
    gateway = Gateway(folder, paced=paced)
    try:
        with Proxy(mosquitto.port) as proxy:
            settings = mosquitto.gateway(gate.GATEWAY, port=proxy.port, keepalive_s=3600)
            home = Broker(settings, gateway.intake.handle, SystemClock())
            rtcc = Broker(mosquitto.rtcc(), lambda incoming: incoming.ack(), SystemClock())
            for each in (home, rtcc):
                each.start()
                if not wait_connected(each, WAIT_S):
                    raise SystemExit("the broker does not answer")
            try:
                yield gateway, rtcc, Watcher(proxy)
            finally:
                for each in (home, rtcc):
                    each.close()
    finally:
        mosquitto.kill()
        gateway.stop.set()
        if gateway.store is not None:
            gateway.store.close()


def draw_order(n: int) -> list[str]:
    """Return ``n`` of each kind, in blocks, in each of which the order is random."""
    blocks = [[*KINDS] * BLOCK for _ in range(n // BLOCK)]
    for block in blocks:
        random.shuffle(block)
    return [kind for block in blocks for kind in block]


def sample(folder: Path, n: int, paced: bool) -> Sample:
    """Let ``n`` requests of each kind (a multiple of ``BLOCK``) arrive at one gateway."""
    took = Sample({kind: [] for kind in KINDS}, {kind: [] for kind in KINDS})
    order = draw_order(n)
    with running(folder, paced=paced) as (gateway, rtcc, watcher):
        topic = f"rtcc/1/req/g/{gate.GATEWAY}"
        for number, kind in enumerate(("ask", "denial", "ask", "denial", *order)):
            raw = gateway.draw(kind)
            time.sleep(random.uniform(0.001, 0.003))
            milliseconds = watcher.time(lambda raw=raw: rtcc.publish(topic, raw))  # type: ignore[misc]
            if number >= 4:  # the first ones pay for what is done once
                took.seen[kind].append(milliseconds)
                took.inside[kind].append(gateway.pace.took_ms)
        outcomes = [entry["outcome"] for entry in gateway.entries("decision")]
        if (outcomes.count("ask"), outcomes.count("denial")) != (n + 2, n + 2):
            raise SystemExit(f"not what was to be compared: {outcomes.count('ask')} asks of {n + 2}")
    return took


def measure(folder: Path, n: int, gateways: int, *, at_once: int, paced: bool) -> Comparison:
    """Take ``n`` samples of each kind, shared among gateways, of which so many run at once."""
    folder.mkdir()
    each = -(-n // gateways // BLOCK) * BLOCK
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        samples = [pool.submit(sample, folder / str(number), each, paced) for number in range(gateways)]
        return compare([one.result() for one in samples])


def describe(found: Comparison, n: int) -> str:
    return (
        f"n {n} each; ask {found.means[0]:.2f} ± {found.deviations[0]:.2f} ms (median {found.medians[0]:.2f}), "
        f"denial {found.means[1]:.2f} ± {found.deviations[1]:.2f} (median {found.medians[1]:.2f}); "
        f"difference {found.low:+.3f} to {found.high:+.3f} ms; rank z {found.rank_z:+.1f}; "
        f"inside the gateway {found.inside[0]:.2f}, {found.inside[1]:.2f} ms"
    )


def main() -> int:
    """Measure both orders; return the exit code."""
    args = parse_arguments("refusals", __doc__ or "", extra=("--n", "--gateways"))
    n, gateways = args.n or N, args.gateways or GATEWAYS
    # In memory: what a disk's syncs add is noise, in which a watcher sees less.
    with tempfile.TemporaryDirectory(prefix="refusals-", dir="/dev/shm") as folder:
        old = measure(Path(folder) / "old", n, -(-n // FRESH), at_once=1, paced=False)
        new = measure(Path(folder) / "new", n, gateways, at_once=gateways, paced=True)
    rows = [
        Row("bound of the difference", new.bound, BOUND_MS, "ms", describe(new, n)),
        Row("old order: needed / found", Z_FOUND / max(abs(old.rank_z), 1e-9), 1.0, "", describe(old, n)),
    ]
    return report("refusals", args, rows)


if __name__ == "__main__":
    sys.exit(main())
