"""One camera stream for ever: open, record, lose, wait, open again.

Owns the thread of a stream, its back-off and its watchdog. Nothing that a camera does ends it, and nothing it does
touches another camera.
"""

import logging
import random
import threading
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from edge_agent.capture.backoff import Backoff
from edge_agent.capture.diagnose import refine
from edge_agent.capture.gaps import GapKeeper
from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.records import Sink
from edge_agent.capture.rtsp import Endpoint, Session, open_session
from edge_agent.capture.run import Run, RunBreakError
from edge_agent.capture.status import StreamStatus
from edge_agent.clock import Clock
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs

log = logging.getLogger(__name__)

WATCHDOG_NS = 10 * SECOND_NS
"""So long may no video access unit arrive, whatever else the session does."""
_WAIT_STEP_S = 0.5
_HOLD_STEP_S = 0.1
_HELD_STATES = {"not-by-rule": "waiting", "paused": "off"}
_TICK_NS = SECOND_NS // 2


class CameraThread:
    """Records one stream into its sink until ``stop`` is set.

    Args:
        name: ``<camera>.<quality>``, for log and thread name.
        resolve: Returns where the stream is; asked before every attempt. May raise ``CaptureError``.
        sink: Where records go.
        clock: The gateway's clocks.
        stop: Ends the thread within about a second, unless it is just opening a session.
        covered_until: End of what the sink holds already; None where that is not known.
        hold: Returns why the stream is not to be recorded now, or an empty text; asked all the time.
        idle_reason: Why there is no footage before the thread begins.
    """

    def __init__(
        self,
        name: str,
        resolve: Callable[[], Endpoint],
        sink: Sink,
        clock: Clock,
        stop: threading.Event,
        *,
        covered_until: UtcNs | None = None,
        hold: Callable[[], str] = lambda: "",
        idle_reason: str = "recorder-stopped",
        dice: random.Random | None = None,
    ) -> None:
        self.name = name
        self.status = StreamStatus(clock.utc())
        self._resolve, self._sink, self._clock, self._stop = resolve, sink, clock, stop
        self._hold = hold
        now = clock.utc()
        known = covered_until is not None and covered_until <= now
        self._gaps = GapKeeper(sink, covered_until if known and covered_until is not None else now, idle_reason)
        self._backoff = Backoff(dice or random.SystemRandom())
        self._ticked = clock.boot()
        self._held = False
        self._thread = threading.Thread(target=self._main, name=f"camera-{name}", daemon=True)

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended after ``stop``; tell whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def _main(self) -> None:
        if not self._hold():
            self._gaps.because("connecting", self._clock.utc(), self._clock.boot())
        while not self._stop.is_set():
            self._wait_while_held()
            try:
                self._record_session()
                continue
            except CaptureError as error:
                reason, words = error.reason, str(error)
            except Exception:
                log.exception("camera failed stream=%s", self.name)
                reason, words = "internal-error", REASONS["internal-error"]
            if self._stop.is_set():
                return
            self._say_down(reason, words)
            self._wait(self._backoff.next_ns())

    def _wait_while_held(self) -> None:
        """Wait while the stream is not to be recorded, and account for it."""
        while (reason := self._hold()) and not self._stop.is_set():
            now = self._clock.utc()
            if self.status.enter(_HELD_STATES.get(reason, "held-back"), reason, now):
                log.info("camera is not recorded stream=%s reason=%s: %s", self.name, reason, REASONS[reason])
            self._gaps.because(reason, now, self._clock.boot())
            self._gaps.wait(now, self._clock.boot())
            self._tick()
            self._stop.wait(_HOLD_STEP_S)
            self._backoff.reset()
            self._held = True
        if self._held:
            self._held = False
            self.status.enter("connecting", "", self._clock.utc())
            self._gaps.because("connecting", self._clock.utc(), self._clock.boot())

    def _say_down(self, reason: str, words: str) -> None:
        now = self._clock.utc()
        if self.status.enter("down", reason, now):
            log.warning("camera is down stream=%s reason=%s: %s", self.name, reason, words)
        self._gaps.because(reason, now, self._clock.boot())

    def _wait(self, wait_ns: int) -> None:
        until = self._clock.boot() + wait_ns
        while (left_ns := until - self._clock.boot()) > 0:
            if self._stop.wait(min(_WAIT_STEP_S, left_ns / SECOND_NS)) or self._hold():
                return
            self._gaps.wait(self._clock.utc(), self._clock.boot())
            self._tick()

    def _tick(self) -> None:
        now = self._clock.boot()
        if now - self._ticked >= _TICK_NS:
            self._ticked = now
            self._sink.tick()

    def _record_session(self) -> None:
        """Record one session to its end, as one run or, where time jumps, as several.

        Returns when told to stop, or when the stream is no longer to be recorded.
        """
        if self._stop.is_set():
            return
        endpoint = self._resolve()
        try:
            session = open_session(endpoint, self._clock)
        except CaptureError as error:
            reason = refine(error.reason, endpoint)
            raise (error if reason == error.reason else CaptureError(reason)) from None
        try:
            self._record_runs(session, endpoint)
        finally:
            session.close()

    def _record_runs(self, session: Session, endpoint: Endpoint) -> None:
        source = {"source": public_url(endpoint.url), "transport": endpoint.transport}
        packets = session.read()
        last_video = self._clock.boot()
        while not (self._stop.is_set() or self._hold()):
            now = self._clock.utc()
            covered = self._gaps.covered_until
            run = Run(
                session.tracks,
                reorders=session.reorders,
                sink=self._sink,
                gaps=self._gaps,
                status=self.status,
                source=source,
                floor=covered if covered <= now + MINUTE_NS else UtcNs(0),
            )
            try:
                for arrival in packets:
                    if self._stop.is_set() or self._hold():
                        return
                    if arrival is not None:
                        run.push(arrival, self._clock.state)
                        if arrival.track == 0:
                            last_video = arrival.boot
                    self._note_progress(run)
                    if self._clock.boot() - last_video > WATCHDOG_NS:
                        raise CaptureError("stalled")
            except RunBreakError as error:
                log.warning("run broken stream=%s reason=%s: %s", self.name, error.reason, error)
                run.finish()
                if error.reason == "clock-step":
                    self._gaps.restart_at(self._clock.utc())
                self._gaps.because(error.reason, self._clock.utc(), self._clock.boot())
            finally:
                run.finish()

    def _note_progress(self, run: Run) -> None:
        if run.records:
            if self.status.state == "recording":
                self._tick()
                return
            self._backoff.reset()
            if self.status.enter("recording", "", self._clock.utc()):
                log.info("camera is recording stream=%s", self.name)
        else:
            self._gaps.wait(self._clock.utc(), self._clock.boot())
        self._tick()


def public_url(url: str) -> str:
    """Return a stream's address for records and logs: no login, no query (some makers put passwords there)."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
