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
        for name, erase in self._choose(request.get("camera", "*")):
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
        chosen = [(n, sink) for n, sink in self._sinks().items() if request.get("ring") in ("*", n)]
        if not chosen:
            raise UsageError(f"no such ring: {str(request.get('ring'))[:40]!r}")
        storage = {}
        for name, sink in chosen:
            try:
                if sink.error:
                    self._rings.accept(name)
                    log.warning("ring accepted stream=%s uid=%d", name, peer.uid)
                    sink.retry()
            except EdgeAgentError as error:
                storage[name] = str(error)
            else:
                storage[name] = sink.error or "ok"
        return {"storage": storage}

    def _choose(self, camera: object) -> list[tuple[str, Erase]]:
        """Return what erases each chosen ring: its sink, or a writer of its own if the camera is switched off."""
        config = self._config()
        chosen: list[tuple[str, Erase]]
        chosen = [(n, sink.erase) for n, sink in self._sinks().items() if camera in ("*", n.rpartition(".")[0])]
        for each in config.cameras:
            # An enabled camera has its sink, paused or not: its ring has one writer only.
            if not each.enabled and camera in ("*", each.id):
                for quality in each.qualities:
                    name = f"{each.id}.{quality}"
                    # A ring that is away is chosen too: what cannot be erased is told.
                    if config.ring_path(each.id, quality).exists() or self._rings.ring_id(name) is not None:
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
