"""Jobs run when due, late rather than never, and are planned anew when the clock steps."""

import sqlite3
import threading

import pytest

from edge_agent.host.clock import SystemClock
from edge_agent.units import HOUR_NS
from edge_agent.uplink.inbound.schedule import Jobs
from tests.support.fakes import FakeClock


@pytest.fixture
def stop():
    event = threading.Event()
    yield event
    event.set()


def test_job_due_in_the_past_runs_at_once(stop):
    """A time-out that fell into a power cut is not skipped."""
    clock, ran = SystemClock(), threading.Event()
    jobs = Jobs(clock, lambda planned: planned.at("late", clock.utc() - HOUR_NS, ran.set), stop)
    jobs.start()
    assert ran.wait(10)
    stop.set()
    jobs.join()


def test_failing_job_does_not_end_the_schedule(stop):
    """One job's exception is its own."""
    clock, ran = SystemClock(), threading.Event()

    def plan(planned: Jobs) -> None:
        planned.at("fails", clock.utc() - HOUR_NS, lambda: 1 / 0)
        planned.every("goes on", 0.05, ran.set)

    jobs = Jobs(clock, plan, stop)
    jobs.start()
    assert ran.wait(10)
    stop.set()
    jobs.join()


def test_step_of_the_clock_plans_anew(stop):
    """Due times are read again from what is stored when the wall clock steps, either way."""
    clock, planned = FakeClock(), threading.Semaphore(0)
    jobs = Jobs(clock, lambda _: planned.release(), stop)
    jobs.start()
    assert planned.acquire(timeout=10)
    for step_ns in (HOUR_NS, -5 * HOUR_NS):
        clock.step(step_ns)
        assert planned.acquire(timeout=10)
    clock.advance(HOUR_NS)
    assert not planned.acquire(timeout=2.5), "time passing is no step"
    stop.set()
    jobs.join()


def test_plan_that_fails_after_a_step_is_tried_again(stop):
    """A store that cannot be read at the moment of a step does not leave the process without jobs."""
    clock, planned, calls = FakeClock(), threading.Semaphore(0), []

    def plan(_: Jobs) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise sqlite3.OperationalError("disk I/O error")
        planned.release()

    jobs = Jobs(clock, plan, stop)
    jobs.start()
    assert planned.acquire(timeout=10)
    clock.step(HOUR_NS)
    assert planned.acquire(timeout=10)
    assert jobs.is_alive()
    stop.set()
    jobs.join()
