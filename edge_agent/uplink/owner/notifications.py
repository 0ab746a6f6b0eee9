"""What the owner is told of requests and updates, and when; of faults and ends, ``fault_news`` tells."""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.consent.policy import Occasion
from edge_agent.local_time import encode_local
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.protocol.verdict import Ask, Denial, Grant, Verdict
from edge_agent.texts import ENGLISH, Texts
from edge_agent.units import UtcNs
from edge_agent.uplink.owner.notice_words import (
    Notice,
    ask_notice,
    grant_notice,
    refusal_notice,
    release_notice,
    remind_notice,
    request_notice,
    update_notice,
)
from edge_agent.uplink.store.requests import RequestState, StoredRequest

log = logging.getLogger(__name__)

SHORT_ID = 8


class News:
    """Tells the owner.

    Args:
        send: Takes notices; ``Messenger.tell``.
        wanted: What the owner wants to be told of, by the terms that count now.
        time_zone: In which moments are said.
        texts: The owner's language.
    """

    def __init__(
        self,
        send: Callable[[Notice], object],
        wanted: Callable[[], frozenset[Occasion]],
        time_zone: ZoneInfo,
        texts: Texts = ENGLISH,
    ) -> None:
        self._send = send
        self._wanted = wanted
        self._time_zone = time_zone
        self._texts = texts

    def decided(self, request: StoredRequest, verdict: Verdict) -> None:
        """Tell of a request's first decision."""
        name, agency = request.jti[:SHORT_ID], request.iss
        cameras = _cameras(request)
        if isinstance(verdict, Ask):
            asked = [camera.camera for camera in verdict.cameras]
            self._tell(ask_notice(name, agency, request.category, asked, self._say(verdict.until), self._texts))
            return
        self._tell(request_notice(name, agency, request.category, cameras, self._texts))
        if isinstance(verdict, Grant):
            granted = [camera.camera for camera in verdict.cameras]
            self._tell(grant_notice(name, agency, granted, self._say(verdict.not_before), self._texts))
        elif isinstance(verdict, Denial):
            self._tell(
                refusal_notice(name, agency, [(each.code, each.sentence) for each in verdict.reasons], self._texts)
            )

    def remind(self, request: StoredRequest) -> None:
        """Tell once more of a request that waits for the owner: soon silence is a no."""
        name = request.jti[:SHORT_ID]
        self._tell(remind_notice(name, request.iss, _cameras(request), self._say(request.due), self._texts))

    def ended(self, request: StoredRequest) -> None:
        """Tell how a request ended that was asked or granted before."""
        name, agency = request.jti[:SHORT_ID], request.iss
        if request.state is RequestState.DELIVERED:
            self._tell(release_notice(name, agency, _cameras(request), self._texts))
        else:
            reasons = [(str(each["code"]), str(each["sentence"])) for each in request.reasons]
            reasons = reasons or [(request.state.value, f"{request.state.value}.")]
            self._tell(refusal_notice(name, agency, reasons, self._texts))

    def updated(self, note: Mapping[str, str]) -> None:
        """Tell of an update that is offered, or of what became of one."""
        self._tell(update_notice(note.get("what", ""), note.get("to", ""), note.get("why", ""), self._texts))

    def _tell(self, notice: Notice) -> None:
        if notice.occasion in self._wanted():
            self._send(notice)

    def _say(self, moment: UtcNs) -> str:
        return encode_local(moment, self._time_zone)


def _cameras(request: StoredRequest) -> list[str]:
    payload: Any = jws.parse(request.raw, REQUEST_TYP).payload
    return [str(camera) for camera in payload["clip"]["cameras"]]
