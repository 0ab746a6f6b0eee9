"""Where faults are seen: in the recorder's status, on the disks, and in the releaser's own state.

Owns how long each kind lasts before it is told. Every function returns faults and well subjects; a subject that it
cannot judge is in neither. Pure but for ``read_recorder`` and ``see_disks``.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.consent.camera_state import CameraConsent, ConsentState
from edge_agent.host.regular_file import read_regular
from edge_agent.settings.gateway import Config
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_size, parse_rfc3339
from edge_agent.uplink.owner.faults import Fault, Key

log = logging.getLogger(__name__)

STALE_NS = MINUTE_NS
"""The recorder writes its status every two seconds."""
PICTURES: Mapping[str, int] = {
    "covered": 2 * MINUTE_NS,
    "frozen": 5 * MINUTE_NS,
    "moved": 10 * MINUTE_NS,
    "black": 15 * HOUR_NS,
}
"""Told after so long. A camera without light of its own is black for a winter's night."""
_AFTER_NS = {
    "recorder": 2 * MINUTE_NS,
    "events": 5 * MINUTE_NS,
    "ring": MINUTE_NS,
    "disk": MINUTE_NS,
    "adoption": MINUTE_NS,
}
_LINE_AFTER_NS = 10 * MINUTE_NS
"""For the clock and the broker: both take a while after a restart of the house's router."""
MIN_FREE_BYTES = 256 << 20
_MAX_STATUS_BYTES = 1 << 20
"""Of a file that another process writes: its length is not believed."""
_DOWN, _UP = ("down",), ("recording", "waiting")

Say = Callable[[UtcNs], str]


@dataclass(slots=True)
class Seen:
    """The faults, and the subjects that are well."""

    faults: list[Fault] = field(default_factory=list)
    well: set[Key] = field(default_factory=set)

    def note(self, fault: Fault, *, is_wrong: bool) -> None:
        """Enter one thing that was looked at."""
        if is_wrong:
            self.faults.append(fault)
        else:
            self.well.add(fault.key)


def read_recorder(path: Path) -> Mapping[str, Any] | None:
    """Return the recorder's status; None if it cannot be read."""
    try:
        found = json.loads(read_regular(path, _MAX_STATUS_BYTES))
        return found if isinstance(found, dict) and isinstance(found.get("cameras"), dict) else None
    except (OSError, ValueError, RecursionError) as error:
        log.debug("recorder's status not read: %s", type(error).__name__)
        return None


def see_recorder(seen: Seen, status: Mapping[str, Any] | None, config: Config, now: UtcNs, say: Say) -> None:
    """Judge whether the recorder runs and, if it does, each of its streams."""
    silent_ns = STALE_NS + 1 if status is None else now - _moment(status.get("written_at"), now)
    is_silent = silent_ns > STALE_NS
    seen.note(Fault("recorder", after_ns=_AFTER_NS["recorder"]), is_wrong=is_silent)
    if is_silent or status is None:
        return
    for name, stream in status["cameras"].items():
        camera = config.find_camera(name.rpartition(".")[0])
        if camera is None or not isinstance(stream, dict):
            continue
        subject = camera.title if name.endswith(".main") else f"{camera.title} ({name.rpartition('.')[2]})"
        _see_stream(seen, stream, subject, config.down_after_ns(camera), now, say)


def _see_stream(seen: Seen, stream: Mapping[str, Any], subject: str, down_after_ns: int, now: UtcNs, say: Say) -> None:
    state, reason = stream.get("state"), str(stream.get("reason_text", ""))
    # ``now`` for a time that cannot be read: a fault without its beginning is told all the same.
    since = say(_moment(stream.get("since"), now))
    if state in (*_DOWN, *_UP):
        down = Fault("camera", subject, reason, since, after_ns=down_after_ns)
        seen.note(down, is_wrong=state in _DOWN)
    storage = str(stream.get("storage", "ok"))
    if not stream.get("preparing"):
        ring = Fault("ring", subject, "" if storage == "ok" else storage, after_ns=_AFTER_NS["ring"])
        seen.note(ring, is_wrong=storage != "ok")
    if "mirror" in stream:
        mirror = str(stream["mirror"])
        fault = Fault("mirror", subject, "" if mirror == "ok" else mirror, after_ns=_LINE_AFTER_NS)
        seen.note(fault, is_wrong=mirror != "ok")
    if stream.get("events") in ("listening", "trouble"):
        events = Fault("events", subject, str(stream.get("events_detail", "")), after_ns=_AFTER_NS["events"])
        seen.note(events, is_wrong=stream["events"] == "trouble")
    if state == "recording" and "picture" in stream:
        for code, after_ns in PICTURES.items():
            picture = Fault(code, subject, since=say(_moment(stream.get("picture_since"), now)), after_ns=after_ns)
            seen.note(picture, is_wrong=stream["picture"] == code)


def see_disks(seen: Seen, folders: Iterable[Path]) -> None:
    """Judge whether the disks of these folders have room: 256 MiB, or a hundredth of a smaller disk."""
    for folder in folders:
        free = _free_bytes(folder)
        if free is not None:
            detail = f"{encode_size(free[0] >> 20 << 20)}"
            disk = Fault("disk", str(folder), detail, after_ns=_AFTER_NS["disk"])
            seen.note(disk, is_wrong=free[0] < min(MIN_FREE_BYTES, free[1] // 100))


def see_line(seen: Seen, clock: ClockState, is_connected: bool | None, why: str) -> None:
    """Judge the clock and the connection; ``is_connected`` is None for a gateway that has none."""
    seen.note(Fault("clock", detail=why, after_ns=_LINE_AFTER_NS), is_wrong=clock is not ClockState.SYNCHRONISED)
    if is_connected is not None:
        seen.note(Fault("broker", after_ns=_LINE_AFTER_NS), is_wrong=not is_connected)


def see_adoption(seen: Seen, missing: Path | None) -> None:
    """Judge whether what the owner signed at the desk came into its file; ``missing`` is one that did not change."""
    name = "" if missing is None else missing.name
    seen.note(Fault("adoption", detail=name, after_ns=_AFTER_NS["adoption"]), is_wrong=missing is not None)


def see_ends(
    seen: Seen, consents: Mapping[str, CameraConsent], others: Mapping[str, UtcNs | None], now: UtcNs, say: Say
) -> None:
    """Judge what ends: each camera's consent, and the certificate and the trust bundle (``others``, by kind)."""
    ends = [("consent", camera, each.until) for camera, each in consents.items() if each.state in _SIGNED]
    ends += [(kind, "", end) for kind, end in others.items()]
    for kind, subject, end in ends:
        if end is not None:
            left_ns = end - now
            fault = Fault(kind, subject, since="", detail=say(end), stage=2 if left_ns <= 0 else left_ns <= DAY_NS)
            seen.note(fault, is_wrong=left_ns <= 7 * DAY_NS)


_SIGNED = (ConsentState.IN_FORCE, ConsentState.ENDED)


def list_folders(config: Config) -> Iterator[Path]:
    """Yield one folder of each disk that must not fill up. Rings take their space at the start."""
    devices = set()
    for folder in (config.store_path.parent, config.staging_dir, config.holds_dir):
        try:
            device = os.stat(folder).st_dev
        except OSError:
            # A folder that was not made yet fills no disk.
            continue
        if device not in devices:
            devices.add(device)
            yield folder


def _free_bytes(folder: Path) -> tuple[int, int] | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    # ``f_bavail``: the blocks that are kept for root are none that a service can use.
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _moment(text: object, otherwise: UtcNs) -> UtcNs:
    try:
        return parse_rfc3339(str(text))
    except ValueError:
        return otherwise
