"""The bound of a request: all that its decision allowed, and all that every later evaluation has left of it.

Owns the rule that a later evaluation may only narrow (PROTOCOL 6.2, O9): ``meet`` takes of each camera what both
sides allow. Pure; the releaser stores a bound with its request, in the transaction of the evaluation.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.units import UtcNs, Window


@dataclass(frozen=True, slots=True)
class CameraBound:
    """The most that may still leave of one camera."""

    camera: str
    quality: Quality
    windows: tuple[Window, ...]
    """In order, disjoint, never empty."""
    audio: bool
    masks: tuple[Mask, ...]
    source: bytes
    """Digest of the stream's source that the consent signed: a later consent to another source adds nothing."""
    answer_by: UtcNs
    """Until when an approval may still name this camera."""
    trims: tuple[str, ...] = ()
    """Reason codes of everything that was ever left out of the camera's part, sorted."""

    def meet(self, other: "CameraBound") -> "CameraBound | None":
        """Return what both allow; None if that is nothing."""
        windows = intersect(self.windows, other.windows)
        of = (self.camera, self.quality, self.source)
        # O2a: the source is part of it, so a consent to another source revives nothing that was
        # decided before.
        if of != (other.camera, other.quality, other.source) or not windows:
            return None
        return replace(
            self,
            windows=windows,
            audio=self.audio and other.audio,
            # The union: a mask is the one term of which more allows less.
            masks=tuple(sorted({*self.masks, *other.masks}, key=lambda mask: mask.points)),
            answer_by=UtcNs(min(self.answer_by, other.answer_by)),
            trims=tuple(sorted({*self.trims, *other.trims})),
        )


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that may still leave for one request, and not before when."""

    cameras: tuple[CameraBound, ...]
    escrow: bool
    decided_at: UtcNs
    """The decision's time: quotas are counted back from it at every later evaluation."""
    cools_from: UtcNs
    """When the decision was recorded, or the approval."""
    cooling_off: int
    """The longest of the bound's cameras at any evaluation, in nanoseconds."""
    asks: bool
    """Whether the owner's approval is still due."""
    approved_by: str | None = None

    @property
    def not_before(self) -> UtcNs:
        """When the cooling-off ends. Only rises."""
        return UtcNs(self.cools_from + self.cooling_off)

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' ids."""
        return tuple(each.camera for each in self.cameras)

    def find(self, camera: str) -> CameraBound | None:
        """Look one camera up."""
        return next((each for each in self.cameras if each.camera == camera), None)


NOTHING = Bound((), False, UtcNs(0), UtcNs(0), 0, False)
"""The bound of a denial."""


def intersect(one: Iterable[Window], other: Iterable[Window]) -> tuple[Window, ...]:
    """Return the spans that lie in both lists of disjoint spans, in order."""
    second = tuple(other)
    parts = (a.intersect(b) for a in one for b in second)
    return tuple(sorted(part for part in parts if part is not None))


def encode_bound(bound: Bound) -> str:
    """Write a bound for the store."""
    return json.dumps(
        {
            "escrow": bound.escrow,
            "decided_ns": bound.decided_at,
            "cools_from_ns": bound.cools_from,
            "cooling_off_ns": bound.cooling_off,
            "asks": bound.asks,
            "approved_by": bound.approved_by,
            "cameras": [_encode_camera(each) for each in bound.cameras],
        }
    )


def parse_bound(text: str) -> Bound:
    """Read the text of ``encode_bound``."""
    found: Any = json.loads(text)
    return Bound(
        cameras=tuple(_parse_camera(each) for each in found["cameras"]),
        escrow=found["escrow"],
        decided_at=UtcNs(found["decided_ns"]),
        cools_from=UtcNs(found["cools_from_ns"]),
        cooling_off=found["cooling_off_ns"],
        asks=found["asks"],
        approved_by=found["approved_by"],
    )


def _encode_camera(camera: CameraBound) -> dict[str, Any]:
    return {
        "camera": camera.camera,
        "quality": camera.quality.value,
        "windows": [[window.start, window.end] for window in camera.windows],
        "audio": camera.audio,
        "masks": [mask.points for mask in camera.masks],
        "source": camera.source.hex(),
        "answer_by_ns": camera.answer_by,
        "trims": camera.trims,
    }


def _parse_camera(found: Any) -> CameraBound:
    return CameraBound(
        camera=found["camera"],
        quality=Quality(found["quality"]),
        windows=tuple(Window(UtcNs(start), UtcNs(end)) for start, end in found["windows"]),
        audio=found["audio"],
        masks=tuple(Mask(tuple((x, y) for x, y in points)) for points in found["masks"]),
        source=bytes.fromhex(found["source"]),
        answer_by=UtcNs(found["answer_by_ns"]),
        trims=tuple(found["trims"]),
    )
