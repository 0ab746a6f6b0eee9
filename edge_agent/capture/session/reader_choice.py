"""Which of the two readers a stream is read with, if its owner leaves that open.

Owns the rule: our own for what it can read; FFmpeg for UDP and for MJPEG, and for a camera with which our own failed
in three sessions. It fails if media come and no GOP is whole, or if the camera breaks the protocol. A session that is
silent tells of the reader only if that has never made a whole GOP of this camera: one that was read before is silent
for a reason of its own. One that refuses our transport, or breaks the protocol, always counts. If FFmpeg fails in
three sessions as well, our own has its turn again.
The finding of an earlier start of the recorder comes with the endpoint (``recording.reader_memory``). Pure.
"""

from dataclasses import replace

from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.units import SECOND_NS, MonoNs

OWN, FFMPEG, AUTO = "own", "ffmpeg", "auto"
MOST_FRUITLESS = 3
_LEAST_NS = 10 * SECOND_NS
"""A session that had media for less tells nothing: it may have ended before its second keyframe."""
_REFUSED = ("unsupported-codec", "codec=JPEG")
"""What our own reader says of MJPEG, which FFmpeg can read."""
_OUT_OF_STEP = "protocol-error"
"""A session that ends so counts as fruitless whatever came before: the other reader may be more forgiving."""
_SILENT = ("stalled", "ended", "transport-refused", _OUT_OF_STEP)
"""A session without media that ends so was open, or was refused by how the reader asks. One whose camera is off, does
not answer or refuses the login never counts: no reader mends that."""
_TELL_LITTLE = ("stalled", "ended")
"""Of these, ends that tell nothing of a reader that has made GOPs of this camera: it sends nothing to anybody."""


class SessionAccount:
    """The yield of one session: media for how long, and whether a GOP was whole."""

    def __init__(self) -> None:
        self._first: MonoNs | None = None
        self._latest = MonoNs(0)
        self._is_in_gop = False
        self.has_gop = False

    @property
    def has_media(self) -> bool:
        """Tell whether any picture came, whole or not."""
        return self._first is not None

    @property
    def media_ns(self) -> int:
        """For how long pictures came."""
        return 0 if self._first is None else self._latest - self._first

    def take(self, arrival: Arrival) -> None:
        """Take in what arrived."""
        # Track 0 has the pictures; sound tells nothing of GOPs.
        if arrival.track:
            return
        self._first = arrival.boot if self._first is None else self._first
        self._latest = arrival.boot
        if arrival.is_damaged:
            self._is_in_gop = False
        elif arrival.is_keyframe:
            # This keyframe ends the GOP before it, which is whole if no picture since its own keyframe was damaged.
            self.has_gop = self.has_gop or self._is_in_gop
            self._is_in_gop = True


class ReaderChoice:
    """The reader of one stream, from session to session."""

    def __init__(self) -> None:
        self._reader = ""
        self._fruitless = 0
        self._proved: set[str] = set()
        """Readers that have made a whole GOP, and have not failed since."""

    def pick(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with the reader of its next session: ``own`` or ``ffmpeg``."""
        if endpoint.reader != AUTO:
            return endpoint
        if not self._reader or endpoint.known_reader == OWN:
            self._reader, self._fruitless = endpoint.known_reader or OWN, 0
            if self._reader == FFMPEG:  # it was remembered because of a whole GOP
                self._proved.add(FFMPEG)
        return replace(endpoint, reader=self._reader if endpoint.carrier == "tcp" else FFMPEG)

    def note(self, endpoint: Endpoint, account: SessionAccount, end: tuple[str, str]) -> None:
        """Take in how a session ended.

        Args:
            endpoint: Of ``pick``.
            account: What came of it.
            end: One of ``capture.reasons``, and its detail; empty texts if nothing went wrong.
        """
        if account.has_gop:
            self._proved.add(endpoint.reader)
        if endpoint.reader == OWN and end == _REFUSED:
            self._leave(OWN)
        elif self._is_fruitless(account, end[0], is_proved=endpoint.reader in self._proved):
            self._fruitless += 1
            if self._fruitless >= MOST_FRUITLESS:
                self._leave(endpoint.reader)
        elif account.has_gop:
            self._fruitless = 0

    def _leave(self, reader: str) -> None:
        self._reader, self._fruitless = FFMPEG if reader == OWN else OWN, 0
        self._proved.discard(reader)

    def _is_fruitless(self, account: SessionAccount, reason: str, *, is_proved: bool) -> bool:
        if not account.has_media:
            return reason in _SILENT and not (is_proved and reason in _TELL_LITTLE)
        return reason == _OUT_OF_STEP or (account.media_ns >= _LEAST_NS and not account.has_gop)
