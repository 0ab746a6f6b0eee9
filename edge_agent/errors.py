"""The one tree of errors, each with the exit code that a command ends with (``sysexits.h``).

A message leads to the byte, the line or the rule; a hint names the mend. Neither ever holds a key, a password, a
payload or a URL with credentials.
"""

from typing import ClassVar

# sysexits.h, as ``os.EX_*``; written out so that the pure packages, which import this one, do not import ``os``.
_EX_USAGE = 64
_EX_DATAERR = 65
_EX_UNAVAILABLE = 69
_EX_SOFTWARE = 70
_EX_IOERR = 74
_EX_TEMPFAIL = 75
_EX_NOPERM = 77
_EX_CONFIG = 78


class EdgeAgentError(Exception):
    """Anything that this program reports in words rather than with a traceback."""

    exit_code: ClassVar[int] = _EX_SOFTWARE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(EdgeAgentError):
    """The command's words do not fit together."""

    exit_code = _EX_USAGE


class ConfigError(EdgeAgentError):
    """A configuration file is wrong; the message leads to its line."""

    exit_code = _EX_CONFIG


class CustodyError(EdgeAgentError):
    """A key is missing, unreadable, of the wrong kind, or readable by others."""

    exit_code = _EX_NOPERM


class UnavailableError(EdgeAgentError):
    """A peer (camera, broker, upload server, control socket) does not answer."""

    exit_code = _EX_UNAVAILABLE


class RingError(EdgeAgentError):
    """A ring file cannot be used as it is; the message names ring, block and index."""

    exit_code = _EX_IOERR


class UnsupportedVersionError(RingError):
    """The file was written by a newer version: not corrupt, not readable here."""


class IntegrityError(RingError):
    """Bytes of a ring are not what was written: a checksum, a tag, a chain or a signature disagrees."""


class OverwrittenError(RingError):
    """The footage asked for was overwritten or erased while it was read."""


class RingBusyError(RingError):
    """Another process has this ring or this state folder."""

    exit_code = _EX_TEMPFAIL


class RingPreparingError(RingError):
    """The ring is being made, moved or resized, and will be there later."""

    exit_code = _EX_TEMPFAIL


class DurabilityError(RingError):
    """A write or a sync failed; the bytes that it covered must be taken as lost (FORMAT 7.5)."""


class RecordTooLargeError(RingError):
    """A payload is larger than a record may be."""


class DenialError(EdgeAgentError):
    """The gate refuses: ``reason`` is the stable code (PROTOCOL 4), the message a plain sentence."""

    exit_code = _EX_NOPERM

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EvidenceError(EdgeAgentError):
    """A bundle, a manifest or a proof does not verify; the message names the part."""

    exit_code = _EX_DATAERR


class ConflictError(EvidenceError):
    """A verified answer contradicts what its gateway said before; the message was kept for a person."""


class UpdateError(EdgeAgentError):
    """A release is not taken: not signed, too old, damaged, or it does not start here."""

    exit_code = _EX_NOPERM


class DeliveryError(EdgeAgentError):
    """An upload failed in a way that trying again may mend."""

    exit_code = _EX_TEMPFAIL


class UploadLostError(DeliveryError):
    """The server does not know this upload any more, or knows another one: begin anew."""


class UploadRefusedError(DeliveryError):
    """The server will not take this upload however often it is tried."""

    exit_code = _EX_UNAVAILABLE


class UploadStoppedError(DeliveryError):
    """The upload was stopped at home, or its deadline passed; nobody can open the part that was sent."""
