"""Opens the rings for the releaser: the camera's own, or the excerpt that a pending request holds.

Owns where held excerpts lie and when they go. Opens for reading only; decrypts nothing itself.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.reader import RingReader
from edge_agent.config import Config
from edge_agent.consent.request import Quality
from edge_agent.errors import RingError

log = logging.getLogger(__name__)


class NotRecordedError(RingError):
    """There is no ring of this camera in this quality."""


class Footage:
    """The rings of this house.

    Args:
        config: Where the ring files lie.
        vault: Opens block keys.
        recorder: Verifies header pages.
    """

    def __init__(self, config: Config, vault: X25519PrivateKey, recorder: Ed25519PublicKey) -> None:
        self._config = config
        self._vault = vault
        self._recorder = recorder

    @contextmanager
    def open(self, camera: str, quality: Quality, jti: str = "") -> Iterator[RingReader]:
        """Open a camera's ring for the time of the block, or the excerpt that request ``jti`` holds of it.

        Raises:
            NotRecordedError: No such ring.
            RingError: It cannot be read.
        """
        path = self.hold_path(jti, camera, quality)
        if not jti or not path.exists():
            path = self._config.ring_path(camera, quality.value)
        if not path.exists():
            raise NotRecordedError(f"camera is not recorded in this quality: camera={camera} quality={quality.value}")
        with RingReader.open(path, self._vault, self._recorder) as reader:
            yield reader

    def hold_path(self, jti: str, camera: str, quality: Quality) -> Path:
        """Return where a request's excerpt of a ring lies."""
        return self._config.holds_dir / f"{jti}.{camera}.{quality.value}.ring"

    def drop_holds(self, jti: str) -> None:
        """Delete what a request held."""
        for path in self._config.holds_dir.glob(f"{jti}.*"):
            path.unlink(missing_ok=True)
