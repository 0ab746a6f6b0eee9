"""The page's words: states of cameras, reasons of gaps, outcomes of requests, entries of the ledger.

Pure. Every text from outside passes ``show_line`` before it gets here or in here; the templates escape all of it.
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.page.languages import ENGLISH, Words
from edge_agent.printable_text import show_line

GAPS: Mapping[str, str] = {
    "connecting": "the camera was being connected",
    "unreachable": "the camera could not be reached",
    "no-answer": "the camera did not answer",
    "unauthorized": "the camera refused its password",
    "digest-sha256-only": "the camera asks for the password in a way that is not supported",
    "not-found": "the camera does not know the address of its picture",
    "busy": "the camera had too many viewers",
    "session-still-open": "the camera still held the connection before",
    "transport-refused": "the camera refused the way of transport",
    "refused": "the camera refused to send pictures",
    "redirected": "the camera sent us to another address",
    "login-unusable": "the camera's user name or password cannot be used",
    "tls-untrusted": "the camera's certificate is not trusted",
    "tls-wrong-pin": "the camera showed another certificate than the agreed one",
    "tls-wrong-name": "the camera's certificate is for another address",
    "tls-expired": "the camera's certificate has ended",
    "tls-not-yet-valid": "the camera's certificate is not valid yet",
    "tls-failed": "no safe connection to the camera came about",
    "no-video": "the camera sent no picture",
    "unsupported-codec": "the camera's kind of video cannot be recorded",
    "no-keyframe": "the camera sent no whole picture",
    "wrong-payload": "the camera sent something else than it said",
    "no-parameter-sets": "the camera did not say how its video is read",
    "protocol-error": "the camera sent something that cannot be understood",
    "lost-packets": "parts of the camera's pictures were missing",
    "stalled": "the camera was connected but sent no picture",
    "ended": "the camera ended the connection",
    "time-jump": "the camera's clock jumped",
    "clock-step": "the gateway's clock was set",
    "new-parameters": "the camera's settings were changed",
    "onvif-failed": "the camera did not say where its picture is",
    "no-credentials": "the camera's password is missing",
    "held-back": "the camera made the recorder stop, and was left alone for a while",
    "not-by-rule": "nothing happened that should be recorded",
    "outside-hours": "outside of the hours that are recorded",
    "paused": "you paused recording",
    "storage": "the disk could not be written",
    "recorder-stopped": "the gateway was not recording: off, or starting",
    "reader-failed": "a fault of the gateway's own",
    "internal-error": "a fault of the gateway's own",
    "erased": "erased",
    "unknown": "nothing was recorded, and nothing says why",
}
"""For each reason of a gap. A test compares the list with ``capture.reasons``, which this package must not import."""

CAMERA_STATES: Mapping[str, str] = {
    "recording": "recording",
    "connecting": "connecting",
    "down": "not recording",
    "waiting": "waiting for something to happen",
    "idle": "not recording",
    "paused": "recording is paused",
    "off": "switched off",
}
REQUEST_STATES: Mapping[str, str] = {
    "new": "just arrived",
    "asked": "waits for your answer",
    "granted": "allowed: it leaves after the waiting time",
    "uploading": "on its way out",
    "delivered": "handed over",
    "denied": "refused",
    "cancelled": "stopped",
    "failed": "failed: nothing can be opened",
    "expired": "over: it came too late",
    "no-footage": "nothing was recorded then",
}
DONE: Mapping[str, str] = {
    "deny": "Refused. Nothing of it leaves. This cannot be undone; they may ask again.",
    "cancel": "Stopped. Nothing that was sent can be opened by anybody.",
    "pause": "Paused. Nothing leaves until the pause ends, or you end it with your passphrase.",
    "revoke": "Withdrawn. Every request is refused from now on.",
    "forget": "Taken off. That device cannot open this page any more.",
    "paired": "This device is paired.",
}
KINDS: Mapping[str, str] = {
    "request": "Request arrived",
    "decision": "Decision",
    "grant": "Release decided",
    "approval": "You approved",
    "delivery": "Delivery",
    "end": "Request ended",
    "pause": "Pause",
    "resume": "Pause ended",
    "consent": "Terms",
    "export": "Your own export or look",
    "erase": "Footage erased",
    "keep": "A moment kept, or let go",
    "clock": "Clock confirmed",
    "release": "Clip",
    "rings": "State of the recordings noted",
    "restored": "Backup restored",
    "enrolment": "Enrolment",
    "update": "Program update",
    "unverified": "Refused unread",
    "page": "From your page or desk",
}
OUTCOMES: Mapping[str, str] = {
    "denial": "refused",
    "grant": "allowed",
    "ask": "you were asked",
    "narrowed": "less than before",
    "approved": "approved",
    "delivered": "handed over",
    "cancelled": "stopped",
    "denied": "refused",
    "failed": "failed",
    "too-late": "too late to stop",
    "taken-back": "taken back",
    "no-footage": "nothing was recorded",
}


def say_gap(reason: str, words: Words = ENGLISH) -> str:
    """Return the reason of a gap in words; the code itself if a newer program wrote it."""
    return words(GAPS.get(reason, show_line(reason, 60)))


def say_camera_state(state: str, reason: str, words: Words = ENGLISH) -> str:
    """Return the state of a camera in words, with the reason if it does not record."""
    said = words(CAMERA_STATES.get(state, show_line(state, 40)))
    return f"{said}: {say_gap(reason, words)}" if reason and state != "recording" else said


def say_request_state(state: str, words: Words = ENGLISH) -> str:
    """Return the state of a request in words."""
    return words(REQUEST_STATES.get(state, show_line(state, 40)))


def say_done(code: str, words: Words = ENGLISH) -> str:
    """Return the outcome of an act, for a code of the page's own; empty for any other: no link puts words here."""
    return words(DONE[code]) if code in DONE else ""


def say_entry(kind: str, entry: Mapping[str, Any], words: Words = ENGLISH) -> tuple[str, str]:
    """Return a ledger entry's title and its one line."""
    parts = []
    if outcome := entry.get("outcome"):
        parts.append(words(OUTCOMES.get(str(outcome), str(outcome))))
    parts += [str(entry[name]) for name in ("what", "camera", "category", "incident", "by") if entry.get(name)]
    parts += [_say_reason(each) for each in entry.get("reasons", ()) if isinstance(each, Mapping)]
    if "count" in entry:
        parts.append(words("{count} times, {reason}", count=entry["count"], reason=entry.get("reason", "")))
    if entry.get("until"):
        parts.append(words("until {moment}", moment=entry["until"]))
    return words(KINDS.get(kind, show_line(kind, 40))), ", ".join(show_line(each, 120) for each in parts)


def _say_reason(reason: Mapping[str, Any]) -> str:
    camera = reason.get("camera")
    return f"{reason.get('code', '')} ({camera})" if camera else str(reason.get("code", ""))


def say_length(seconds: int, words: Words = ENGLISH) -> str:
    """Say a length in its two largest units: ``2 days 3 h``, ``1 h 20 min``, ``45 s``."""
    # From ten minutes on seconds say nothing.
    for size, unit, below, smaller in ((86400, "days", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            count, rest = seconds // size, seconds % size // below
            named = "day" if unit == "days" and count == 1 else unit
            return f"{count} {words(named)}" + (f" {rest} {smaller}" if rest and (unit != "min" or count < 10) else "")
    return f"{max(0, seconds)} s"


def say_distance(distance: Mapping[str, Any] | None, words: Words = ENGLISH) -> str:
    """Say how far away an incident was: ``about 300 m north-east of your house``."""
    if distance is None:
        return ""
    metres, direction = int(distance["metres"]), str(distance["direction"])
    if metres < 50:
        return words("at your house")
    far = f"{round(metres, -1)} m" if metres < 1000 else f"{metres / 1000:.1f} km"
    if not direction:
        return words("about {far} from your house", far=far)
    return words("about {far} {direction} of your house", far=far, direction=words(direction))
