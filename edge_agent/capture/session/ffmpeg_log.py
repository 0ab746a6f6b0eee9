"""What FFmpeg says in its log and nowhere else: refusals, redirects, RTP packets that never came.

Must never repeat a text of it: they hold URLs with passwords. Keeps a few values a thread, so that a camera that makes
FFmpeg talk without end costs no memory and no line in our log.
"""

import logging
import re
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import av.logging

from edge_agent.printable_text import show_line

_STATUS = re.compile(r"method [A-Z_]+ failed: ([0-9]{3})(?![0-9A-Za-z_])")
_MISSED = re.compile(r"RTP: missed ([0-9]{1,5}) packets")
_REDIRECT = re.compile(r"Status [0-9]{3}: Redirecting to ([^ \t\r\n]+)")
_OTHER_TRANSPORT = "Nonmatching transport in server reply"
_MOST_HOST_CHARACTERS = 60


class Hearing:
    """FFmpeg's words in one thread since ``hear``."""

    __slots__ = ("is_other_transport", "missed", "redirected", "status")

    def __init__(self, missed: Callable[[int], None]) -> None:
        self.missed = missed
        self.status = 0
        """The last RTSP status that was a refusal; 0 for none."""
        self.is_other_transport = False
        """SETUP was answered with a transport that was not asked for."""
        self.redirected: tuple[str, str] | None = None
        """Scheme and host to which the camera sent FFmpeg, which went there."""


class _Ear(logging.Handler):
    """Takes in every line; FFmpeg logs in the thread that called it."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Look for what is kept."""
        hearing: Hearing | None = getattr(self.thread, "hearing", None)
        if hearing is None:
            return
        text = str(record.msg)
        if found := _MISSED.match(text):
            hearing.missed(int(found[1]))
        elif found := _STATUS.search(text):
            hearing.status = int(found[1])
        elif text.startswith(_OTHER_TRANSPORT):
            hearing.is_other_transport = True
        elif found := _REDIRECT.match(text):
            hearing.redirected = _split(found[1])


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return show_line(parts.scheme, _MOST_HOST_CHARACTERS), show_line(parts.hostname or "", _MOST_HOST_CHARACTERS)
    except ValueError:
        return "", ""


_EAR = _Ear()
_LOCK = threading.Lock()


def hear(missed: Callable[[int], None]) -> Hearing:
    """Begin to hear what FFmpeg says in this thread, and end what was begun there before.

    Args:
        missed: Told of each gap in the numbers of RTP packets, in this thread.
    """
    with _LOCK:
        logger = logging.getLogger("libav")
        if _EAR not in logger.handlers:
            logger.propagate = False
            logger.setLevel(logging.INFO)
            logger.addHandler(_EAR)
        if av.logging.get_level() != av.logging.INFO:  # redirects; while a session is read there is none of that level
            # PyAV leaves out a line that equals the one before, of whichever thread.
            av.logging.set_skip_repeated(False)
            av.logging.set_level(av.logging.INFO)
    _EAR.thread.hearing = Hearing(missed)
    hearing: Hearing = _EAR.thread.hearing
    return hearing
