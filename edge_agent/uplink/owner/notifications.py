"""What the owner is told of, and when: turns of requests, and ends that come near. Says it through ``notify``."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.consent.house_state import Household
from edge_agent.consent.policy import Occasion
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.protocol.trust_bundle import TrustBundle
from edge_agent.protocol.verdict import Ask, Denial, Grant, Verdict
from edge_agent.units import DAY_NS, SECOND_NS, UtcNs
from edge_agent.uplink.owner.notifier import (
    Notice,
    ask_notice,
    expiry_notice,
    grant_notice,
    refusal_notice,
    release_notice,
    request_notice,
    update_notice,
)
from edge_agent.uplink.store.requests import RequestState, StoredRequest

log = logging.getLogger(__name__)

WARN_DAYS = (7, 1)
"""How long before an end the owner is warned."""
SHORT_ID = 8


class News:
    """Tells the owner.

    Args:
        send: Takes notices; ``Messenger.tell``.
        wanted: What the owner wants to be told of, by the terms that count now.
        time_zone: In which moments are said.
    """

    def __init__(
        self, send: Callable[[Notice], object], wanted: Callable[[], frozenset[Occasion]], time_zone: ZoneInfo
    ) -> None:
        self._send = send
        self._wanted = wanted
        self._time_zone = time_zone
        self._warned: set[tuple[str, int, int]] = set()

    def decided(self, request: StoredRequest, verdict: Verdict) -> None:
        """Tell of a request's first decision."""
        name, agency = request.jti[:SHORT_ID], request.iss
        cameras = _cameras(request)
        if isinstance(verdict, Ask):
            asked = [camera.camera for camera in verdict.cameras]
            self._tell(ask_notice(name, agency, request.category, asked, self._say(verdict.until)))
            return
        self._tell(request_notice(name, agency, request.category, cameras))
        if isinstance(verdict, Grant):
            granted = [camera.camera for camera in verdict.cameras]
            self._tell(grant_notice(name, agency, granted, self._say(verdict.not_before)))
        elif isinstance(verdict, Denial):
            self._tell(refusal_notice(name, agency, [each.code for each in verdict.reasons]))

    def ended(self, request: StoredRequest) -> None:
        """Tell how a request ended that was asked or granted before."""
        name, agency = request.jti[:SHORT_ID], request.iss
        if request.state is RequestState.DELIVERED:
            self._tell(release_notice(name, agency, _cameras(request)))
        else:
            reasons = [each["code"] for each in request.reasons] or [request.state.value]
            self._tell(refusal_notice(name, agency, reasons))

    def warn_of_ends(self, household: Household, trust: TrustBundle | None, certificate_end: UtcNs, now: UtcNs) -> None:
        """Tell of what ends within seven days and within one, each once."""
        for what, end in _ends(household, trust, certificate_end):
            days = -(-(end - now) // DAY_NS)
            due = min((limit for limit in WARN_DAYS if days <= limit), default=None)
            if due is None or end <= now or (what, end, due) in self._warned:
                continue
            self._warned.add((what, end, due))
            log.warning("ends soon what=%s days=%d", what, days)
            self._tell(expiry_notice(what, days))

    def updated(self, note: Mapping[str, str]) -> None:
        """Tell of an update that is offered, or of what became of one."""
        self._tell(update_notice(note.get("what", ""), note.get("to", ""), note.get("why", "")))

    def _tell(self, notice: Notice) -> None:
        if notice.occasion in self._wanted():
            self._send(notice)

    def _say(self, moment: UtcNs) -> str:
        return datetime.fromtimestamp(moment // SECOND_NS, self._time_zone).strftime("%Y-%m-%d %H:%M")


def _ends(household: Household, trust: TrustBundle | None, certificate_end: UtcNs) -> Iterator[tuple[str, UtcNs]]:
    for camera, standing in household.cameras.items():
        if standing.consent is not None and not standing.revoked:
            yield f"Your consent for {camera}", standing.consent.valid_until
    if trust is not None:
        yield "The RTCC's trust bundle", trust.expires
    yield "This gateway's certificate", certificate_end


def _cameras(request: StoredRequest) -> list[str]:
    payload: Any = jws.parse(request.raw, REQUEST_TYP).payload
    return [str(camera) for camera in payload["clip"]["cameras"]]
