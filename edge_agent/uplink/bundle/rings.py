"""Opens the rings for the releaser: the camera's own, or the excerpt that a pending request holds.

Owns which excerpt belongs to which request. Opens for reading only; decrypts nothing itself.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.read.excerpt import HoldFolder
from edge_agent.buffer.read.reader import RingReader
from edge_agent.consent.bound import CameraBound
from edge_agent.errors import RingError
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.settings.gateway import Config
from edge_agent.units import Window
from edge_agent.uplink.bundle.keeps import KeepFolder

log = logging.getLogger(__name__)


class NotRecordedError(RingError):
    """There is no ring of this camera in this quality; ``code`` tells whether there is one in the other."""

    def __init__(self, camera: str, quality: Quality, *, has_other: bool) -> None:
        super().__init__(f"camera is not recorded in this quality: camera={camera} quality={quality.value}")
        self.code = "quality-not-recorded" if has_other else "no-footage"


class Footage:
    """The rings of this house.

    Args:
        config: Names the ring files.
        vault: Opens block keys.
        recorder: Verifies header pages.
    """

    def __init__(self, config: Config, vault: X25519PrivateKey, recorder: Ed25519PublicKey) -> None:
        self._config = config
        self._vault = vault
        self._recorder = recorder
        self._holds = HoldFolder(config.holds_dir, config.buffer.hold_size_bytes)
        self.keeps = KeepFolder(config.keeps_dir, config.buffer.keeps_size_bytes)
        """The moments that the owner keeps beyond the rings' time; ``open`` never looks there, because a grant must
        not."""
        self._lock = threading.Lock()

    @contextmanager
    def open(self, camera: str, quality: Quality, jti: str = "") -> Iterator[RingReader]:
        """Open a camera's ring for the time of the block, or the excerpt that request ``jti`` holds of it.

        Raises:
            NotRecordedError: No such ring.
            RingError: It cannot be read.
        """
        path = self._config.ring_path(camera, quality.value)
        # The hold first: the ring may have overwritten the footage that the request was decided on.
        if jti and (held := self._holds.path(_hold_name(jti, camera, quality))).exists():
            path = held
        if not path.exists():
            others = [self._config.ring_path(camera, each.value) for each in Quality if each is not quality]
            raise NotRecordedError(camera, quality, has_other=any(other.exists() for other in others))
        with RingReader.open(path, self._vault, self._recorder) as reader:
            yield reader

    @contextmanager
    def open_own(self, order: ExportOrder) -> Iterator[RingReader]:
        """Open a kept moment that has all of the order's window, the ring, or its mirror if the ring is gone."""
        kept = self.keeps.find(order.camera, order.quality, order.window)
        ring = self._config.ring_path(order.camera, order.quality.value)
        mirror = self._config.mirror_path(order.camera, order.quality.value)
        # The mirror only if the ring is gone, and only for the owner: it may be older than the ring
        # was, and lie on another machine.
        if kept is None and mirror is not None and not ring.exists() and mirror.exists():
            kept = mirror
        if kept is None:
            with self.open(order.camera, order.quality) as reader:
                yield reader
            return
        with RingReader.open(kept, self._vault, self._recorder) as reader:
            yield reader

    def hold(self, jti: str, cameras: Collection[CameraBound]) -> None:
        """Keep what a request needs from being overwritten before it is decided and released.

        A block that cannot be held is logged: the ring may overwrite it before the owner has answered.
        """
        for camera in cameras:
            try:
                with self._lock, self.open(camera.camera, camera.quality) as reader:
                    self._holds.hold(_hold_name(jti, camera.camera, camera.quality), reader, camera.windows)
            except (RingError, OSError) as error:
                log.warning("footage is not held jti=%s camera=%s: %s", jti, camera.camera, error)

    def drop_holds(self, jti: str) -> None:
        """Let go of a request's holds."""
        with self._lock:
            for camera, quality in self._config.rings():
                self._holds.release(_hold_name(jti, camera.id, Quality(quality)))

    def erase_holds(self, camera: str | None, windows: Collection[Window] | None) -> list[str]:
        """Let go of every hold and kept moment of a camera (None: of all) that may hold anything of the windows."""
        with self._lock:
            if windows is None:
                held = self._holds.erase(None, camera)
            else:
                held = [name for window in windows for name in self._holds.erase(window, camera)]
        return [*held, *self.keeps.erase(camera, windows)]

    def keep_holds(self, jtis: Collection[str]) -> None:
        """Let go of everything that none of these requests holds; at start."""
        rings = [(camera.id, Quality(quality)) for camera, quality in self._config.rings()]
        with self._lock:
            self._holds.keep_only([_hold_name(jti, *ring) for jti in jtis for ring in rings])


def _hold_name(jti: str, camera: str, quality: Quality) -> str:
    return f"{jti}.{camera}.{quality.value}"
