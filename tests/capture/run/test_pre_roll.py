"""What is kept before an event, and what it takes in memory."""

import tracemalloc

from edge_agent.capture.run.pre_roll import MAX_BYTES, MAX_GOP_BYTES, PreRoll
from edge_agent.capture.session.interface import Arrival, size_in_memory
from edge_agent.units import MINUTE_NS, MonoNs, UtcNs

KEY_EVERY = 1000


def tiny(number: int) -> Arrival:
    """Return a picture of three bytes, with numbers of its own as those of a camera are."""
    moment = 1_700_000_000_000_000_000 + number
    data = number.to_bytes(3, "big")
    return Arrival(
        0, 90_000 + number, 3600, number % KEY_EVERY == 0, data, UtcNs(moment), MonoNs(moment), None, None, moment
    )


def test_packets_count_with_what_they_take_in_memory() -> None:
    """A packet of three bytes takes at most what it is counted with, and more than a third of that."""
    tracemalloc.start()
    try:
        held = [tiny(number) for number in range(10_000)]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    counted = sum(map(size_in_memory, held))
    assert counted / 3 < taken <= counted


def test_tiny_packets_fill_no_more_memory_than_large_ones() -> None:
    """Pictures of three bytes are forgotten when the memory that they take reaches the bound."""
    pre_roll = PreRoll(60 * MINUTE_NS)
    for number in range(3 * MAX_BYTES // size_in_memory(tiny(0))):
        pre_roll.push(tiny(number))
    kept = pre_roll.packets()
    assert MAX_BYTES - (KEY_EVERY + 1) * size_in_memory(tiny(0)) < sum(map(size_in_memory, kept)) <= MAX_BYTES
    assert kept[0].is_keyframe


def large(number: int, *, key: bool) -> Arrival:
    return Arrival(0, number, 1, key, bytes(1 << 20), UtcNs(number), MonoNs(number), None, None)


def test_gop_of_an_event_is_kept_though_it_is_large() -> None:
    """Nobody can decode the rest of it without its beginning; what came before it is forgotten first."""
    pre_roll = PreRoll(60 * MINUTE_NS)
    pictures = [large(number, key=number in (0, 3)) for number in range(3 + (MAX_BYTES >> 20) + 5)]
    for picture in pictures:
        pre_roll.push(picture)
    assert pre_roll.packets() == pictures[3:]
    assert not pre_roll.is_short


def test_gop_that_is_too_large_is_told() -> None:
    """Nothing of it is kept, and that is said until one was kept as a whole."""
    pre_roll = PreRoll(60 * MINUTE_NS)
    most = MAX_GOP_BYTES >> 20
    told = []
    for number in range(4 * most):
        pre_roll.push(large(number, key=number in (0, 2 * most, 2 * most + 5)))
        told.append(pre_roll.is_short)
        assert len(pre_roll.packets()) <= most
    assert told.index(True) < most
    assert told[most : 2 * most + 5] == [True] * (most + 5)
    assert told[2 * most + 5 : 3 * most] == [False] * (most - 5)
