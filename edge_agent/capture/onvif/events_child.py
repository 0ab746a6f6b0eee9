"""Events of one camera by ONVIF PullPoint. A child process of the recorder, run by ``capture.event_listener``.

Settings come as one line of JSON on standard input, news go out as the listener wants them. Asks again for ever,
whatever the camera does.
"""

import contextlib
import json
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.capture.event_listener import begin_child, tell_trouble
from edge_agent.capture.onvif.device import Device, EventSubscription
from edge_agent.capture.onvif.http_session import DeviceError, OnvifTls
from edge_agent.capture.onvif.lease import Lease
from edge_agent.capture.onvif.notification import Notifications
from edge_agent.capture.reasons import REASONS
from edge_agent.capture.retry import Retry
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

LIFETIME = "PT2M"
"""A pull point that we could not give back is gone after so long; cameras have few."""

EMPTY_PULL_S, FULL_PULL_S = 1.0, 0.1
"""From one pull to the next, at the least: a camera that answers at once would otherwise be asked without pause. Short
after one that told something, because there may be more, and an event is not to wait."""
MAX_MEMORY_BYTES = 128 << 20
"""42 MB were measured; an answer of 1 MiB, which is as long as one may be, becomes a tree of many times that."""
PATIENCE_S = 180
"""At the most from one attempt or pull to the next. The longest pause and all questions of an attempt take two minutes,
if each takes its whole time-out; but that begins anew with every byte, so an answer may drip for ever."""
_LASTS_S = 10.0
"""A pull point that lasted for so long is followed by another at once when it ends."""


class PullPoint:
    """Listens to one camera until ``stop`` is set.

    Args:
        make_device: Returns the camera, not yet connected.
        topics: The text that a topic must contain, by trigger.
        fire: Takes the number of a trigger.
        stop: Ends it.
        tell: Takes why no events come, for people; an empty text once they can. Each time there is news.
        get_on: Called whenever it begins an attempt or a pull.
    """

    def __init__(
        self,
        make_device: Callable[[], Device],
        topics: Sequence[str],
        fire: Callable[[int], None],
        stop: threading.Event,
        tell: Callable[[str], None] = lambda _: None,
        get_on: Callable[[], object] = lambda: None,
    ) -> None:
        self._make_device, self._topics, self._fire, self._stop = make_device, tuple(topics), fire, stop
        self._tell, self._trouble, self._get_on = tell, "?", get_on
        self._open: tuple[Device, EventSubscription] | None = None
        self._notifications, self._has_listened = Notifications(), False

    def listen(self) -> None:
        """Subscribe and pull, again and again."""
        retry = Retry(random.SystemRandom())
        while not self._stop.is_set():
            self._get_on()
            reason = ""
            try:
                self._serve(retry)
            except DeviceError as error:
                reason = error.reason
                self._say(f"{REASONS.get(error.reason, error.reason)} ({error})")
            except Exception as error:
                self._say(f"unexpected {type(error).__name__}")
            self._stop.wait(retry.next_ns(reason, is_patient=True) / SECOND_NS)

    def _serve(self, retry: Retry) -> None:
        """Pull at one pull point after the other, without a pause, for as long as each of them lasts for a while.

        Raises:
            DeviceError: The last one did not.
        """
        device = self._make_device()
        device.connect()
        before: EventSubscription | None = None
        while not self._stop.is_set():
            self._get_on()
            began, point = time.monotonic(), device.subscribe(LIFETIME)
            self._open = device, point
            # Only now: between two pull points an event would be lost.
            if before is not None:
                self._empty(device, before)
            try:
                self._pull(device, point, retry)
                before = point
            except DeviceError:
                before = None
                self._give_back(device, point)
                if time.monotonic() - began < _LASTS_S:
                    raise
        if before is not None:
            self._give_back(device, before)

    def _empty(self, device: Device, point: EventSubscription) -> None:
        """Take what a pull point still holds, now that there is another, and give it back."""
        with contextlib.suppress(DeviceError):
            self._take(device.pull(point, 0)[0])
        self._give_back(device, point)

    def _give_back(self, device: Device, point: EventSubscription) -> None:
        if self._open is not None and self._open[1] is point:
            self._open = None
        with contextlib.suppress(DeviceError):
            device.unsubscribe(point)

    def _pull(self, device: Device, point: EventSubscription, retry: Retry) -> None:
        """Pull until ``stop`` is set or the pull point is about to end.

        Raises:
            DeviceError: It has ended.
        """
        if self._has_listened:
            self._notifications.end_first()
        lease = Lease(point.left_s, time.monotonic())
        while not self._stop.is_set():
            self._get_on()
            began = time.monotonic()
            found, left_s = device.pull(point, lease.wait_s)
            self._take(found)
            self._has_listened = True
            retry.reset()
            self._say("")
            lease.extend(left_s, time.monotonic())
            if lease.is_due(time.monotonic()):
                with contextlib.suppress(DeviceError):
                    lease.extend(device.renew(point, LIFETIME), time.monotonic())
            shortest = FULL_PULL_S if found else EMPTY_PULL_S
            self._stop.wait(max(0.0, began + shortest - time.monotonic()))
            # After the wait: a camera whose pull points always end soon would be asked for new ones without pause.
            if lease.is_ending(time.monotonic()):
                return

    def _take(self, found: Sequence[tuple[str, Any]]) -> None:
        begun = [topic.lower() for topic, message in found if self._notifications.begins(topic, message)]
        if not found:
            # All that was so when we asked has been told: what is told from now on has begun meanwhile.
            self._notifications.end_first()
        # Once for each trigger: of the number of messages in an answer the camera alone decides.
        for number, wanted in enumerate(self._topics):
            if any(wanted.lower() in topic for topic in begun):
                self._fire(number)

    def close(self) -> None:
        """Give the pull point back while another thread may still wait at it; nothing may be asked afterwards."""
        self._stop.set()
        if (opened := self._open) is not None:
            device, point = opened
            with contextlib.suppress(DeviceError):
                another = self._make_device()  # a session is one thread's
                another.clock_offset = device.clock_offset
                another.unsubscribe(point)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                log.warning("camera tells no events: %s", trouble)
            else:
                log.info("camera tells its events")
            self._tell(trouble)


def main() -> int:
    """Listen until standard input ends: the recorder is gone, or wants no more."""
    begin_child(MAX_MEMORY_BYTES)
    for library in ("onvif", "zeep", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # what they log may hold a login
    settings = json.loads(sys.stdin.readline())
    stop = threading.Event()

    def fire(number: int) -> None:
        print(number, flush=True)

    def make_device() -> Device:
        tls = OnvifTls(settings.get("ca_file", ""), settings.get("pin", ""))
        return Device(settings["address"], settings["username"], settings["password"], tls)

    def get_on() -> None:
        # Unless it is called again in time the kernel ends this process, which is told and started again.
        signal.alarm(settings.get("patience_s", PATIENCE_S))

    point = PullPoint(make_device, settings["topics"], fire, stop, tell_trouble, get_on)
    threading.Thread(target=point.listen, name="pull-point", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        sys.stdin.read()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        point.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
