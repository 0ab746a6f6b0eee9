"""What the simulated camera's faults do to one access unit. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from edge_agent.demo.source import CodedUnit

SETS_KEPT: Mapping[str, tuple[int, int]] = {"pps-only": (8, 34), "sps-only": (7, 33), "no-sets": (-1, -1)}
"""By fault: the NAL unit type, in H.264 and H.265, of the parameter sets that a keyframe still brings."""
_H264_SETS, _H265_SETS = (7, 8), (32, 33, 34)


def keep_sets(codec: str, unit: CodedUnit, kept: tuple[int, int]) -> CodedUnit:
    """Leave out all parameter sets but those of one kind."""
    sets = {"h264": _H264_SETS, "hevc": _H265_SETS}.get(codec, ())
    payloads = tuple(p for p in unit.payloads if nal_type(codec, p) not in sets or nal_type(codec, p) in kept)
    return replace(unit, payloads=payloads)


def is_sps(codec: str, payload: bytes) -> bool:
    """Tell whether an RTP payload is a sequence parameter set."""
    return (codec, nal_type(codec, payload)) in {("h264", 7), ("hevc", 33)}


def nal_type(codec: str, payload: bytes) -> int:
    """Return the NAL unit type that a payload begins with; -1 if the codec has none."""
    if codec == "h264":
        return payload[0] & 0x1F
    return payload[0] >> 1 & 0x3F if codec == "hevc" else -1
