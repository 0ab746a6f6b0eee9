"""From the packets of a session to arrivals: access units with their media time and the time at which they came.

Owns the media time: RTP timestamps, unwrapped; the first picture counts, not what ``RTP-Info`` says. RTCP moves no
picture. Pure but for the account of losses that it is handed.
"""

from collections.abc import Iterator

from edge_agent.capture.rtsp.access_units import CodedUnitBytes, Stamp
from edge_agent.capture.rtsp.allowance import NAL, PICTURE
from edge_agent.capture.rtsp.connection import Received
from edge_agent.capture.rtsp.h264 import H264Depacketizer
from edge_agent.capture.rtsp.h265 import H265Depacketizer
from edge_agent.capture.rtsp.handshake import PlayedStream, PlayedTrack
from edge_agent.capture.rtsp.rtp import RtpOrder, parse_report
from edge_agent.capture.rtsp.sdp import SdpMedium
from edge_agent.capture.rtsp.sound_place import SOUND, VIDEO, SoundPlace
from edge_agent.capture.rtsp.sound_unit import SoundUnit
from edge_agent.capture.run.standing_time import StandingTime
from edge_agent.capture.session.interface import Arrival, SenderReport
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

_TELL_EVERY_NS = SECOND_NS // 2
"""The camera's own time is compared so often."""


class _MediaClock:
    """RTP timestamps of one track as ticks that do not wrap, from its first packet on."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._latest: int | None = None
        self._first = 0

    def unwrap(self, ticks: int) -> int:
        """Return the place of a timestamp, and take it for the latest."""
        self._latest = self.look_up(ticks)
        return self._latest - self._first

    def look_up(self, ticks: int) -> int:
        if self._latest is None:
            self._first = self._latest = ticks
        # The nearest place to the latest one with these 32 bits: up to half of their range back or on.
        return self._latest + (ticks - self._latest + 0x80000000 & 0xFFFFFFFF) - 0x80000000

    def place_ns(self, ticks: int) -> int:
        """Return the place of a timestamp in nanoseconds."""
        return self.to_ns(self.look_up(ticks) - self._first)

    def to_ns(self, pts: int) -> int:
        return pts * SECOND_NS // self._rate


class _Track:
    """The state of one track."""

    def __init__(self, played: PlayedTrack) -> None:
        rate = played.medium.clock_rate
        # The first one is what `a=rtpmap` was read for; others are another codec's.
        self.order = RtpOrder(frozenset(played.medium.payload_types[:1]))
        self.clock, self.rate = _MediaClock(rate), rate
        self.standing = StandingTime(played.template.time_base, settle_ns=0)
        self.report: SenderReport | None = None
        self.has_new_report = False


class ArrivalMaker:
    """Turns the chunks of one session into arrivals. One thread at a time.

    Args:
        played: What was agreed.
        loss: Told of packets that are missing, and of those that the camera sent.
    """

    def __init__(self, played: PlayedStream, loss: PacketLoss) -> None:
        self._loss = loss
        self._tracks = [_Track(track) for track in played.tracks]
        self._channels = {track.channels[0]: place for place, track in enumerate(played.tracks)}
        self._reports = {track.channels[1]: place for place, track in enumerate(played.tracks)}
        self._video = _make_video(played.tracks[0].medium)
        sound = played.tracks[1].sound if len(played.tracks) > 1 else None
        self._sound = sound.depacketizer if sound is not None else None
        self._place = SoundPlace()
        self._told = MonoNs(0)
        self.units = 0
        """How many pictures and pieces of sound were made."""

    @property
    def work(self) -> int:
        """The work done on packets so far, in the measure of ``capture.rtsp.allowance``."""
        return NAL * self._video.units.nals + PICTURE * self.units

    @property
    def is_by_arrival(self) -> bool:
        """Tell whether pictures are timed by their arrival, because their RTP time stands still."""
        return self._tracks[VIDEO].standing.stands

    def take(self, received: Received) -> Iterator[Arrival]:
        """Yield what a chunk completes, in order."""
        data, stamp = received.pieces.data, Stamp(received.utc, received.boot)
        view = memoryview(data)
        frames, at = received.pieces.frames, 0
        while at < len(frames):
            channel, begin, end = frames[at]
            at += 1
            track = self._channels.get(channel)
            if track is None:
                self._take_report(channel, data, (begin, end))
                continue
            packet = self._tracks[track].order.take(data, begin, end)
            if packet is None:
                continue
            if packet.lost > 0:
                self._loss.missed(packet.lost)
            if track == VIDEO:
                self._video.take(data, view, packet, stamp)
                at = self._video.take_inner(data, view, frames, at, self._tracks[VIDEO].order, stamp)
            elif self._sound is not None:
                for unit in self._sound.take(data, packet):
                    self.units += 1
                    yield self._make_sound(unit, stamp)
        self._video.settle()
        yield from self._take_units()

    def flush(self) -> Iterator[Arrival]:
        """Yield the last picture, if it is known to be whole: nothing more will come."""
        self._video.units.flush()
        yield from self._take_units()

    def _take_units(self) -> Iterator[Arrival]:
        ready, self._video.units.ready = self._video.units.ready, []
        self.units += len(ready)
        for unit in ready:
            yield self._make_picture(unit)

    def _take_report(self, channel: int, data: bytes, place: tuple[int, int]) -> None:
        number = self._reports.get(channel)
        report = parse_report(data, *place) if number is not None else None
        if number is None or report is None:
            return
        track = self._tracks[number]
        self._loss.sent(number, report.packets)
        track.report, track.has_new_report = SenderReport(report.ntp, report.rtp), True
        # 32.32 bits of seconds.
        ntp_ns = report.ntp * SECOND_NS >> 32
        self._place.report(number, ntp_ns, track.clock.place_ns(report.rtp))

    def _make_picture(self, unit: CodedUnitBytes) -> Arrival:
        track, boot, pts = self._tracks[VIDEO], unit.stamp.boot, None
        if not unit.is_damaged:
            pts = track.standing.take(track.clock.unwrap(unit.ticks), boot, 0)
            if self._sound is not None:
                self._place.arrive(VIDEO, track.clock.to_ns(pts), boot)
        report = track.report if track.has_new_report else None
        track.has_new_report = False
        camera_utc = self._find_camera_utc(track, unit.ticks, boot)
        # Without names: they would take as long again.
        return Arrival(
            VIDEO, pts, 0, unit.is_keyframe, unit.data, unit.stamp.utc, boot, camera_utc, report, unit.ticks,
            track.standing.stands, unit.is_damaged,
        )  # fmt: skip

    def _find_camera_utc(self, track: _Track, ticks: int, boot: MonoNs) -> UtcNs | None:
        if track.report is None or boot - self._told < _TELL_EVERY_NS:
            return None
        self._told = boot
        # RTP time wraps: a picture may be from shortly before the report or from after it.
        since = (ticks - track.report.rtp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        return UtcNs(track.report.camera_utc + since * SECOND_NS // track.rate)

    def _make_sound(self, unit: SoundUnit, stamp: Stamp) -> Arrival:
        ticks, duration, data = unit
        track = self._tracks[SOUND]
        own = track.standing.take(track.clock.unwrap(ticks), stamp.boot, duration)
        self._place.arrive(SOUND, track.clock.to_ns(own), stamp.boot)
        shift_ns = self._place.find_shift_ns()
        return Arrival(
            track=SOUND,
            pts=None if shift_ns is None else own + shift_ns * track.rate // SECOND_NS,
            duration=duration,
            is_keyframe=True,
            data=data,
            utc=stamp.utc,
            boot=stamp.boot,
            camera_utc=None,
            report=None,
            rtp=ticks,
            is_by_arrival=track.standing.stands,
        )


def _make_video(medium: SdpMedium) -> H264Depacketizer | H265Depacketizer:
    if medium.codec == "H264":
        return H264Depacketizer()
    return H265Depacketizer(has_donl=medium.has_donl)
