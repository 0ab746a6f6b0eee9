"""What gateways announced: the uploads that a verified ``queued`` names, by gateway and name of the upload.

Owns the files between the inbox, which writes them, and the receiver, which takes in nothing else. The name of an
upload follows from gateway, request and camera (PROTOCOL 9, step 4): the receiver needs to know none of the three.
"""

import json
import re

from edge_agent.protocol.answer import MAX_CAMERAS, Answer, Status, upload_name
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import encode_json, replace
from edge_agent.units import DAY_NS, UtcNs

_LIFETIME_NS = DAY_NS
"""No request is released later than that after it was issued (PROTOCOL 3.2)."""
_GATEWAY = re.compile(r"[A-Za-z0-9_-]{22}")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{8,64}")


def announce(home: RtccHome, answer: Answer) -> None:
    """Take down what a verified answer says will be uploaded; a final one ends it. Durable on return."""
    known_path = home.request_dir(answer.jti) / answer.gateway / "announced.json"
    known: list[str] = json.loads(known_path.read_text()) if known_path.exists() else []
    folder = home.announced_dir / answer.gateway
    if answer.status.is_final:
        for upload in known:
            (folder / f"{upload}.json").unlink(missing_ok=True)
        known_path.unlink(missing_ok=True)
    if answer.status is not Status.QUEUED:
        return
    named = [upload_name(answer.gateway, answer.jti, camera) for camera in answer.cameras]
    # A gateway may say it again, and name others; never more than one request may.
    added = [upload for upload in dict.fromkeys(named) if upload not in known][: MAX_CAMERAS - len(known)]
    if not added:
        return
    # The list last: after a kill in between the broker sends the answer again, and all of it is done once more.
    for upload in added:
        replace(folder / f"{upload}.json", encode_json({"jti": answer.jti}))
    replace(known_path, encode_json([*known, *added]))


def is_announced(home: RtccHome, gateway: str, upload: str, now: UtcNs) -> bool:
    """Tell whether a gateway may begin this upload: it was granted lately, and is not answered finally."""
    if not _GATEWAY.fullmatch(gateway) or not _UPLOAD.fullmatch(upload):
        return False
    try:
        return now - (home.announced_dir / gateway / f"{upload}.json").stat().st_mtime_ns < _LIFETIME_NS
    except OSError:
        return False
