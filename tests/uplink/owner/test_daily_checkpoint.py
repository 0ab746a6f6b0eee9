"""The daily checkpoint: at the same hour every day, and the next one whatever becomes of this one."""

import json
from collections.abc import Callable
from typing import cast

import pytest

from edge_agent.errors import UnavailableError
from edge_agent.mqtt.connection import Broker
from edge_agent.units import DAY_NS, HOUR_NS, SECOND_NS, UtcNs, parse_rfc3339
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.owner.daily_checkpoint import DailyCheckpoint
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from tests.support.fakes import FakeClock

THREE = parse_rfc3339("2026-11-30T03:00:00Z")


class Ledger:
    """Signs a head."""

    def checkpoint(self) -> str:
        return "head"


class Line:
    """The broker, and the one job that waits."""

    def __init__(self) -> None:
        self.states: list[bytes] = []
        self.due, self.work = UtcNs(0), lambda: None
        self.fails = False

    def set_state(self, state: bytes) -> None:
        if self.fails:
            raise UnavailableError("broker is not connected")
        self.states.append(state)

    def at(self, name: str, due: UtcNs, work: Callable[[], None]) -> None:
        assert name == "checkpoint"
        self.due, self.work = due, work


def plan(now: int) -> tuple[Line, FakeClock]:
    line, clock = Line(), FakeClock(utc=now)
    DailyCheckpoint(cast(LedgerCommands, Ledger()), cast(Broker, line), clock).plan(cast(Jobs, line))
    return line, clock


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (THREE - SECOND_NS, THREE), (THREE, THREE + DAY_NS), (THREE + SECOND_NS, THREE + DAY_NS),
        (THREE + 21 * HOUR_NS, THREE + DAY_NS),
    ],
)  # fmt: skip
def test_it_is_due_at_the_next_hour_of_three(now: int, due: int) -> None:
    """Before three it is today's, from three on tomorrow's: a restart sends none twice."""
    assert plan(now)[0].due == due


def test_it_leaves_in_the_retained_state_and_plans_the_next() -> None:
    """The RTCC finds the signed head beside the fact that the gateway is there."""
    line, clock = plan(THREE - 1)
    clock.advance(1)
    line.work()
    (state,) = map(json.loads, line.states)
    assert (state["online"], state["checkpoint"]) == (True, "head")
    assert line.due == THREE + DAY_NS


def test_one_that_cannot_be_sent_costs_no_other() -> None:
    """A broker that is away at three does not end the days."""
    line, clock = plan(THREE - 1)
    line.fails = True
    clock.advance(1)
    with pytest.raises(UnavailableError):
        line.work()
    assert line.due == THREE + DAY_NS
