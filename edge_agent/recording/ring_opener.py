"""From a stream's name to its open ring: the pinned one, in the size and at the path of the configuration.

Owns what comes before ``RingWriter.open``: a ring is made, moved or resized first, each in a thread of its own, so that
the other cameras go on meanwhile. A kill leaves it to the next start to go on. Must never make a ring where the
pinned one is only out of sight.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.ring import create_ring, load_superblock, read_superblock, wipe_ring
from edge_agent.buffer.write.resize import move_ring, needs_move, undo_move
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.errors import EdgeAgentError, RingError, RingPreparingError
from edge_agent.host.clock import Clock
from edge_agent.recording.ring_ids import KnownRingIds, Pin
from edge_agent.settings.gateway import Camera, Config, QualityName
from edge_agent.units import SECOND_NS, MonoNs

log = logging.getLogger(__name__)

_AT_ONCE_S = 0.5
"""How long an opening waits for a step that is usually instant: making a ring where the file system can reserve
space."""
_TELL_EVERY_NS = 30 * SECOND_NS
_MOST_STEPS = 4
"""More than there are: taken back, moved, and resized once more."""


class RingOpener:
    """Opens the rings of a configuration. Any thread, but one at a time for each ring.

    Args:
        config: Sizes and places.
        keys: Of the vault and the recorder.
        clock: The gateway's clocks.
        boot_id: The kernel's id of this boot.
        pins: Which ring belongs to which stream.
        stop: Ends what takes long; it goes on at the next start.
    """

    def __init__(
        self,
        config: Config,
        keys: RingKeys,
        clock: Clock,
        boot_id: bytes,
        pins: KnownRingIds,
        stop: threading.Event,
    ) -> None:
        self._config, self._keys = config, keys
        self._clock, self._boot_id, self._pins, self._stop = clock, boot_id, pins, stop
        self._preparations: dict[str, _Preparation] = {}

    def change(self, config: Config) -> None:
        """Take over a changed configuration; it counts for rings that are opened from now on."""
        self._config = config

    def open(self, camera: Camera, quality: QualityName) -> RingWriter:
        """Open a ring for writing, and make, move or resize it first if that is due.

        Raises:
            RingPreparingError: That takes a while; ask again.
            RingError: Another ring lies there, none does, or it cannot be opened; message and hint name the mend.
        """
        name = f"{camera.id}.{quality}"
        path = self._config.ring_path(camera.id, quality)
        self._prepare(name, camera, quality, path)
        pin = self._pins.find(name)
        writer = RingWriter.open(
            path,
            keys=self._keys,
            clock=self._clock,
            boot_id=self._boot_id,
            settings=WriterSettings(
                source=camera.address(quality),
                sync_every_ns=self._config.buffer.sync_every_ns,
                keep_for_ns=self._config.keep_for_ns(camera),
                ring_id=pin.ring_id if pin is not None else None,
            ),
        )
        try:
            # A kill between the move and the new pin left the old file; with the new pin nothing would find it again.
            if pin is not None and pin.path != path:
                _drop_copy(pin.path, pin.ring_id)
            self._pins.remember(name, Pin(writer.superblock.ring_id, path))
        except BaseException:
            writer.close()
            raise
        return writer

    def accept(self, name: str) -> None:
        """Forget which ring belonged to a stream: the owner means the one that is there, or a new one.

        Raises:
            RingPreparingError: It is just being made or moved: where a half of it lies is known by the pin alone.
            RingError: That cannot be saved.
        """
        if (preparation := self._preparations.get(name)) is not None:
            raise RingPreparingError(preparation.describe())
        self._pins.forget(name)

    def ring_id(self, name: str) -> bytes | None:
        """Return the id of a stream's ring; None if whatever ring is there is the one."""
        pin = self._pins.find(name)
        return None if pin is None else pin.ring_id

    def _prepare(self, name: str, camera: Camera, quality: QualityName, path: Path) -> None:
        # One step may lead to another: a move that is not wanted any more is taken back before the next one begins.
        for _ in range(_MOST_STEPS):
            preparation = self._preparations.get(name)
            if preparation is None:
                work = self._find_work(name, camera, quality, path, self._pins.find(name))
                if work is None:
                    return
                preparation = self._preparations[name] = _Preparation(name, work, self._clock, self._stop)
            if not preparation.wait(_AT_ONCE_S):
                raise RingPreparingError(preparation.describe())
            del self._preparations[name]
            if preparation.error is not None:
                raise preparation.error

    def _find_work(
        self, name: str, camera: Camera, quality: QualityName, path: Path, pin: Pin | None
    ) -> "Callable[[Callable[[int, int], None]], object] | None":
        size_bytes = self._config.ring_size_bytes(camera, quality)
        block_bytes = self._config.buffer.block_size_bytes
        source = path
        if pin is not None and pin.moves_to not in (None, path):
            return lambda progress: self._take_back(name, pin, progress)
        if pin is not None and pin.path != path and pin.path.exists() and not path.exists():
            source = pin.path
        if source.exists():
            # Before it is moved or resized: another ring must stay as it is.
            if pin is not None:
                _check_id(source, pin.ring_id)
            if source == path and not needs_move(path, size_bytes, block_bytes):
                return None
            log.warning("ring is moved stream=%s from=%s to=%s bytes=%d", name, source, path, size_bytes)
            return lambda progress: self._move(name, pin, source, path, (size_bytes, block_bytes), progress)
        # A disk that is not mounted leaves an empty folder: a ring made there would fill the system's disk.
        if pin is not None:
            raise RingError(
                f"ring is not there: path={path} expected={pin.ring_id.hex()}",
                hint=f"Is its disk mounted? Where it is gone for good, begin a new one: edge-agent ring accept {name}",
            )
        return lambda progress: create_ring(
            path,
            camera=camera.id,
            quality=quality,
            size_bytes=size_bytes,
            recorder_key=self._keys.recorder_key,
            block_size=block_bytes,
            now=self._clock.utc(),
            progress=progress,
        )

    def _move(
        self,
        name: str,
        pin: Pin | None,
        source: Path,
        target: Path,
        sizes: tuple[int, int | None],
        progress: Callable[[int, int], None],
    ) -> None:
        """Move a ring; where it goes is durable before the first block is given back, and where it is at the end."""

        def note(at: Path, moves_to: Path | None) -> None:
            if pin is not None:
                self._pins.remember(name, Pin(pin.ring_id, at, moves_to))

        # A kill behind the last step of an earlier move left the old file: the pin is about to forget where.
        if pin is not None and pin.path != source:
            _drop_copy(pin.path, pin.ring_id)
        move_ring(
            source,
            target,
            size_bytes=sizes[0],
            block_bytes=sizes[1],
            recorder_key=self._keys.recorder_key,
            progress=progress,
            on_begin=lambda: note(source, target),
        )
        note(target, None)

    def _take_back(self, name: str, pin: Pin, progress: Callable[[int, int], None]) -> None:
        """Make one ring of a ring whose move broke off, before it is opened or moved elsewhere."""
        assert pin.moves_to is not None

        def note(whole: Path) -> None:
            _check_id(whole, pin.ring_id)  # another disk may be mounted where the move went
            self._pins.remember(name, Pin(pin.ring_id, whole))

        undo_move(pin.path, pin.moves_to, note, progress)
        now = self._pins.find(name)
        if now is not None and now.path != pin.path:
            _drop_copy(pin.path, pin.ring_id)


def _check_id(path: Path, ring_id: bytes) -> None:
    """Raise RingError if another ring lies at a path."""
    found = load_superblock(path)
    if found.ring_id != ring_id:
        raise RingError(
            f"another ring lies at this path: path={path} id={found.ring_id.hex()} expected={ring_id.hex()}",
            hint="Is another disk mounted here? Mount the right one, or take this one: "
            f"edge-agent ring accept {found.camera}.{found.quality}",
        )


def _drop_copy(path: Path, ring_id: bytes) -> None:
    """Destroy what a kill left of a ring at the place that it was moved from."""
    try:
        _check_id(path, ring_id)
        with FileDisk.open(path) as disk:
            index = RingIndex(disk, read_superblock(disk).superblock)
            index.load()
    except RingError:
        # Another ring, or none that can be read: not ours to destroy.
        return
    # A move leaves no page behind. Somebody has copied the ring, perhaps long ago, and this may be the newer one.
    if index.entries():
        log.error("ring's former place holds footage of it and is left alone path=%s", path)
        return
    wipe_ring(path)


class _StoppedError(Exception):
    """The process ends; the next start goes on."""


class _Preparation:
    """One piece of work that may take long, in a thread of its own."""

    def __init__(
        self,
        name: str,
        work: Callable[[Callable[[int, int], None]], object],
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self.error: Exception | None = None
        self._name, self._work, self._clock, self._stop = name, work, clock, stop
        self._share = 0
        self._tell_at = MonoNs(clock.boot() + _TELL_EVERY_NS)
        self._thread = threading.Thread(target=self._run, name=f"prepare {name}")
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False if it is not reached."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def describe(self) -> str:
        """Say how far it is."""
        return f"ring is being prepared: {self._share} %"

    def _run(self) -> None:
        try:
            self._work(self._tell)
        except _StoppedError:
            self.error = RingPreparingError("ring is not ready yet: the next start goes on with it")
        except (EdgeAgentError, OSError) as error:
            self.error = error
        except Exception as error:
            log.exception("ring cannot be prepared stream=%s", self._name)
            self.error = RingError(f"ring cannot be prepared: {type(error).__name__}")

    def _tell(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        self._share = 100 * done // max(1, total)
        if self._clock.boot() >= self._tell_at:
            self._tell_at = MonoNs(self._clock.boot() + _TELL_EVERY_NS)
            log.info("ring is being prepared stream=%s done=%d%%", self._name, self._share)
