"""How far the two middle flows of the releaser lead through the code: modules, and steps from one to another.

Whoever follows a request has to open these modules. The figures are ceilings: they may fall, and not rise.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from edge_agent.units import SECOND_NS
from tests.support.releaser import Delivery, House

OURS = "edge_agent."
GROUND = ("edge_agent.units", "edge_agent.base64url", "edge_agent.errors", "edge_agent.printable_text")
OWN = "edge_agent.uplink."
ARRIVAL, RELEASE = (37, 61), (40, 85)
"""Modules, and arrows between them, from a message's arrival to its commit, and from a grant to its key. The last
arrow is the bound's own question before a bundle is entered: a camera that left while another was built is not."""
OWN_ARRIVAL, OWN_RELEASE = (15, 22), (19, 44)
"""The same among the releaser's own modules. The layout's goals were 15/22 and 19/38: an arrival meets them here, and a
key has 44 arrows, nine of which are transactions: each step of a release is one. The whole cannot: the others are the
pure libraries of documents, consent and ledger, each with one subject that is read alone, and a house of 15 modules
in all would be one of files with a thousand lines."""


@dataclass
class Walk:
    """What was called: modules in the order of their first call, and which one called which."""

    modules: list[str] = field(default_factory=list)
    arrows: set[tuple[str, str]] = field(default_factory=set)

    def enter(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call; what the ground does is no step on the way, nor is a method that a dataclass generated."""
        module = frame.f_globals.get("__name__", "")
        is_written = frame.f_code.co_filename != "<string>"
        if event != "call" or not module.startswith(OURS) or module in GROUND or not is_written:
            return
        if module not in self.modules:
            self.modules.append(module)
        caller = frame.f_back
        while caller is not None and not caller.f_globals.get("__name__", "").startswith((OURS, "tests.")):
            caller = caller.f_back
        name = "" if caller is None else caller.f_globals["__name__"]
        if name.startswith(OURS) and name != module:  # what a test double calls is no arrow of the house
            self.arrows.add((name, module))

    def size(self, within: str = OURS) -> tuple[int, int]:
        """Modules and arrows, of all that lies within a package."""
        modules = [each for each in self.modules if each.startswith(within)]
        return len(modules), sum(each.startswith(within) and other.startswith(within) for each, other in self.arrows)

    def demand(self, whole: tuple[int, int], own: tuple[int, int]) -> None:
        """Hold both figures to their ceilings."""
        for within, ceiling in ((OURS, whole), (OWN, own)):
            size = self.size(within)
            assert size[0] <= ceiling[0], f"{within} {self}"
            assert size[1] <= ceiling[1], f"{within} {self}"

    def __str__(self) -> str:
        return f"{len(self.modules)} modules, {len(self.arrows)} arrows: {' '.join(self.modules)}"


@contextmanager
def walking() -> Iterator[Walk]:
    """Follow every call of this thread."""
    walk, before = Walk(), sys.getprofile()
    sys.setprofile(walk.enter)
    try:
        yield walk
    finally:
        sys.setprofile(before)


def until(done: Callable[[], bool], turn: Callable[[], None], most: int = 4) -> None:
    """Take turns until something has happened."""
    for _ in range(most):
        if done():
            return
        turn()
    assert done()


def test_from_arrival_to_commit(tmp_path: Path) -> None:
    """A request that is granted goes through no more modules than it did, from the broker's message to its commit."""
    house = House(tmp_path)
    message = Delivery(house.sign())
    with walking() as walk:
        house.intake.handle(message)
    assert message.acks == 1
    walk.demand(ARRIVAL, OWN_ARRIVAL)


def test_from_grant_to_key(tmp_path: Path) -> None:
    """A grant goes through no more modules than it did, from the end of its cooling-off to the key at the broker."""
    house = House(tmp_path)
    house.ask()
    house.clock.advance(max(0, house.newest().due - house.clock.utc()) + SECOND_NS)

    def turn() -> None:
        house.worker.turn()
        house.sender.turn()

    with walking() as walk:
        until(lambda: house.keys_out() == 1, turn)
    walk.demand(RELEASE, OWN_RELEASE)
