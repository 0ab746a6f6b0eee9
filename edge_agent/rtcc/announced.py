"""Announcements of gateways: the uploads that a verified ``queued`` names, by gateway and name of the upload.

Owns the table of them; the receiver takes nothing else in. The name of an upload follows from
gateway, request and camera (PROTOCOL 9, step 4): the receiver needs to know none of the three.
"""

import re
from typing import TYPE_CHECKING

from edge_agent.protocol.answer import MAX_CAMERAS, Answer, Status, upload_name
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state.sent_requests import AskedOf
from edge_agent.units import UtcNs

if TYPE_CHECKING:
    from edge_agent.rtcc.state.exchange_batch import ExchangeBatch

_GATEWAY = re.compile(r"[A-Za-z0-9_-]{22}")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{8,64}")


def announce(batch: "ExchangeBatch", answer: Answer, asked: AskedOf) -> None:
    """Record the uploads that a verified answer announces; a final one ends them. Inside the caller's transaction.

    A known upload is always looked up: a folder that was taken over may hold announcements without their answer.
    Nothing, if the request went to another gateway: a gateway that was not asked has nothing to upload.

    Args:
        batch: With the lock of the answer's exchange.
        answer: The newest of it.
        asked: Of whom its request asks something.
    """
    if answer.status.is_final:
        batch.end_announcements(answer)
    if answer.status is not Status.QUEUED or not asked.is_of(answer.gateway):
        return
    known = batch.announced_uploads(answer)
    named = [upload_name(answer.gateway, answer.jti, camera) for camera in answer.cameras]
    # A gateway may say it again, and name others; never more than one request may.
    added = [upload for upload in dict.fromkeys(named) if upload not in known][: MAX_CAMERAS - len(known)]
    batch.announce(answer, added)


def is_announced(home: RtccHome, gateway: str, upload: str, now: UtcNs) -> bool:
    """Tell whether a gateway may begin this upload: its request still runs, and is not answered finally."""
    if not _GATEWAY.fullmatch(gateway) or not _UPLOAD.fullmatch(upload):
        return False
    return home.state.exchanges.is_announced(gateway, upload, now)
