"""A video track whose encoder was set anew in the middle of a session, described anew. FFmpeg reads its new size."""

import io
from dataclasses import replace

import av

from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import NutPacket, TrackTemplate, describe_stream


def retemplate(track: TrackTemplate, parameter_sets: bytes, keyframe: bytes) -> TrackTemplate:
    """Describe a video track anew after its encoder was set anew: other extradata, perhaps another size.

    Also a track whose session began without a picture, so that FFmpeg does not know its size.

    Args:
        track: The track so far.
        parameter_sets: NAL units behind lengths of four bytes (``media.commitments.inband_parameter_sets``).
        keyframe: The first one coded with them.
    """
    extradata, place = b"", 0
    while place < len(parameter_sets):
        end = place + 4 + int.from_bytes(parameter_sets[place : place + 4], "big")
        extradata += b"\x00\x00\x00\x01" + parameter_sets[place + 4 : end]
        place = end
    # The header needs some size; the one that is read back is the keyframe's own.
    sized = replace(track, index=0, extradata=b"", width=track.width or 16, height=track.height or 16)
    # A stream without extradata takes them from its first packet.
    sample = write_nut([sized], [NutPacket(0, 0, 0, 0, True, extradata + keyframe)])
    with av.open(io.BytesIO(sample), "r", format="nut") as container:
        return describe_stream(container.streams[0], track.index)
