"""Which notifications are events that begin."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.onvif.notification import Notifications

MOTION = "tns1:RuleEngine/CellMotionDetector/Motion"
_SCHEMA = "http://www.onvif.org/ver10/schema"


def message(operation: str, **values: str) -> ElementTree.Element:
    items = "".join(f'<SimpleItem Name="{name}" Value="{value}"/>' for name, value in values.items())
    return ElementTree.fromstring(
        f'<Message xmlns="{_SCHEMA}" PropertyOperation="{operation}">'
        f'<Source><SimpleItem Name="Token" Value="0"/></Source><Data>{items}</Data></Message>'
    )


EVENTS = {
    "motion begins": (message("Changed", IsMotion="true"), True),
    "in numbers": (message("Changed", State="1"), True),
    "under a name of its own": (message("Changed", Alarmed="1"), True),
    "without a state": (message("", Motion="4711"), True),
    "without data": (message("Changed"), True),
    "of object 0": (message("Changed", IsMotion="true", ObjectId="0"), True),
    "of object 0, and no state": (message("Changed", ObjectId="0"), True),
    "of class 0 at level 0": (message("Changed", ObjectId="1", Class="0", Level="0", Count="1"), True),
    "of a rule that is not armed": (message("Changed", IsMotion="true", Armed="false"), True),
    "an object is inside": (message("Changed", ObjectId="0", IsInside="true"), True),
    "motion is over": (message("Changed", IsMotion="false"), False),
    "over, in numbers": (message("Changed", State="0"), False),
    "over, under a name of its own": (message("Changed", Alarmed="0"), False),
    "over, of object 1": (message("Changed", IsMotion="false", ObjectId="1"), False),
    "over, of an armed rule": (message("Changed", IsMotion="false", Armed="true"), False),
    "what was before we asked": (message("Initialized", IsMotion="true"), False),
    "a rule that is gone": (message("Deleted", IsMotion="true"), False),
}


@pytest.mark.parametrize(("told", "begins"), EVENTS.values(), ids=EVENTS.keys())
def test_only_what_begins_is_an_event(told: ElementTree.Element, begins: bool) -> None:
    """An item that tells a state says whether it begins; one that names or measures something does not."""
    assert Notifications().begins(MOTION, told) == begins


BETWEEN = {
    "began in between": ("false", "true", True),
    "was so before": ("true", "true", False),
    "ended in between": ("true", "false", False),
    "never told before": (None, "true", True),
}


@pytest.mark.parametrize(("before", "now", "begins"), BETWEEN.values(), ids=BETWEEN.keys())
def test_state_that_changed_between_two_pull_points_is_an_event(before: str | None, now: str, begins: bool) -> None:
    """What has become true since the last pull point was not seen to begin, and did."""
    notifications = Notifications()
    if before is not None:
        notifications.begins(MOTION, message("Initialized", IsMotion=before))
    notifications.end_first()
    assert notifications.begins(MOTION, message("Initialized", IsMotion=now)) == begins


@given(
    st.lists(
        st.tuples(
            st.text(max_size=8),
            st.sampled_from(["Initialized", "Changed", "Deleted", "", "x"]),
            st.dictionaries(st.sampled_from(["IsMotion", "ObjectId", "State", "x"]), st.sampled_from(["0", "1", "x"])),
        ),
        max_size=30,
    )
)
def test_nothing_that_a_camera_tells_breaks_it(told: list[tuple[str, str, dict[str, str]]]) -> None:
    """Any sequence of notifications gets an answer, and a deleted property never begins."""
    notifications = Notifications()
    for topic, operation, values in told:
        begins = notifications.begins(topic, message(operation, **values))
        assert not (begins and operation == "Deleted")
