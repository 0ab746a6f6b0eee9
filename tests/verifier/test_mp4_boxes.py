"""What the RTCC finds where an MP4 holds more than its access units: nothing in it may hide, move or turn them."""

import signal
import struct
from contextlib import contextmanager

import pytest

from edge_agent.errors import EvidenceError
from edge_agent.verifier.mp4_boxes import verify_boxes
from tests.support.footage import encode, records, window
from tests.support.opened import open_release
from tests.support.release import House


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(folder, House(folder), window(0, 4), records(encode(50, audio="aac")), audio=True)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def put(clip: bytes, at: int, more: bytes, *parents: bytes) -> bytes:
    """Put bytes in, and make the boxes around them longer: the first of each kind."""
    altered = bytearray(clip)
    for kind in parents:
        start = clip.index(kind) - 4
        altered[start : start + 4] = struct.pack(">I", struct.unpack_from(">I", clip, start)[0] + len(more))
    altered[at:at] = more
    return bytes(altered)


def skip_two_seconds(clip: bytes) -> bytes:
    """An edit list, which players obey: the first half of the pictures is not shown."""
    entry = struct.pack(">III", 0, 1, 1000) + struct.pack(">ihh", 180_000, 1, 0)
    return put(clip, clip.index(b"tkhd") + 88, box(b"edts", box(b"elst", entry)), b"moov", b"trak")


def mirror(clip: bytes) -> bytes:
    at = clip.index(b"tkhd") + 44
    return clip[:at] + struct.pack(">i", -0x10000) + clip[at + 4 :]


def hide_track(clip: bytes) -> bytes:
    at = clip.index(b"tkhd") + 7
    return clip[:at] + b"\x00" + clip[at + 1 :]


def hide_in_data(clip: bytes) -> bytes:
    at = clip.index(b"mdat")
    size = struct.unpack_from(">I", clip, at - 4)[0]
    return put(clip, at - 4 + size, b"not granted", b"mdat")


def describe_twice(clip: bytes) -> bytes:
    at = clip.index(b"stsd") - 4
    size = struct.unpack_from(">I", clip, at)[0]
    entry = clip[at + 16 : at + size]
    longer = put(clip, at + size, entry, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    return longer[: at + 15] + b"\x02" + longer[at + 16 :]


def tell(clip: bytes) -> bytes:
    return clip.replace(b"mdir", b"mdxr", 1)


def turn_by_version(clip: bytes) -> bytes:
    """A movie header of version 1, whose matrix lies 12 bytes further on and is all but the identity."""
    at = clip.index(b"mvhd") + 4
    return clip[:at] + b"\x01" + clip[at + 1 :]


def turn_in_version_1(clip: bytes) -> bytes:
    """A whole movie header of version 1, which turns the pictures; in the place of version 0 lies the identity."""
    at = clip.index(b"mvhd") + 4
    return put(turn_by_version(clip), at + 72, bytes(12), b"moov", b"mvhd")


def lengthen(kind: bytes, *parents: bytes):
    def alter(clip: bytes) -> bytes:
        start = clip.index(kind) - 4
        return put(clip, start + struct.unpack_from(">I", clip, start)[0], b"not granted.", *parents, kind)

    return alter


def index_elsewhere(clip: bytes) -> bytes:
    at = clip.index(b"tfra") + 4 + 16 + 8
    return clip[:at] + b"unspoken" + clip[at + 8 :]


def index_twice(clip: bytes) -> bytes:
    start = clip.index(b"tfra") - 4
    more = clip[start : start + struct.unpack_from(">I", clip, start)[0]]
    return put(clip, start, more, b"mfra")


MOVIE = (b"moov",)
MEDIA = (*MOVIE, b"trak", b"mdia")
CLIPS = {
    "a header that is read otherwise": turn_by_version,
    "a longer header that is read otherwise": turn_in_version_1,
    "more brands": lengthen(b"ftyp"),
    "another name of a track": lambda clip: clip.replace(b"VideoHandler", b"not granted.", 1),
    "a longer name of a track": lengthen(b"hdlr", *MEDIA),
    "a longer header of media": lengthen(b"mdhd", *MEDIA),
    "a longer header of pictures": lengthen(b"vmhd", *MEDIA, b"minf"),
    "longer defaults": lengthen(b"trex", *MOVIE, b"mvex"),
    "a longer index": lengthen(b"tfra", b"mfra"),
    "a longer end of the index": lengthen(b"mfro", b"mfra"),
    "an index of another place": index_elsewhere,
    "an index twice": index_twice,
    "an edit list": skip_two_seconds,
    "a mirror": mirror,
    "a track that is switched off": hide_track,
    "bytes behind the end": lambda clip: clip + b"footage that was not granted",
    "a free box": lambda clip: clip + box(b"free", b"footage that was not granted"),
    "another movie": lambda clip: clip + clip,
    "bytes among the samples": hide_in_data,
    "two descriptions of samples": describe_twice,
    "metadata": tell,
}


@pytest.mark.parametrize("alter", CLIPS.values(), ids=CLIPS.keys())
def test_an_mp4_has_nothing_beside_its_samples(opened, alter):
    """Boxes that a release's muxer never writes are found, whatever a player makes of them."""
    altered = alter(opened.parts["clips/001.mp4"])
    findings = opened.open(opened.sign(opened.parts | {"clips/001.mp4": altered}))
    assert findings.failed_parts() == {"pictures"}
    assert "malformed" not in findings.as_text()


@contextmanager
def within_cpu(limit_s: float):
    """Give up after so much work of this process: by its own clock, which stands still while others run."""

    def give_up(*_):
        raise AssertionError(f"more work than {limit_s} s of CPU")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def add_fragment(opened, traf: bytes, data: bytes) -> bytes:
    """A clip with one more fragment, and what is to be its data."""
    clip = opened.parts["clips/001.mp4"]
    at = clip.index(b"mfra") - 4
    return clip[:at] + box(b"moof", traf) + data + clip[at:]


TFHD = box(b"tfhd", struct.pack(">II", 0x020000, 1))


def test_very_many_boxes_in_one_are_walked_over_once(opened, tmp_path):
    """The work grows with the bytes of a fragment, not with their square: one run per 20 bytes is still read."""
    count = 50_000
    end = 3 * 8 + len(TFHD) + count * 20
    clip = tmp_path / "clip.mp4"
    run = box(b"trun", struct.pack(">III", 0x201, 0, end))
    clip.write_bytes(add_fragment(opened, box(b"traf", TFHD + run * count), box(b"mdat", b"")))
    with within_cpu(5), pytest.raises(EvidenceError, match="too many in it"):
        verify_boxes(clip)


SAMPLES = {
    "of no byte": struct.pack(">IIII", 0x201, 1, 0, 0),
    "none at all": struct.pack(">III", 0x201, 0, 0),
    "more than any picture": struct.pack(">IIII", 0x201, 1, 0, 9 << 20),
}


@pytest.mark.parametrize("run", SAMPLES.values(), ids=SAMPLES.keys())
def test_a_sample_has_a_length_that_it_can_have(opened, tmp_path, run):
    """FFmpeg keeps memory for each sample, also for one without a byte, and for as many bytes as it is said to have."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(add_fragment(opened, box(b"traf", TFHD + box(b"trun", run)), box(b"mdat", b"")))
    with pytest.raises(EvidenceError, match="of no length that it can have"):
        verify_boxes(clip)


FRAGMENTS = {
    "fields beyond its flags": struct.pack(">II", 0x020000, 1) + b"not granted.",
    "a place of its own": struct.pack(">IIQ", 0x020001, 1, 0),
    "another description": struct.pack(">III", 0x020002, 1, 2),
    "another track": struct.pack(">II", 0x020000, 9),
}


@pytest.mark.parametrize("head", FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_a_fragment_says_no_more_of_its_samples_than_their_defaults(opened, tmp_path, head):
    """Where samples lie and how they are decoded is the same throughout a clip."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(add_fragment(opened, box(b"traf", box(b"tfhd", head)), box(b"mdat", b"")))
    with pytest.raises(EvidenceError, match="another track or place"):
        verify_boxes(clip)


def test_a_fragment_is_read_for_its_own_data_alone(opened, tmp_path):
    """However many boxes of data follow a fragment, it is taken apart once."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(add_fragment(opened, box(b"traf", TFHD) * 4000, box(b"mdat", b"") * 1000))
    with within_cpu(30), pytest.raises(EvidenceError, match="in another order"):
        verify_boxes(clip)


HONEST = {
    "H.265": {"codec": "libx265"},
    "MJPEG": {"codec": "mjpeg"},
    "reordered, with sound": {"bframes": 2, "audio": "aac"},
    "G.711": {"audio": "pcm_alaw"},
    "Opus": {"audio": "libopus"},
}


@pytest.mark.parametrize("stream", HONEST.values(), ids=HONEST.keys())
def test_what_a_release_holds_passes(tmp_path, stream):
    """Each kind of stream that a clip is made of."""
    pieces = records(encode(50, **stream))
    findings = open_release(tmp_path, House(tmp_path), window(0, 4), pieces, audio="audio" in stream).open()
    assert findings.ok, findings.as_text()
