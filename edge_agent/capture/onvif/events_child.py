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

from edge_agent.capture.backoff import Backoff
from edge_agent.capture.event_listener import begin_child, tell_trouble
from edge_agent.capture.onvif.device import Device
from edge_agent.capture.onvif.http_session import DeviceError, OnvifTls
from edge_agent.capture.reasons import REASONS
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

LIFETIME = "PT2M"
"""A pull point that we could not give back is gone after so long; cameras have few."""
WAIT_S = 5
EMPTY_PULL_S, FULL_PULL_S = 1.0, 0.1
"""From one pull to the next, at the least: a camera that answers at once would otherwise be asked without pause. Short
after one that told something, because there may be more, and an event is not to wait."""
MAX_MEMORY_BYTES = 128 << 20
"""42 MB were measured; an answer of 1 MiB, which is as long as one may be, becomes a tree of many times that."""
PATIENCE_S = 180
"""At the most from one attempt or pull to the next. The longest pause and all questions of an attempt take two minutes,
where each takes its whole time-out; but that begins anew with every byte, so an answer may drip for ever."""
_RENEW_EVERY = 6
_FALSE = {"false", "0", "off", "no", "inactive"}


def is_event(topic: str, message: Any, wanted: str) -> bool:
    """Tell whether a notification is an event that begins: its topic fits, and nothing in it says that it is over.

    What a camera tells of its state when it is asked for the first time is old news and no event.
    """
    if wanted.lower() not in topic.lower() or message.get("PropertyOperation") in ("Initialized", "Deleted"):
        return False
    data = [element for element in message.iter() if str(element.tag).endswith("}Data")]
    values = [str(item.get("Value", "")).lower() for part in data for item in part if item.get("Value") is not None]
    return not any(value in _FALSE for value in values)


class PullPoint:
    """Listens to one camera until ``stop`` is set.

    Args:
        make_device: Returns the camera, not yet connected.
        topics: What a topic must contain, by trigger.
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
        self._open: tuple[Device, str, list[Any]] | None = None

    def listen(self) -> None:
        """Subscribe and pull, again and again."""
        backoff = Backoff(random.SystemRandom())
        while not self._stop.is_set():
            self._get_on()
            try:
                self._subscribe(backoff)
            except DeviceError as error:
                self._say(f"{REASONS.get(error.reason, error.reason)} ({error})")
            except Exception as error:
                self._say(f"unexpected {type(error).__name__}")
            self._stop.wait(backoff.next_ns() / SECOND_NS)

    def _subscribe(self, backoff: Backoff) -> None:
        device = self._make_device()
        device.connect()
        url, headers = device.subscribe(LIFETIME)
        self._open = device, url, headers
        try:
            self._pull(device, url, headers, backoff)
        finally:
            self._open = None
            with contextlib.suppress(DeviceError):
                device.unsubscribe(url, headers)

    def close(self) -> None:
        """Give the pull point back while another thread may still wait at it; nothing may be asked afterwards."""
        self._stop.set()
        if self._open is not None:
            device, url, headers = self._open
            with contextlib.suppress(DeviceError):
                another = self._make_device()  # a session is one thread's
                another.clock_offset = device.clock_offset
                another.unsubscribe(url, headers)

    def _pull(self, device: Device, url: str, headers: list[Any], backoff: Backoff) -> None:
        pulls = 0
        while not self._stop.is_set():
            self._get_on()
            began = time.monotonic()
            found = device.pull(url, headers, WAIT_S)
            for topic, message in found:
                for number, wanted in enumerate(self._topics):
                    if is_event(topic, message, wanted):
                        self._fire(number)
            backoff.reset()
            self._say("")
            pulls += 1
            if pulls % _RENEW_EVERY == 0:
                # Most cameras renew whenever they are pulled; one that does neither ends it, and we subscribe anew.
                with contextlib.suppress(DeviceError):
                    device.renew(url, headers, LIFETIME)
            shortest = FULL_PULL_S if found else EMPTY_PULL_S
            self._stop.wait(max(0.0, began + shortest - time.monotonic()))

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
