"""The streams that are recorded now: how they start, and how they end.

Part of the recorder process. Owns the join of a camera's thread with its ring.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from zoneinfo import ZoneInfo

from edge_agent.buffer.write.writer import RingWriter
from edge_agent.capture.camera import CameraThread
from edge_agent.capture.recorded_stream import RecordedStream
from edge_agent.capture.session.hub import Hub
from edge_agent.capture.status import StreamStatus
from edge_agent.host.clock import Clock
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.recording.first_opening import FirstOpening
from edge_agent.recording.hold_rules import HoldRules
from edge_agent.recording.picture_watch import PictureWatches
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.recording.ring_sink import RingSink
from edge_agent.recording.stream_addresses import Sources
from edge_agent.settings.gateway import Camera, Config, QualityName
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

_JOIN_S = 1.2
_CLOSE_S = 0.6
RELOAD_CLOSE_S = 10.0
"""So long a reload waits for all rings that it lets go of: less than systemd's watchdog."""


class RunningStream:
    """One camera in one quality: its thread, its ring, and the event that ends both."""

    def __init__(self, thread: CameraThread, sink: RingSink, stop: threading.Event) -> None:
        self.thread, self.sink, self.stop = thread, sink, stop


class Streams:
    """The streams of all enabled cameras. One thread starts and ends them; any may look at ``running``.

    Args:
        config: Which cameras there are.
        clock: The gateway's clocks.
        rings: Opens their rings.
        sources: Finds their addresses.
        views: Other uses of their keyframes.
        rules: Say when one is not to be recorded.
    """

    def __init__(
        self,
        config: Config,
        clock: KeptClock,
        rings: RingOpener,
        sources: Sources,
        views: PictureWatches,
        rules: HoldRules,
    ) -> None:
        self._config, self._clock, self._rings = config, clock, rings
        self._sources, self._views, self._rules = sources, views, rules
        self._hub = Hub()
        self.running: Mapping[str, RunningStream] = {}
        """By name, ``<camera>.<quality>``; replaced at every change, and never changed itself."""

    def start(self) -> None:
        """Start all; the first error ends the start."""
        self._hub.start()
        opening = FirstOpening(self._clock)
        for camera, quality in self._config.rings():
            self._start_one(camera, quality, opening)

    def start_again(self, config: Config, cameras: Collection[str], beat: Callable[[], None]) -> None:
        """Start those of some cameras by a changed configuration, and ``beat`` after each.

        Every one is started that can be; then the first error of the others is raised.
        """
        self._config = config
        errors, opening = [], FirstOpening(self._clock)
        for camera, quality in config.rings():
            if camera.id in cameras:
                try:
                    self._start_one(camera, quality, opening)
                except Exception as error:
                    log.exception("camera cannot be started stream=%s.%s", camera.id, quality)
                    errors.append(error)
                beat()
        if errors:
            raise errors[0]

    def end(self, cameras: Collection[str]) -> None:
        """End those of some cameras, at a reload: their rings may be opened again."""
        gone = {name: each for name, each in self.running.items() if name.rpartition(".")[0] in cameras}
        close_streams(gone, self._clock, RELOAD_CLOSE_S)
        self.running = {name: each for name, each in self.running.items() if name not in gone}

    def close(self) -> None:
        """End all."""
        close_streams(self.running, self._clock)
        self._hub.close()

    def sinks(self) -> dict[str, RingSink]:
        """Return the rings that are recorded now, by stream."""
        return {name: stream.sink for name, stream in self.running.items()}

    def _start_one(self, camera: Camera, quality: QualityName, opening: FirstOpening) -> None:
        name, stop = f"{camera.id}.{quality}", threading.Event()
        sink = RingSink(name, partial(self._open_ring, camera, quality), self._clock)

        def read_status() -> StreamStatus:
            return thread.status

        zone = ZoneInfo(self._config.gateway.time_zone)
        stream = RecordedStream(
            name,
            self._sources.resolver(camera, quality, read_status),
            hold=self._rules.rule_of(camera, quality, zone, lambda: read_status().state == "recording"),
            look=self._views.look_of(camera, quality),
        )
        thread = CameraThread(stream, sink, self._clock, stop, covered_until=opening.open(name, sink.open))
        self.running = {**self.running, name: RunningStream(thread, sink, stop)}
        thread.start(self._hub)

    def _open_ring(self, camera: Camera, quality: QualityName) -> RingWriter:
        writer = self._rings.open(camera, quality)
        offset_ns = self._clock.confirmed_offset_ns
        if offset_ns is not None:  # the owner's word counts for a ring that was not open then, and over a restart
            writer.confirm_clock(offset_ns)
        return writer


def close_streams(streams: Mapping[str, RunningStream], clock: Clock, patience_s: float = 0) -> None:
    """End threads and let go of rings; a ring that takes longer is let go of when its disk answers.

    Args:
        streams: By name; they share the time in which threads may end.
        clock: Measures it.
        patience_s: So long all rings together are waited for; without it each has a moment of its own.
    """
    for stream in streams.values():
        stream.stop.set()
        stream.thread.notice_stop()
    deadline = clock.boot() + int(_JOIN_S * SECOND_NS)
    for name, stream in streams.items():
        left_ns = max(0, deadline - clock.boot())
        if not stream.thread.join(left_ns / SECOND_NS):
            # It waits for its camera: connecting, TEARDOWN, or FFmpeg's child. What it holds has not come whole.
            log.warning("camera did not stop in time stream=%s", name)
    deadline = clock.boot() + int(patience_s * SECOND_NS)
    for name, stream in streams.items():
        if not stream.sink.close(max(_CLOSE_S, (deadline - clock.boot()) / SECOND_NS)):
            log.error("ring did not close in time stream=%s", name)
