"""The next message for each of the owner's services: of the rows that it was not sent, the one that matters most.

The text is made as it is sent, of how things are then: a question that was answered meanwhile is not asked again.
Questions come first, then releases and ends of requests, then faults and ends of the house, then refusals, summed up:
no number of those hides the one notice that matters.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.consent.house_state import occasions
from edge_agent.consent.policy import Occasion
from edge_agent.host.clock import Clock
from edge_agent.host.language import load_texts
from edge_agent.local_time import encode_local, localise
from edge_agent.protocol import jws
from edge_agent.protocol.reasons import say
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.settings.gateway import Config
from edge_agent.texts import ENGLISH, Texts
from edge_agent.units import DAY_NS, HOUR_NS, MonoNs, UtcNs
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.owner.notice_words import (
    Notice,
    ask_notice,
    grant_notice,
    refusal_notice,
    refusals_notice,
    release_notice,
    remind_notice,
    request_notice,
    update_notice,
)
from edge_agent.uplink.owner.page_links import PageLinks
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.notices import HOUSE, HouseNotice
from edge_agent.uplink.store.releases import ReleaseState
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState, StoredRequest

log = logging.getLogger(__name__)

REMINDER = "reminder"
"""The event of a question that is asked once more."""
SUM_UP_NS = HOUR_NS
"""A service is told of refusals once in so long."""
MAX_SUMMED = 1000
"""Refusals that one summary counts; the rest come with the next."""
MAX_REASONS = 3
"""Reasons that a summary names, each in the words of the newest request that it was said of."""
TOO_OLD_NS = 7 * DAY_NS
"""The end of a request that could not be told so long after its arrival is not told any more; the ledger has it."""


@dataclass(frozen=True, slots=True)
class ToTell:
    """A message for one service, and the rows that it tells."""

    notice: Notice
    requests: tuple[int, ...]
    """Numbers; none for a row of the house."""
    up_to: int
    """The newest row when the text was made, or the one row of the house."""


class News:
    """Makes what a service is told next.

    Args:
        store: Rows, requests, releases.
        wanted: The occasions that the owner wants to be told of, by the terms that count now.
        time_zone: In which moments are said.
        clock: Tells which rows are too old, and how long ago refusals were told.
        texts: The owner's language.
        links: Addresses of the resident's page.
    """

    def __init__(
        self,
        store: Database,
        wanted: Callable[[], frozenset[Occasion]],
        time_zone: ZoneInfo,
        clock: Clock,
        texts: Texts = ENGLISH,
        links: PageLinks | None = None,
    ) -> None:
        self._store = store
        self.wanted = wanted
        """Returns the occasions that the owner wants to be told of now."""
        self._time_zone = time_zone
        self._clock = clock
        self._texts = texts
        self._links = links or PageLinks(None)
        self._summed: dict[str, MonoNs] = {}

    # Rows that no request's turn makes

    def remind(self, request: StoredRequest) -> None:
        """Have the owner asked once more about a request: soon silence is a no."""
        with self._store.transaction() as connection:
            self._store.notices.add(connection, request.id, REMINDER)

    def tell(self, notice: Notice) -> None:
        """Have the owner told of something that is about no request, such as a fault of the gateway."""
        occasion = None if notice.occasion is None else notice.occasion.value
        detail = json.dumps({"occasion": occasion, "title": notice.title, "body": notice.body})
        with self._store.transaction() as connection:
            self._store.notices.add(connection, HOUSE, str(self._store.notices.find_newest() + 1), detail)

    def updated(self, note: Mapping[str, str]) -> None:
        """Have the owner told of an update that is offered, or of the outcome of one."""
        self.tell(update_notice(note.get("what", ""), note.get("to", ""), note.get("why", ""), self._texts))

    # The next message

    def find_next(self, service: str) -> ToTell | None:
        """Return what a service is told next; None if there is nothing, or the rows have to wait.

        Rows that the owner does not want to be told of, or that have become pointless, go off the list here.
        """
        while True:
            found = self._find_request(service) or self._find_house(service) or self._find_refusals(service)
            if found is None:
                return None
            notices, requests, up_to = found
            wanted = self.wanted()
            notice = next((each for each in notices if each.occasion is None or each.occasion in wanted), None)
            if notice is not None:
                return ToTell(notice, requests, up_to)
            self._mark(service, requests, up_to)

    def mark_told(self, service: str, told: ToTell) -> None:
        """Take off a service's list the rows that it has been sent; later ones stay on it."""
        if told.notice.occasion is Occasion.REFUSAL:
            # By the time since boot: a clock that is set back must not silence refusals for days.
            self._summed[service] = self._clock.boot()
        self._mark(service, told.requests, told.up_to)

    def _mark(self, service: str, requests: tuple[int, ...], up_to: int) -> None:
        if requests:
            self._store.notices.mark_told(service, requests, up_to)
        else:
            self._store.notices.mark_house_notice_told(service, up_to)

    def _find_request(self, service: str) -> "_Found | None":
        newest = self._store.notices.find_newest()
        denied = RequestState.DENIED.value
        number = self._store.notices.find_request_to_tell(service, RequestState.ASKED.value, denied)
        if number is None:
            return None
        request = self._store.requests.find_numbered(number)
        if request is None:  # forgotten meanwhile, and its rows with it
            return [], (number,), newest
        is_old = request.state not in OPEN_STATES and request.arrived_at < self._clock.utc() - TOO_OLD_NS
        if is_old:
            return [], (number,), newest
        is_reminder = REMINDER in self._store.notices.list_events_to_tell(service, number)
        notices = self._say_request(request, is_reminder=is_reminder)
        lines = self._links.lines(number)
        return [replace(each, body="\n".join((each.body, *lines))) for each in notices], (number,), newest

    def _find_house(self, service: str) -> "_Found | None":
        row = self._store.notices.find_house_notice(service)
        return None if row is None else ([_parse_notice(row)], (), row.id)

    def _find_refusals(self, service: str) -> "_Found | None":
        last = self._summed.get(service)
        if last is not None and self._clock.boot() - last < SUM_UP_NS:
            return None
        newest = self._store.notices.find_newest()
        numbers = self._store.notices.list_refused_to_tell(service, RequestState.DENIED.value, MAX_SUMMED)
        if not numbers:
            row = self._store.notices.find_house_notice(service, refusals=True)
            return None if row is None else (self._say_dropped(int(row.detail)), (), row.id)
        found = filter(None, map(self._store.requests.find_numbered, numbers))  # one may be forgotten meanwhile
        return self._sum_up(list(found)), tuple(numbers), newest

    # Texts

    def _say_request(self, request: StoredRequest, *, is_reminder: bool = False) -> list[Notice]:
        """Return what can be said of a request as it is now, for each occasion, the most important one first."""
        number, agency, category, texts = str(request.id), request.iss, request.category, self._texts
        left = _asked_cameras(request) if request.bound is None else request.bound.names
        arrived = request_notice(number, agency, category, _asked_cameras(request), texts)
        if request.state is RequestState.ASKED and is_reminder:
            return [remind_notice(number, agency, left, self._say(request.due), texts)]
        if request.state is RequestState.ASKED:
            return [ask_notice(number, agency, category, left, self._say(request.due), texts)]
        if request.state in OPEN_STATES or (request.state is RequestState.DELIVERED and not request.is_handed_over):
            leaves_at = request.due if request.bound is None else request.bound.not_before
            return [grant_notice(number, agency, left, self._say(leaves_at), texts), arrived]
        if request.state is RequestState.DELIVERED:
            return [release_notice(number, agency, self._released(request) or _asked_cameras(request), texts)]
        ended = refusal_notice(number, agency, [text for _, text in self._reasons(request)], texts)
        if request.state is RequestState.DENIED:
            return [ended, arrived]
        return [ended, Notice(Occasion.RELEASE, ended.title, ended.body)]  # of a release that was told of before

    def _say_dropped(self, count: int) -> list[Notice]:
        title = self._texts("{count} requests were refused", count=count)
        body = self._texts("On the gateway: edge-agent requests list.")
        return [Notice(each, title, body) for each in (Occasion.REFUSAL, Occasion.REQUEST)]

    def _sum_up(self, refused: Sequence[StoredRequest]) -> list[Notice]:
        if not refused:
            return []
        if len(refused) == 1:
            return self._say_request(refused[0])
        found = [dict(self._reasons(request)) for request in refused]
        counts = Counter(code for reasons in found for code in reasons)
        sentences = {code: text for reasons in found for code, text in reasons.items()}
        why = {sentences[code]: count for code, count in counts.most_common(MAX_REASONS)}
        summed = refusals_notice([str(each.id) for each in refused], why, self._texts)
        return [summed, Notice(Occasion.REQUEST, summed.title, summed.body)]

    def _released(self, request: StoredRequest) -> list[str]:
        releases = self._store.releases.list_of(request.id)
        return [each.camera for each in releases if each.state is ReleaseState.DELIVERED]

    def _reasons(self, request: StoredRequest) -> list[tuple[str, str]]:
        """Return codes and sentences with local times; of a sentence with blanks, and of none, the code has to do."""
        found = []
        for each in request.reasons:
            try:
                sentence = str(each.get("sentence") or say(each["code"]))
            except KeyError:
                sentence = each["code"].replace("-", " ") + "."
            found.append((str(each["code"]), localise(sentence, self._time_zone)))
        return found or [(request.state.value, f"{request.state.value}.")]

    def _say(self, moment: UtcNs) -> str:
        return encode_local(moment, self._time_zone)


def make_news(config: Config, store: Database, house_reader: HouseReader, clock: Clock) -> News:
    """Make the news of an enrolled gateway: what its terms name, in its language and zone, with links to its page."""
    texts, zone = load_texts(config.gateway.language), ZoneInfo(config.gateway.time_zone)
    links = PageLinks(config.state_dir, texts)
    return News(store, lambda: occasions(house_reader.read(clock.utc())), zone, clock, texts, links)


_Found = tuple[list[Notice], tuple[int, ...], int]


def _parse_notice(row: HouseNotice) -> Notice:
    detail: dict[str, Any] = json.loads(row.detail)
    occasion = None if detail["occasion"] is None else Occasion(detail["occasion"])
    return Notice(occasion, str(detail["title"]), str(detail["body"]))


def _asked_cameras(request: StoredRequest) -> list[str]:
    payload: Any = jws.parse(request.raw, REQUEST_TYP).payload
    return [str(camera) for camera in payload["clip"]["cameras"]]
