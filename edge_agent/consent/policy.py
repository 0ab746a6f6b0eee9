"""The owner's terms: the members of ``consent.yaml``, with units, limits and defaults.

Owns the typed form of the terms and their texts. Everything that is not said is denied; a key that is not known is an
error, never a guess. Pure: text in, values out. The effect of the terms on a request is in ``rules`` and ``decision``;
which of two terms is tighter, in ``tighter``.
"""

import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from edge_agent.consent.hours import Hours, encode_hours, parse_hours
from edge_agent.protocol.members import CameraId
from edge_agent.protocol.request import Category, Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.settings.yaml_lines import load_yaml, validate
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, encode_duration, parse_duration


class Mode(Enum):
    """The fate of a request that the other terms allow."""

    AUTO = "auto"
    ASK = "ask"
    DENY = "deny"


class Signatures(Enum):
    """The roles that must have signed at the RTCC."""

    TWO = "operator+supervisor"
    THREE = "operator+supervisor+dispatch"


class Refusal(Enum):
    """The detail of a refusal that the RTCC gets."""

    SILENCE = "silence"
    DECLINED = "declined"


class Occasion(Enum):
    """The occasions of which the owner is told."""

    REQUEST = "request"
    ASK = "ask"
    REFUSAL = "refusal"
    RELEASE = "release"
    EXPIRY = "expiry"


_DURATION_PATTERN = r"^[0-9]{1,9} ?(ms|s|min|m|h|d)$"


def _duration(least_ns: int, most_ns: int) -> Any:
    """Build the type of a duration: text with its unit outside, nanoseconds inside, both limits included."""
    example = next(each for each in ("10m", "72h", "3d") if least_ns <= parse_duration(each) <= most_ns)
    limits = f"a duration from {encode_duration(least_ns)} to {encode_duration(most_ns)}, such as {example}"

    def read(value: object) -> int:
        try:
            duration_ns = parse_duration(value) if isinstance(value, str) else -1
        except ValueError:
            duration_ns = -1
        if not least_ns <= duration_ns <= most_ns:
            raise ValueError(f"should be {limits}")
        return duration_ns

    schema = {"type": "string", "pattern": _DURATION_PATTERN, "description": limits}
    return Annotated[int, BeforeValidator(read), PlainSerializer(encode_duration), WithJsonSchema(schema)]


def _parse_mask(value: object) -> Mask:
    if not isinstance(value, list) or not 3 <= len(value) <= 32:
        raise ValueError("should be a list of 3 to 32 points [x, y]")
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or not all(_is_permille(part) for part in point):
            raise ValueError("points should be [x, y] in thousandths of width and height, 0 to 1000")
    return Mask(tuple((point[0], point[1]) for point in value))


def _in_order(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    return tuple(sorted(set(masks), key=lambda mask: mask.points))


def _is_permille(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000


def _parse_date(value: object) -> date:
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9][0-9]-[0-9][0-9]", value):
            return date.fromisoformat(value)
    except ValueError:
        # Such as 30 February: told in the same words.
        pass
    raise ValueError("should be a date such as 2026-07-04")


def _to_set(value: object) -> object:
    """Take a list without repetitions as a set; anything else is left for pydantic to refuse."""
    if not isinstance(value, list):
        raise ValueError("should be a list")
    if len({str(item) for item in value}) != len(value):
        raise ValueError("should name each one once")
    return frozenset(value) if all(isinstance(item, str) for item in value) else value


def _sorted_texts(values: frozenset[Any]) -> list[str]:
    return sorted(value.value if isinstance(value, Enum) else str(value) for value in values)


_DATE_SCHEMA = {"type": "string", "format": "date"}
_POINT_SCHEMA = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 1000},
    "minItems": 2,
    "maxItems": 2,
}
_HOURS_SCHEMA = {
    "anyOf": [
        {"const": "always"},
        {"type": "array", "minItems": 1, "maxItems": 32, "items": {"type": "string"}},
    ]
}

HoursTerm = Annotated[Hours, BeforeValidator(parse_hours), PlainSerializer(encode_hours), WithJsonSchema(_HOURS_SCHEMA)]
MaskTerm = Annotated[
    Mask,
    BeforeValidator(_parse_mask),
    PlainSerializer(lambda mask: [list(point) for point in mask.points]),
    WithJsonSchema({"type": "array", "minItems": 3, "maxItems": 32, "items": _POINT_SCHEMA}),
]
DateTerm = Annotated[date, BeforeValidator(_parse_date), WithJsonSchema(_DATE_SCHEMA)]
Agency = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
_SetSerializer = PlainSerializer(_sorted_texts, return_type=list[str])


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("a value is missing behind the colon; leave the whole line out for the default")
        return value


class CameraTerms(_Terms):
    """The owner's terms for one camera. A default counts if the key is left out."""

    mode: Mode = Field(
        default=Mode.ASK, description="auto: release by these terms; ask: ask the owner every time; deny: never."
    )
    hours: HoursTerm = Field(
        default_factory=Hours.always,
        validate_default=False,
        json_schema_extra={"default": "always"},
        description="When footage may have been recorded, in the gateway's time zone; the rest is cut out.",
    )
    categories: Annotated[frozenset[Category], BeforeValidator(_to_set), _SetSerializer] = Field(
        default=frozenset(), description="Kinds of incident; an empty list is none."
    )
    distance_m: Annotated[int, Field(ge=0, le=650, strict=True)] = Field(
        default=300, description="Metres from the incident to this camera, at most 650."
    )
    window: _duration(MINUTE_NS, 12 * HOUR_NS) = Field(  # type: ignore[valid-type]
        default=30 * MINUTE_NS, description="Longest clip; a longer one is refused whole."
    )
    footage_age: _duration(HOUR_NS, 30 * DAY_NS) = Field(  # type: ignore[valid-type]
        default=72 * HOUR_NS, description="Age of the oldest footage when the request arrives."
    )
    requests_per_day: Annotated[int, Field(ge=0, le=100, strict=True)] = Field(
        default=2, description="Requests granted or asked in any 24 hours."
    )
    requests_per_month: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        default=10, description="Requests granted or asked in any 30 days."
    )
    requests_per_incident: Annotated[int, Field(ge=0, le=100, strict=True)] = Field(
        default=2, description="Requests granted or asked for one incident."
    )
    minutes_per_month: Annotated[int, Field(ge=0, le=43200, strict=True)] = Field(
        default=60, description="Minutes of footage granted or asked in any 30 days."
    )
    quality: Quality = Field(default=Quality.MAIN, description="main: both streams; sub: the small one only.")
    masks: Annotated[tuple[MaskTerm, ...], AfterValidator(_in_order)] = Field(
        default=(), max_length=16, description="Polygons that are blacked out, in thousandths of width and height."
    )
    audio: Annotated[bool, Field(strict=True)] = Field(default=False, description="Whether sound may go along.")


class Refusals(_Terms):
    """How a refusal is answered, by the way in which the request came."""

    area: Refusal = Field(default=Refusal.SILENCE, description="For a request to an area.")
    gateway: Refusal = Field(default=Refusal.DECLINED, description="For a request to this gateway.")


class GlobalTerms(_Terms):
    """The owner's terms for the whole house."""

    agencies: Annotated[frozenset[Agency], BeforeValidator(_to_set), _SetSerializer] = Field(
        default=frozenset(),
        description="Whose requests may be granted at all, as named in the enrolment; empty is nobody.",
    )
    signatures: Signatures = Field(
        default=Signatures.TWO, description="Who must have signed; a dispatcher's signature may always be there."
    )
    reported_within: _duration(HOUR_NS, 30 * DAY_NS) = Field(  # type: ignore[valid-type]
        default=72 * HOUR_NS, description="How long before the request the incident may have been reported."
    )
    padding: _duration(0, 30 * MINUTE_NS) = Field(  # type: ignore[valid-type]
        default=5 * MINUTE_NS, description="How far a clip may reach beyond the incident's window, at each end."
    )
    ask_timeout: _duration(MINUTE_NS, 12 * HOUR_NS) = Field(  # type: ignore[valid-type]
        default=30 * MINUTE_NS, description="How long the owner may take to answer; silence is a no."
    )
    cooling_off: _duration(0, 12 * HOUR_NS) = Field(  # type: ignore[valid-type]
        default=10 * MINUTE_NS, description="How long a granted release waits, and can be cancelled."
    )
    blackout_dates: Annotated[frozenset[DateTerm], BeforeValidator(_to_set), _SetSerializer] = Field(
        default=frozenset(), max_length=366, description="Days of whose footage nothing is released."
    )
    escrow: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether the escrow recipient of the trust bundle may open bundles as well."
    )
    refusals: Refusals = Field(default=Refusals(), description="How a refusal is answered.")
    notify: Annotated[frozenset[Occasion], BeforeValidator(_to_set), _SetSerializer] = Field(
        default=frozenset(Occasion), description="What the owner is told of."
    )
    expires_after: _duration(DAY_NS, 365 * DAY_NS) = Field(  # type: ignore[valid-type]
        default=45 * DAY_NS,
        description="How long a signature counts; then everything is denied until it is signed again.",
    )


class Terms(_Terms):
    """All terms that count for one camera: its own and the house's; the payload's part of one ``owner-consent+jws``."""

    camera: CameraTerms = Field(default=CameraTerms())
    house: GlobalTerms = Field(default=GlobalTerms())


class Policy(_Terms):
    """A whole ``consent.yaml``."""

    version: Literal[1] = Field(description="Form of this file.")
    house: GlobalTerms = Field(default=GlobalTerms(), description="Terms of the whole house.")
    cameras: Annotated[dict[CameraId, CameraTerms], Field(max_length=64)] = Field(
        default_factory=dict, description="Terms by camera id; a camera that is not named here is denied."
    )

    def terms(self, camera: str) -> Terms | None:
        """Return all terms of one camera; None if the file does not name it."""
        return Terms(camera=self.cameras[camera], house=self.house) if camera in self.cameras else None


def parse_policy(text: str, source: str) -> Policy:
    """Read a ``consent.yaml``.

    Raises:
        ConfigError: All problems, one a line: ``source:line: path: fault, allowed values``.
    """
    return validate(Policy, load_yaml(text, source))


def encode_terms(terms: Terms) -> dict[str, Any]:
    """Write terms as JSON values with every term said, in one order: equal terms give equal bytes."""
    return terms.model_dump(mode="json")


def parse_terms(value: Mapping[str, Any]) -> Terms:
    """Read the value of ``encode_terms``; ValueError (pydantic's) for anything else."""
    return Terms.model_validate(value)


def make_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``consent.yaml``, for editors."""
    schema = Policy.model_json_schema(by_alias=True)
    for part in (schema, *schema["$defs"].values()):
        for term in part.get("properties", {}).values():
            # pydantic writes a default as the program holds it: nanoseconds, and the file says 30m; sets, unordered.
            if term.get("pattern") == _DURATION_PATTERN:
                term["default"] = encode_duration(term["default"])
            elif isinstance(term.get("default"), list):
                term["default"] = sorted(term["default"])
            elif isinstance(term.get("default"), dict):
                del term["default"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "consent.yaml"}
