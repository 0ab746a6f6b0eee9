"""Where a camera's stream is, asked by ONVIF.

Owns the child process that asks, and the part of the answer that the recorder remembers. Loads no SOAP library: that is
the child's (``capture.onvif.query_child``), as are 50 MB and a parser of the camera's XML.
"""

import contextlib
import errno
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from edge_agent.capture.onvif.profiles import Profile
from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.printable_text import show_line

log = logging.getLogger(__name__)

CHILD_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 3.0
_POLL_S = 0.2
_MAX_ANSWER_CHARACTERS = 1 << 20
_MAX_DETAIL_CHARACTERS = 400
_NEVER = threading.Event()


@dataclass(frozen=True, slots=True)
class OnvifDevice:
    """A camera's ONVIF service and the login for it."""

    address: str
    """``host[:port]``, or ``https://host[:port]``."""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    """For ``https``: the file of authorities; with neither this nor a pin, what this machine trusts."""
    pin: str = ""
    """For ``https``: ``sha256:`` and 64 hexadecimal digits of the one certificate that counts."""

    def request(self, **rest: object) -> dict[str, object]:
        """Return a child's settings. A secret."""
        return {**asdict(self), **rest}


@dataclass(frozen=True, slots=True)
class OnvifStream:
    """The stream that was chosen."""

    url: str
    profile: Profile
    why: str
    clock_offset_s: int | None


@dataclass(frozen=True, slots=True)
class OnvifDescription:
    """A camera's account of itself."""

    maker: str
    model: str
    profiles: tuple[Profile, ...]
    token: str
    clock_offset_s: int | None


def find_stream(device: OnvifDevice, profile: str, transport: str, stop: threading.Event = _NEVER) -> OnvifStream:
    """Ask a camera for the URL of a profile (``main``, ``sub`` or a token); takes at most ``CHILD_TIMEOUT_S``.

    Raises:
        CaptureError: The reason in words.
    """
    _check_reachable(device.address)
    found = ask_child("query_child", device.request(ask="stream", profile=profile, transport=transport), stop)
    return OnvifStream(found["url"], Profile(**found["profile"]), found["why"], found["clock_offset_s"])


def describe_device(device: OnvifDevice) -> OnvifDescription:
    """Ask a camera what it is and has; otherwise as ``find_stream``."""
    _check_reachable(device.address)
    found = ask_child("query_child", device.request(ask="describe"), _NEVER)
    profiles = tuple(Profile(**profile) for profile in found["profiles"])
    return OnvifDescription(found["maker"], found["model"], profiles, found["token"], found["clock_offset_s"])


ASK_EVERY_S = 10.0
"""A stream is tried every second or two; a question to ONVIF is a child process and several requests."""


class StreamFinder:
    """Remembers one stream's URL for as long as sessions with it give footage. The camera's own thread only.

    Args:
        name: For the log.
        find: Asks the camera.
        progress: Returns something that differs once more footage has been recorded.
        told: Takes the facts of a stream that was found, for the status.
        now_s: A clock that does not step.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], OnvifStream],
        progress: Callable[[], object],
        told: Callable[[Mapping[str, Any]], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._find, self._progress, self._told, self._now_s = name, find, progress, told, now_s
        self._found: OnvifStream | None = None
        self._seen: object = None
        self._asked_s = 0.0

    def url(self) -> str:
        """Return the URL to try next: the one that worked last time, or a newly asked one.

        Raises:
            CaptureError: The camera does not tell, and never told before.
        """
        progress = self._progress()
        if self._found is not None and progress != self._seen:
            self._seen = progress
            return self._found.url
        self._seen = progress
        if self._found is not None and self._now_s() - self._asked_s < ASK_EVERY_S:
            return self._found.url
        self._asked_s = self._now_s()
        try:
            found = self._find()
        except CaptureError as error:
            if self._found is None:
                raise
            log.warning("camera does not tell its stream anew stream=%s: %s", self._name, error)
            return self._found.url
        if found != self._found:
            log.info("camera told its stream stream=%s profile=(%s) because=%s", self._name, found.profile, found.why)
        self._found = found
        self._told(
            {
                "onvif_profile": str(found.profile),
                "onvif_because": found.why,
                "onvif_clock_offset_s": found.clock_offset_s,
            }
        )
        return found.url


def ask_child(
    module: str, request: Mapping[str, object], stop: threading.Event, timeout_s: float = CHILD_TIMEOUT_S
) -> dict[str, Any]:
    """Run a child of this room for one question; JSON in, JSON out.

    Raises:
        CaptureError: It failed, took too long, or ``stop`` was set.
    """
    command = [sys.executable, "-m", f"edge_agent.capture.onvif.{module}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            text = _communicate(child, json.dumps(request), stop, timeout_s)
        finally:
            child.kill()
    try:
        answer = json.loads(text[:_MAX_ANSWER_CHARACTERS])
        if "result" in answer:
            return dict(answer["result"])
        reason, detail = str(answer["reason"]), show_line(str(answer["detail"]), _MAX_DETAIL_CHARACTERS)
    except (ValueError, KeyError, TypeError):
        raise CaptureError("onvif-failed", "the child process failed") from None
    raise CaptureError(reason if reason in REASONS else "onvif-failed", detail)


def _communicate(child: "subprocess.Popen[str]", text: str, stop: threading.Event, timeout_s: float) -> str:
    waited_s, unsent = 0.0, text
    while waited_s < timeout_s and not stop.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(unsent, _POLL_S)[0]
        waited_s, unsent = waited_s + _POLL_S, ""
    raise CaptureError("no-answer", "its ONVIF service took too long")


def _check_reachable(address: str) -> None:
    """Spare a child process for a camera that is off."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or (443 if parts.scheme else 80)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        word = errno.errorcode.get(error.errno or 0, type(error).__name__)
        raise CaptureError("unreachable", f"ONVIF port: {word}") from None
