"""Clips through the real child process: exactly the grant, honest about gaps, and harmless when the stream is not."""

import ctypes
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.record import RecordHeader
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.media import commitments
from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import interleave
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs
from edge_agent.uplink.bundle.evidence import EvidenceBook
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.cutter import ClipError, ClipRecord, cut_clips
from edge_agent.uplink.clip.messages import Job, RecordHead
from edge_agent.uplink.clip.nut_reader import read_nut
from tests.support.footage import RATE, START, encode, read_numbers, records, window


def feed(footage, breaks=()):
    for ref, record in enumerate(footage):
        head = RecordHead(ref, record.start_ns, "gap" if ref in breaks else "", record.salt)
        yield ClipRecord(head, record.nut)


def stored(record):
    """A record as the reader gives it, as far as the book of evidence looks at it."""
    start = UtcNs(record.start_ns)
    header = RecordHeader(Kind.GOP, 0, 1, 0, start, record.duration_ns, MonoNs(0), 0, bytes(32), record.commitment)
    ids = (bytes(16), bytes(16))
    state = ClockState.SYNCHRONISED
    return StoredRecord(bytes(16), 1, 0, header, b"", bytes(32), state, *ids, start, False, True, record.payload)


def run(job, footage, breaks=(), **options):
    """Cut; the MP4s, and the events by kind."""
    clips, events = [], []
    for message in cut_clips(job, feed(footage, breaks), **options):
        if isinstance(message, bytes):
            clips[-1] += message
        else:
            events.append(message)
            if isinstance(message, wire.RunStart):
                clips.append(b"")
    return clips, {kind: [event for event in events if isinstance(event, kind)] for kind in map(type, events)}


CODECS = {
    "H.264": ({}, "avc1"),
    "H.264 with B-pictures": ({"bframes": 2}, "avc1"),
    "H.265 with B-pictures": ({"codec": "libx265", "bframes": 2}, "hvc1"),
    "MJPEG": ({"codec": "mjpeg"}, "mp4v"),
}


@pytest.mark.parametrize(("options", "tag"), CODECS.values(), ids=CODECS.keys())
def test_a_clip_is_the_grant(options, tag):
    """From the first keyframe in the window to before its end, every picture, and none else."""
    footage = records(encode(60, **options))
    clips, events = run(Job((window(0.5, 4.25),)), footage)
    first = 5 if "mjpeg" in options.values() else 10
    numbers = read_numbers(clips[0])
    assert numbers[0] == first
    assert numbers == list(range(first, numbers[-1] + 1))
    # A reference picture beyond the end takes the B-pictures before it along, never more than those.
    assert 42 - options.get("bframes", 0) <= numbers[-1] <= 42
    assert len(clips) == 1
    assert events[wire.RunEnd][0].start_ns == START + first * SECOND_NS // RATE
    with av.open(io.BytesIO(clips[0])) as container:
        assert container.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize(("options", "tag"), CODECS.values(), ids=CODECS.keys())
def test_units_of_a_clip_have_the_digests_of_their_records(options, tag):
    """What the child says was written can be found in the MP4, and matches what was committed to while recording."""
    footage = records(encode(40, **options))
    clips, events = run(Job((window(0, 3),)), footage)
    with av.open(io.BytesIO(clips[0])) as container:
        track = container.streams.video[0]
        kind = commitments.codec_kind(track.codec.name)
        packets = [(p.pts * track.time_base, bytes(p)) for p in container.demux(track) if p.size]
        box = track.codec_context.extradata or b""
    units = [unit for event in events[wire.Delivered] for unit in wire.DELIVERED.iter_unpack(event.units)]
    (_, offset), base = events[wire.RunEnd][0].offsets[0], Fraction(1, 90_000)
    assert len(units) == len(packets)
    for (ref, index, number, pts), (shown, data) in zip(units, packets, strict=True):
        seen = list(wire.UNIT.iter_unpack(events[wire.RecordSeen][ref].units))
        salt = commitments.UnitSalts(footage[ref].salt).of(index).body
        assert shown / base + offset == pts
        assert (number, pts, commitments.body_digest(salt, commitments.vcl_parts(kind, box, data))) == seen[index]
    book = EvidenceBook()
    for record in footage:
        book.add(stored(record), record.salt)
    assert all(book.see(event) for event in events[wire.RecordSeen])


def test_long_gop_in_parts_is_one_run():
    """Records that continue a GOP are neither dropped nor a reason for a new clip."""
    footage = records(encode(40, gop=20, bframes=2), split=(7, 13, 27))
    assert [record.continues for record in footage] == [False, True, True, False, True]
    clips, _ = run(Job((window(0, 9),)), footage)
    assert [read_numbers(clip) for clip in clips] == [list(range(40))]


def test_a_break_makes_two_clips():
    """A gap in the ring is never spliced over."""
    footage = records(encode(40))
    clips, events = run(Job((window(0, 9),)), [footage[0], footage[2], footage[3]], breaks=(1,))
    assert [read_numbers(clip) for clip in clips] == [list(range(10)), list(range(20, 40))]
    assert [end.reason for end in events[wire.RunEnd]] == ["gap", "end"]


def test_missing_pictures_end_a_run():
    """A jump of the PTS is a gap even where the ring does not say so."""
    footage = records(encode(60))
    clips, events = run(Job((window(0, 9),)), [footage[0], *footage[4:]])
    assert [read_numbers(clip) for clip in clips] == [list(range(10)), list(range(40, 60))]
    assert events[wire.RunEnd][0].reason == "pictures-missing"


def test_two_windows_make_two_clips():
    """Hours that the owner excluded leave no picture."""
    clips, _ = run(Job((window(0, 1.5), window(3, 9))), records(encode(40)))
    assert [read_numbers(clip) for clip in clips] == [list(range(15)), list(range(30, 40))]


AUDIO = {
    "AAC is kept": ("aac", False),
    "A-law becomes AAC": ("pcm_alaw", True),
    "µ-law becomes AAC": ("pcm_mulaw", True),
}


@pytest.mark.parametrize(("codec", "is_coded"), AUDIO.values(), ids=AUDIO.keys())
def test_sound_only_where_granted(codec, is_coded):
    """Sound goes along, in step with the pictures, when the grant says so; else there is no track for it."""
    footage = records(encode(40, audio=codec))
    clips, events = run(Job((window(1, 3),), audio=True), footage)
    assert events[wire.RunEnd][0].audio_coded is is_coded
    with av.open(io.BytesIO(clips[0])) as container:
        sound = container.streams.audio[0]
        frames = list(container.decode(sound))
        assert sound.codec.name == "aac"
    assert 1.6 <= sum(frame.samples for frame in frames) / 8000 <= 2.2
    assert all(0 <= frame.time < 2.0 for frame in frames)
    with av.open(io.BytesIO(clips[0])) as container:
        assert min(packet.pts for packet in container.demux(video=0) if packet.size) == 0
    clips, _ = run(Job((window(1, 3),)), footage)
    with av.open(io.BytesIO(clips[0])) as container:
        assert not container.streams.audio


def with_hole(hole: tuple[float, float]) -> io.BytesIO:
    """A-law that is silent, lacks the packets of a span, and is loud from its end on."""
    tracks, packets = read_nut(encode(80, audio="pcm_alaw").getvalue())
    sound = next(track.index for track in tracks if track.kind == "audio")
    begin = min(packet.pts for packet in packets if packet.track == sound)
    kept = []
    for packet in packets:
        at = (packet.pts - begin) / 8000
        if packet.track != sound or not hole[0] <= at < hole[1]:
            loud = b"\xaa" * 10 + b"\x2a" * 10 if at >= hole[1] else b"\xd5" * 20
            kept.append(packet._replace(data=loud * 40) if packet.track == sound else packet)
    return io.BytesIO(write_nut(tracks, interleave(tracks, kept)))


HOLES = {"two seconds": (2.0, 4.0), "a packet": (2.0, 2.1), "a packet at the end of a frame": (4.0, 4.1)}


@pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)
def test_lost_sound_moves_no_later_sound(hole):
    """Where packets of G.711 are missing there is silence; what follows is heard when it was recorded, to the end."""
    clips, _ = run(Job((window(0, 8),), audio=True), records(with_hole(hole)))
    loud = []
    with av.open(io.BytesIO(clips[0])) as container:
        for frame in container.decode(audio=0):
            peaks = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.4)
            loud += [frame.time + int(at) / 8000 for at in peaks]
    assert hole[1] - 0.003 <= min(loud) <= hole[1] + 0.003
    assert 7.9 < max(loud) < 8.01


LENGTHS = {"aac": 1024 / 8000, "libopus": 0.02, "pcm_alaw": 0.1}


@pytest.mark.parametrize("end", [2.0, 2.55, 3.0, 3.03, 3.1])
@pytest.mark.parametrize(("codec", "length_s"), LENGTHS.items(), ids=LENGTHS)
def test_no_sound_reaches_beyond_the_window(codec, length_s, end):
    """The last packet of sound ends before the window does, wherever that cuts; what ends earlier is there."""
    clips, _ = run(Job((window(0, end),), audio=True), records(encode(60, audio=codec)))
    with av.open(io.BytesIO(clips[0])) as container:
        track = container.streams.audio[0]
        last = max(packet.pts * track.time_base for packet in container.demux(track) if packet.size)
    if codec == "pcm_alaw":  # coded anew, in frames of AAC
        with av.open(io.BytesIO(clips[0])) as container:
            reached = max(
                (packet.pts + packet.duration) * packet.time_base for packet in container.demux(audio=0) if packet.size
            )
    else:
        reached = last + Fraction(length_s)
    assert end - 3 * length_s < reached <= end


def test_changed_parameters_start_a_new_clip():
    """Another picture size is another MP4, for a decoder's sake."""
    first, second = records(encode(20)), records(encode(20, codec="mjpeg"), START + 2 * SECOND_NS)
    clips, events = run(Job((window(0, 9),)), [*first, second[0]])
    assert len(clips) == 2
    assert events[wire.RunEnd][0].reason == "parameters-changed"


def test_nothing_in_the_window_is_no_clip():
    """A window without a keyframe gives no MP4 rather than an empty one."""
    clips, events = run(Job((window(0.1, 0.9),)), records(encode(10)))
    assert clips == []
    assert wire.RunStart not in events


def test_masks_are_black_and_the_master_stays(tmp_path):
    """A masked zone is black in every picture, the rest is as it was, no unit is told as delivered."""
    footage = records(encode(30, bframes=2, audio="aac"))
    plain, _ = run(Job((window(0, 9),), audio=True), footage)
    corner = ((0, 500), (500, 500), (500, 1000), (0, 1000))
    clips, events = run(Job((window(0, 9),), audio=True, masks=(corner,), memory_bytes=4 << 30), footage)
    assert read_numbers(clips[0]) == list(range(30))
    with av.open(io.BytesIO(clips[0])) as masked, av.open(io.BytesIO(plain[0])) as master:
        for painted, original in zip(masked.decode(video=0), master.decode(video=0), strict=True):
            black, seen = painted.to_ndarray(format="gray"), original.to_ndarray(format="gray")
            assert black[52:, :60].max() < 10
            assert abs(black[52:, 70:].astype(int) - seen[52:, 70:]).mean() < 5
            assert painted.time == original.time
    assert wire.Delivered not in events
    assert events[wire.RunEnd][0].master_sha256 == hashlib.sha256(plain[0]).digest()
    with av.open(io.BytesIO(clips[0])) as container:
        assert len(container.streams.audio) == 1


HOSTILE = {
    "no NUT": lambda nut: b"\x00" * 500,
    "cut short": lambda nut: nut[: len(nut) // 2],
    "noise behind the header": lambda nut: nut[:200] + os.urandom(len(nut) - 200),
    "every 50th byte flipped": lambda nut: bytes(b ^ 255 if at % 50 == 49 else b for at, b in enumerate(nut)),
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_costs_no_more_than_its_clip(spoil):
    """With any bytes that a camera got recorded, the releaser goes on."""
    footage = records(encode(30))
    bad = type(footage[1])(footage[1].start_ns, 0, footage[1].salt, spoil(footage[1].nut), footage[1].commitment)
    try:
        clips, _ = run(Job((window(0, 9),)), [footage[0], bad, footage[2]])
    except ClipError:
        return
    assert set(range(10)) <= set(read_numbers(clips[0]))


def test_a_hanging_child_is_killed():
    """A child that neither reads nor writes is given up after the stall limit, and is gone."""
    child = (sys.executable, "-c", "import time; time.sleep(1000)")
    with pytest.raises(ClipError, match="hangs"):
        run(Job((window(0, 9),)), records(encode(10)), stall_s=0.3, program=child)


def test_a_crashing_child_is_told():
    """A child killed by a signal fails this clip with its exit code."""
    child = (sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})")
    with pytest.raises(ClipError, match="exit=-11"):
        run(Job((window(0, 9),)), records(encode(10)), program=child)


LIARS = {
    "a huge message": b"D\xff\xff\xff\xff",
    "no JSON": b"V\x00\x00\x00\x01{",
    "no event": b"V\x00\x00\x00\x02{}",
    "a member of another type": b'V\x00\x00\x00\x1a["Unreadable",{"ref":"0"}]',
    "a member too many": b'V\x00\x00\x00\x22["Ready",{"is_walled":true,"a":1}]',
    "bytes outside a run": b"D\x00\x00\x00\x01a",
    "an unknown kind": b"?\x00\x00\x00\x00",
    "a cut message": b"D\x00\x00\x00\x09abc",
}


@pytest.mark.parametrize("said", LIARS.values(), ids=LIARS.keys())
def test_a_lying_child_is_refused(said):
    """A child that was taken over can spoil its clip and no more."""
    child = (sys.executable, "-c", f"import sys; sys.stdout.buffer.write({said!r})")
    with pytest.raises(ClipError):
        run(Job((window(0, 9),)), records(encode(10)), program=child)


def test_a_child_that_says_too_early_that_it_is_done_is_refused():
    """Nothing counts as cut that the child did not read."""
    end = b"V" + struct.pack(">I", 10) + b'["End",{}]'
    child = (sys.executable, "-c", f"import sys; sys.stdout.buffer.write({end!r})")
    with pytest.raises(ClipError, match="before its job"):
        run(Job((window(0, 9),)), records(encode(30)) * 1000, program=child)


def test_an_error_of_the_ring_reaches_the_caller():
    """An error of reading the ring is raised here, unchanged."""

    def broken():
        yield from feed(records(encode(10)))
        raise OSError("disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(cut_clips(Job((window(0, 9),)), broken()))


def test_a_confined_child_reaches_no_path(tmp_path):
    """Where the kernel has Landlock, what needs no descriptor is denied as well: to unlink, rename or link."""
    (tmp_path / "there").write_text("x")
    code = f"""
        import os
        from edge_agent.host.sandbox import confine
        is_walled = confine(cpu_s=10, memory_bytes=1 << 30)
        there, other = "{tmp_path}/there", "{tmp_path}/other"
        def refused(attempt):
            try:
                attempt()
            except PermissionError:
                return True
            return False
        attempts = [lambda: os.unlink(there), lambda: os.rename(there, other), lambda: os.link(there, other),
                    lambda: os.symlink(there, other), lambda: os.mkdir(other), lambda: os.truncate(there, 0),
                    lambda: os.kill(os.getppid(), 0)]
        print(is_walled, [refused(attempt) for attempt in attempts])
    """
    if landlock_version() < 1:
        pytest.skip("this kernel has no Landlock")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Truncating is known from version 3 on, signals from version 6 on.
    assert done.stdout.startswith("True [True, True, True, True, True,"), done.stdout
    assert (tmp_path / "there").exists()


@pytest.mark.parametrize("job", [{}, {"masks": (((0, 0), (500, 0), (500, 500)),)}, {"stills": 1}, {"grid": True}])
def test_every_child_is_walled_in(job):
    """No kind of work leaves a thread behind that was not confined."""
    walled = [
        each.is_walled
        for each in cut_clips(Job((window(0, 9),), memory_bytes=4 << 30, **job), feed([]))
        if isinstance(each, wire.Ready)
    ]
    assert walled == [landlock_version() > 0]


def landlock_version() -> int:
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)


@pytest.mark.needs("pgrep")
def test_an_abandoned_clip_ends_its_child():
    """Cancelling a release leaves no process behind."""
    messages = cut_clips(Job((window(0, 9),)), feed(records(encode(10))))
    next(messages)
    messages.close()
    assert subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "clip_child"], capture_output=True).returncode == 1


def test_a_confined_child_opens_nothing():
    """After its start the child has no way to a file, a socket or a process, and nothing in its environment."""
    code = """
        import os, socket, sys
        from edge_agent.host.sandbox import confine
        confine(cpu_s=10, memory_bytes=1 << 30)
        def refused(attempt):
            try:
                attempt()
            except OSError:
                return True
            return False
        attempts = [lambda: open("/etc/hostname"), lambda: open("/tmp/x", "w"), socket.socket,
                    lambda: os.pipe(), lambda: os.dup(0)]
        print([refused(attempt) for attempt in attempts], dict(os.environ))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env={}, capture_output=True, text=True)
    assert done.stdout.strip().startswith("[True, True, True, True, True] {"), done.stderr


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("place", [0, -1], ids=["the first set only", "the last set only"])
def test_a_keyframe_with_a_part_of_its_parameter_sets_can_be_decoded(codec, place):
    """Sets that a keyframe does not bring are the record's: the clip opens and shows every picture."""
    footage = records(encode(30, codec=codec, described=True))
    partial = []
    for record in footage:
        tracks, packets = read_nut(record.nut)
        kind = commitments.codec_kind(tracks[0].codec)
        brought = list(commitments.split_prefixed(commitments.parameter_sets(kind, tracks[0].extradata)))[place]
        told = [
            each._replace(data=b"\0\0\0\1" + bytes(brought) + each.data) if each.is_keyframe else each
            for each in packets
        ]
        partial.append(replace(record, nut=write_nut(tracks, told)))
    clips, _ = run(Job((window(0, 9),)), partial)
    assert [read_numbers(clip) for clip in clips] == [list(range(30))]
