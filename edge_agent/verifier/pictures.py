"""The pictures of a clip against what the recorder committed to: none altered, added, left out, or from elsewhere.

Owns the comparison of an MP4 with the records that it was made of, and of both with what was granted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import floor
from pathlib import Path

from edge_agent.buffer.format.constants import Kind
from edge_agent.errors import EvidenceError
from edge_agent.media import commitments
from edge_agent.protocol.manifest import Clip
from edge_agent.units import UtcNs, Window, encode_rfc3339
from edge_agent.verifier.chain import Chain
from edge_agent.verifier.mp4_video import Mp4, Mp4Track, open_mp4
from edge_agent.verifier.records import RecordShown, Shown, TrackShown

MAX_HOLE_NS = 2_000_000_000
"""A gateway ends a clip where pictures are further apart."""
_LOOK_AHEAD = 32
"""So many pictures the muxer looks at before it says how long one is shown."""
_LONE_NS = 1_000_000_000
_UNSPOKEN_SOUND = "the MP4 has sound, and the manifest says that it has none"


@dataclass(frozen=True, slots=True)
class ClipProof:
    """What was found about one clip, every access unit of which was compared."""

    pictures: int
    sounds: int
    is_recorder_signed: bool
    """Every record of it lies in a block whose end was signed while recording."""
    is_dated: bool
    """The time of every record of it follows from what the recorder signed."""
    has_committed_parameters: bool
    """The parameters with which the pictures are decoded, also those among them, are committed to by the recorder."""
    has_committed_sound: bool
    """So are those of the sound."""


@dataclass(frozen=True, slots=True)
class _Placed:
    record: RecordShown
    unit: Shown


def verify_clip(
    path: Path, clip: Clip, records: Sequence[RecordShown], chain: Chain, allowed: Sequence[Window]
) -> ClipProof:
    """Compare one clip with its records.

    In this order: each access unit is the recorded one with its time; nothing else is in the file; nothing was left out
    between the first and the last; every picture lies inside an allowed window, granted or ordered; the clip's span is
    that of its pictures; there is no sound where the manifest says so, which is what terms are held against.

    Raises:
        EvidenceError: Anything does not fit; the message names record and unit.
    """
    placed = [_Placed(record, unit) for record in records for unit in record.delivered.get(clip.file, ())]
    if not placed:
        raise EvidenceError("no access unit is said to be in it")
    by_track: dict[int, list[_Placed]] = {}
    for each in placed:
        by_track.setdefault(each.unit.track, []).append(each)
    offsets = _read_offsets(clip, placed[0].record)
    with open_mp4(path) as mp4:
        pairs = _pair_tracks(mp4, clip, placed[0].record, by_track)
        counts, strange = _compare(mp4, pairs, by_track, offsets)
        video = next(track for track in mp4.tracks if track.kind == "video")
        own_video = pairs[video.number]
    _find_left_out(placed, records, chain, clip.file, own_video)
    times = {number: _date(units, own_video) for number, units in by_track.items()}
    for number, units in by_track.items():
        _demand_inside(units, times[number], allowed)
    _demand_unbroken(times[own_video])
    _demand_span(clip, by_track[own_video], times[own_video])
    signed = all(chain.is_signed(each.record.place) for each in placed)
    dated = all(each.record.is_dated for each in placed)
    sounds = sum(count for number, count in counts.items() if number != video.number)
    if clip.sound == "none" and sounds:
        raise EvidenceError(_UNSPOKEN_SOUND)
    return ClipProof(
        counts[video.number], sounds, signed, dated, video.number not in strange, not strange - {video.number}
    )


def verify_silence(path: Path, clip: Clip) -> None:
    """Look for sound in a derivative, of which nothing else can be compared; EvidenceError where it hides some."""
    if clip.sound == "none":
        with open_mp4(path) as mp4:
            if any(mp4.tracks[unit.track].kind != "video" for unit in mp4.units()):
                raise EvidenceError(_UNSPOKEN_SOUND)


def _read_offsets(clip: Clip, record: RecordShown) -> dict[int, int]:
    """Return the offset of each track; they are one instant, or sound would be moved against the pictures."""
    offsets = {entry.track: entry.ticks for entry in clip.offsets}
    if len(offsets) != len(clip.offsets) or not offsets.keys() <= record.tracks.keys():
        raise EvidenceError("the manifest gives offsets of other tracks than there are")
    bases = {number: record.tracks[number].time_base for number in offsets}
    for (one, ticks), (other, more) in combinations(offsets.items(), 2):
        if abs(ticks * bases[one] - more * bases[other]) >= max(bases[one], bases[other]):
            raise EvidenceError("sound and pictures are moved against each other")
    return offsets


def _pair_tracks(mp4: Mp4, clip: Clip, first: RecordShown, by_track: dict[int, list[_Placed]]) -> dict[int, int]:
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
    if not by_track.keys() <= set(pairs.values()) or sum(track.kind == "video" for track in mp4.tracks) != 1:
        raise EvidenceError("the MP4 has not the tracks that it should have")
    return pairs


def _compare(
    mp4: Mp4, pairs: dict[int, int], by_track: Mapping[int, list[_Placed]], offsets: dict[int, int]
) -> tuple[dict[int, int], set[int]]:
    """Compare unit by unit; return how many there are per track, and which tracks have parameters not committed to."""
    expected: dict[int, Iterator[_Placed]] = {number: iter(by_track.get(own, ())) for number, own in pairs.items()}
    counts, strange = dict.fromkeys(pairs, 0), set[int]()
    for unit in mp4.units():
        if unit.track not in pairs:
            continue
        each = next(expected[unit.track], None)
        if each is None:
            raise EvidenceError("the MP4 holds more than was recorded")
        record, shown, track = each.record, each.unit, mp4.tracks[unit.track]
        where = f"block={record.place[0]} index={record.place[1]} unit={shown.index}"
        own = record.tracks[shown.track]
        if unit.pts * track.time_base != (shown.pts - offsets[shown.track]) * own.time_base:
            raise EvidenceError(f"access unit is shown at another time than it was recorded: {where}")
        if _digest(track, shown, unit.data) != record.digests[shown.index]:
            raise EvidenceError(f"access unit is not the one that was recorded: {where}")
        counts[unit.track] += 1
        if not _is_committed(track, own, unit.data):
            strange.add(unit.track)
    if any(next(rest, None) is not None for rest in expected.values()):
        raise EvidenceError("the MP4 is shorter than what is said to be in it")
    return counts, strange


def _is_committed(track: Mp4Track, own: TrackShown, data: bytes) -> bool:
    """Tell whether everything that this unit is decoded with is what the recorder committed to, in the unit as well."""
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


def _find_left_out(
    placed: Sequence[_Placed], records: Sequence[RecordShown], chain: Chain, clip: str, video: int
) -> None:
    """Account for every access unit between the first and the last: in the clip, or seen to be no picture of it."""
    first, last = placed[0], placed[-1]
    first_pts = min(each.unit.pts for each in placed if each.unit.track == video)
    inside = [record for record in records if first.record.ref <= record.ref <= last.record.ref and record.digests]
    order = [place for place, link in chain.links.items() if link.header.kind is Kind.GOP]
    at = order.index(first.record.place)
    if [record.place for record in inside] != order[at : at + len(inside)]:
        raise EvidenceError("a record between the first and the last is left out")
    for block in {record.place[0] for record in inside} - {first.record.place[0]}:
        if not chain.is_joined(block):
            raise EvidenceError(f"a block between the first and the last is left out: before block={block}")
    holes = ((block, hole.start) for block, found in chain.holes.items() for hole in found)
    if hole := next((each for each in holes if first.record.place < each < last.record.place), None):
        raise EvidenceError(f"records between the first and the last are not shown: block={hole[0]} index={hole[1]}")
    for record in inside:
        delivered = {unit.index for unit in record.delivered.get(clip, ())}
        begin = first.unit.index if record.ref == first.record.ref else 0
        end = last.unit.index if record.ref == last.record.ref else len(record.digests) - 1
        for index in range(begin, end + 1):
            shown = record.places.get(index)
            if index in delivered:
                continue
            # A leading picture is shown before the keyframe that the clip begins with: not granted.
            if shown is None or (shown.track == video and shown.pts >= first_pts):
                where = f"block={record.place[0]} index={record.place[1]} unit={index}"
                raise EvidenceError(f"an access unit was left out: {where}")


def _date(units: Sequence[_Placed], video: int) -> list[UtcNs]:
    """Return the time of each access unit: its record's start, and the distance in PTS from its first picture."""
    origins: dict[int, Fraction] = {}
    times = []
    for each in units:
        record = each.record
        if record.ref not in origins:
            shown = (unit for units in record.delivered.values() for unit in units)
            pictures = [unit for unit in (*shown, *record.places.values()) if unit.track == video]
            origins[record.ref] = min(pictures, key=lambda unit: unit.index).pts * record.tracks[video].time_base
        distance = each.unit.pts * record.tracks[each.unit.track].time_base - origins[record.ref]
        times.append(UtcNs(record.start_ns + floor(distance * 1_000_000_000)))
    return times


def _demand_inside(units: Sequence[_Placed], times: Sequence[UtcNs], allowed: Sequence[Window]) -> None:
    for each, utc_ns in zip(units, times, strict=True):
        if not any(window.start <= utc_ns < window.end for window in allowed):
            place = each.record.place
            raise EvidenceError(
                f"an access unit lies outside what may be in it: {encode_rfc3339(utc_ns)}"
                f" block={place[0]} index={place[1]} unit={each.unit.index}"
            )


def _demand_unbroken(times: Sequence[UtcNs]) -> None:
    """Pictures that stand still for longer are two clips, with the hole between them declared."""
    for before, after in pairwise(sorted(times)):
        if after - before > MAX_HOLE_NS:
            raise EvidenceError(f"pictures are missing inside it: from {encode_rfc3339(before)}")


def _demand_span(clip: Clip, pictures: Sequence[_Placed], times: Sequence[UtcNs]) -> None:
    """The clip says of itself what its pictures span, to one picture."""
    step_ns, last = _find_step(pictures, times), max(times)
    if abs(clip.start - min(times)) > step_ns or not last < clip.end <= last + 2 * step_ns:
        raise EvidenceError(
            f"the manifest gives another span than its pictures have: from {encode_rfc3339(min(times))}"
            f" to one picture after {encode_rfc3339(last)}"
        )


def _find_step(pictures: Sequence[_Placed], times: Sequence[UtcNs]) -> int:
    """Return how long a picture is shown, as the clip was made with it: the median of its first steps."""
    ordered = sorted(set(times[:_LOOK_AHEAD]))
    steps = sorted(after - before for before, after in pairwise(ordered))
    if steps:
        return steps[len(steps) // 2]
    # Of a lone picture nothing tells but its record's duration; the muxer guesses.
    return max(pictures[0].record.end_ns - times[0], _LONE_NS)
