"""What a trial's gateway is waited for."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.demo.home import wait_for_next_second
from edge_agent.units import SECOND_NS
from tests.support.fakes import FakeClock


@given(st.integers(0, 2**62))
def test_a_request_after_the_wait_is_not_older_than_the_gateway(born_ns: int) -> None:
    """A request has the second in which it was made: one of the gateway's first second would be denied as older."""
    clock = FakeClock(born_ns)
    wait_for_next_second(clock, lambda seconds: clock.advance(math.ceil(seconds * SECOND_NS)))
    issued_ns = clock.utc() // SECOND_NS * SECOND_NS
    assert born_ns < issued_ns <= born_ns + SECOND_NS
