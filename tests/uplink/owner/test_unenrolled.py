"""What is due at the start of a releaser that belongs to no RTCC."""

from types import SimpleNamespace
from typing import cast

from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.owner.unenrolled import Unenrolled
from tests.support.fakes import FakeClock


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
    house = SimpleNamespace(_keeps=keeps, _faults=faults, _updates=updates, _clock=FakeClock())
    Unenrolled._plan(cast(Unenrolled, house), cast(Jobs, jobs))
    assert {call() for call in due} == {"settled", "looked for notes of updates"}
    assert every["updates"] <= 60
