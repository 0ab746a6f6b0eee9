"""What gateways answered: verified, in order, and kept before it is acknowledged.

Owns the answers and the age headers in an RTCC's home. A gateway is believed for its own answers to our own requests
and for nothing else: its key was pinned when it was enrolled, numbers must rise, and what it may make us keep is
bounded.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from edge_agent.base64url import encode_b64
from edge_agent.errors import ConflictError, EvidenceError
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, upload_name, verify_answer
from edge_agent.rtcc.announced import announce
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import encode_json, replace, write_new
from edge_agent.units import encode_rfc3339

MAX_ANSWERS = 256
"""Kept per request and gateway, progress aside, of which only the last one is."""
MAX_CONFLICTS = 64
"""Kept per gateway."""
TOPIC_FILTER = "rtcc/1/gw/+/res"
_TOPIC = re.compile(r"rtcc/1/gw/([A-Za-z0-9_-]{22})/res")


class Inbox:
    """The answers in a home. One thread only: the one that takes messages in."""

    def __init__(self, home: RtccHome) -> None:
        self._home = home

    def take(self, topic: str, payload: bytes) -> Answer | None:
        """Verify one message and keep it.

        Durable on return: the caller acknowledges afterwards.

        Returns:
            The answer; None where it, or a later one, was taken before.

        Raises:
            EvidenceError: Not an answer of an enrolled gateway to a request of ours.
            ConflictError: One that contradicts another, or names an upload that is not its own. It was kept in
                ``conflicts/`` for a person: the key in it comes once.
        """
        match = _TOPIC.fullmatch(topic)
        if match is None:
            raise EvidenceError(f"not a gateway's topic: {topic[:80]!r}")
        gateway = match[1]
        if not self._home.has_gateway(gateway):
            raise EvidenceError(f"answer of a gateway that is not enrolled: gateway={gateway}")
        if self._home.is_gateway_revoked(gateway):
            raise EvidenceError(f"answer of a gateway that was revoked: gateway={gateway}")
        answer = verify_answer(payload, gateway, gateway_key(self._home, gateway))
        if answer.requester != self._home.settings.iss or not self._home.has_request(answer.jti):
            raise EvidenceError(f"answer to a request that is not ours: gateway={gateway} jti={answer.jti}")
        try:
            return answer if self._keep(answer, payload) else None
        except ConflictError:
            self._keep_conflict(answer, payload)
            raise

    def answers(self, jti: str) -> tuple[Answer, ...]:
        """Return the answers kept for one request, gateway by gateway, the last progress among them."""
        found: dict[tuple[str, int], Answer] = {}
        for path in sorted(self._home.request_dir(jti).glob("*/*.jws")):
            gateway = path.parent.name
            answer = verify_answer(path.read_bytes(), gateway, gateway_key(self._home, gateway))
            found[gateway, answer.seq] = answer
        return tuple(found[key] for key in sorted(found))

    def _keep(self, answer: Answer, raw: bytes) -> bool:
        folder = self._home.request_dir(answer.jti) / answer.gateway
        last = folder / "last.jws"
        if last.exists():
            known = verify_answer(last.read_bytes(), answer.gateway, gateway_key(self._home, answer.gateway))
            if answer.seq <= known.seq:
                if answer.seq == known.seq and answer != known:
                    raise ConflictError(f"two answers of one number: gateway={answer.gateway} seq={answer.seq}")
                return False
            if known.status.is_final:
                raise ConflictError(f"answer after the final one: gateway={answer.gateway} jti={answer.jti}")
        # The final one, which may bring keys, is one more at most.
        if not answer.status.is_final and len(list(folder.glob("*-*.jws"))) >= MAX_ANSWERS:
            raise EvidenceError(f"too many answers: gateway={answer.gateway} jti={answer.jti}")
        headers = {path: content for path, content in (self._describe(answer, file) for file in answer.files)}
        for path, content in headers.items():
            if not path.exists():
                write_new(path, encode_json(content))
        announce(self._home, answer)
        if answer.status is not Status.UPLOADING:
            path = folder / f"{answer.seq:010d}-{answer.status.value}.jws"
            # What a kill between this file and the next one left is the same answer.
            path.unlink(missing_ok=True)
            write_new(path, raw)
        replace(last, raw)
        return True

    def _describe(self, answer: Answer, file: DeliveredFile) -> tuple[Path, dict[str, Any]]:
        """Return where a key is kept and with what; ConflictError where the upload is not this camera's own."""
        where = f"upload={file.upload} gateway={answer.gateway} jti={answer.jti}"
        if file.upload != upload_name(answer.gateway, answer.jti, file.camera):
            raise ConflictError(f"upload is another's: {where}")
        content = {
            "gateway": answer.gateway,
            "jti": answer.jti,
            "camera": file.camera,
            "upload": file.upload,
            "sha256": file.sha256.hex(),
            "size": file.size,
            "age_header": encode_b64(file.age_header),
            "delivered_at": encode_rfc3339(answer.at),
        }
        path = self._home.deliveries_dir / f"{file.upload}.json"
        if path.exists() and json.loads(path.read_text()) != content:
            raise ConflictError(f"upload was delivered before, as another: {where}")
        return path, content

    def _keep_conflict(self, answer: Answer, raw: bytes) -> None:
        """Keep a message that contradicts; bounded, for its own gateway alone can send one."""
        folder = self._home.conflicts_dir / answer.gateway
        path = folder / f"{hashlib.sha256(raw).hexdigest()}.jws"
        if path.exists():
            return
        if len(list(folder.glob("*.jws"))) >= MAX_CONFLICTS:
            raise EvidenceError(f"too many conflicts: gateway={answer.gateway}", f"look at {folder}")
        write_new(path, raw)
