"""Messages to the owner on their way, through any service that Apprise knows; their words are in ``notice_words``.

Owns the queue of those that wait.
Apprise runs in a child process, one per message: its 45 MB are gone afterwards, a hanging service is ended with it, and
the services' URLs, which are secrets, are in no argument, no file and no log.
"""

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.consent.policy import Occasion
from edge_agent.custody.credentials import load_services
from edge_agent.settings.gateway import Config
from edge_agent.uplink.owner.notice_words import Notice

CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.uplink.owner.notifier_child")
TIMEOUT_S = 60.0
MAX_WAITING = 64
PAUSES_S = (5.0, 60.0)
"""Before the second and the third attempt, for the services that failed."""
MAX_TITLE, MAX_BODY = 120, 2000
_ROOT = Path(__file__).resolve().parents[3]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NoticeCounts:
    """What became of the messages so far."""

    told: int
    failed: int
    dropped: int


class Messenger:
    """Sends notices from a thread of its own, in order; the caller never waits.

    Args:
        services: Name → URL of each Apprise service; without any, nothing is sent.
        wanted: The occasions that the owner's policy wants told.
        stop: Ends the thread, and any pause.
        child: The program that sends one message.
        timeout_s: For one message to all services.
        pauses_s: Before each further attempt.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        wanted: frozenset[Occasion],
        stop: threading.Event,
        *,
        child: Sequence[str] = CHILD,
        timeout_s: float = TIMEOUT_S,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._services = dict(services)
        self._wanted = wanted
        self._stop = stop
        self._child = tuple(child)
        self._timeout_s = timeout_s
        self._pauses_s = tuple(pauses_s)
        self._waiting: queue.Queue[Notice] = queue.Queue(MAX_WAITING)
        self._told = self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="messenger", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the thread after ``stop``; what still waits is not sent."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def tell(self, notice: Notice) -> bool:
        """Queue a notice; False where it is not wanted, nobody is to be told, or too many wait. Any thread."""
        if not self._services or (notice.occasion is not None and notice.occasion not in self._wanted):
            return False
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._dropped += 1
            log.warning("owner is not told, too many messages wait: occasion=%s", notice.kind)
            return False
        return True

    def counts(self) -> NoticeCounts:
        """Return what became of the messages so far, per service."""
        return NoticeCounts(self._told, self._failed, self._dropped)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                notice = self._waiting.get(timeout=0.25)
            except queue.Empty:
                continue
            try:
                self._send(notice)
            except Exception:
                log.exception("message to the owner failed: occasion=%s", notice.kind)

    def _send(self, notice: Notice) -> None:
        left = dict(self._services)
        for pause_s in (0.0, *self._pauses_s):
            if self._stop.wait(pause_s):
                break
            done = self._attempt(notice, left)
            self._told += len(done)
            left = {name: url for name, url in left.items() if name not in done}
            if not left:
                return
        self._failed += len(left)
        log.warning("owner is not told: occasion=%s services=%s", notice.kind, ",".join(sorted(left)))

    def _attempt(self, notice: Notice, services: Mapping[str, str]) -> set[str]:
        """Send to these services in a child process, and return the names of those that took it."""
        job = {"services": services, "title": notice.title[:MAX_TITLE], "body": notice.body[:MAX_BODY]}
        child = subprocess.Popen(
            self._child,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Apprise's log shows URLs
            cwd=_ROOT,
            env={"HOME": "/nonexistent"},
        )
        try:
            output, _ = child.communicate(json.dumps(job).encode(), timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("service hangs: seconds=%d", self._timeout_s)
            output = b""
        finally:
            child.kill()
            output = output or child.communicate()[0]
        # The child writes a line per service when it is done with it, so that a hanging one hides no other.
        return {line for line in output.decode("ascii", "replace").splitlines() if line in services}


def make_messenger(config: Config, stop: threading.Event) -> Messenger:
    """Return the messenger to the services that the configuration names; a name that is not in the file is logged."""
    known = load_services(config.notify.file)
    missing = [name for name in config.notify.services if name not in known]
    if missing:
        log.error("services are not in notify.yaml and are left out: %s", ", ".join(missing))
    services = {name: known[name] for name in config.notify.services if name in known}
    return Messenger(services, frozenset(Occasion), stop)
