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
ARRIVAL, RELEASE = (37, 72), (43, 105)
"""Modules, and arrows between them, from a message's arrival to its commit, and from a grant to its key. The goals of
the layout are 15/22 and 19/38; both flows read the whole house again for each decision, which is most of it."""


@dataclass
class Walk:
    """What was called: modules in the order of their first call, and which one called which."""

    modules: list[str] = field(default_factory=list)
    arrows: set[tuple[str, str]] = field(default_factory=set)

    def enter(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call; what the ground does is no step on the way."""
        module = frame.f_globals.get("__name__", "")
        if event != "call" or not module.startswith(OURS) or module in GROUND:
            return
        if module not in self.modules:
            self.modules.append(module)
        caller = frame.f_back
        while caller is not None and not caller.f_globals.get("__name__", "").startswith(OURS):
            caller = caller.f_back
        if caller is not None and caller.f_globals["__name__"] != module:
            self.arrows.add((caller.f_globals["__name__"], module))

    @property
    def size(self) -> tuple[int, int]:
        """Modules and arrows."""
        return len(self.modules), len(self.arrows)

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
    assert max(walk.size[0] - ARRIVAL[0], walk.size[1] - ARRIVAL[1]) <= 0, str(walk)


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
    assert max(walk.size[0] - RELEASE[0], walk.size[1] - RELEASE[1]) <= 0, str(walk)
