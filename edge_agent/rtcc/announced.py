"""What gateways announced: the uploads that a verified ``queued`` names, by gateway and name of the upload.

Owns the files between the inbox, which writes them, and the receiver, which takes in nothing else. The name of an
upload follows from gateway, request and camera (PROTOCOL 9, step 4): the receiver needs to know none of the three.
"""

import json
import re
from dataclasses import dataclass

from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.answer import MAX_CAMERAS, Answer, Status, upload_name
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import encode_json, replace
from edge_agent.units import UtcNs, parse_rfc3339

_GATEWAY = re.compile(r"[A-Za-z0-9_-]{22}")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What our own request says: of whom, and until when."""

    gateway: str | None
    """None for an area: which homes are in it, the gateways alone know."""
    release_by: UtcNs


def announce(home: RtccHome, answer: Answer) -> None:
    """Take down what a verified answer says will be uploaded; a final one ends it. Durable on return.

    Nothing, if the request went to another gateway: who was not asked has nothing to upload.
    """
    known_path = home.request_dir(answer.jti) / answer.gateway / "announced.json"
    known: list[str] = json.loads(known_path.read_text()) if known_path.exists() else []
    folder = home.announced_dir / answer.gateway
    if answer.status.is_final:
        for upload in known:
            (folder / f"{upload}.json").unlink(missing_ok=True)
        known_path.unlink(missing_ok=True)
    if answer.status is not Status.QUEUED or not _is_asked(_read_request(home, answer.jti), answer.gateway):
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
    """Tell whether a gateway may begin this upload: its request still runs, and is not answered finally."""
    if not _GATEWAY.fullmatch(gateway) or not _UPLOAD.fullmatch(upload):
        return False
    try:
        jti = json.loads((home.announced_dir / gateway / f"{upload}.json").read_text())["jti"]
    except OSError:
        return False
    asked = _read_request(home, jti)
    return asked is not None and _is_asked(asked, gateway) and now < asked.release_by


def _is_asked(asked: _Asked | None, gateway: str) -> bool:
    return asked is not None and asked.gateway in (None, gateway)


def _read_request(home: RtccHome, jti: str) -> _Asked | None:
    """Read a request that we signed and kept; None for one that asks nobody."""
    try:
        payload = jws.parse((home.request_dir(jti) / "request.jws").read_bytes(), TYP).payload
        return _Asked(payload["aud"].get("gateway"), parse_rfc3339(payload["release_by"]))
    except (OSError, DenialError, KeyError, TypeError, AttributeError, ValueError):
        return None
