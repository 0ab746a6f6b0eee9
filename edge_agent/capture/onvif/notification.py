"""The meaning of an ONVIF notification: that something begins, that it is over, or how it was when we asked. Pure.

Owns which of a notification's items tell a state (ONVIF Core Specification, 9.4 and 9.5). ``ObjectId="0"`` names an
object and does not say that its motion is over.
"""

import re
from collections.abc import Iterator
from typing import Any

_FALSE = {"false", "0", "off", "no", "inactive"}
_TRUE = {"true", "1", "on", "yes", "active"}
_STATES = re.compile(r"is[A-Z_].*|.*state|value|active|alarm|motion", re.IGNORECASE)
_NO_STATES = re.compile(
    r".*(?:id|token|index|count|number|level|score|type|class|channel|probability|size|[XY])", re.IGNORECASE
)
"""Names of items that identify or measure something; their 0 and 1 are numbers."""
_MOST_STATES = 1000


class Notifications:
    """Tells which notifications are events that begin. Remembers the states of one camera.

    The state that a camera tells at the first question is old news and no event. When it has told all of them, or is
    asked anew because a pull point ended, a state that was never told and is so has begun in between, and is one.
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], bool] = {}
        self._is_first = True

    def end_first(self) -> None:
        """Take in that the first answer is whole: a state that is told from now on was not seen to begin."""
        self._is_first = False

    def begins(self, topic: str, message: Any) -> bool:
        """Tell whether a notification says that something begins. Call once for each, in order.

        Args:
            topic: Of the notification.
            message: Its ``tt:Message``, as an XML element.
        """
        key, states = (topic, _source(message)), list(read_states(message))
        operation = message.get("PropertyOperation")
        is_on = operation != "Deleted" and (any(states) or not states)
        # A state that was never told: at the first question it is old news, later it may have begun meanwhile.
        was_on = self._states.get(key, self._is_first)
        if states or operation == "Deleted":
            self._remember(key, is_on)
        # How it is as the pull point begins: nothing has happened.
        if operation == "Initialized":
            return bool(states) and is_on and not was_on
        return is_on

    def _remember(self, key: tuple[str, str], is_on: bool) -> None:
        # A camera that invents sources fills no memory.
        if key in self._states or len(self._states) < _MOST_STATES:
            self._states[key] = is_on


def read_states(message: Any) -> Iterator[bool]:
    """Yield what the data of a notification say that is so or is not; of the items named like a state, if there are."""
    items = [
        (str(item.get("Name", "")), str(item.get("Value", "")).strip().lower())
        for part in message.iter()
        if str(part.tag).endswith("}Data")
        for item in part
        if item.get("Value") is not None
    ]
    told = [(name, value) for name, value in items if value in _FALSE | _TRUE and not _is_number(name, value)]
    named = [(name, value) for name, value in told if _STATES.fullmatch(name)]
    yield from (value in _TRUE for _, value in named or told)


def _is_number(name: str, value: str) -> bool:
    return value in ("0", "1") and not _STATES.fullmatch(name) and _NO_STATES.fullmatch(name) is not None


def _source(message: Any) -> str:
    parts = [part for part in message.iter() if str(part.tag).endswith(("}Source", "}Key"))]
    # Cut: a thousand keys are remembered, and a camera chooses how long its names are.
    return ";".join(f"{item.get('Name', '')}={item.get('Value', '')}" for part in parts for item in part)[:200]
