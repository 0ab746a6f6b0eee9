"""What each of the owner's services is told next: of the rows that it was not sent, the one that matters most.

The text is made as it is sent, of how things are then: a question that was answered meanwhile is not asked again.
Questions come first, then what leaves and what ended, then what comes near in the house, then refusals, summed up: no
number of those hides the one notice that matters.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.consent.house_state import Household
from edge_agent.consent.policy import Occasion
from edge_agent.host.clock import Clock
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.protocol.trust_bundle import TrustBundle
from edge_agent.units import DAY_NS, HOUR_NS, SECOND_NS, MonoNs, UtcNs
from edge_agent.uplink.owner.notice_texts import (
    Notice,
    ask_notice,
    expiry_notice,
    grant_notice,
    refusal_notice,
    refusals_notice,
    release_notice,
    request_notice,
    update_notice,
)
from edge_agent.uplink.store.notices import HOUSE, HouseNotice
from edge_agent.uplink.store.requests import OPEN_STATES, ReleaseState, RequestState, Store, StoredRequest

log = logging.getLogger(__name__)

WARN_DAYS = (7, 1)
"""How long before an end the owner is warned."""
SUM_UP_NS = HOUR_NS
"""A service is told of refusals once in so long."""
MAX_SUMMED = 1000
TOO_OLD_NS = 7 * DAY_NS
"""What ended, and could not be told so long after the request's arrival, is not told any more; the ledger has it."""


@dataclass(frozen=True, slots=True)
class ToTell:
    """A message for one service, and what is told with it."""

    notice: Notice
    requests: tuple[int, ...]
    """Numbers; none for a row of the house."""
    up_to: int
    """The newest row when the text was made, or the one row of the house."""


class News:
    """Makes what a service is told next.

    Args:
        store: Rows, requests, releases.
        wanted: What the owner wants to be told of, by the terms that count now.
        time_zone: In which moments are said.
        clock: For what is too old, and how long ago refusals were told.
    """

    def __init__(
        self, store: Store, wanted: Callable[[], frozenset[Occasion]], time_zone: ZoneInfo, clock: Clock
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._time_zone = time_zone
        self._clock = clock
        self._summed: dict[str, MonoNs] = {}

    # Rows about the house

    def warn_of_ends(self, household: Household, trust: TrustBundle | None, certificate_end: UtcNs, now: UtcNs) -> None:
        """Have the owner told of what ends within seven days and within one, each once."""
        for what, end in _ends(household, trust, certificate_end):
            days = -(-(end - now) // DAY_NS)
            due = min((limit for limit in WARN_DAYS if days <= limit), default=None)
            if due is not None and end > now:
                self._add("ends", f"{what}, {due} days before {end}", {"what": what, "end_ns": end})

    def updated(self, note: Mapping[str, str], now: UtcNs) -> None:
        """Have the owner told of an update that is offered, or of what became of one."""
        self._add("update", str(now), dict(note))

    def _add(self, kind: str, name: str, detail: Mapping[str, object]) -> None:
        with self._store.transaction() as connection:
            self._store.add_notice(connection, HOUSE, f"{kind}: {name}", json.dumps({"kind": kind, **detail}))

    # What is told next

    def find_next(self, service: str) -> ToTell | None:
        """Return what a service is told next; None if there is nothing, or what there is has to wait.

        What the owner does not want to be told of, and what has become pointless, goes off the list here.
        """
        while True:
            found = self._find_request(service) or self._find_house(service) or self._find_refusals(service)
            if found is None:
                return None
            notices, requests, up_to = found
            wanted = self._wanted()
            notice = next((each for each in notices if each.occasion in wanted), None)
            if notice is not None:
                return ToTell(notice, requests, up_to)
            self._mark(service, requests, up_to)

    def mark_told(self, service: str, told: ToTell) -> None:
        """Take off a service's list what it has been sent; what happened since stays on it."""
        if told.notice.occasion is Occasion.REFUSAL:
            self._summed[service] = self._clock.boot()
        self._mark(service, told.requests, told.up_to)

    def _mark(self, service: str, requests: tuple[int, ...], up_to: int) -> None:
        if requests:
            self._store.mark_told(service, requests, up_to)
        else:
            self._store.mark_house_notice_told(service, up_to)

    def _find_request(self, service: str) -> "_Found | None":
        newest = self._store.find_newest_notice()
        denied = RequestState.DENIED.value
        number = self._store.find_request_to_tell(service, RequestState.ASKED.value, denied)
        if number is None:
            return None
        request = self._store.read_request(number)
        is_old = request.state not in OPEN_STATES and request.arrived_at < self._clock.utc() - TOO_OLD_NS
        return ([] if is_old else self._say_request(request)), (number,), newest

    def _find_house(self, service: str) -> "_Found | None":
        row = self._store.find_house_notice(service)
        return None if row is None else (list(self._say_house(row)), (), row.id)

    def _find_refusals(self, service: str) -> "_Found | None":
        last = self._summed.get(service)
        if last is not None and self._clock.boot() - last < SUM_UP_NS:
            return None
        newest = self._store.find_newest_notice()
        numbers = self._store.list_refused_to_tell(service, RequestState.DENIED.value, MAX_SUMMED)
        if not numbers:
            return None
        return self._sum_up([self._store.read_request(number) for number in numbers]), tuple(numbers), newest

    # Texts

    def _say_request(self, request: StoredRequest) -> list[Notice]:
        """Return what can be said of a request as it is now, for each occasion, the most important one first."""
        number, agency, category = request.id, request.iss, request.category
        left = _asked_cameras(request) if request.bound is None else request.bound.names
        arrived = request_notice(number, agency, category, _asked_cameras(request))
        if request.state is RequestState.ASKED:
            return [ask_notice(number, agency, category, left, self._say(request.due))]
        if request.state in OPEN_STATES:
            leaves_at = request.due if request.bound is None else request.bound.not_before
            return [grant_notice(number, agency, category, left, self._say(leaves_at)), arrived]
        if request.state is RequestState.DELIVERED:
            return [release_notice(number, agency, self._released(request) or _asked_cameras(request))]
        ended = refusal_notice(number, agency, _reasons(request))
        if request.state is RequestState.DENIED:
            return [ended, arrived]
        return [ended, Notice(Occasion.RELEASE, ended.title, ended.body)]  # of a release that was told of before

    def _sum_up(self, refused: Sequence[StoredRequest]) -> list[Notice]:
        if len(refused) == 1:
            return self._say_request(refused[0])
        counts = Counter(code for request in refused for code in dict.fromkeys(_reasons(request)))
        summed = refusals_notice([request.id for request in refused], dict(counts.most_common(8)))
        return [summed, Notice(Occasion.REQUEST, summed.title, summed.body)]

    def _say_house(self, row: HouseNotice) -> Iterator[Notice]:
        detail: dict[str, Any] = json.loads(row.detail)
        if detail["kind"] == "update":
            yield update_notice(detail.get("what", ""), detail.get("to", ""), detail.get("why", ""))
            return
        days = -(-(detail["end_ns"] - self._clock.utc()) // DAY_NS)
        if detail["end_ns"] > self._clock.utc():
            yield expiry_notice(detail["what"], days)

    def _released(self, request: StoredRequest) -> list[str]:
        releases = self._store.list_releases(request.id)
        return [each.camera for each in releases if each.state is ReleaseState.DELIVERED]

    def _say(self, moment: UtcNs) -> str:
        return datetime.fromtimestamp(moment // SECOND_NS, self._time_zone).strftime("%Y-%m-%d %H:%M")


_Found = tuple[list[Notice], tuple[int, ...], int]


def _ends(household: Household, trust: TrustBundle | None, certificate_end: UtcNs) -> Iterator[tuple[str, UtcNs]]:
    for camera, standing in household.cameras.items():
        if standing.consent is not None and not standing.revoked:
            yield f"Your consent for {camera}", standing.consent.valid_until
    if trust is not None:
        yield "The RTCC's trust bundle", trust.expires
    yield "This gateway's certificate", certificate_end


def _reasons(request: StoredRequest) -> list[str]:
    return [each["code"] for each in request.reasons] or [request.state.value]


def _asked_cameras(request: StoredRequest) -> list[str]:
    payload: Any = jws.parse(request.raw, REQUEST_TYP).payload
    return [str(camera) for camera in payload["clip"]["cameras"]]
