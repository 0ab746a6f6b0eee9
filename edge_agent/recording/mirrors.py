"""Keeps a mirror of every ring on a second disk, from a thread of its own: a mirror never holds up recording.

Part of the recorder process. A second disk that is slow, full or away is told in the status and tried again.
"""

import logging
import threading
from pathlib import Path

from edge_agent.buffer.mirror import RingMirror
from edge_agent.errors import RingError
from edge_agent.settings.gateway import Config

log = logging.getLogger(__name__)

EVERY_S = 30.0
_JOIN_S = 2.0


class Mirrors:
    """All mirrors of a configuration; nothing if it names no ``mirror_dir``.

    Args:
        every_s: Between two rounds.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._wake, self._stop = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._mirrors: dict[str, tuple[RingMirror, Path]] = {}
        self._trouble: dict[str, str] = {}
        self._thread = threading.Thread(target=self._main, name="mirrors", daemon=True)

    def change(self, config: Config) -> None:
        """Take over which rings there are and where their mirrors lie; before ``start``, or at a reload."""
        wanted = {}
        for camera, quality in config.rings():
            target = config.mirror_path(camera.id, quality)
            if target is not None:
                wanted[f"{camera.id}.{quality}"] = (config.ring_path(camera.id, quality), target)
        with self._lock:
            self._mirrors = {
                name: known if (known := self._mirrors.get(name)) and known[1] == target
                else (RingMirror(source, target), target)
                for name, (source, target) in wanted.items()
            }  # fmt: skip
            self._trouble = {name: text for name, text in self._trouble.items() if name in wanted}
        self.hurry()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def hurry(self) -> None:
        """Bring all mirrors up now: something was erased."""
        self._wake.set()

    def close(self) -> None:
        """End; a round that waits for a dead disk is left behind."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def facts(self, name: str) -> dict[str, str]:
        """Return what the status says of a ring's mirror; nothing without one."""
        with self._lock:
            return {"mirror": self._trouble.get(name) or "ok"} if name in self._mirrors else {}

    def _main(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            with self._lock:
                mirrors = dict(self._mirrors)
            for name, (mirror, _) in mirrors.items():
                if self._stop.is_set():
                    return
                self._bring_up(name, mirror)
            self._wake.wait(self._every_s)

    def _bring_up(self, name: str, mirror: RingMirror) -> None:
        trouble = ""
        try:
            mirror.bring_up()
        except (RingError, OSError) as error:
            trouble = str(error)
        with self._lock:
            before = self._trouble.get(name, "")
            self._trouble[name] = trouble
        if trouble and trouble != before:
            log.error("ring is not mirrored stream=%s: %s", name, trouble)
        elif before and not trouble:
            log.info("ring is mirrored again stream=%s", name)
