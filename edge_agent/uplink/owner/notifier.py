"""Messages to the owner on their way, through any service that Apprise knows; their words are in ``notice_words``.

Apprise runs in a child process, one per message and service: its 45 MB are gone afterwards, a hanging service is ended
with it, and the services' URLs, which are secrets, are in no argument, no file and no log.
"""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.custody.credentials import load_services
from edge_agent.settings.gateway import Config
from edge_agent.uplink.owner.notice_words import Notice
from edge_agent.uplink.owner.notifications import ToTell
from edge_agent.uplink.store.notices import NoticeTable

CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.uplink.owner.notifier_child")
TIMEOUT_S = 60.0
NOW_TIMEOUT_S = 30.0
"""For a message for which somebody waits."""
PAUSES_S = (5.0, 60.0, 300.0)
"""After the first, second and every later failure in a row."""
POLL_S = 60.0
"""Refusals that were held back are looked for so often."""
MAX_TITLE, MAX_BODY = 120, 2000
"""Letters: some services cut longer ones, and some refuse them."""
_ROOT = Path(__file__).resolve().parents[3]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NoticeCounts:
    """The outcomes of the attempts so far."""

    told: int
    failed: int


class NoticeSource(Protocol):
    """Makes a service's next message; ``News``."""

    def find_next(self, service: str) -> ToTell | None:
        """Return the next message, or None."""

    def mark_told(self, service: str, told: ToTell) -> None:
        """Note that the service took it."""


class Messenger:
    """Tells each service from a thread of its own: one that hangs or fails holds up no other.

    Args:
        services: Name → URL of each Apprise service; without any, nothing is sent.
        source: Makes the next message.
        noticed: By service: set if there may be something new.
        stop: Ends the threads, and any pause.
        child: The program that sends one message.
        timeout_s: For one message to one service.
        pauses_s: After each failure in a row; the last one counts for all that follow.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        source: NoticeSource,
        noticed: Mapping[str, threading.Event],
        stop: threading.Event,
        *,
        child: Sequence[str] = CHILD,
        timeout_s: float = TIMEOUT_S,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._services = dict(services)
        self._source = source
        self._noticed = noticed
        self._stop = stop
        self._child = tuple(child)
        self._timeout_s = timeout_s
        self._pauses_s = tuple(pauses_s)
        self._counting = threading.Lock()
        self._told = self._failed = 0
        self._threads = [
            threading.Thread(target=self._run, args=each, name="messenger", daemon=True) for each in services.items()
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the threads after ``stop``; a message that still waits is sent after the next start."""
        for waits in self._noticed.values():
            waits.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_s)

    def tell_now(self, notice: Notice) -> list[str]:
        """Send to every service at once, and keep nothing of it; return the names of those that took it in time."""
        if not self._services:
            return []
        with ThreadPoolExecutor(len(self._services), thread_name_prefix="messenger-now") as pool:
            sent = {
                name: pool.submit(self._attempt, notice, name, url, NOW_TIMEOUT_S)
                for name, url in self._services.items()
            }
            return [name for name, attempt in sent.items() if attempt.result()]

    def counts(self) -> NoticeCounts:
        """Return how many messages were taken, and how many attempts failed, of all services."""
        return NoticeCounts(self._told, self._failed)

    def _run(self, name: str, url: str) -> None:
        failures = 0
        while not self._stop.is_set():
            # Before the look, not after: a row that is added meanwhile sets it again.
            self._noticed[name].clear()
            try:
                has_told = self._turn(name, url)
            except Exception:
                log.exception("message to the owner failed: service=%s", name)
                has_told = False
            if has_told is None:
                self._noticed[name].wait(POLL_S)
            elif has_told:
                failures = 0
            else:
                self._stop.wait(self._pauses_s[min(failures, len(self._pauses_s) - 1)])
                failures += 1

    def _turn(self, name: str, url: str) -> bool | None:
        """Tell a service the next thing; None if there is nothing, False if it did not take it."""
        next_one = self._source.find_next(name)
        if next_one is None:
            return None
        is_taken = self._attempt(next_one.notice, name, url)
        with self._counting:
            self._told += is_taken
            self._failed += not is_taken
        if is_taken:
            # After the child's answer: a crash between the two tells the owner twice, and never not
            # at all.
            self._source.mark_told(name, next_one)
        else:
            log.warning("owner is not told yet: occasion=%s service=%s", next_one.notice.kind, name)
        return is_taken

    def _attempt(self, notice: Notice, name: str, url: str, timeout_s: float | None = None) -> bool:
        """Send to one service in a child process; true if it took the message."""
        job = {"services": {name: url}, "title": notice.title[:MAX_TITLE], "body": notice.body[:MAX_BODY]}
        child = subprocess.Popen(
            self._child,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Apprise's log shows URLs
            cwd=_ROOT,
            env={"HOME": "/nonexistent"},
        )
        try:
            output, _ = child.communicate(json.dumps(job).encode(), timeout=timeout_s or self._timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("service hangs: service=%s seconds=%d", name, timeout_s or self._timeout_s)
            output = b""
        finally:
            # After an error of our own as well: no child that knows a secret URL stays behind.
            child.kill()
            output = output or child.communicate()[0]
        return name in output.decode("ascii", "replace").splitlines()


def make_messenger(config: Config, notices: NoticeTable, source: NoticeSource, stop: threading.Event) -> Messenger:
    """Make the messenger of the services that the configuration names and ``notify.yaml`` knows; logs the others."""
    known = load_services(config.credentials_file.with_name("notify.yaml"))
    missing = [name for name in config.notify.services if name not in known]
    if missing:
        log.error("services are not in notify.yaml and are left out: %s", ", ".join(missing))
    services = {name: known[name] for name in config.notify.services if name in known}
    notices.set_services(services, missing)
    return Messenger(services, source, notices.noticed, stop)
