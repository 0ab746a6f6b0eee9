"""The onvif trigger: a camera that is pulled through the child process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from edge_agent.capture.event_listener import EventListener
from edge_agent.capture.onvif.device import Device, EventSubscription
from edge_agent.capture.onvif.events_child import EMPTY_PULL_S, FULL_PULL_S, PATIENCE_S, PullPoint
from tests.capture.conftest import wait_until
from tests.capture.onvif.test_notification import MOTION, message
from tests.peers.onvif_camera import OnvifCamera, OnvifSettings

pytestmark = pytest.mark.peer


@contextmanager
def listening(
    camera: OnvifCamera,
    *topics: str,
    told: list[str] | None = None,
    password: str | None = None,
    patience_s: int = PATIENCE_S,
) -> Iterator[list[int]]:
    fired: list[int] = []
    lock = threading.Lock()

    def firing(number: int):  # type: ignore[no-untyped-def]
        def fire() -> None:
            with lock:
                fired.append(number)

        return fire

    settings = {
        "address": camera.address,
        "username": camera.settings.username,
        "password": camera.settings.password if password is None else password,
        "topics": topics,
        "patience_s": patience_s,
    }
    fires = [firing(number) for number, _ in enumerate(topics)]
    tell = (lambda _: None) if told is None else told.append
    listener = EventListener("edge_agent.capture.onvif.events_child", settings, fires, tell)
    listener.start()
    try:
        yield fired
    finally:
        listener.close()


@pytest.mark.parametrize("ahead_s", [0, -86400 * 400], ids=["right clock", "wrong clock"])
def test_camera_fires_the_trigger_that_fits(ahead_s: int) -> None:
    """An event reaches the recorder, with the number of its trigger; an end, and another topic, do not."""
    settings = OnvifSettings(clock_ahead_s=ahead_s)
    with OnvifCamera(settings) as camera, listening(camera, "Tamper", "Motion") as fired:
        wait_until(lambda: camera.pull_points)
        camera.tell("false")
        camera.tell("true", "tns1:Monitoring/Other")
        camera.tell("true")
        wait_until(lambda: fired == [1])
        camera.tell("true", "tns1:VideoSource/GlobalSceneChange/Tamper")
        wait_until(lambda: fired == [1, 0])


def test_lost_pull_point_is_made_anew() -> None:
    """A camera that forgets the subscription, as after a reboot, is asked again."""
    with OnvifCamera() as camera, listening(camera, "Motion") as fired:
        wait_until(lambda: camera.pull_points)
        before = set(camera.pull_points)
        camera.pull_points.clear()
        camera.tell("false")
        wait_until(lambda: bool(camera.pull_points - before))
        camera.tell("true")
        wait_until(lambda: fired == [0])


LEASES = {
    "it says so": OnvifSettings(grants_s=4, waits_s=5),
    "it says so and renews nothing": OnvifSettings(grants_s=4, renews=False),
    "it does not say so": OnvifSettings(grants_s=4, grants_truly=False, renews=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", LEASES.values(), ids=LEASES.keys())
def test_pull_point_that_ends_early_loses_no_event(settings: OnvifSettings) -> None:
    """Whatever a camera grants, motion that begins at any moment fires, also while there is no pull point."""
    with OnvifCamera(settings) as camera, listening(camera, "Motion") as fired:
        wait_until(lambda: ("PullMessages", "digest") in camera.asked)
        for number in range(9):
            before, since = len(fired), time.monotonic()
            camera.tell("true")
            wait_until(lambda before=before: len(fired) > before, 15)  # type: ignore[misc]
            assert number == 0 or time.monotonic() - since < 12
            camera.tell("false")
            until = time.monotonic() + 1.7
            wait_until(lambda until=until: time.monotonic() > until)  # type: ignore[misc]


REFERENCES = {
    "empty": "",
    "blank": " ",
    "anonymous": "http://www.w3.org/2005/08/addressing/anonymous",
    "a port twice": "http://127.0.0.1:{port}:{port}/onvif/pull/{number}",
    "a path alone": "/onvif/pull/{number}",
}


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES.keys())
def test_address_that_cameras_get_wrong_is_understood(reference: str) -> None:
    """A pull point without an address is asked for at the service that made it; a port that stands twice is one."""
    with OnvifCamera() as camera:
        camera.settings.reference = reference.replace("{port}", str(camera.port))
        with listening(camera, "Motion") as fired:
            wait_until(lambda: ("PullMessages", "digest") in camera.asked)
            camera.tell("true", more='<tt:SimpleItem Name="ObjectId" Value="0"/>')
            wait_until(lambda: fired == [0])


def test_trouble_is_told_and_its_end() -> None:
    """Why no events come is told in words without the password; once they do, that as well."""
    told: list[str] = []
    with OnvifCamera() as camera:
        right, camera.settings.password = camera.settings.password, "another"
        with listening(camera, "Motion", told=told, password=right):
            wait_until(lambda: bool(told))
            assert "refuses the user name or password" in told[0]
            camera.settings.password = right
            wait_until(lambda: told[-1] == "", 40)  # a refused login is not tried again at once
            camera.pull_points.clear()
            camera.tell("false")
            wait_until(lambda: bool(told[-1]))
            assert "ONVIF" in told[-1]
            wait_until(lambda: told[-1] == "")
    assert not any(right in words for words in told)


def test_pull_point_is_given_back() -> None:
    """When the recorder ends, the camera is told so: it has few pull points."""
    with OnvifCamera() as camera:
        with listening(camera, "Motion"):
            wait_until(lambda: ("PullMessages", "digest") in camera.asked)
        wait_until(lambda: not camera.pull_points)


HASTY = {
    "with nothing": (OnvifSettings(waits_s=0), EMPTY_PULL_S),
    "with something each time": (OnvifSettings(waits_s=0, chatters=True), FULL_PULL_S),
}


@pytest.mark.parametrize(("settings", "shortest_s"), HASTY.values(), ids=HASTY.keys())
def test_camera_that_answers_at_once_is_not_asked_without_pause(settings: OnvifSettings, shortest_s: float) -> None:
    """However fast a camera answers a pull, the next one comes a while after it began."""

    def count() -> int:
        return camera.asked.count(("PullMessages", "digest"))

    with OnvifCamera(settings) as camera, listening(camera, "Motion"):
        wait_until(lambda: count() >= 1)
        before, since = count(), time.monotonic()
        wait_until(lambda: count() >= before + 4)
        took = time.monotonic() - since
    # The first of the four may have been due already.
    assert took >= 3 * shortest_s


def test_answer_that_drips_for_ever_is_given_up() -> None:
    """A camera that answers byte by byte, each in time, does not keep the listening from being started anew."""
    told: list[str] = []
    with OnvifCamera(OnvifSettings(drips=True)) as camera, listening(camera, "Motion", told=told, patience_s=3):
        wait_until(lambda: len(camera.pull_points) > 1)
    assert "the listening process ended; it is started again" in told


class Asked:
    """A camera whose answers to pulls are these, and then nothing, until it has been pulled so often."""

    def __init__(self, answers: list[list[tuple[str, Any]]], stop: threading.Event, left_s: float = 3600.0) -> None:
        self._answers, self._stop, self._left_s = answers, stop, left_s
        self.pull_points = 0

    def connect(self) -> None:
        """It is there."""

    def subscribe(self, _lifetime: str) -> EventSubscription:
        self.pull_points += 1
        return EventSubscription("http://127.0.0.1/", [], 3600.0)

    def unsubscribe(self, _point: EventSubscription) -> None:
        """It has enough of them."""

    def renew(self, *_: object) -> float:
        return self._left_s

    def pull(self, _point: EventSubscription, _wait_s: float) -> tuple[list[tuple[str, Any]], float]:
        if not self._answers:
            self._stop.set()
            return [], self._left_s
        return self._answers.pop(0), self._left_s


def pull_from(answers: list[list[tuple[str, Any]]], left_s: float = 3600.0) -> tuple[list[int], int]:
    """Return which triggers fired, and how many pull points were made."""
    stop, fired = threading.Event(), list[int]()
    camera = Asked(answers, stop, left_s)
    PullPoint(lambda: cast(Device, camera), ["Motion", "Tamper"], fired.append, stop).listen()
    return fired, camera.pull_points


def test_property_that_is_made_later_is_an_event() -> None:
    """A detector makes a property for each person: its first word comes long after the first question, and is news."""
    told_first = [(MOTION, message("Initialized", IsMotion="true"))]
    person = [("tns1:RuleEngine/FieldDetector/Motion", message("Initialized", IsInside="true"))]
    assert pull_from([told_first, person])[0] == []
    assert pull_from([told_first, [], person])[0] == [0]


def test_camera_does_not_choose_how_often_a_trigger_fires() -> None:
    """An answer with thousands of messages is one event for each trigger that it fits."""
    flood = [(MOTION, message("Changed", IsMotion="true"))] * 5000 + [("tns1:Tamper", message("Changed", State="1"))]
    assert pull_from([flood])[0] == [0, 1]


def test_pull_points_that_always_end_soon_are_not_made_without_pause() -> None:
    """It grants an hour and says with each answer that ten seconds are left."""
    began = time.monotonic()
    _, pull_points = pull_from([[]] * 3, left_s=10.0)
    assert pull_points <= 1 + (time.monotonic() - began) / EMPTY_PULL_S
