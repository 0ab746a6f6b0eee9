"""Reads of the resident's page that no command has in this form: the house, what is recorded, the terms in force.

Reads rings (their hours, never a picture), ``consent.yaml`` and signed consents; changes nothing.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.buffer.read.coverage import Overview, look_over
from edge_agent.consent.camera_state import CameraConsent, say_until
from edge_agent.consent.house_state import HouseState
from edge_agent.consent.plain_words import describe_camera, describe_house
from edge_agent.consent.policy import Policy, Terms
from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import Camera, Config
from edge_agent.texts import LANGUAGES, Language
from edge_agent.units import DAY_NS, SECOND_NS, MonoNs, UtcNs, encode_rfc3339
from edge_agent.uplink.bundle.rings import Footage, NotRecordedError

MAX_DAYS = 31
_FRESH_NS = 20 * SECOND_NS
"""A ring is looked over at most so often: a page that asks without end must not keep the disk from the recorder."""

FindConsents = Callable[[UtcNs], Mapping[str, CameraConsent]]


class InForce(Protocol):
    """The state of the house now; reads files, writes nothing."""

    def read(self, now: UtcNs) -> HouseState:
        """Return what stands for every camera."""

    def load_policy(self) -> Policy | None:
        """Read ``consent.yaml``; None if it cannot be read."""


class PageReads:
    """Handlers by command name: see ``handlers``.

    Args:
        config: Cameras and time zone.
        footage: Opens rings for reading.
        house_reader: The terms.
        find_consents: The state of every camera's consent.
        clock: Judges pauses, and how fresh an overview is.
    """

    def __init__(
        self, config: Config, footage: Footage, house_reader: InForce, find_consents: FindConsents, clock: Clock
    ) -> None:
        self._config, self._footage, self._house_reader, self._clock = config, footage, house_reader, clock
        self._find_consents = find_consents
        self._seen: dict[str, tuple[MonoNs, Reply]] = {}
        self._lock = threading.Lock()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the page's socket beside the owner's reads."""
        return {"house": self._house, "recordings": self._recordings, "terms": self._terms}

    def _house(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        cameras = [{"id": each.id, "title": each.title, "enabled": each.enabled} for each in self._config.cameras]
        gateway = self._config.gateway
        return {"time_zone": gateway.time_zone, "language": gateway.language, "cameras": cameras}

    def _recordings(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        camera = self._config.demand_camera(str(members.get("camera", "")))
        with self._lock:  # one ring at a time, whoever asks
            seen = self._seen.get(camera.id)
            now = self._clock.boot()
            if seen is None or now - seen[0] > _FRESH_NS:
                seen = self._seen[camera.id] = (now, self._look(camera))
        return seen[1]

    def _look(self, camera: Camera) -> Reply:
        try:
            with self._footage.open(camera.id, Quality.MAIN) as reader:
                overview, size_bytes = look_over(reader), reader.superblock.file_bytes
        except NotRecordedError:
            return {"camera": camera.id, "bytes": 0, "footage_s": 0, "oldest": None, "newest": None, "hours": []}
        return {"camera": camera.id, "bytes": size_bytes, **_describe(overview)}

    def _terms(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        language = _parse_language(members.get("language", "en"))
        now = self._clock.utc()
        house_state, policy = self._house_reader.read(now), self._house_reader.load_policy()
        consents, zone = self._find_consents(now), ZoneInfo(self._config.gateway.time_zone)
        cameras = []
        for camera in self._config.cameras:
            in_force = house_state.cameras.get(camera.id)
            terms = in_force.terms if in_force is not None else None
            if terms is None and policy is not None:
                terms = policy.terms(camera.id)  # not signed: what the file says, beside the state that says so
            consent = consents[camera.id]
            state = {"state": consent.state.value, "sentence": consent.say(say_until(consent, zone))}
            cameras.append({"id": camera.id, "title": camera.title, **state, **_describe_terms(terms, language)})
        return {"language": language, "cameras": cameras}


def _describe(overview: Overview) -> dict[str, Any]:
    newest = overview.newest_ns
    since = 0 if newest is None else newest - MAX_DAYS * DAY_NS
    return {
        "footage_s": overview.footage_ns // SECOND_NS,
        "oldest": None if overview.oldest_ns is None else encode_rfc3339(UtcNs(overview.oldest_ns)),
        "newest": None if newest is None else encode_rfc3339(UtcNs(newest)),
        "hours": [
            {
                "start": encode_rfc3339(cell.start_ns),
                "footage_s": cell.footage_ns // SECOND_NS,
                "gaps_s": {reason: ns // SECOND_NS for reason, ns in sorted(cell.reasons.items())},
            }
            for start, cell in sorted(overview.cells.items())
            if start >= since
        ],
    }


def _describe_terms(terms: Terms | None, language: Language) -> dict[str, list[str]]:
    if terms is None:
        return {"terms": [], "house": []}
    return {"terms": list(describe_camera(terms, language)), "house": list(describe_house(terms, language))}


def _parse_language(value: object) -> Language:
    for language in LANGUAGES:
        if language == value:
            return language
    raise UsageError(f"a language is one of {', '.join(LANGUAGES)}")
