"""The JSON edge: the forms that the members of a signed payload may have.

Owns the small types that all payloads share and the translation of pydantic's complaints into reason codes (check 2 of
PROTOCOL 4). Strict: no member too many or too few, no conversion of one kind of value into another, every text
bounded and printable, because some of it is shown to people.
"""

from collections.abc import Mapping
from typing import Annotated, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from edge_agent.errors import DenialError
from edge_agent.printable_text import check_line, show_line
from edge_agent.protocol.reasons import say
from edge_agent.units import UtcNs, Window, parse_rfc3339

WireT = TypeVar("WireT", bound="WireModel")


class WireModel(BaseModel):
    """A JSON object with exactly the members of its class."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _parse_time(value: object) -> UtcNs:
    if not isinstance(value, str):
        raise ValueError("an RFC 3339 time ending in Z")
    return parse_rfc3339(value)


Time = Annotated[UtcNs, BeforeValidator(_parse_time)]
"""RFC 3339 with ``Z`` on the wire."""
# PROTOCOL 3.1: one line of printable characters, without blanks around.
Text = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(check_line)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(check_line)]
"""An owner's name for a camera."""
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_line)]
Issuer = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Person = Issuer
# PROTOCOL 7.2, E4: 128 bits need ceil(128 / 6) letters of base64url.
GatewayId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]
Jti = GatewayId
"""128 random bits in base64url."""
# RFC 7638 with SHA-256: ceil(256 / 6) letters.
Kid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Digest = Kid
"""SHA-256 in base64url."""
CameraId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
TargetName = CameraId
# Geohash letters: digits and lower case without a, i, l, o.
Cell = Annotated[str, StringConstraints(pattern=r"^[0-9b-hjkmnp-z]{5}$")]
# Bech32 (BIP 173) without 1, b, i, o: 52 letters of key and 6 of checksum.
AgeRecipient = Annotated[str, StringConstraints(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]
# PROTOCOL 5 and 6.1: from 1, one more with every signature.
Version = Annotated[int, Field(ge=1, le=2**31)]


class WireWindow(WireModel):
    """``{"start": …, "end": …}``, half open, never empty."""

    start: Time
    end: Time

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        self.window()
        return self

    def window(self) -> Window:
        """Return the value."""
        return Window(self.start, self.end)


class WirePlace(WireModel):
    """``{"lat": …, "lon": …}``, WGS 84, degrees."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


def parse_members(model: type[WireT], payload: object) -> WireT:
    """Read a payload's members.

    Raises:
        DenialError: ``member-unknown``, ``member-missing`` or ``member-invalid``, in this order, about the first one.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        # PROTOCOL 4, check 2: one reason for one message, in whichever order pydantic looks.
        code, problem = min(
            ((_CODES.get(problem["type"], "member-invalid"), problem) for problem in problems),
            key=lambda found: _ORDER.index(found[0]),
        )
        # The path holds names from the message: cut and cleaned, for a person reads the reason.
        member = show_line(".".join(str(part)[:40] for part in problem["loc"][:8])) or "payload"
        detail = show_line(problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")[:120])
        raise DenialError(code, say(code, member=member, detail=detail)) from None


_ORDER = ("member-unknown", "member-missing", "member-invalid")
_CODES: Mapping[str, str] = {"extra_forbidden": "member-unknown", "missing": "member-missing"}
