"""When the simulated camera misbehaves."""

import pytest

from edge_agent.demo.faults import CameraFault, FaultPlan, parse_fault
from edge_agent.units import SECOND_NS, MonoNs

GOOD = {
    "frozen": CameraFault("frozen"),
    "frozen@30s": CameraFault("frozen", 30 * SECOND_NS),
    "frozen@30s+500ms": CameraFault("frozen", 30 * SECOND_NS, SECOND_NS // 2),
}


@pytest.mark.parametrize(("text", "fault"), GOOD.items())
def test_parse_reads_name_start_and_duration(text: str, fault: CameraFault) -> None:
    """A fault's text says what, from when, and for how long."""
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["froze", "frozen@", "frozen@30", "frozen@30s+", "frozen@30s+x"])
def test_parse_refuses_what_it_does_not_know(text: str) -> None:
    """A fault that would silently never happen is refused."""
    with pytest.raises(ValueError):
        parse_fault(text)


def test_plan_turns_faults_on_and_off() -> None:
    """A fault is on within its span, counted from the camera's start, unless switched by hand."""
    plan = FaultPlan([CameraFault("frozen", 2 * SECOND_NS, SECOND_NS)], MonoNs(10 * SECOND_NS))
    states = [plan.is_on("frozen", MonoNs(second * SECOND_NS)) for second in (11, 12, 13)]
    assert states == [False, True, False]
    plan.switch("frozen", True)
    assert plan.is_on("frozen", MonoNs(0))
