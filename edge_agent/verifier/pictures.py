"""The pictures of a clip against what the recorder committed to: none altered, added, left out, or from elsewhere.

Owns the comparison of an MP4 with the records that it was made of, and of both with the grant.
"""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import floor
from pathlib import Path
from typing import BinaryIO

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.timeline import merge_windows
from edge_agent.errors import EvidenceError
from edge_agent.media import commitments
from edge_agent.protocol.manifest import Clip
from edge_agent.units import UtcNs, Window, encode_rfc3339
from edge_agent.verifier.chain import Chain
from edge_agent.verifier.mp4_video import Mp4, Mp4Track, open_mp4
from edge_agent.verifier.records import Media, Records, RecordShown, Shown, TrackShown

MAX_HOLE_NS = 2_000_000_000
"""A gateway ends a clip if two pictures are further apart."""
_LOOK_AHEAD = 32
"""The muxer looks at so many pictures before it says how long one is shown."""
_LONE_NS = 1_000_000_000
"""A lone picture counts as shown for so long at least."""
_KEPT_RECORDS = 3
"""Sound and pictures are read side by side, and may be in different records."""
_OTHER_TRACKS = "the MP4 has not the tracks that it should have"
_UNSPOKEN_SOUND = "the MP4 has sound, and the manifest says that it has none"


@dataclass(frozen=True, slots=True)
class ClipProof:
    """The findings about one clip, every access unit of which was compared."""

    pictures: int
    sounds: int
    is_recorder_signed: bool
    """Every record of it lies in a block whose end was signed while recording."""
    is_dated: bool
    """The time of every record of it follows from the recorder's signature."""
    has_committed_parameters: bool
    """The parameters with which the pictures are decoded, also those among them, are committed to by the recorder."""
    has_committed_sound: bool
    """So are those of the sound."""


@dataclass(frozen=True, slots=True)
class _Placed:
    record: RecordShown
    media: Media
    unit: Shown


class _ClipRecords:
    """The records of one clip, in order; each is read when it is needed, and a few are kept."""

    def __init__(self, clip: str, records: Records, file: BinaryIO) -> None:
        self._clip, self._records, self._file = clip, records, file
        self._kept: OrderedDict[int, Media] = OrderedDict()
        self.parts = [record for record in records.shown if clip in record.clips]

    def read(self, record: RecordShown) -> Media:
        """Return what a record shows."""
        if record.ref not in self._kept:
            self._kept[record.ref] = self._records.read_media(self._file, record)
            if len(self._kept) > _KEPT_RECORDS:
                self._kept.popitem(last=False)
        return self._kept[record.ref]

    def units(self, track: int | None = None) -> Iterator[_Placed]:
        """Yield the clip's access units in the order of the records, of one track or of all."""
        for record in self.parts:
            media = self.read(record)
            for unit in media.delivered[self._clip]:
                if track in (None, unit.track):
                    yield _Placed(record, media, unit)

    def delivered(self, record: RecordShown) -> tuple[Shown, ...]:
        """Return the units of a record that are in the clip."""
        return self.read(record).delivered.get(self._clip, ())


def verify_clip(path: Path, clip: Clip, records: Records, chain: Chain, allowed: Sequence[Window]) -> ClipProof:
    """Compare one clip with its records.

    In this order: each access unit is the recorded one with its time; nothing else is in the file; nothing was left out
    between the first and the last; every picture lies inside an allowed window, granted or ordered; the clip's span is
    that of its pictures; there is no sound if the manifest says so (``release_papers`` holds that against the terms).

    Raises:
        EvidenceError: Anything does not fit; the message names record and unit.
    """
    with records.path.open("rb") as file:
        source = _ClipRecords(clip.file, records, file)
        if not source.parts:
            raise EvidenceError("no access unit is said to be in it")
        first = source.read(source.parts[0])
        offsets = _read_offsets(clip, first)
        with open_mp4(path) as mp4:
            pairs = _pair_tracks(mp4, clip, first)
            # A track of the records without one in the MP4 would be compared with nothing.
            if not {each.unit.track for each in source.units()} <= set(pairs.values()):
                raise EvidenceError(_OTHER_TRACKS)
            counts, strange = _compare(mp4, pairs, source, offsets)
            video = next(track for track in mp4.tracks if track.kind == "video")
            own_video = pairs[video.number]
        _find_left_out(source, records.shown, chain, own_video)
        times = _date(source, own_video, allowed)
        _demand_unbroken(times)
        _demand_span(clip, source.parts[0], times)
    signed = all(chain.is_signed(record.place) for record in source.parts)
    dated = all(record.is_dated for record in source.parts)
    sounds = sum(count for number, count in counts.items() if number != video.number)
    if clip.sound == "none" and sounds:
        raise EvidenceError(_UNSPOKEN_SOUND)
    return ClipProof(
        counts[video.number], sounds, signed, dated, video.number not in strange, not strange - {video.number}
    )


def verify_silence(path: Path, clip: Clip) -> None:
    """Look for sound in a derivative, of which nothing else can be compared; EvidenceError if it hides some."""
    if clip.sound == "none":
        with open_mp4(path) as mp4:
            if any(mp4.tracks[unit.track].kind != "video" for unit in mp4.units()):
                raise EvidenceError(_UNSPOKEN_SOUND)


def _read_offsets(clip: Clip, record: Media) -> dict[int, int]:
    """Return the offset of each track; they are one instant, or sound would be moved against the pictures."""
    offsets = {entry.track: entry.ticks for entry in clip.offsets}
    if len(offsets) != len(clip.offsets) or not offsets.keys() <= record.tracks.keys():
        raise EvidenceError("the manifest gives offsets of other tracks than there are")
    bases = {number: record.tracks[number].time_base for number in offsets}
    for (one, ticks), (other, more) in combinations(offsets.items(), 2):
        # Each offset is a whole number of its track's ticks: one instant can differ by less than
        # the coarser tick.
        if abs(ticks * bases[one] - more * bases[other]) >= max(bases[one], bases[other]):
            raise EvidenceError("sound and pictures are moved against each other")
    return offsets


def _pair_tracks(mp4: Mp4, clip: Clip, first: Media) -> dict[int, int]:
    """Pair each track of the MP4 with one of the records; sound that was coded anew has no pair."""
    pairs: dict[int, int] = {}
    for track in mp4.tracks:
        if track.kind == "audio" and clip.sound == "coded-anew":
            continue
        same = [number for number, own in first.tracks.items() if own.codec == track.codec]
        if len(same) != 1 or same[0] in pairs.values():
            raise EvidenceError(f"a track of the MP4 is none of the recorded ones: track={track.number}")
        pairs[track.number] = same[0]
    # A short clip may have a track for sound and no sound in it.
    if sum(track.kind == "video" for track in mp4.tracks) != 1:
        raise EvidenceError(_OTHER_TRACKS)
    return pairs


def _compare(
    mp4: Mp4, pairs: dict[int, int], source: _ClipRecords, offsets: dict[int, int]
) -> tuple[dict[int, int], set[int]]:
    """Compare unit by unit; return how many there are per track, and which tracks have parameters not committed to."""
    expected = {number: source.units(own) for number, own in pairs.items()}
    counts, strange = dict.fromkeys(pairs, 0), set[int]()
    for unit in mp4.units():
        if unit.track not in pairs:
            continue
        each = next(expected[unit.track], None)
        if each is None:
            raise EvidenceError("the MP4 holds more than was recorded")
        record, media, shown, track = each.record, each.media, each.unit, mp4.tracks[unit.track]
        where = f"block={record.place[0]} index={record.place[1]} unit={shown.index}"
        own = media.tracks[shown.track]
        if unit.pts * track.time_base != (shown.pts - offsets[shown.track]) * own.time_base:
            raise EvidenceError(f"access unit is shown at another time than it was recorded: {where}")
        if _digest(track, shown, unit.data) != media.digests[shown.index]:
            raise EvidenceError(f"access unit is not the one that was recorded: {where}")
        counts[unit.track] += 1
        if not _is_committed(track, own, unit.data):
            strange.add(unit.track)
    # The loop ends with the MP4: units that the records promise beyond it are missing.
    if any(next(rest, None) is not None for rest in expected.values()):
        raise EvidenceError("the MP4 is shorter than what is said to be in it")
    return counts, strange


def _is_committed(track: Mp4Track, own: TrackShown, data: bytes) -> bool:
    """Tell whether the recorder committed to everything that this unit is decoded with, in the unit as well."""
    kind = commitments.codec_kind(track.codec)
    if commitments.parameter_sets(kind, track.extradata) != own.parameters:
        return False
    inside = commitments.inband_parameter_sets(kind, track.extradata, data)
    return set(map(bytes, commitments.split_prefixed(inside))) <= set(
        map(bytes, commitments.split_prefixed(own.parameters))
    )


def _digest(track: Mp4Track, shown: Shown, data: bytes) -> bytes:
    body = commitments.vcl_parts(commitments.codec_kind(track.codec), track.extradata, data)
    return commitments.unit_digest(
        shown.salt.place, shown.track, shown.pts, commitments.body_digest(shown.salt.body, body)
    )


def _find_left_out(source: _ClipRecords, records: Sequence[RecordShown], chain: Chain, video: int) -> None:
    """Account for every access unit between the first and the last: in the clip, or seen to be no picture of it."""
    first, last = source.parts[0], source.parts[-1]
    first_pts = min((each.unit.pts for each in source.units(video)), default=0)
    inside = [record for record in records if first.ref <= record.ref <= last.ref and record.has_media]
    order = (place for place, link in chain.links.iter_from(first.place) if link.kind is Kind.GOP)
    if any(record.place != next(order, None) for record in inside):
        raise EvidenceError("a record between the first and the last is left out")
    # A block whole between two others could be left out with all its records; only the signed page
    # of the next one shows that.
    for block in {record.place[0] for record in inside} - {first.place[0]}:
        if not chain.is_joined(block):
            raise EvidenceError(f"a block between the first and the last is left out: before block={block}")
    holes = ((block, hole.start) for block, found in chain.holes.items() for hole in found)
    if hole := next((each for each in holes if first.place < each < last.place), None):
        raise EvidenceError(f"records between the first and the last are not shown: block={hole[0]} index={hole[1]}")
    for record in inside:
        units, media = source.delivered(record), source.read(record)
        delivered = {unit.index for unit in units}
        begin = units[0].index if record.ref == first.ref else 0
        end = units[-1].index if record.ref == last.ref else len(media.digests) - 1
        for index in range(begin, end + 1):
            shown = media.places.get(index)
            if index in delivered:
                continue
            # A leading picture is shown before the keyframe that the clip begins with: not granted.
            if shown is None or (shown.track == video and shown.pts >= first_pts):
                where = f"block={record.place[0]} index={record.place[1]} unit={index}"
                raise EvidenceError(f"an access unit was left out: {where}")


def _date(source: _ClipRecords, video: int, allowed: Sequence[Window]) -> "array[int]":
    """Return the time of each picture: its record's start, and the distance in PTS from its first one.

    Raises:
        EvidenceError: A picture or a sound lies outside the allowed windows.
    """
    apart = merge_windows(list(allowed))
    times, origin, dated = array("q"), Fraction(0), -1
    for each in source.units():
        record, media = each.record, each.media
        if record.ref != dated:
            shown = (unit for units in media.delivered.values() for unit in units)
            pictures = [unit for unit in (*shown, *media.places.values()) if unit.track == video]
            if not pictures:
                raise EvidenceError(f"no picture tells the time of a record: block={record.place[0]}")
            # The record's start is the time of its first access unit of video in decoding order,
            # whatever its PTS.
            origin = min(pictures, key=lambda unit: unit.index).pts * media.tracks[video].time_base
            dated = record.ref
        distance = each.unit.pts * media.tracks[each.unit.track].time_base - origin
        utc_ns = UtcNs(record.start_ns + floor(distance * 1_000_000_000))
        _demand_inside(each, utc_ns, apart)
        if each.unit.track == video:
            times.append(utc_ns)
    return times


def _demand_inside(each: _Placed, utc_ns: UtcNs, apart: Sequence[Window]) -> None:
    at = bisect_right(apart, utc_ns, key=lambda window: window.start) - 1
    # Half-open: a picture at a window's end is outside of it.
    if at < 0 or apart[at].end <= utc_ns:
        place = each.record.place
        raise EvidenceError(
            f"an access unit lies outside what may be in it: {encode_rfc3339(utc_ns)}"
            f" block={place[0]} index={place[1]} unit={each.unit.index}"
        )


def _demand_unbroken(times: Sequence[int]) -> None:
    """Refuse a longer hole between two pictures: it parts two clips, and is declared in the manifest."""
    for before, after in pairwise(sorted(times)):
        if after - before > MAX_HOLE_NS:
            raise EvidenceError(f"pictures are missing inside it: from {encode_rfc3339(UtcNs(before))}")


def _demand_span(clip: Clip, first: RecordShown, times: Sequence[int]) -> None:
    """Hold the span that the manifest gives against the pictures: to within one picture."""
    if not times:
        raise EvidenceError("it has no picture")
    step_ns, begin, last = _find_step(first, times), UtcNs(min(times)), UtcNs(max(times))
    if abs(clip.start - begin) > step_ns or not last < clip.end <= last + 2 * step_ns:
        raise EvidenceError(
            f"the manifest gives another span than its pictures have: from {encode_rfc3339(begin)}"
            f" to one picture after {encode_rfc3339(last)}"
        )


def _find_step(first: RecordShown, times: Sequence[int]) -> int:
    """Return how long a picture is shown, as the clip was made with it: the median of its first steps."""
    ordered = sorted(set(times[:_LOOK_AHEAD]))
    steps = sorted(after - before for before, after in pairwise(ordered))
    if steps:
        return steps[len(steps) // 2]
    # The duration of a lone picture is known by its record alone; the muxer guesses it.
    return max(first.end_ns - times[0], _LONE_NS)
