"""What an answer may tell the RTCC of the parts of a grant that it did not get. Pure."""

from edge_agent.protocol.reasons import say
from edge_agent.protocol.verdict import Grant, Reason

EVERY_CAMERA = "*"


def public_notes(grant: Grant) -> tuple[Reason, ...]:
    """Return what an answer may say of the parts that were not granted (PROTOCOL 6.2, O6).

    Of a camera that was named in the request: that it is not granted, never why. Of ``*``: nothing about other cameras.
    """
    granted = {camera.camera for camera in grant.cameras}
    named = [camera for camera in grant.request.cameras if camera != EVERY_CAMERA]
    missing = [Reason("camera-not-granted", say("camera-not-granted"), name) for name in named if name not in granted]
    about_granted = [reason for reason in grant.trimmed if reason.camera in granted]
    return (*missing, *about_granted)
