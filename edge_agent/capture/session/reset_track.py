"""A video track whose encoder was set anew in the middle of a session, described anew. Pure."""

from dataclasses import replace
from fractions import Fraction

from edge_agent.media.commitments import codec_kind, split_prefixed
from edge_agent.media.decoder_sets import find_active_sps
from edge_agent.media.packets import TrackTemplate
from edge_agent.media.sps import PictureFormat, parse_sps

_UNKNOWN = PictureFormat(0, 0, Fraction(0), None)


def retemplate(track: TrackTemplate, parameter_sets: bytes, keyframe: bytes) -> TrackTemplate:
    """Describe a video track anew after its encoder was set anew: other extradata, perhaps another size.

    Also a track whose session began without a picture, so that its size is not known.

    Args:
        track: The track so far.
        parameter_sets: Those in force, as NAL units behind lengths of four bytes
            (``media.commitments.inband_parameter_sets``).
        keyframe: The first one coded with them.

    Returns:
        The track; its size is 0 if the sets do not say it.
    """
    kind = codec_kind(track.codec)
    extradata = b"".join(b"\x00\x00\x00\x01" + bytes(nal) for nal in split_prefixed(parameter_sets))
    sps = find_active_sps(kind, parameter_sets, keyframe)
    try:
        found = _UNKNOWN if sps is None else parse_sps(kind, sps)
    except ValueError:
        found = _UNKNOWN
    return replace(
        track, extradata=extradata, width=found.width, height=found.height, sample_aspect=found.sample_aspect
    )
