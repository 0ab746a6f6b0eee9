"""The effects of the simulated camera's faults on one access unit. Opens nothing and reads no clock."""

from collections.abc import Mapping
from dataclasses import replace

from edge_agent.demo.faults import FaultPlan
from edge_agent.demo.source import CodedUnit
from edge_agent.units import MonoNs

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


class StoppedTicks:
    """The RTP time of a camera whose media clock stands still, indefinitely or from keyframe to keyframe."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}

    def apply(self, unit: CodedUnit, plan: FaultPlan, now: MonoNs) -> CodedUnit:
        """Return the unit with the time that such a camera stamps it with."""
        steps = plan.is_on("gop-ticks", now) and unit.medium == 0 and unit.is_keyframe
        if steps or not (plan.is_on("still-ticks", now) or plan.is_on("gop-ticks", now)):
            self._ticks[unit.medium] = unit.ticks
            return unit
        return replace(unit, ticks=self._ticks.setdefault(unit.medium, unit.ticks))
