"""The releaser's regular work: everything has its time, and what a start owes is due at once."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_agent.units import UtcNs
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.owner.timetable import HouseJobs, RequestJobs
from edge_agent.uplink.store.database import Database
from tests.support.fakes import FakeClock

REGULAR = {
    "keeps": 3600.0, "faults": 10.0, "updates": 60.0, "heads": 3600.0,
    "waiting": 5.0, "refusals": 600.0, "terms": 5.0, "prune": 3600.0, "certificate": 3600.0,
}  # fmt: skip
AT_START = ("keeps", "updates", "terms", "certificate")


class Part:
    """Any part: every act of it is noted under its name."""

    def __init__(self, name: str, done: list[str]) -> None:
        self._name, self._done = name, done

    def __getattr__(self, act: str) -> Callable[..., None]:
        return lambda *_: self._done.append(f"{self._name}.{act}")


class Plan:
    """Notes what is planned, and runs it when the test says so."""

    def __init__(self) -> None:
        self.regular: dict[str, tuple[float, Callable[[], None]]] = {}
        self.once: dict[str, tuple[UtcNs, Callable[[], None]]] = {}

    def every(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        assert name not in self.regular
        self.regular[name] = (seconds, work)

    def at(self, name: str, due: UtcNs, work: Callable[[], None]) -> None:
        assert name not in self.once
        self.once[name] = (due, work)


@pytest.fixture
def store(tmp_path: Path):
    with Database(tmp_path / "store.sqlite") as found:
        yield found


def make(store: Database, done: list[str], clock: FakeClock) -> RequestJobs:
    parts: dict[str, Any] = {
        name: Part(name, done)
        for name in ("keeps", "faults", "updates", "deadlines", "intake", "terms", "renewal", "checkpoint")
    }
    heads, refusals = (lambda: done.append("heads")), (lambda: done.append("refusals"))
    house = HouseJobs(parts["keeps"], parts["faults"], parts["updates"], heads, clock)
    return RequestJobs(
        house, parts["deadlines"], parts["intake"], refusals, parts["terms"], parts["renewal"], parts["checkpoint"],
        store,
    )  # fmt: skip


def test_everything_has_its_period_and_does_its_own_work(store: Database) -> None:
    """No job is missing, none comes twice, and each does what its name says."""
    done: list[str] = []
    plan, clock = Plan(), FakeClock()
    make(store, done, clock).plan(cast(Jobs, plan))
    assert done == ["deadlines.plan_all", "checkpoint.plan"]
    assert {name: seconds for name, (seconds, _) in plan.regular.items()} == REGULAR
    assert {name: due for name, (due, _) in plan.once.items()} == {f"{n} at start": clock.utc() for n in AT_START}
    done.clear()
    for _, work in (*plan.regular.values(), *plan.once.values()):
        work()
    assert sorted(done) == sorted(
        [
            "keeps.expire", "keeps.settle", "faults.look", "updates.look", "updates.look", "heads", "refusals",
            "intake.retry_waiting", "terms.look", "terms.look", "renewal.look", "renewal.look",
        ]
    )  # fmt: skip


def test_a_gateway_of_no_rtcc_has_the_jobs_of_its_house_alone(store: Database) -> None:
    """Nothing that asks for a broker, a trust bundle or a request is planned there."""
    plan = Plan()
    make(store, [], FakeClock()).house.plan(cast(Jobs, plan))
    assert set(plan.regular) == {"keeps", "faults", "updates", "heads"}


def test_real_schedule_takes_the_plan(store: Database) -> None:
    """What is due at start is done at once, by the schedule that the releaser has."""
    clock, stop, ran = FakeClock(), threading.Event(), threading.Semaphore(0)

    class Told(list[str]):
        def append(self, word: str) -> None:
            super().append(word)
            ran.release()

    done = Told()
    jobs = Jobs(clock, make(store, done, clock).plan, stop)
    jobs.start()
    for _ in range(2 + len(AT_START)):
        assert ran.acquire(timeout=10)
    stop.set()
    jobs.join()
    assert {"keeps.settle", "updates.look", "terms.look", "renewal.look"} <= set(done)


def test_what_a_kill_left_of_kept_moments_is_settled_at_the_start():
    """Not an hour later: a gateway that is switched off each evening may never run for one."""
    due, every = [], {}
    jobs = SimpleNamespace(
        every=lambda name, interval_s, _: every.update({name: interval_s}),
        at=lambda _name, _due, call: due.append(call),
    )
    keeps = SimpleNamespace(settle=lambda: "settled", expire=lambda: None)
    faults = SimpleNamespace(look=lambda: None)
    updates = SimpleNamespace(look=lambda: "looked for notes of updates")
    HouseJobs(keeps, faults, updates, lambda: None, FakeClock()).plan(cast(Jobs, jobs))
    assert {call() for call in due} == {"settled", "looked for notes of updates"}
    assert every["updates"] <= 60
