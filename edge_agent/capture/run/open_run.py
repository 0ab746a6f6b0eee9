"""One run: from the packets of an unbroken session to records with their UTC.

Owns the order of things: PTS made good, pictures timed, GOPs cut, holes told, records handed on. Blocks nowhere and
opens nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.capture.run.first_pts import FirstPicture
from edge_agent.capture.run.gap_account import CLOCK_STEP_NS, SMALL_STEP_NS, GapKeeper
from edge_agent.capture.run.gop import Cut, GopCutter, build_payload
from edge_agent.capture.run.pts_sequence import DiscontinuityError, Sequencer
from edge_agent.capture.run.pts_stretch import Stretch
from edge_agent.capture.run.records import ClockNote, Gop, RunInfo, Sink
from edge_agent.capture.run.timeline import Timeline, TimelineBreakError
from edge_agent.capture.session.interface import Arrival, SenderReport
from edge_agent.capture.session.reset_track import retemplate
from edge_agent.capture.status import CLOCK_RATE, CLOCK_STANDS, StreamStatus
from edge_agent.media.commitments import codec_kind, inband_parameter_sets, parameter_sets
from edge_agent.media.decoder_sets import is_decodable, merge_sets
from edge_agent.media.packets import NutPacket, TrackTemplate
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs

log = logging.getLogger(__name__)

CLOCK_NOTE_EVERY_NS = MINUTE_NS
_LEAD_S = 1
"""The first picture has the PTS of one second, so that audio which begins a little earlier has one above zero."""
_SEEN_STEPS = 3
"""Pictures in a row that show a small step of the clock: then it is one."""
_APART_S = 5
"""Sound that lies further from the pictures is mislabelled; it must not hold up what follows."""
_MOST_PENDING = 32
"""Records that wait until the first pictures have told when they were taken: 1.2 s of them, 1 MiB each at most."""
_PARSED = ("h264", "hevc")
_MOST_RTP_KNOWN = 256
"""Keyframes of which the RTP timestamp is remembered until a record begins with one of them."""


class RunBreakError(Exception):
    """The run cannot go on, though the session may; ``reason`` is one of ``capture.reasons``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RunBreak:
    """When a run of a session was broken, and by what."""

    at: MonoNs
    reason: str
    detail: str


class Run:
    """Turns packets into records until ``finish`` or a ``RunBreakError``. One thread only."""

    def __init__(
        self,
        tracks: tuple[TrackTemplate, ...],
        *,
        reorders: bool,
        sink: Sink,
        gaps: GapKeeper,
        status: StreamStatus,
        source: Mapping[str, Any],
        floor: UtcNs,
        is_joined: bool = False,
    ) -> None:
        self._tracks = tracks
        self._sink, self._gaps, self._status, self._source = sink, gaps, status, source
        self._tick_numerator = tracks[0].time_base.numerator * SECOND_NS
        self._tick_denominator = tracks[0].time_base.denominator
        self._sequencer = Sequencer(tracks[0].time_base, reorders)
        self._timeline = Timeline(floor, is_joined=is_joined)
        self._stretch = Stretch(tracks[0].time_base)
        self._cutter = GopCutter(tracks[0])
        self._kind = codec_kind(tracks[0].codec)
        self._parameters = parameter_sets(self._kind, tracks[0].extradata)
        self._first = FirstPicture(self._kind, reorders)
        self._previous: Arrival | None = None
        self._origin_ticks: int | None = None
        self._utc_minus_boot = self._steps_in_a_row = 0
        self._pending: deque[tuple[tuple[TrackTemplate, ...], Cut, bool]] = deque()
        self._is_after_loss = False
        self._next_start: tuple[int, UtcNs] | None = None
        self._latest_pts = 0
        self._last_audio_pts = -1
        self._last_keyframe_pts: int | None = None
        self._announced: tuple[TrackTemplate, ...] | None = None
        self._rtp_of: deque[tuple[int, int]] = deque(maxlen=_MOST_RTP_KNOWN)
        self._clock_asked = MonoNs(0)
        self._clock_noted: MonoNs | None = None
        self._clock_state: ClockState | None = None
        self._has_noted_offset = self._is_rate_told = self._is_standing_told = False
        self._report: SenderReport | None = None
        self.records = 0

    @property
    def tracks(self) -> tuple[TrackTemplate, ...]:
        """The tracks with the parameter sets that are in force: a run that follows in the same session begins so."""
        return self._tracks

    @property
    def has_begun(self) -> bool:
        """Tell whether it has taken a picture: what comes from then on may be footage."""
        return self._first.is_held or self._origin_ticks is not None

    def push(self, arrival: Arrival, state: Callable[[], ClockState]) -> None:
        """Take in one packet; ``state`` is asked now and then.

        Raises:
            RunBreakError: What came before is stored; the packet, and what was held back until it came, is not.
        """
        self._status.count(arrival.boot, len(arrival.data))
        if self._first.is_past:
            self._push(arrival, state)
            return
        for timed in self._first.take(arrival):
            self._push(timed, state)

    def finish(self) -> None:
        """Store the rest, but for a beginning whose time is not known yet."""
        cut = self._cutter.flush(self._sequencer.step_ticks)
        if cut is not None:
            self._await_store(cut)
        self._store_pending()

    def _push(self, arrival: Arrival, state: Callable[[], ClockState]) -> None:
        self._report = arrival.report or self._report
        if arrival.track:
            self._push_audio(arrival)
            return
        self._check_clock(arrival)
        if arrival.is_damaged and self._origin_ticks is not None:
            self._break_off(arrival)
            return
        self._push_video(arrival)
        self._note_clock(arrival, state)

    def _break_off(self, damaged: Arrival) -> None:
        """End the record that is open before a damaged picture; the next one begins with a keyframe."""
        self._previous = damaged
        cut = self._cutter.flush(self._sequencer.step_ticks)
        if cut is not None:
            self._await_store(cut)
        self._is_after_loss = True
        if self._timeline.is_settled:
            self._store_pending()
            self._blame_loss()

    def _check_clock(self, arrival: Arrival) -> None:
        difference_ns = arrival.utc - arrival.boot
        step_ns = 0 if self._previous is None else difference_ns - self._utc_minus_boot
        if abs(step_ns) <= SMALL_STEP_NS:
            self._utc_minus_boot, self._steps_in_a_row = difference_ns, 0
            return
        self._steps_in_a_row += 1
        if abs(step_ns) > CLOCK_STEP_NS or self._steps_in_a_row == _SEEN_STEPS:
            raise RunBreakError("clock-step", f"by_ns={step_ns}")

    def _push_video(self, arrival: Arrival) -> None:
        if self._origin_ticks is None:
            if not arrival.is_keyframe:
                self._previous = arrival
                return
            self._origin_ticks = (arrival.pts or 0) - int(_LEAD_S / self._tracks[0].time_base)
        pts_in = None if arrival.pts is None else arrival.pts - self._origin_ticks
        try:
            pts = self._sequencer.accept(pts_in, arrival.duration)
            if pts == pts_in:
                self._observe(arrival, pts)
        except (DiscontinuityError, TimelineBreakError) as error:
            raise RunBreakError("time-jump", str(error)) from None
        finally:
            self._previous = arrival
        self._latest_pts = pts
        if arrival.is_keyframe:
            self._note_keyframe(pts)
            if arrival.rtp is not None:
                self._rtp_of.append((pts, arrival.rtp))
            self._follow_parameters(arrival.data, pts)
        step_ticks = self._sequencer.step_ticks
        cut = self._cutter.push(NutPacket(0, pts, pts, step_ticks, arrival.is_keyframe, arrival.data))
        if cut is not None:
            self._status.note(repaired_pts=self._sequencer.repairs)
            self._await_store(cut)
        if self._timeline.is_settled:
            self._store_pending()
        elif len(self._pending) > _MOST_PENDING:
            raise RunBreakError("protocol-error", "no picture tells when it was taken")

    def _observe(self, arrival: Arrival, pts: int) -> None:
        # FFmpeg's parser hands out an H.264 or H.265 picture when the first byte of the next one is there: the moment
        # at which the picture before was handed over is when this one arrived.
        is_late = self._tracks[0].codec in _PARSED and arrival.rtp is None
        seen = self._previous if is_late else arrival
        if seen is not None:
            self._timeline.observe(self._media_ns(pts), seen.utc)

    def _push_audio(self, arrival: Arrival) -> None:
        if self._origin_ticks is None or arrival.pts is None or arrival.track >= len(self._tracks):
            return
        video, audio = self._tracks[0], self._tracks[arrival.track]
        pts = arrival.pts - int(self._origin_ticks * video.time_base / audio.time_base)
        if pts <= self._last_audio_pts or abs(pts * audio.time_base - self._latest_pts * video.time_base) > _APART_S:
            return
        self._last_audio_pts = pts
        self._cutter.push(NutPacket(arrival.track, pts, pts, arrival.duration, True, arrival.data))

    def _media_ns(self, pts: int) -> int:
        return pts * self._tick_numerator // self._tick_denominator

    def _note_keyframe(self, pts: int) -> None:
        if self._last_keyframe_pts is not None:
            self._status.note(gop_ns=self._media_ns(pts) - self._media_ns(self._last_keyframe_pts))
        self._last_keyframe_pts = pts

    def _follow_parameters(self, keyframe: bytes, pts: int) -> None:
        """Begin a new RUN record if the encoder was set anew; no picture is lost by it."""
        brought = inband_parameter_sets(self._kind, self._tracks[0].extradata, keyframe)
        sets = merge_sets(self._kind, self._parameters, brought)
        if not is_decodable(self._kind, sets):
            raise RunBreakError("no-parameter-sets", "no decoder can be set up")
        is_sized = self._tracks[0].width > 0
        if is_sized and sets == self._parameters:
            return
        cut = self._cutter.flush(0)
        if cut is not None:
            self._await_store(replace(cut, end_pts=pts))
        self._parameters = sets
        self._tracks = (retemplate(self._tracks[0], sets, keyframe), *self._tracks[1:])
        if not self._tracks[0].width:
            raise RunBreakError("protocol-error", "no picture has a size")

    def _store_pending(self) -> None:
        while self._pending:
            self._store(*self._pending.popleft())

    def _await_store(self, cut: Cut) -> None:
        """Have a record stored as soon as it is known when its pictures were taken."""
        self._pending.append((self._tracks, cut, self._is_after_loss))
        self._is_after_loss = False

    def _blame_loss(self) -> None:
        """Say why nothing follows the footage that is stored."""
        if self.records:
            since = self._gaps.covered_until
            self._gaps.because("lost-packets", since, MonoNs(since - self._utc_minus_boot))

    def _store(self, tracks: tuple[TrackTemplate, ...], cut: Cut, is_after_loss: bool) -> None:
        if not self.records and (cut.continues or self._timeline.precedes_floor(self._media_ns(cut.first_pts))):
            return
        start = self._start_of(cut)
        end = UtcNs(max(self._timeline.place(self._media_ns(cut.end_pts)), start + 1))
        self._next_start = (cut.end_pts, end)
        boot = MonoNs(max(0, start - self._utc_minus_boot))
        packets = self._stretch.apply(
            tracks, cut, self._span_ticks(start, end) if self._timeline.is_stretched else None
        )
        if is_after_loss:
            self._blame_loss()
        # What cannot be built is not accounted for as footage.
        payload, commitment = build_payload(tracks, packets)
        self._gaps.footage(start, end, boot)
        if self._announced is not tracks:
            self._announce(tracks, cut.first_pts, start, boot)
        self._sink.gop(Gop(start, end - start, boot, payload, commitment, cut.continues))
        self.records += 1
        rate_ppm = self._timeline.rate_ppm
        if rate_ppm and not self._is_rate_told:
            log.warning("clock-rate source=%s ppm=%d: %s", self._source.get("source"), rate_ppm, CLOCK_RATE)
        self._is_rate_told = bool(rate_ppm)
        stands = self._previous is not None and self._previous.is_by_arrival
        if stands and not self._is_standing_told:
            log.warning("clock-stands source=%s: %s", self._source.get("source"), CLOCK_STANDS)
        self._is_standing_told = stands
        self._status.note(clock_stands=stands)
        self._status.note(last_record_ns=end, slew_ns=self._timeline.correction_ns, clock_rate_ppm=rate_ppm)

    def _span_ticks(self, start: UtcNs, end: UtcNs) -> int:
        return (end - start) * self._tick_denominator // self._tick_numerator

    def _start_of(self, cut: Cut) -> UtcNs:
        if self._next_start is not None and self._next_start[0] == cut.first_pts:
            return self._next_start[1]
        return self._timeline.place(self._media_ns(cut.first_pts))

    def _announce(self, tracks: tuple[TrackTemplate, ...], first_pts: int, start: UtcNs, boot: MonoNs) -> None:
        self._announced = tracks
        described = [_describe(track) for track in tracks]
        self._status.note(codec=tracks[0].codec, width=tracks[0].width, height=tracks[0].height)
        clock_map = {"utc_ns": start, "boot_ns": boot, "clock_rate": int(1 / tracks[0].time_base)}
        rtp = next((rtp for pts, rtp in self._rtp_of if pts == first_pts), None)
        if rtp is not None:
            clock_map["rtp_timestamp"] = rtp
        facts = {**self._source, "tracks": described, "clock_map": clock_map, **_report_facts(self._report)}
        self._sink.run(RunInfo(start, boot, facts))

    def _note_clock(self, arrival: Arrival, ask_state: Callable[[], ClockState]) -> None:
        if not self.records or arrival.pts is None or self._origin_ticks is None:
            return
        if arrival.boot - self._clock_asked < SECOND_NS and arrival.camera_utc is None:
            return
        self._clock_asked = arrival.boot
        state, offset_ns = ask_state(), None
        if arrival.camera_utc is not None:
            # prft is one picture late with the first value of a session; by the time of a record it is right.
            placed = self._utc_now_of(arrival.pts - self._origin_ticks)
            offset_ns = arrival.camera_utc - placed
            self._status.note(clock_offset_ns=offset_ns)
        is_due = self._clock_noted is None or arrival.boot - self._clock_noted >= CLOCK_NOTE_EVERY_NS
        is_first_offset = offset_ns is not None and not self._has_noted_offset
        if not is_due and not is_first_offset and state is self._clock_state:
            return
        self._has_noted_offset = self._has_noted_offset or is_first_offset
        self._clock_noted, self._clock_state = arrival.boot, state
        facts: dict[str, Any] = {"state": state.value, "utc_ns": arrival.utc, "boot_ns": arrival.boot}
        facts["slew_ns"] = self._timeline.correction_ns
        facts |= {"clock_rate_ppm": self._timeline.rate_ppm} if self._timeline.rate_ppm else {}
        facts |= {"clock_stands": True} if arrival.is_by_arrival else {}
        if offset_ns is not None:
            facts["camera_offset_ns"] = offset_ns
        self._sink.clock(ClockNote(arrival.utc, arrival.boot, {**facts, **_report_facts(self._report)}))

    def _utc_now_of(self, pts: int) -> UtcNs:
        assert self._next_start is not None
        end_pts, end = self._next_start
        return UtcNs(end + self._media_ns(pts) - self._media_ns(end_pts))


def _describe(track: TrackTemplate) -> dict[str, Any]:
    facts = {"index": track.index, "kind": track.kind, "codec": track.codec, "time_base": str(track.time_base)}
    if track.kind == "video":
        return {**facts, "width": track.width, "height": track.height}
    return {**facts, "sample_rate": track.sample_rate, "channels": track.channels}


def _report_facts(report: SenderReport | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {"sender_report": {"ntp": report.ntp, "rtp": report.rtp, "camera_utc_ns": report.camera_utc}}
