"""Tickets for the desk: of one device, for an hour, ended with it, and never more than the memory that is meant."""

import pytest

from edge_agent.errors import UsageError
from edge_agent.uplink.owner.desk_tickets import LIFE_S, MAX_OF_ONE, MAX_TICKETS, DeskTickets
from tests.support.releaser import PEER


class Desk:
    """Tickets, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.tickets = DeskTickets(lambda: self.now_s)

    def make(self, device: str) -> str:
        return str(self.tickets.page_handlers["desk-ticket"]({"device": device}, PEER)["ticket"])

    def end(self, device: str) -> None:
        self.tickets.page_handlers["end-tickets"]({"device": device}, PEER)

    def is_good(self, ticket: str) -> bool:
        return bool(self.tickets.desk_handlers["ticket"]({"ticket": ticket}, PEER)["is_good"])


def test_ticket_is_good_for_an_hour_and_ends_with_its_device() -> None:
    """A device that is taken off begins nothing; another one's tickets stay."""
    desk = Desk()
    lost, mine = desk.make("lost"), desk.make("mine")
    assert (desk.is_good(lost), desk.is_good(mine), desk.is_good("")) == (True, True, False)
    desk.end("lost")
    assert (desk.is_good(lost), desk.is_good(mine)) == (False, True)
    with pytest.raises(UsageError, match="taken off"):  # by a page that had looked at the device before
        desk.make("lost")
    desk.now_s = LIFE_S
    assert not desk.is_good(mine)


def test_a_device_that_fetches_without_end_ends_its_own_tickets() -> None:
    """The oldest of its own go; of very many devices the oldest of all."""
    desk = Desk()
    other, first = desk.make("other"), desk.make("phone")
    made = [desk.make("phone") for _ in range(MAX_OF_ONE)]
    assert (desk.is_good(other), desk.is_good(first), all(map(desk.is_good, made))) == (True, False, True)
    for number in range(MAX_TICKETS):
        desk.make(f"device {number}")
    assert not desk.is_good(other)
    assert len(desk.tickets._tickets) == MAX_TICKETS


@pytest.mark.parametrize("device", ["", "A" * 61])
def test_ticket_names_its_device(device: str) -> None:
    """One that no device holds could never be ended."""
    with pytest.raises(UsageError):
        Desk().make(device)
