"""A clip request as values: the value that a verified signed JSON becomes.

Built in one place, ``edge_agent.protocol.request_jws.verify_request``; the order of the checks is told there (PROTOCOL
4).
"""

from dataclasses import dataclass
from enum import Enum

from edge_agent.units import SECOND_NS, UtcNs, Window

EVERY_CAMERA = "*"
"""PROTOCOL 3.2, `clip`: stands for every camera that consents; the owner's commands spell it the same way."""
REQUEST_SKEW_NS = 60 * SECOND_NS
"""PROTOCOL 4, check 9: two honest clocks may differ by so much. Of a request's times and of a trust bundle's."""


class Role(Enum):
    """The purposes for which a key of the trust bundle may sign."""

    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    DISPATCH = "dispatch"


class Quality(Enum):
    """Which of a camera's two streams."""

    MAIN = "main"
    SUB = "sub"


class Category(Enum):
    """The closed list of incident categories (PROTOCOL 3.2)."""

    HOMICIDE = "homicide"
    SHOOTING = "shooting"
    ROBBERY = "robbery"
    ASSAULT = "assault"
    SEXUAL_ASSAULT = "sexual-assault"
    KIDNAPPING = "kidnapping"
    BURGLARY = "burglary"
    VEHICLE_THEFT = "vehicle-theft"
    THEFT = "theft"
    ARSON = "arson"
    HIT_AND_RUN = "hit-and-run"
    MISSING_PERSON = "missing-person"
    VANDALISM = "vandalism"


@dataclass(frozen=True, slots=True)
class Signer:
    """One verified signature: the person, the key and the role."""

    kid: str
    """The name in the protected header, by which the trust bundle has the key."""
    thumbprint: str
    """RFC 7638, of the key itself."""
    person: str
    """By the trust bundle; two keys of one person count as one person."""
    role: Role


@dataclass(frozen=True, slots=True)
class Place:
    """A point on WGS 84, in degrees."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Incident:
    """The reported event that a request depends on."""

    number: str
    """The RTCC's own, at most 64 printable characters."""
    category: Category
    reported_at: UtcNs
    """By the RTCC's clock; check 10 compares it with the value first admitted."""
    place: Place
    window: Window
    """The span of the incident, half open, at most 24 h; a clip lies inside it (check 10)."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a request is for: exactly one gateway, or one to 64 area cells (geohash of five letters)."""

    gateway: str | None
    """A gateway's id; None for an area."""
    cells: tuple[str, ...]
    """All different; empty for one gateway."""

    @property
    def is_area(self) -> bool:
        """Tell whether the request went to an area rather than to one gateway."""
        return self.gateway is None


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose signatures verified: checks 1 to 6 of PROTOCOL 4."""

    raw: bytes
    """The JWS as it arrived; goes into the bundle."""
    payload_sha256: bytes
    """Identifies the request, even if it is signed again."""
    jti: str
    """128 random bits in base64url; with ``iss`` the request's name."""
    iss: str
    """The RTCC's name."""
    audience: Audience
    iat: UtcNs
    """Issued; the limits of the other times count from it."""
    nbf: UtcNs
    """May arrive from here on."""
    exp: UtcNs
    """May arrive until here."""
    release_by: UtcNs
    """Everything after arrival ends here."""
    incident: Incident
    cameras: tuple[str, ...]
    """Camera ids, or ``("*",)`` for every camera that consents."""
    window: Window
    """The span that is asked for, half open."""
    audio: bool
    """Whether sound is asked for."""
    quality: Quality
    purpose: str
    """A text for the owner, one line."""
    contact: str
    """A text for the owner, one line."""
    deliver: str
    """The name of an upload target in the gateway's own enrolment; never a URL."""
    signers: tuple[Signer, ...]
    """In the order of the signatures: two or three, all different persons."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that passed checks 7 to 10 of PROTOCOL 4: for us, new, in time, inside its incident."""

    request: Request
    arrived_at: UtcNs
    """By the gateway's clock."""
