"""The resident's page has a control socket of its own in each process: a short list, in a folder for the page's user.

Owns only that a process runs on if this socket cannot be had. The folder is root's to make: it is set-group-id, so the
socket gets the page's group, and the page needs no group that would open the other sockets to it.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.host.control_socket import ControlServer, Handler, Reply

log = logging.getLogger(__name__)

_REFUSAL = (
    "too many actions from the page at once",
    "wait a few seconds; at the gateway `edge-agent pause` works at once",
)


def open_page_socket(path: Path, handlers: Mapping[str, Handler], stop: threading.Event) -> ControlServer | None:
    """Serve the page's commands until ``stop``; None, logged, if the socket cannot be made.

    Its threads are its own: a page that asks without end keeps nobody at the owner's socket waiting.
    """
    server = ControlServer(path, handlers, stop)
    try:
        server.start()
    except ConfigError as error:
        log.warning("the resident's page cannot reach this process: %s", error)
        return None
    return server


def select_handlers(handlers: Mapping[str, Handler], names: tuple[str, ...]) -> dict[str, Handler]:
    """Return the handlers of these names and no other; KeyError if one is missing."""
    return {name: handlers[name] for name in names}


class PushLimit:
    """How often the page may act: a burst, then one more every few seconds.

    Every act is a ledger entry, and the ledger only grows: a page in wrong hands must not fill the disk with it.

    Args:
        burst: Acts that may come at once.
        every_s: Seconds until one more is allowed.
        now_s: A clock that no one sets.
        refusal: The answer if too many came, with its hint.
    """

    def __init__(
        self, burst: int, every_s: float, now_s: Callable[[], float], refusal: tuple[str, str] = _REFUSAL
    ) -> None:
        self._burst, self._every_s, self._now_s, self._refusal = burst, every_s, now_s, refusal
        self._left, self._at_s = float(burst), now_s()
        self._lock = threading.Lock()

    def demand(self) -> None:
        """Count one act.

        Raises:
            EdgeAgentError: Too many came at once.
        """
        with self._lock:
            now_s = self._now_s()
            self._left = min(float(self._burst), self._left + (now_s - self._at_s) / self._every_s)
            self._at_s = now_s
            if self._left < 1:
                raise EdgeAgentError(*self._refusal)
            self._left -= 1


class KeptAnswers:
    """Answers that the page gets again for a while, however often it asks: only the first one costs anything.

    Args:
        for_s: Seconds for which one is kept.
        now_s: A clock that no one sets.
    """

    def __init__(self, for_s: float, now_s: Callable[[], float]) -> None:
        self._for_s, self._now_s = for_s, now_s
        self._kept: dict[str, tuple[int, float, Reply]] = {}
        self._lock = threading.Lock()

    def find(self, name: str, version: int, make: Callable[[], Reply | Iterator[Reply]]) -> Reply:
        """Return the kept answer of this name and version, or make it; others that ask meanwhile wait for it."""
        with self._lock:
            of, at_s, answer = self._kept.get(name, (version, -math.inf, {}))
            if of != version or self._now_s() - at_s >= self._for_s:
                made = make()
                assert isinstance(made, Mapping)
                answer = made
                self._kept[name] = (version, self._now_s(), answer)
            return answer
