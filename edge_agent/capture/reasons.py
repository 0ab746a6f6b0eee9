"""Why a camera gives no footage: stable codes, and words that an installer can act on.

Owns the list. A code goes into GAP records, the status and the log, and never changes its meaning.
"""

from edge_agent.errors import UnavailableError

REASONS = {
    "connecting": "a session was being opened",
    "unreachable": "no connection: wrong address, or the camera is off",
    "no-answer": "the camera accepts connections but does not answer",
    "unauthorized": "the camera refuses the user name or password",
    "digest-sha256-only": "the camera wants Digest with SHA-256; switch it to MD5 or to basic over rtsps",
    "not-found": "the camera knows no such path",
    "busy": "the camera serves no further client (453): close other viewers, or use its substream",
    "session-still-open": "the camera still holds the session that broke off (453): it ends by itself within a minute",
    "transport-refused": "the camera refuses this transport: try the other one of tcp and udp",
    "refused": "the camera refuses the request",
    "redirected": "the camera sends us to another address, from which nothing is recorded",
    "login-unusable": "FFmpeg cannot send this login: at most 126 bytes in all, and no colon in the user name",
    "tls-untrusted": "nobody that is trusted has signed the camera's certificate",
    "tls-wrong-pin": "the camera shows another certificate than the pinned one",
    "tls-wrong-name": "the camera's certificate is for another name than its address",
    "tls-expired": "the camera's certificate has expired",
    "tls-not-yet-valid": "the camera's certificate is not valid yet: its clock or the gateway's is wrong",
    "tls-failed": "no safe TLS connection comes about",
    "no-video": "the stream has no video track",
    "unsupported-codec": "the video is neither H.264, H.265 nor MJPEG: change the camera's encoder",
    "no-keyframe": "pictures arrive, but none that can be decoded by itself: have the encoder send keyframes",
    "wrong-payload": "media arrive under another RTP payload type than the camera describes: newer firmware",
    "no-parameter-sets": "pictures arrive, but nothing that tells how to decode them (SPS, PPS): newer firmware",
    "protocol-error": "the camera breaks the protocol",
    "reader-failed": "the process that reads the camera's stream failed; another one is started",
    "lost-packets": "packets of the camera's are missing: there is no footage until its next keyframe",
    "stalled": "the session is up, but no picture arrives",
    "ended": "the camera ended the session",
    "time-jump": "the camera's own time jumped; a new run began",
    "clock-step": "the gateway's clock was set; a new run began",
    "new-parameters": "the camera's encoder was set anew",
    "onvif-failed": "the camera's ONVIF service did not give a stream",
    "no-credentials": "the credentials that the configuration names are missing",
    # No longer told; rings hold it of the time when FFmpeg ran in the recorder.
    "held-back": "the recorder fell over this camera's stream and left it alone for a while",
    "not-by-rule": "not recorded by rule: no event asked for it",
    "outside-hours": "not recorded by rule: outside of this camera's hours",
    "paused": "the owner paused recording",
    "storage": "the ring could not be written",
    "erased": "the owner erased footage while this was still on its way into the ring",
    "recorder-stopped": "the recorder was not running",
    "internal-error": "the recorder failed in a way that it does not know; see its log",
}


class CaptureError(UnavailableError):
    """A camera's stream cannot be had; ``reason`` is one of ``REASONS``. Never names a URL with credentials."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{REASONS[reason]}{f' ({detail})' if detail else ''}")
        self.reason = reason
        self.detail = detail
