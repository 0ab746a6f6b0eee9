"""Keeps a mirror of every ring on a second disk, from a thread of its own: a mirror never holds up recording.

Part of the recorder process. A second disk that is slow, full or away is told in the status and tried again. An older
copy that was set aside lies there no longer than its camera's footage is kept.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.buffer.mirror import RingMirror
from edge_agent.errors import RingError
from edge_agent.settings.gateway import Camera, Config, QualityName
from edge_agent.units import UtcNs

log = logging.getLogger(__name__)

EVERY_S = 30.0
_JOIN_S = 2.0
_LATE_ROUNDS = 3
_ERASE_PATIENCE_S = 5.0
"""So long an erasure waits for the second disk before it tells that the copy is not erased yet."""
_NOT_YET = "not copied yet"
_LATE = f"not brought up for more than {_LATE_ROUNDS} rounds: the second disk is slow or does not answer"


@dataclass(slots=True)
class _Mirror:
    """One ring's copy and how it does; times are those of the monotonic clock, of the begin of a round."""

    copy: RingMirror
    paths: tuple[Path, Path]
    keep_for_ns: int
    is_idle: bool
    """Its camera is switched off: there may be no ring, and an erasure counts all the same."""
    trouble: str = ""
    older: str = ""
    tried_s: float = 0.0
    good_s: float = 0.0
    erase_asked_s: float = 0.0

    def describe(self, late_after_s: float) -> str:
        """Return why the copy is not as it should be, or ``ok``."""
        late = _LATE if time.monotonic() - self.good_s > late_after_s else "ok"
        return self.trouble or (late if self.good_s else _NOT_YET)


class Mirrors:
    """All mirrors of a configuration; nothing if it names no ``mirror_dir``.

    Args:
        every_s: Between two rounds.
        now: Returns the time; None while the clock is not believed, and then nothing expires.
        ring_id: Returns the id of a stream's ring, which alone is copied; None if that is not known.
    """

    def __init__(
        self,
        every_s: float = EVERY_S,
        now: Callable[[], UtcNs | None] = lambda: None,
        ring_id: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        self._every_s, self._now, self._ring_id = every_s, now, ring_id
        self._wake, self._stop = threading.Event(), threading.Event()
        self._lock = threading.Condition()
        self._mirrors: dict[str, _Mirror] = {}
        self._thread = threading.Thread(target=self._main, name="mirrors", daemon=True)

    def change(self, config: Config) -> None:
        """Take over which rings there are and where their mirrors lie; before ``start``, or at a reload."""
        wanted: dict[str, _Mirror] = {}
        with self._lock:
            for camera in config.cameras:
                for quality in camera.qualities:
                    mirror = self._plan(config, camera, quality)
                    if mirror is not None:
                        wanted[f"{camera.id}.{quality}"] = mirror
            self._mirrors = wanted
        self.hurry()

    def _plan(self, config: Config, camera: Camera, quality: QualityName) -> _Mirror | None:
        target = config.mirror_path(camera.id, quality)
        if target is None:
            return None
        paths = (config.ring_path(camera.id, quality), target)
        known = self._mirrors.get(f"{camera.id}.{quality}")
        if known is None or known.paths != paths:
            known = _Mirror(RingMirror(*paths), paths, 0, is_idle=False)
        known.keep_for_ns, known.is_idle = config.keep_for_ns(camera), not camera.enabled
        return known

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def hurry(self) -> None:
        """Bring all mirrors up now."""
        self._wake.set()

    def erase(self, names: Collection[str]) -> dict[str, str]:
        """Bring up mirrors whose rings were erased, and destroy what was set aside of them.

        Returns:
            Why it has not come about, by the mirror's name; it is tried until it has.
        """
        asked_s = time.monotonic()
        with self._lock:
            chosen = {name: self._mirrors[name] for name in names if name in self._mirrors}
            for mirror in chosen.values():
                mirror.erase_asked_s = asked_s
            self.hurry()
            self._lock.wait_for(lambda: all(each.tried_s >= asked_s for each in chosen.values()), _ERASE_PATIENCE_S)
            return {
                f"{name} mirror": f"not erased yet: {each.trouble or 'the second disk has not answered'}"
                for name, each in chosen.items()
                if each.good_s < asked_s
            }

    def close(self) -> None:
        """End; a round that waits for a dead disk is left behind."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def facts(self, name: str) -> dict[str, str]:
        """Return what the status says of a ring's mirror; nothing without one."""
        with self._lock:
            mirror = self._mirrors.get(name)
            if mirror is None:
                return {}
            told = {"mirror": mirror.describe(_LATE_ROUNDS * self._every_s)}
            return {**told, "mirror_older": mirror.older} if mirror.older else told

    def _main(self) -> None:
        while not self._stop.is_set():
            # First: a wish that comes during the round begins another one.
            self._wake.clear()
            with self._lock:
                mirrors = dict(self._mirrors)
            for name, mirror in mirrors.items():
                if self._stop.is_set():
                    return
                self._bring_up(name, mirror)
            self._wake.wait(self._every_s)

    def _bring_up(self, name: str, mirror: _Mirror) -> None:
        began_s, before, trouble = time.monotonic(), mirror.trouble, ""
        try:
            self._work(name, mirror)
        except (RingError, OSError) as error:
            trouble = str(error)
        except Exception as error:
            trouble = f"a fault of the program: {type(error).__name__}"
            if trouble != before:
                log.exception("mirror failed stream=%s", name)
        with self._lock:
            mirror.trouble, mirror.tried_s = trouble, began_s
            # By the round's begin: an erasure that was asked for during it may not be in the copy.
            if not trouble:
                mirror.good_s = began_s
                if mirror.erase_asked_s <= began_s:
                    mirror.erase_asked_s = 0.0
            self._lock.notify_all()
        if trouble and trouble != before:
            log.error("ring is not mirrored stream=%s: %s", name, trouble)
        elif before and not trouble:
            log.info("ring is mirrored again stream=%s", name)

    def _work(self, name: str, mirror: _Mirror) -> None:
        try:
            if not mirror.is_idle or mirror.paths[0].exists():
                mirror.copy.bring_up(self._ring_id(name))
        except (RingError, OSError):
            # What was set aside goes all the same: its time is over, or its room is what the copy lacks.
            with suppress(RingError, OSError):
                self._drop_older(mirror)
            raise
        self._drop_older(mirror)

    def _drop_older(self, mirror: _Mirror) -> None:
        now = self._now()
        if mirror.erase_asked_s:
            mirror.copy.drop_older(None)
        elif now is not None:
            mirror.copy.drop_older(UtcNs(now - mirror.keep_for_ns))
        mirror.older = ", ".join(path.name for path in mirror.copy.list_older())
