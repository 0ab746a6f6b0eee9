"""Whether anything of a camera may leave, in a word and a sentence: the same for ``status``, ``check`` and ``consent``.

Pure. It describes; only ``decision.decide`` decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from enum import Enum

from edge_agent.consent.house_state import CameraInForce
from edge_agent.consent.policy import Mode, Terms
from edge_agent.local_time import encode_local
from edge_agent.texts import ENGLISH, Texts
from edge_agent.units import UtcNs, encode_rfc3339, parse_rfc3339


class ConsentState(Enum):
    """The state of one camera's consent. Only under ``IN_FORCE`` can anything leave."""

    DENIED = "denied"
    REVOKED = "revoked"
    NOT_SIGNED = "not-signed"
    NOT_ENROLLED = "not-enrolled"
    VOID = "void"
    ENDED = "ended"
    IN_FORCE = "in-force"


_SENTENCES = {
    ConsentState.DENIED: "denied by consent.yaml: nothing leaves",
    ConsentState.REVOKED: "revoked: nothing leaves until it is signed again",
    ConsentState.NOT_SIGNED: "not signed: nothing leaves",
    ConsentState.NOT_ENROLLED: "signed, and nothing leaves before this gateway is enrolled",
}


@dataclass(frozen=True, slots=True)
class CameraConsent:
    """The state of one camera's consent; ``until`` in UTC if a signature was read; ``why`` of VOID."""

    state: ConsentState
    mode: str
    until: UtcNs | None = None
    why: str = ""

    def say(self, until: str, texts: Texts = ENGLISH) -> str:
        """Return the state as a sentence without a full stop; ``until`` is the end as people read it."""
        match self.state:
            case ConsentState.VOID:
                return texts("the signature does not count, nothing leaves: {why}", why=texts.translate(self.why))
            case ConsentState.ENDED:
                return texts("the signature ended on {until}: nothing leaves", until=until)
            case ConsentState.IN_FORCE:
                return texts("{mode}, signed until {until}", mode=self.mode, until=until)
            case _:
                return texts.translate(self.why) or texts(_SENTENCES[self.state])


def find_consent_state(
    terms: Terms | None, in_force: CameraInForce | None, now: UtcNs, *, is_signed: bool, revoked: bool
) -> CameraConsent:
    """Describe one camera's consent; the first line that fits, from the top of ``ConsentState``.

    Args:
        terms: The camera's terms in ``consent.yaml``; None if it does not name the camera or cannot be read.
        in_force: The consent in force; None if this gateway belongs to no RTCC.
        now: Judges the end.
        is_signed: A signed consent lies there, whether it counts or not.
        revoked: From the releaser's store.
    """
    if terms is None or terms.camera.mode is Mode.DENY:
        return CameraConsent(ConsentState.DENIED, Mode.DENY.value)
    mode = terms.camera.mode.value
    if revoked and is_signed:
        return CameraConsent(ConsentState.REVOKED, mode)
    if not is_signed:
        return CameraConsent(ConsentState.NOT_SIGNED, mode)
    if in_force is None:
        return CameraConsent(ConsentState.NOT_ENROLLED, mode)
    consent = in_force.consent
    if consent is None:
        why = in_force.problem.sentence if in_force.problem is not None else ""
        return CameraConsent(ConsentState.VOID, mode, why=why)
    if consent.version < in_force.highest_version:
        why = "a newer one was signed later"
        return CameraConsent(ConsentState.VOID, mode, consent.valid_until, why)
    if consent.valid_until <= now:
        return CameraConsent(ConsentState.ENDED, mode, consent.valid_until)
    effective = in_force.terms.camera.mode.value if in_force.terms is not None else mode
    return CameraConsent(ConsentState.IN_FORCE, effective, consent.valid_until)


def say_until(consent: CameraConsent, zone: tzinfo) -> str:
    """Return the end of a consent as people read it: local time to the second; empty if there is none."""
    return "" if consent.until is None else encode_local(consent.until, zone)


def encode_consents(consents: Mapping[str, CameraConsent]) -> dict[str, dict[str, str | None]]:
    """Write states for the control socket and for scripts."""
    return {
        camera: {
            "state": each.state.value,
            "mode": each.mode,
            "until": None if each.until is None else encode_rfc3339(each.until),
            "why": each.why,
        }
        for camera, each in consents.items()
    }


def parse_consents(members: Mapping[str, Mapping[str, str | None]]) -> dict[str, CameraConsent]:
    """Read the value of ``encode_consents``; KeyError or ValueError for anything else."""
    return {
        camera: CameraConsent(
            ConsentState(each["state"]),
            each["mode"] or "",
            None if each["until"] is None else parse_rfc3339(each["until"]),
            each["why"] or "",
        )
        for camera, each in members.items()
    }
