"""Messages on their way into the state: acknowledged once they are stored, bounded while they cannot be."""

import queue

import pytest

from edge_agent.errors import UnavailableError
from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.rtcc.arrivals import RECEIVE_MAXIMUM, Arrivals


def test_connections_that_come_and_go_while_the_state_is_away_fill_no_memory():
    """Each brings the unacknowledged messages again: beyond two, a connection is given up, and later all come."""
    acked, stored, is_away = [], [], True

    def store(messages):
        if is_away:
            raise UnavailableError("away")
        stored.extend(each.payload for each in messages)

    arrivals, refused = Arrivals(store), 0
    for _ in range(8):
        for number in range(RECEIVE_MAXIMUM):
            payload = f"{number}".encode()
            message = Incoming(f"rtcc/1/gw/{'g' * 22}/res", payload, False, None, lambda: acked.append(1))
            try:
                arrivals.put(message)
            except queue.Full:
                refused += 1
        with pytest.raises(UnavailableError):
            arrivals.store(0)
    arrivals.wake()
    assert (refused, acked) == (5 * RECEIVE_MAXIMUM, [])
    is_away = False
    while arrivals.store(0):
        pass
    assert len(acked) == len(stored) == 3 * RECEIVE_MAXIMUM
