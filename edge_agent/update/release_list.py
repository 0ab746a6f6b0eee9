"""The list of releases: the newest version, the versions still allowed, and the file of each. Pure.

A JSON file that is itself a signed target (``releases.json``), so that two of three offline keys stand behind it::

    {"format": 1, "version": "1.4.0", "minimum": "1.2.0", "notes": "…",
     "packages": {"bookworm/amd64": {"1.4.0": "edge-agent_1.4.0~bookworm_amd64.deb", "1.3.2": "…"}}}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from edge_agent.errors import UpdateError

NAME = "releases.json"
MAX_BYTES = 256 * 1024
# Without leading zeros: a second spelling of a version would be another key of ``packages``.
_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")

VersionText = Annotated[str, StringConstraints(pattern=f"^{_VERSION.pattern}$")]
_FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9.+~_-]{0,127}\.deb$")]


class ReleaseList(BaseModel):
    """The content of ``releases.json``; unknown members are for later versions and are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    version: VersionText
    minimum: VersionText
    notes: Annotated[str, StringConstraints(max_length=4000)] = ""
    packages: Mapping[str, Mapping[VersionText, _FileName]]


@dataclass(frozen=True, slots=True)
class UpdateStep:
    """From one version to a newer one, and the file of the first, by which the machine can go back."""

    before: str
    after: str
    package: str
    way_back: str | None
    """None if the list does not hold the version that runs, or no longer allows it."""
    notes: str


def parse_list(raw: bytes) -> ReleaseList:
    """Read a list; UpdateError if it has another form."""
    try:
        return ReleaseList.model_validate_json(raw)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UpdateError(f"the list of releases is not understood at {where or 'its beginning'}") from error


def parse_version(text: str) -> tuple[int, int, int]:
    """Return a version as numbers that compare; ValueError if it is none."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a version: {text[:40]!r}")
    return int(found[1]), int(found[2]), int(found[3])


def find_step(releases: ReleaseList, running: str, package_kind: str) -> UpdateStep | None:
    """Return the step to the newest release; None if it runs already, or a newer one does.

    Raises:
        UpdateError: The list has no file for this machine, or its newest release is below its own minimum.
    """
    newest, minimum = parse_version(releases.version), parse_version(releases.minimum)
    if newest < minimum:
        raise UpdateError("the list of releases names a newest one that is below its minimum")
    # Never backwards, also if two keys signed it: an old version may have a hole that a later one
    # closed.
    if newest <= parse_version(running):
        return None
    files = releases.packages.get(package_kind, {})
    if releases.version not in files:
        raise UpdateError(f"release {releases.version} has no package for {package_kind}")
    way_back = files.get(running) if parse_version(running) >= minimum else None
    return UpdateStep(running, releases.version, files[releases.version], way_back, releases.notes)
