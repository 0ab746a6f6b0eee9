"""One camera stream for ever: open, record, lose, wait, open again.

Owns the thread of a stream that never waits for its camera, its back-off and its watchdog. Nothing that a camera does
ends the thread, and nothing that the thread does touches another camera.
"""

import logging
import math
import random
import threading
from collections import deque
from collections.abc import Iterator
from itertools import chain

from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.recorded_stream import BY_RULE, Hold, RecordedStream
from edge_agent.capture.retry import SESSION_NS, Retry
from edge_agent.capture.run.gap_account import SMALL_STEP_NS, GapKeeper
from edge_agent.capture.run.open_run import Run, RunBreak, RunBreakError
from edge_agent.capture.run.pre_roll import PreRoll
from edge_agent.capture.run.records import Sink
from edge_agent.capture.session.hub import Hub
from edge_agent.capture.session.interface import Arrival, Session
from edge_agent.capture.session.reader import ClockPair, Feed, HeldError, Line
from edge_agent.capture.sound import SoundWatch
from edge_agent.capture.status import StreamStatus
from edge_agent.host.clock import Clock
from edge_agent.host.hardening import name_thread
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

_WAIT_STEP_S, _HOLD_STEP_S = 0.5, 0.1
_WATCH_STEP_S = 0.4
"""So late at most an event is noticed by a camera whose pictures are looked at until then."""
_HELD_STATES = {BY_RULE: "waiting", "paused": "off", "outside-hours": "off"}
_SILENT = ("stalled", "ended", "no-keyframe")
"""The reasons for which a session without a keyframe ends, whatever its cause."""
_KEYFRAME_WATCHDOGS = 6
"""A session that sends pictures gets so many watchdogs for its first keyframe; a new session may begin with one."""
_TICK_NS = SECOND_NS // 2
"""So often the ring is asked what is due, apart from its syncs."""
_BEFORE_ARRIVAL_NS = 2 * SECOND_NS
"""A picture is handed over when the next one begins, a keyframe may take its time on a slow link, and nobody looks at
each packet as it comes."""


class CameraThread:
    """Records one stream into its sink until ``stop`` is set.

    Args:
        stream: Name, address and rules.
        sink: Where records go.
        clock: The gateway's clocks.
        stop: Ends the thread that records within about a second, unless it is just asking where the stream is.
        covered_until: End of what the sink holds already; None if that is not known.
    """

    def __init__(
        self,
        stream: RecordedStream,
        sink: Sink,
        clock: Clock,
        stop: threading.Event,
        *,
        covered_until: UtcNs | None = None,
    ) -> None:
        self.name = stream.name
        self.status = StreamStatus(clock)
        self._sink, self._clock, self._stop = sink, clock, stop
        self._resolve, self._hold, self._look = stream.resolve, Hold(stream.hold, clock), stream.look
        self._watchdog_ns = stream.watchdog_ns
        now = clock.utc()
        known = covered_until is not None and covered_until <= now
        self._gaps = GapKeeper(sink, covered_until if known and covered_until is not None else now, "recorder-stopped")
        # A recorder that was killed has left its sessions open, too.
        is_fresh = covered_until is not None and 0 <= now - covered_until < SESSION_NS
        self._retry = Retry(random.SystemRandom(), clock.boot() if is_fresh else None)
        self._is_patient = False
        self._line: Line | None = None
        self._held, self._ticked = False, clock.boot()
        self._tracks: tuple[TrackTemplate, ...] = ()
        self._feed = Feed(stream.name, clock, self.status.loss, stream.watchdog_ns / SECOND_NS)
        self._thread = threading.Thread(target=self._main, name=f"camera-{stream.name}", daemon=True)

    def start(self, hub: Hub) -> None:
        """Begin to record; the hub, which runs already, reads the sockets of all cameras."""
        self._feed.start(hub)
        self._thread.start()

    def notice_stop(self) -> None:
        """Have ``stop``, which was set, noticed now; any thread."""
        if (line := self._line) is not None:
            line.hurry()

    def join(self, timeout_s: float) -> bool:
        """Wait until both threads have ended after ``stop``; tell whether they have.

        This one ends in any case. The other waits for a camera that is silent, and holds nothing that is not stored.
        """
        if self._thread.ident is None:
            return True
        deadline = self._clock.boot() + int(timeout_s * SECOND_NS)
        self._thread.join(timeout_s)
        left_s = max(0, deadline - self._clock.boot()) / SECOND_NS
        return not self._thread.is_alive() and self._feed.join(left_s)

    def is_alive(self) -> bool:
        """Tell whether both threads run."""
        return self._thread.is_alive() and self._feed.is_alive()

    def _main(self) -> None:
        name_thread(self.name)
        try:
            self._record()
            self._gaps.end(*self._moment_of(None))
        finally:
            self._feed.close()

    def _record(self) -> None:
        if not self._reason_to_close():
            self._gaps.because("connecting", *self._moment_of(None))
        while not self._stop.is_set():
            self._wait_while_held()
            try:
                self._record_session()
                continue
            except HeldError as held:
                self._held = True
                self._gaps.because(held.reason, *held.since)
                if held.until is not None:
                    self._gaps.because("connecting", *held.until)
                continue
            except CaptureError as error:
                # Without the frames: they hold all that the session had until the next trouble.
                trouble = error.with_traceback(None)
            except Exception as error:
                log.exception("camera failed stream=%s", self.name)
                trouble = CaptureError("internal-error", type(error).__name__)
            self._say_down(trouble)
            self._wait(self._retry.next_ns(trouble.reason, is_patient=self._is_patient))

    def _wait_while_held(self) -> None:
        """Wait while the stream is not to be recorded, and account for it."""
        while (reason := self._reason_to_close()) and not self._stop.is_set():
            now = self._clock.utc()
            if self.status.enter(_HELD_STATES.get(reason, "off"), reason, now):
                log.info("camera is not recorded stream=%s reason=%s: %s", self.name, reason, REASONS[reason])
            self._gaps.because(reason, now, self._clock.boot())
            self._gaps.wait(now, self._clock.boot())
            self._tick()
            self._stop.wait(_HOLD_STEP_S)
            self._retry.resume()
            self._held = True
        if self._held:
            self._held = False
            self.status.enter("connecting", "", self._clock.utc())
            self._gaps.because("connecting", *self._moment_of(None))

    def _reason_to_close(self) -> str:
        """Return why there is to be no session; empty also if one stays open whose pictures are only looked at."""
        reason = self._hold()
        return "" if reason == BY_RULE and self._look is not None and self._look.keeps_open else reason

    def _is_only_watched(self, arrival: Arrival | None) -> bool:
        """Tell whether what arrived, or is to arrive, is only looked at: by when it came, not by when it is taken."""
        is_watched = self._look is not None and self._look.keeps_open and self._hold() == BY_RULE
        return is_watched and (arrival is None or arrival.boot >= (self._hold.ruled_since or 0))

    def _say_down(self, trouble: CaptureError) -> None:
        if self._stop.is_set():
            return
        if trouble.reason in _SILENT:
            trouble = self._feed.obstacle() or trouble
        trouble = self._retry.explain(trouble, self._clock.boot())
        now = self._clock.utc()
        if self.status.enter("down", trouble.reason, now, trouble.detail):
            log.warning("camera is down stream=%s reason=%s: %s", self.name, trouble.reason, trouble)
        self._gaps.because(trouble.reason, now, self._clock.boot())

    def _wait(self, wait_ns: int) -> None:
        until = self._clock.boot() + wait_ns
        while (left_ns := until - self._clock.boot()) > 0:
            if self._stop.wait(min(_WAIT_STEP_S, left_ns / SECOND_NS, self._left_s())) or self._reason_to_close():
                return
            self._gaps.wait(*self._moment_of(None))
            self._tick()

    def _moment_of(self, arrival: Arrival | None) -> ClockPair:
        """Return both clocks as they were when this came; as they are now if nothing did."""
        return (self._clock.utc(), self._clock.boot()) if arrival is None else (arrival.utc, arrival.boot)

    def _tick(self) -> None:
        now = self._clock.boot()
        if now - self._ticked >= _TICK_NS or self._left_s() <= 0:
            self._ticked = now
            self._sink.tick()

    def _left_s(self) -> float:
        """Return in how many seconds there is something to do though no picture completes a record."""
        # A camera that waits for events has to notice them.
        due, least_s = self._sink.sync_due, _WATCH_STEP_S if self._look and self._look.keeps_open else math.inf
        return least_s if due is None else min(least_s, max(0, due - self._clock.boot()) / SECOND_NS)

    def _record_session(self) -> None:
        """Record one session to its end, or until it is not wanted any more: one run or, where time jumps, several."""
        if self._stop.is_set():
            return
        endpoint = self._resolve()
        self._is_patient = endpoint.is_patient
        line = self._line = self._feed.order(endpoint, self._reason_to_close, knocks=self._retry.knocks)
        if self._stop.is_set():  # ``notice_stop`` may have hurried the line before
            line.hurry()
        try:
            session = self._wait_open(line)
            if session is not None:
                self._record_runs(session, line)
        except CaptureError as error:
            line.give_up(error.reason, error.detail)
            if line.was_open:
                self._retry.lose_session(self._clock.boot())
            raise
        finally:
            line.release()

    def _wait_open(self, line: Line) -> Session | None:
        """Return the session as soon as it is open; None if it is not wanted any more."""
        while (session := line.wait_open(self._left_s())) is None:
            if self._stop.is_set() or self._reason_to_close():
                return None
            if (obstacle := self._feed.obstacle()) is not None:
                self._say_down(obstacle)
            self._gaps.wait(*self._moment_of(None))
            self._tick()
        return session

    def _record_runs(self, session: Session, line: Line) -> None:
        self._tracks = session.tracks
        packets = self._take_packets(line, SoundWatch(self.name, session, self.status, self._clock.boot()))
        waiting: deque[Arrival] = deque()
        broken: RunBreak | None = None
        fruitless: RunBreak | None = None
        while not self._has_stopped(waiting):
            if self._is_only_watched(waiting[0] if waiting else None):
                if fruitless is not None:  # the next event finds another session
                    raise CaptureError(fruitless.reason, fruitless.detail)
                late, broken = iter(tuple(waiting)), None
                waiting.clear()
                # No name for the pre-roll: beside ``waiting`` it would keep its packets, up to 32 MiB.
                waiting.extend(self._watch(chain(late, packets)).packets())
                waiting.extend(late)
                if self._stop.is_set() or self._hold():
                    return
                if not waiting:  # what is missing from here on is not by rule
                    self._gaps.because("no-keyframe", *self._moment_of(None))
            run = self._begin_run(session, line, is_joined=broken is not None)
            try:
                self._record_run(run, waiting, packets, broken)
            except RunBreakError as error:
                self._tracks = run.tracks
                log.warning("run broken stream=%s reason=%s: %s", self.name, error.reason, error)
                since = self._moment_of(waiting[0] if waiting else None)  # what waits is footage
                if error.reason == "clock-step":
                    self._gaps.follow(*since, SMALL_STEP_NS)
                self._gaps.because(error.reason, *since)
                if run.records or broken is None:
                    broken = RunBreak(self._clock.boot(), error.reason, str(error))
                fruitless = None if run.records else broken
                self._demand_records(run, broken)
                self._tick()
            else:
                broken, fruitless = (None, None) if run.records else (broken, fruitless)

    def _begin_run(self, session: Session, line: Line, *, is_joined: bool) -> Run:
        now = self._clock.utc()
        self.status.note(reader=line.reader)
        self._gaps.follow(now, self._clock.boot())
        covered = self._gaps.covered_until
        return Run(
            self._tracks,
            reorders=session.reorders,
            sink=self._sink,
            gaps=self._gaps,
            status=self.status,
            source={"source": line.endpoint.public_url, "transport": line.endpoint.carrier, "reader": line.reader},
            floor=covered if covered <= now + MINUTE_NS else UtcNs(0),
            is_joined=is_joined,
        )

    def _record_run(
        self,
        run: Run,
        waiting: "deque[Arrival]",
        packets: "Iterator[Arrival | None]",
        broken: RunBreak | None,
    ) -> None:
        """Record what waits, then what arrives.

        Args:
            run: A new one.
            waiting: What has arrived already; afterwards what is not in the run. A first packet that broke it is gone.
            packets: What arrives.
            broken: When a run of this session was broken, if none has been recorded since, and by what.

        Raises:
            RunBreakError: The next run begins with ``waiting``.
            HeldError: It is not to be recorded any more; what came before is stored.
            CaptureError: No run has come of it for as long as there may be no pictures: another session has a keyframe.
        """
        arrival, is_first = None, True
        try:
            while not self._has_stopped(waiting):
                arrival = waiting.popleft() if waiting else next(packets)
                if self._is_only_watched(arrival):
                    waiting.extendleft([arrival] if arrival is not None else [])
                    return
                if arrival is not None:
                    run.push(arrival, self._clock.state)
                    is_first = False
                elif reason := self._reason_to_close():
                    # By now, not by when the last records are stored: a disk may take its time.
                    raise HeldError(reason, self._moment_of(None))
                self._note_progress(run, arrival)
                self._demand_records(run, broken)
        except RunBreakError:
            if arrival is not None and not is_first:
                waiting.appendleft(arrival)
            raise
        finally:
            run.finish()

    def _has_stopped(self, waiting: "deque[Arrival]") -> bool:
        """Tell whether to record no more; what the line has taken in until then is recorded."""
        return self._stop.is_set() and not waiting and (self._line is None or self._line.is_empty)

    def _demand_records(self, run: Run, broken: RunBreak | None) -> None:
        """Give the session up if no run has recorded anything for a watchdog's time since one was broken."""
        if broken and not run.records and self._clock.boot() - broken.at > self._watchdog_ns:
            raise CaptureError(broken.reason, broken.detail) from None

    def _take_packets(self, line: Line, sound: SoundWatch) -> "Iterator[Arrival | None]":
        """Yield what arrives, offer keyframes to their other use, and watch that pictures arrive at all."""
        opened = last_video = self._clock.boot()
        for arrival in line.read(self._left_s):
            sound.take(arrival, self._clock.boot() if arrival is None else arrival.boot)
            if not line.has_keyframe:
                self._judge_wait(last_video, self._clock.boot() - opened)
            if arrival is not None and arrival.track == 0 and not arrival.is_damaged:
                # A unit is held until the next begins: it arrived so much earlier as pictures lie apart.
                last_video = self._clock.boot()
                if arrival.is_keyframe and self._look is not None:
                    self._look.offer(self._tracks[0].codec, self._tracks[0].extradata, arrival.data)
            # By when it arrived: it may have waited for a disk since.
            elif (self._clock.boot() if arrival is None else arrival.boot) - last_video > self._watchdog_ns:
                raise CaptureError("lost-packets" if arrival is not None and arrival.is_damaged else "stalled")
            yield arrival

    def _judge_wait(self, last_video: MonoNs, waited_ns: int) -> None:
        """Say so if pictures arrive and none is a keyframe; later give the session up."""
        if waited_ns <= self._watchdog_ns or self._clock.boot() - last_video > self._watchdog_ns:
            return
        if waited_ns > _KEYFRAME_WATCHDOGS * self._watchdog_ns:
            raise CaptureError("no-keyframe")
        self._say_down(CaptureError("no-keyframe"))

    def _watch(self, packets: "Iterator[Arrival | None]") -> PreRoll:
        """Take pictures without recording them until an event or an end; return those that an event wants recorded."""
        assert self._look is not None
        pre_roll = PreRoll(self._look.before_ns)
        for arrival in packets:
            # No event could be recorded of a session that has no keyframe yet: that stays told, once.
            is_blind = self.status.state == "down" and self._line is not None and not self._line.has_keyframe
            if arrival is not None:
                pre_roll.push(arrival)
                if arrival.is_keyframe and arrival.track == 0:
                    self.status.note(pre_roll_short=pre_roll.is_short)
                if not is_blind and self.status.enter("waiting", BY_RULE, self._clock.utc()):
                    log.info("camera is watched, not recorded stream=%s", self.name)
                    self._retry.reset()
            # What may yet be recorded is not told as a hole; it was taken a while before it came.
            utc, boot = pre_roll.since or self._moment_of(arrival)
            before = UtcNs(utc - _BEFORE_ARRIVAL_NS), MonoNs(boot - _BEFORE_ARRIVAL_NS)
            if not is_blind:
                self._gaps.because(BY_RULE, *before)
            self._gaps.wait(*before)
            self._tick()
            if self._stop.is_set() or self._hold() != BY_RULE:
                break
        return pre_roll

    def _note_progress(self, run: Run, arrival: Arrival | None) -> None:
        if run.records and self.status.state != "recording":
            self._retry.reset()
            self.status.enter("recording", "", self._clock.utc())
            log.info("camera is recording stream=%s", self.name)
        elif not (run.records or run.has_begun):
            # By when it arrived: what waits behind it may be footage.
            self._gaps.wait(*self._moment_of(arrival))
        self._tick()
