"""The rules G1 to G11 of the gate once more, as few sets and times: what a release is compared with.

Shares no code with the gate. Knows two readable cameras and one without a place; terms are few values each. Whatever
leaves is shown to ``check``, which raises AssertionError if a rule forbids it.
"""

from dataclasses import dataclass, field, replace

from edge_agent.consent.hours import parse_hours
from edge_agent.consent.policy import Mode, Terms
from edge_agent.protocol.verdict import Mask
from edge_agent.units import DAY_NS, MINUTE_NS
from tests.support import gate

PLACELESS = "shed"
CAMERAS = ("door", "yard", PLACELESS)
MASK = Mask(((0, 0), (10, 0), (10, 10)))
ASK_TIMEOUT_NS = 30 * MINUTE_NS
WHOLE = (gate.NOW - 55 * MINUTE_NS, gate.NOW - 45 * MINUTE_NS)
HALF = (WHOLE[0], gate.NOW - 50 * MINUTE_NS)
_HALF_HOURS = parse_hours(["16:35-16:40"])
_MODES = [Mode.DENY, Mode.ASK, Mode.AUTO]


@dataclass(frozen=True)
class Say:
    """What is said of one camera: by signature, or by the file."""

    mode: Mode = Mode.AUTO
    half: bool = False
    audio: bool = True
    robbery: bool = True
    cooling_min: int = 10
    per_day: int = 2
    masked: bool = False
    escrow: bool = True

    def terms(self) -> Terms:
        """Write it as the gate reads it."""
        more = {"hours": _HALF_HOURS} if self.half else {}
        return gate.terms(
            {"cooling_off": self.cooling_min * MINUTE_NS, "escrow": self.escrow},
            mode=self.mode,
            audio=self.audio,
            categories=gate.CAMERA_TERMS["categories"] if self.robbery else frozenset(),
            requests_per_day=self.per_day,
            requests_per_month=1000,
            minutes_per_month=40_000,
            masks=(MASK,) if self.masked else (),
            **more,
        )

    def meet(self, other: "Say") -> "Say":
        """Say what both allow."""
        return Say(
            min(self.mode, other.mode, key=_MODES.index),
            self.half or other.half,
            self.audio and other.audio,
            self.robbery and other.robbery,
            max(self.cooling_min, other.cooling_min),
            min(self.per_day, other.per_day),
            self.masked or other.masked,
            self.escrow and other.escrow,
        )


@dataclass
class Promise:
    """One decided request: what was announced, and what evaluations since have left of it."""

    number: int
    decided_at: int
    release_by: int
    audio: bool
    announced: frozenset[str]
    cameras: set[str]
    spans: dict[str, tuple[int, int]]
    masked: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    """Cameras whose sound was taken back."""
    escrow: bool = True
    starts_at: int = 0
    cooling_min: int = 0
    asked: bool = False
    approved: bool = False
    sources: dict[str, int] = field(default_factory=dict)
    """Where each camera was pointed by the consent of the decision."""
    crossed: set[str] = field(default_factory=set)
    seen_edges: int = 0


@dataclass
class Part:
    """What is about to leave of one camera: a bundle's bytes, or its key."""

    camera: str
    spans: list[tuple[int, int]]
    audio: bool
    masked: bool
    escrow: bool
    source: bytes


@dataclass
class Model:
    """The house, as its owner would remember it."""

    now: int = gate.NOW
    synchronised: bool = True
    trusted: bool = True
    """Whether the trust bundle has the keys that requests are signed with; None would be no bundle."""
    readable: bool = True
    signed: dict[str, Say] = field(default_factory=dict)
    file: dict[str, Say] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    pointed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAMERAS, 0))
    """Where each camera is pointed, and below where the consent says that it is."""
    signed_for: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAMERAS, 0))
    pauses: dict[str, int] = field(default_factory=dict)
    counted: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {each: [] for each in CAMERAS})
    """(number, time) of each request that used a camera's quota."""
    promises: dict[str, Promise] = field(default_factory=dict)

    def says(self, camera: str) -> Say:
        """Return the terms that count: of an unreadable file, the signed ones."""
        mine = self.signed[camera]
        return mine.meet(self.file.get(camera, mine)) if self.readable else mine

    def is_paused(self, camera: str) -> bool:
        return any(self.pauses.get(name, 0) > self.now for name in (camera, "*"))

    def used(self, camera: str, number: int, decided_at: int) -> int:
        """Count the requests with a smaller number in the day before a decision."""
        return sum(each < number and at > decided_at - DAY_NS for each, at in self.counted[camera])

    def denies(self, camera: str, promise: Promise) -> str:
        """Say why a camera is denied to a request now, whatever was decided before; empty for nothing."""
        says = self.says(camera)
        reasons = {
            "no place": camera == PLACELESS,
            "paused": self.is_paused(camera),
            "revoked": camera in self.revoked,
            "pointed elsewhere": self.pointed[camera] != self.signed_for[camera],
            "another source": promise.sources.get(camera, self.signed_for[camera]) != self.signed_for[camera],
            "mode": says.mode is Mode.DENY,
            "unasked": says.mode is Mode.ASK and not promise.asked,
            "category": not says.robbery,
            "quota": self.used(camera, promise.number, promise.decided_at) >= says.per_day,
            "keys": not self.trusted,
        }
        return ", ".join(reason for reason, holds in reasons.items() if holds)

    def is_silent(self, camera: str, promise: Promise) -> bool:
        """Tell whether the owner was asked about a camera and did not answer in time."""
        is_late = self.now >= promise.decided_at + ASK_TIMEOUT_NS and self.synchronised
        return promise.asked and not promise.approved and is_late and self.says(camera).mode is Mode.ASK

    def is_unknown(self) -> bool:
        return not self.synchronised or not self.readable

    def count(self, number: int, cameras: tuple[str, ...]) -> None:
        """Enter what the signed terms alone would have granted or asked about."""
        for camera in self.list_counted(number, cameras):
            self.counted[camera].append((number, self.now))

    def list_counted(self, number: int, cameras: tuple[str, ...]) -> list[str]:
        """Return the cameras whose quota a request uses that is decided now."""
        plain = Promise(number, self.now, 0, False, frozenset(), set(), {}, asked=True)
        by_signature = replace(self, file={}, readable=True)
        return [each for each in cameras if not by_signature.denies(each, plain)]

    def evaluated(self, promise: Promise) -> None:
        """Narrow a promise by everything that is so now: the gate has just evaluated its request."""
        for camera in sorted(promise.cameras):
            if self.denies(camera, promise) or self.is_silent(camera, promise):
                promise.cameras.discard(camera)
        if self.is_unknown():
            return
        for camera in promise.cameras:
            says = self.says(camera)
            if says.half:
                start, end = promise.spans[camera]
                promise.spans[camera] = (max(start, HALF[0]), min(end, HALF[1]))
            promise.cooling_min = max(promise.cooling_min, says.cooling_min)
            promise.escrow = promise.escrow and says.escrow
            if says.masked:
                promise.masked.add(camera)
            if not says.audio:
                promise.silent.add(camera)

    def stopped(self) -> None:
        """Narrow everything by what the owner has just stopped: that acts at once, whatever else is unknown."""
        for promise in self.promises.values():
            promise.cameras -= {each for each in CAMERAS if self.is_paused(each) or each in self.revoked}

    def check(self, jti: str, part: Part, *, recorded: frozenset[str]) -> None:
        """Raise AssertionError if a part may not leave now.

        Args:
            jti: Of the request.
            part: What leaves.
            recorded: The cameras of the request's decision, as a second connection finds them in the ledger.
        """
        promise, camera = self.promises[jti], part.camera
        about = f"{camera} of request {promise.number}"
        assert camera in promise.announced, f"{about} was not announced"
        assert camera in recorded, f"{about} is in no durable decision"
        assert camera in promise.cameras, f"{about} has left the bound"
        assert not (why := self.denies(camera, promise)), f"{about} is denied now: {why}"
        assert self.synchronised, f"{about} leaves by a clock that is not believed"
        assert self.readable, f"{about} leaves while the file cannot be read"
        assert not promise.asked or promise.approved, f"{about} was asked about, and not approved"
        says = self.says(camera)
        for start, end in part.spans:
            low, high = promise.spans[camera]
            assert low <= start < end <= high, f"{about} leaves outside its span"
            assert not says.half or end <= HALF[1], f"{about} leaves outside today's hours"
        assert part.source == bytes([promise.sources[camera] + 1]) * 32, f"{about} leaves from another source"
        assert part.masked or (camera not in promise.masked and not says.masked), f"{about} leaves without its mask"
        silent = camera in promise.silent or not says.audio or not promise.audio
        assert not (part.audio and silent), f"{about} leaves with sound"
        assert not (part.escrow and not (promise.escrow and says.escrow)), f"{about} opens for the escrow key"
        cooling_min = max(promise.cooling_min, says.cooling_min)
        assert self.now >= promise.starts_at + cooling_min * MINUTE_NS, f"{about} leaves before its cooling-off ends"
        assert self.now < promise.release_by, f"{about} leaves after release_by"
        assert promise.number in {number for number, _ in self.counted[camera]}, f"{about} is not counted"
