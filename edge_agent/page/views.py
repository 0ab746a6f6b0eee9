"""From the answers of the processes to the contents of a page: values for the templates. Pure.

Owns the choice of members that are shown, and their words. Texts of strangers (requester, purpose,
names) are cut and cleaned here, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from edge_agent.page.languages import ENGLISH, Words
from edge_agent.page.words import (
    say_camera_state,
    say_distance,
    say_entry,
    say_length,
    say_request_state,
)
from edge_agent.printable_text import show_line
from edge_agent.units import SECOND_NS, UtcNs, parse_rfc3339

EVERY_CAMERA = "*"
"""As ``protocol.request`` has it, which no process that serves the network imports."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
BLACKED_OUT = ("{count} area blacked out", "{count} areas blacked out")
QUALITIES: Mapping[str, str] = {"main": "full resolution", "sub": "small resolution"}


@dataclass(frozen=True, slots=True)
class ShownMoment:
    """A time as people read it; ``iso`` for scripts in the browser."""

    text: str
    iso: str


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera on the home page."""

    id: str
    title: str
    state: str
    is_recording: bool
    note: str


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request: on the list, and in full if the releaser was asked for it alone."""

    number: int
    who: str
    what: str
    state: str
    state_said: str
    arrived: ShownMoment
    until: ShownMoment | None
    """Until when the owner may answer, or may stop it."""
    why: str
    contact: str
    incident: str
    distance: str
    signers: tuple[str, ...]
    cameras: str
    window: str
    quality: str
    offers: tuple[str, ...]
    refusals: tuple[str, ...]
    releases: tuple[str, ...]

    @property
    def is_waiting(self) -> bool:
        """Whether the owner is asked."""
        return self.state == "asked"

    @property
    def can_stop(self) -> bool:
        """Whether something is under way that can be stopped."""
        return self.state in ("granted", "uploading")


@dataclass(frozen=True, slots=True)
class EntryView:
    """One line of the ledger."""

    index: int
    at: ShownMoment
    title: str
    line: str
    request: int | None
    """Its number."""


class Reader:
    """Turns answers into values, for one house.

    Args:
        house: The releaser's ``house``: names of cameras, and the owner's language.
        zone: Of the house.
        words: Of the browser's language.
    """

    def __init__(self, house: Mapping[str, Any], zone: tzinfo, words: Words = ENGLISH) -> None:
        self.zone, self.words = zone, words
        self.language = str(house.get("language", "en"))
        self.cameras = {str(each["id"]): show_line(str(each["title"]), 80) for each in house.get("cameras", ())}

    def moment(self, text: str) -> ShownMoment:
        """Read a time of the wire."""
        return ShownMoment(say_time(parse_rfc3339(text), self.zone, self.words), text)

    def clock(self, text: str, first: str) -> str:
        """Read a time of the wire to the second, with its day if that is not the day of ``first``."""
        moment, day = (_local(parse_rfc3339(each), self.zone) for each in (text, first))
        return (
            f"{moment:%H:%M:%S}"
            if moment.date() == day.date()
            else say_time(parse_rfc3339(text), self.zone, self.words, seconds=True)
        )

    def title(self, camera: str) -> str:
        """Return a camera's name, or all cameras'."""
        return self.words("all cameras") if camera == EVERY_CAMERA else self.cameras.get(camera, show_line(camera, 40))

    def read_cameras(self, status: Mapping[str, Any]) -> list[CameraView]:
        """Return the cameras of the recorder's status; one of several streams is shown by its main one."""
        found = []
        for name, camera in sorted(status.get("cameras", {}).items()):
            camera_id, _, quality = name.rpartition(".")
            # Each camera has a main stream; the substream would be a second line for the same picture.
            if quality != "main":
                continue
            state, reason = str(camera.get("state", "unknown")), str(camera.get("reason", ""))
            note = show_line(str(camera.get("warning") or ""), 200)
            said = say_camera_state(state, reason, self.words)
            found.append(CameraView(camera_id, self.title(camera_id), said, state == "recording", note))
        return found

    def read_request(self, request: Mapping[str, Any]) -> RequestView:
        """Return one request of the releaser's ``requests`` or ``request``."""
        state = str(request["state"])
        ends = {"asked": request["due"], "granted": request["release_by"], "uploading": request["release_by"]}
        window = request["window"]
        cameras = request["cameras"]
        words = self.words
        category = words(str(request["category"]).replace("-", " "))
        asked = (
            words("every camera") if EVERY_CAMERA in cameras else ", ".join(self.title(str(each)) for each in cameras)
        )
        return RequestView(
            number=int(request["number"]),
            who=show_line(str(request["iss"]), 80),
            what=f"{category}: {asked}",
            state=state,
            state_said=say_request_state(state, words),
            arrived=self.moment(request["arrived_at"]),
            until=self.moment(ends[state]) if state in ends else None,
            why=show_line(str(request["purpose"]), 500),
            contact=show_line(str(request["contact"]), 200),
            incident=words(
                "{category}, number {number}", category=category, number=show_line(str(request["incident"]), 60)
            ),
            distance=say_distance(request.get("distance"), words),
            signers=tuple(show_line(str(each), 80) for each in request.get("signers", ())),
            cameras=asked,
            window=self._span(window),
            quality=words(QUALITIES.get(str(request["quality"]), "")),
            offers=tuple(self._read_offers(request.get("offer", {}).get("cameras", ()))),
            refusals=tuple(self._read_reasons(request.get("reasons", ()))),
            releases=tuple(self._read_releases(request.get("releases", ()))),
        )

    def _read_offers(self, offered: Sequence[Mapping[str, Any]]) -> list[str]:
        lines, words = [], self.words
        for each in offered:
            sound = words("with sound") if each["audio"] else words("without sound")
            areas = len(each["masks"])
            masks = f", {words(BLACKED_OUT[areas > 1], count=areas)}" if areas else ""
            for window in each["windows"]:
                start, end = parse_rfc3339(window["start"]), parse_rfc3339(window["end"])
                # Rounded up: a part of a second leaves as well.
                length = say_length(-(-(end - start) // SECOND_NS), words)
                lines.append(f"{self.title(each['camera'])}: {self._span(window)} ({length}), {sound}{masks}")
        return lines

    def _read_reasons(self, reasons: Sequence[Mapping[str, Any]]) -> list[str]:
        lines = []
        for each in reasons:
            camera = f"{self.title(str(each['camera']))}: " if each.get("camera") else ""
            lines.append(f"{camera}{show_line(str(each.get('sentence') or each['code']), 300)}")
        return lines

    def _read_releases(self, releases: Sequence[Mapping[str, Any]]) -> list[str]:
        lines = []
        for each in releases:
            reason = f" ({show_line(str(each['reason']), 60)})" if each.get("reason") else ""
            lines.append(f"{self.title(str(each['camera']))}: {show_line(str(each['state']), 30)}{reason}")
        return lines

    def _span(self, window: Mapping[str, str]) -> str:
        start, end = parse_rfc3339(window["start"]), parse_rfc3339(window["end"])
        first, last = _local(start, self.zone), _local(end, self.zone)
        shown = f"{last:%H:%M:%S}" if first.date() == last.date() else say_time(end, self.zone, self.words)
        return self.words("{start} to {end}", start=say_time(start, self.zone, self.words, seconds=True), end=shown)

    def read_entry(self, entry: Mapping[str, Any]) -> EntryView:
        """Return one line of the ledger."""
        title, line = say_entry(str(entry["kind"]), entry["entry"], self.words)
        return EntryView(int(entry["index"]), self.moment(entry["at"]), title, line, entry.get("request"))


def say_time(moment: UtcNs, zone: tzinfo, words: Words, *, seconds: bool = False) -> str:
    """Say a time of the house: ``Sat 28 Nov, 19:12``."""
    local = _local(moment, zone)
    clock = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    return f"{say_day(local, words)}, {clock}"


def say_day(day: date, words: Words) -> str:
    """Say a day: ``Sat 28 Nov``."""
    return f"{words(DAYS[day.weekday()])} {day.day} {words(MONTHS[day.month - 1])}"


def _local(moment: UtcNs, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(moment // SECOND_NS, UTC).astimezone(zone)


def say_house(
    cameras: Sequence[CameraView], waiting: int, paused: Sequence[str], problems: Sequence[str], words: Words = ENGLISH
) -> tuple[str, bool]:
    """Return the one sentence of the home page, and whether all is well."""
    # Before all else: of a process that does not answer nothing that follows is known.
    if problems:
        return words("The gateway does not answer in part. What is shown may be old."), False
    running = sum(each.is_recording for each in cameras)
    if waiting:
        asked = words("One request waits for you." if waiting == 1 else "{count} requests wait for you.", count=waiting)
    elif paused:
        asked = words("You have paused: nothing leaves of {cameras}.", cameras=", ".join(paused))
    else:
        asked = words("Nothing waits for you.")
    if not cameras:
        return f"{words('No camera is set up yet.')} {asked}", False
    if running == len(cameras):
        count = words("The camera records." if running == 1 else "All {count} cameras record.", count=running)
        return f"{count} {asked}", True
    return f"{words('{running} of {count} cameras record.', running=running, count=len(cameras))} {asked}", False
