"""The control commands about rings: ``erase`` destroys the keys of blocks, ``accept-ring`` takes another ring.

A camera that is switched off has no stream: its ring is opened for the moment. A ring that fails is named; the rest
goes on.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from edge_agent.buffer.write.writer import ErasedBlock
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.recording.pauses import ALL
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.recording.ring_sink import RingSink
from edge_agent.settings.gateway import Camera, Config, QualityName
from edge_agent.units import Window, encode_rfc3339

log = logging.getLogger(__name__)

Erase = Callable[[Window | None], list[ErasedBlock]]


class RingCommands:
    """The handlers of ``erase`` and ``accept-ring``.

    Args:
        config: Returns the configuration that counts now.
        sinks: Returns the rings that are recorded now, by stream.
        rings: Opens the others, and knows which ring belongs to a stream.
        mirrors: Erases in the mirrors of these streams, too; returns what is not erased there yet, and why.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        sinks: Callable[[], Mapping[str, RingSink]],
        rings: RingOpener,
        mirrors: Callable[[Collection[str]], Mapping[str, str]],
    ) -> None:
        self._config, self._sinks, self._rings, self._mirrors = config, sinks, rings, mirrors

    def erase(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """Erase a window, or all, of a camera or of all; return the erased rings and the failures, by stream."""
        try:
            window = Window.parse(request["start"], request["end"]) if "start" in request else None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"not a window: {error}") from error
        erased, failed = {}, {}
        for name, erase in self._choose(request.get("camera", ALL)):
            try:
                blocks = erase(window)
            except (EdgeAgentError, OSError) as error:
                log.error("not erased stream=%s: %s", name, error)
                failed[name] = str(error)
                continue
            erased[name] = [_describe(block) for block in blocks]
            log.warning("erased stream=%s blocks=%d uid=%d", name, len(blocks), peer.uid)
        # Also of a ring that failed: its mirror holds the same footage.
        failed |= self._mirrors([*erased, *failed])
        return {"erased": erased, "failed": failed}

    def accept(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """Let a stream that fails, or all that do, take whatever ring lies at its path; return how each stores now."""
        wanted, storage = request.get("ring"), {}
        for name, sink in self._sinks().items():
            if wanted in (ALL, name):
                if sink.error:
                    self._accept(name, peer)
                    sink.retry()
                storage[name] = sink.error or "ok"
        for camera, quality in self._list_idle():
            name, path = f"{camera.id}.{quality}", self._config().ring_path(camera.id, quality)
            if wanted in (ALL, name) and self._rings.ring_id(name) is not None:
                if self._rings.misses(name, path):
                    self._accept(name, peer)
                storage[name] = "ok"
        if not storage:
            raise UsageError(f"no such ring: {str(wanted)[:40]!r}")
        return {"storage": storage}

    def _accept(self, name: str, peer: Peer) -> None:
        log.warning("ring accepted stream=%s uid=%d", name, peer.uid)
        self._rings.accept(name)

    def _list_idle(self) -> list[tuple[Camera, QualityName]]:
        # An enabled camera has its sink, paused or not: its ring has one writer only.
        return [(each, quality) for each in self._config().cameras if not each.enabled for quality in each.qualities]

    def _choose(self, camera: object) -> list[tuple[str, Erase]]:
        """Return what erases each chosen ring: its sink, or a writer of its own if the camera is switched off."""
        config = self._config()
        chosen: list[tuple[str, Erase]]
        chosen = [(n, sink.erase) for n, sink in self._sinks().items() if camera in (ALL, n.rpartition(".")[0])]
        for each, quality in self._list_idle():
            name = f"{each.id}.{quality}"
            # A ring that is away is chosen too: what cannot be erased is told.
            is_known = config.ring_path(each.id, quality).exists() or self._rings.ring_id(name) is not None
            if camera in (ALL, each.id) and is_known:
                chosen.append((name, partial(self._erase_idle, each, quality)))
        if not chosen:
            named = "any camera" if camera == ALL else f"{config.demand_camera(str(camera)).id}: it is switched off"
            raise UsageError(f"nothing is recorded of {named}")
        return chosen

    def _erase_idle(self, camera: Camera, quality: QualityName, window: Window | None) -> list[ErasedBlock]:
        writer = self._rings.open(camera, quality)
        try:
            return writer.erase(window)
        finally:
            writer.close()


def _describe(block: ErasedBlock) -> dict[str, Any]:
    window = block.window
    span = None if window is None else {"start": encode_rfc3339(window.start), "end": encode_rfc3339(window.end)}
    return {"block": block.seq, "window": span}
