"""The media commitment: one canonical form for a camera's stream and for the MP4 made of it."""

import hmac
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media import commitments
from edge_agent.media.commitments import CodecKind, Track, Unit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "media.json").read_text())
AVCC = bytes([1, 0x64, 0, 0x1F, 0xFF, 0xE1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2])
SLICE, IDR, SEI, AUD = b"\x41abc", b"\x65def", b"\x06sei", b"\x09\xf0"


def annexb(*nals: bytes) -> bytes:
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)


def prefixed(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


UNITS = {
    "four-byte start codes": annexb(AUD, SEI, IDR, SLICE),
    "three-byte start codes": b"\x00\x00\x01" + AUD + b"\x00\x00\x01" + IDR + b"\x00\x00\x01" + SLICE,
    "trailing zeros": annexb(IDR + b"\x00\x00\x00", SLICE) + b"\x00\x00",
    "bytes before the first start code": b"junk" + annexb(IDR, SLICE),
    "an empty unit": annexb(b"", IDR, SLICE),
}


@pytest.mark.parametrize("data", UNITS.values(), ids=UNITS.keys())
def test_annexb_has_one_canonical_form(data):
    """Start codes, non-VCL units and padding leave no trace in the body."""
    assert commitments.vcl_parts(CodecKind.H264, b"", data) == prefixed(IDR, SLICE)


def test_annexb_and_length_prefixed_agree():
    """The same access unit has the same body in either packaging."""
    assert commitments.vcl_parts(CodecKind.H264, AVCC, prefixed(AUD, IDR, SLICE)) == prefixed(IDR, SLICE)
    assert commitments.parameter_sets(CodecKind.H264, AVCC) == commitments.parameter_sets(
        CodecKind.H264, annexb(b"\x68\x02", b"\x67\x01", b"\x67\x01")
    )


def test_a_length_beyond_the_end_takes_what_there_is():
    """A malformed packet has a body, so that it is committed to and not lost."""
    assert commitments.vcl_parts(CodecKind.H264, AVCC, b"\x00\x00\xff\xff" + IDR) == prefixed(IDR)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_salts_of_units_are_an_hmac(salt, index):
    """A stranger derives them with any library (FORMAT 6.2)."""
    label = b"edge-agent/v1 unit"
    assert b"".join(commitments.UnitSalts(salt).of(index)) == hmac.digest(
        salt, label + index.to_bytes(4, "big"), "sha256"
    )


PIECES = [b"\0", b"\0\0\1", b"\0\0\3", b"\1", b"\2", b"\x26\1", IDR, SLICE, AUD]
"""Of what borders are made, and what stands beside them: random bytes have no start code."""


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(PIECES)).map(b"".join),
    st.binary(max_size=60),
    st.sampled_from(CodecKind),
)
def test_no_bytes_are_refused(data, extradata, kind):
    """Hostile bytes never raise; a body taken apart again is itself."""
    body = commitments.vcl_parts(kind, extradata, data)
    assert commitments.hash_body(b"salt", kind, extradata, data) == commitments.body_digest(b"salt", body)
    commitments.parameter_sets(kind, extradata)
    commitments.inband_parameter_sets(kind, extradata, data)
    if kind is CodecKind.H264:
        assert commitments.vcl_parts(kind, AVCC, body) == body


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_mp4_gives_the_same_bodies_and_parameters(encoder):
    """What FFmpeg's own muxer makes of an Annex B stream has the commitment of the stream."""
    options = {"preset": "ultrafast", "x264-params": "slices=2", "x265-params": "log-level=none"}
    stream_form, mp4_form = io.BytesIO(), io.BytesIO()
    with av.open(stream_form, "w", format="mpegts") as out:
        video = out.add_stream(encoder, rate=25, options=options)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame(128, 96, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 17]) * plane.buffer_size)
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    stream_form.seek(0)
    with av.open(stream_form) as source, av.open(mp4_form, "w", format="mp4") as out:
        template = source.streams.video[0]
        kind, annexb_form = commitments.codec_kind(template.codec.name), template.codec_context.extradata
        target = out.add_stream_from_template(template, opaque=True)
        bodies = []
        for packet in source.demux(template):
            if packet.size:
                bodies.append(commitments.vcl_parts(kind, annexb_form, bytes(packet)))
                packet.stream = target
                out.mux(packet)
    mp4_form.seek(0)
    with av.open(mp4_form) as source:
        box = source.streams.video[0].codec_context.extradata
        again = [commitments.vcl_parts(kind, box, bytes(packet)) for packet in source.demux() if packet.size]
    assert (annexb_form[0], box[0], len(bodies)) == (0, 1, 12)
    assert again == bodies
    assert all(bodies)
    assert commitments.parameter_sets(kind, box) == commitments.parameter_sets(kind, annexb_form)


@pytest.mark.parametrize("vector", VECTORS["commitments"], ids=lambda vector: vector["name"])
def test_vectors(vector):
    """The commitments of FORMAT 6 are as published."""
    tracks = [
        Track(t["index"], t["codec"], Fraction(*t["time_base"]), bytes.fromhex(t["extradata"]))
        for t in vector["tracks"]
    ]
    units = [Unit(u["track"], u["pts"], bytes.fromhex(u["data"])) for u in vector["units"]]
    salt = bytes.fromhex(vector["salt"])
    assert [d.hex() for d in commitments.record_digests(salt, tracks, units)] == vector["digests"]
    assert commitments.record_commitment(salt, tracks, units).hex() == vector["commitment"]


CHANGES = {
    "another pts": lambda t, u: (t, [Unit(0, u[0].pts + 1, u[0].data), *u[1:]]),
    "a unit left out": lambda t, u: (t, u[:-1]),
    "two units exchanged": lambda t, u: (t, u[::-1]),
    "a byte of a slice": lambda t, u: (t, [Unit(0, u[0].pts, u[0].data[:-1] + b"!"), *u[1:]]),
    "another time base": lambda t, u: ([Track(0, "h264", Fraction(1, 45000), t[0].extradata)], u),
    "another picture size": lambda t, u: ([Track(0, "h264", t[0].time_base, annexb(b"\x67\x02", b"\x68\x02"))], u),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_changes_the_commitment(change):
    """Nothing that a viewer could see differ leaves the commitment as it was."""
    tracks = [Track(0, "h264", Fraction(1, 90000), AVCC)]
    units = [Unit(0, 0, prefixed(IDR)), Unit(0, 3600, prefixed(SLICE))]
    salt = bytes(range(32))
    assert commitments.record_commitment(salt, tracks, units) != commitments.record_commitment(
        salt, *change(tracks, units)
    )


def test_payload_is_taken_apart():
    """A record's plaintext is its salt and its NUT file."""
    salt = bytes(range(32))
    assert commitments.open_payload(salt + b"nut") == (salt, b"nut")
    with pytest.raises(ValueError, match="at least 32"):
        commitments.open_payload(b"short")
