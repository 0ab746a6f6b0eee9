"""The control command ``reload``, and SIGHUP: the releaser takes over a changed configuration.

It stops as it does at SIGTERM and becomes the new one in place (``execv``): same process, same service, nothing of the
old terms left in memory. A configuration with a mistake is refused, and the one before goes on.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.consent.camera_state import CameraConsent, encode_consents
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.settings.gateway import Config, load_config

log = logging.getLogger(__name__)


class ReloadCommands:
    """Takes the wish to reload.

    Args:
        config_path: The file that is read again.
    """

    def __init__(self, config_path: Path) -> None:
        self._path = config_path
        self._asked = threading.Event()
        self.find_consents: Callable[[Config], Mapping[str, CameraConsent]] = lambda _new: {}
        """Returns the state of the consents under a configuration; nothing before the gateway is enrolled."""
        self.handlers: Mapping[str, Handler] = {"reload": self._reload}

    def listen(self) -> None:
        """Take SIGHUP as that wish; call it from the main thread."""
        signal.signal(signal.SIGHUP, lambda *_: self._asked.set())

    def ask(self) -> None:
        """Wish for it: another enrolment was installed."""
        self._asked.set()

    def take(self) -> bool:
        """Tell whether to begin anew: somebody asked for it, and the configuration can be read."""
        if not self._asked.is_set():
            return False
        self._asked.clear()
        try:
            load_config(self._path)
        except EdgeAgentError as error:
            log.error("configuration is not taken over, the one before goes on: %s", error)
            return False
        return True

    def _reload(self, _request: Mapping[str, Any], peer: Peer) -> Reply:
        new = load_config(self._path)
        log.warning("reload asked for uid=%d", peer.uid)
        self._asked.set()
        return {"consents": encode_consents(self.find_consents(new))}


def begin_anew() -> None:
    """Become a new process of the same command line; the process's open files close with it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 (the same program with the same words)
