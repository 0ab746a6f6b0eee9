"""When a stream is tried again: at once what passes by itself, seldom what somebody has to change."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.retry import PASSING, SESSION_NS, SOON_NS, Retry
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs


@pytest.mark.parametrize("reason", sorted(PASSING))
def test_what_passes_is_tried_every_second_or_two(reason: str) -> None:
    """After an outage of any length the next attempt is less than two seconds away."""
    retry = Retry(random.Random(1))
    assert all(SECOND_NS <= retry.next_ns(reason) < 2 * SECOND_NS for _ in range(1000))


def test_patient_one_backs_off() -> None:
    """A battery is not emptied by attempts: their distance grows to a minute."""
    retry = Retry(random.Random(1))
    waits = [retry.next_ns("unreachable", is_patient=True) for _ in range(10)]
    assert not retry.knocks
    assert waits[0] < 2 * SECOND_NS
    assert waits[-1] > MINUTE_NS * 3 // 4


def test_bridge_that_starts_says_many_things() -> None:
    """A path that is not known is tried seldom, unless it was known before."""
    retry = Retry(random.Random(1))
    assert max(retry.next_ns("not-found") for _ in range(10)) > 10 * SECOND_NS
    retry.reset()
    assert max(retry.next_ns("not-found") for _ in range(10)) < 2 * SECOND_NS


@given(st.lists(st.sampled_from(sorted(REASONS)), max_size=100), st.booleans(), st.integers(0, 1000))
def test_no_wait_is_longer_than_a_minute(reasons: list[str], is_patient: bool, seed: int) -> None:
    """Whatever happens, in whatever order, a stream is tried again within a minute, and a login seldom."""
    retry = Retry(random.Random(seed))
    for reason in reasons:
        wait_ns = retry.next_ns(reason, is_patient=is_patient)
        assert SOON_NS // 4 < wait_ns <= MINUTE_NS
        assert reason != "unauthorized" or wait_ns > 10 * SECOND_NS


def test_busy_camera_holds_the_lost_session_for_a_minute() -> None:
    """453 is told as the session that broke off for as long as a camera keeps one, and as other viewers otherwise."""
    busy, retry = CaptureError("busy", "status=453"), Retry(random.Random(1))
    assert retry.explain(busy, MonoNs(0)) is busy
    retry.lose_session(MonoNs(SECOND_NS))
    told = retry.explain(busy, MonoNs(SESSION_NS))
    assert (told.reason, told.detail) == ("session-still-open", "status=453")
    assert retry.explain(busy, MonoNs(SECOND_NS + SESSION_NS)) is busy
    assert retry.explain(CaptureError("ended"), MonoNs(SESSION_NS)).reason == "ended"


def test_a_pause_says_nothing_of_a_camera() -> None:
    """Whether it was held or not: what never worked is tried seldom, and a refused login not sooner than before."""
    held, other = Retry(random.Random(1)), Retry(random.Random(1))
    for reason in ["not-found", "unauthorized"] * 5:
        held.next_ns(reason)
        other.next_ns(reason)
    held.resume()
    assert held.next_ns("unauthorized") == other.next_ns("unauthorized") > MINUTE_NS // 2
    assert held.next_ns("not-found") < 2 * SECOND_NS
    assert max(held.next_ns("not-found") for _ in range(10)) > 10 * SECOND_NS
