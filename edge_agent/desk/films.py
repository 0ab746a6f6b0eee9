"""The owner's films: pictures or MP4 in this process's memory, one at a time, for ten minutes, and on no disk.

Owns the memory (a memfd, memfd_create(2)) and how the releaser's bytes get into it: through a pipe, so that it is this
process's memory that is bounded, and that it can stop.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.errors import EdgeAgentError, UnavailableError

log = logging.getLogger(__name__)

LIFE_S = 600.0
"""Footage in the clear, in memory: so long after it was asked for it is gone."""
MAX_BYTES = 512 << 20
"""Ten minutes at 7 Mbit/s; beyond it the pipe is closed, and the releaser stops."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FilmPart:
    """One picture, or one unbroken run of pictures."""

    start: int
    size: int
    media_type: str
    name: str
    at: str
    """Its time, or its span, as RFC 3339."""


@dataclass(slots=True)
class Film:
    """The footage of one act."""

    token: str
    what: str
    sentence: str
    until_s: float
    memory: int
    """A memfd."""
    permille: int = 0
    parts: tuple[FilmPart, ...] = ()
    problem: str = ""
    is_done: bool = False
    reader: threading.Thread | None = field(default=None, repr=False)


FillFilm = Callable[[int], Iterator[Mapping[str, Any]]]
"""Has the releaser write into a descriptor, and yields what it says meanwhile."""


class Films:
    """At most one film. Safe from any thread.

    Args:
        now_s: A clock that no one sets.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._film: Film | None = None
        self._lock = threading.Lock()

    def begin(self, what: str, sentence: str, receive: FillFilm) -> Film:
        """Have a film made; returns when the releaser has begun, and raises its refusal.

        Raises:
            UnavailableError: Another one is being made.
            EdgeAgentError: The releaser's words.
        """
        with self._lock:
            if self._film is not None and not self._film.is_done:
                raise UnavailableError("another clip is being made: wait until it has ended")
            self._drop()
            # No path and no disk: the pages go with the descriptor, or with the process.
            memory = os.memfd_create("film", os.MFD_CLOEXEC)
            film = Film(secrets.token_urlsafe(24), what, sentence, self._now_s() + LIFE_S, memory)
            self._film = film
        into, out = os.pipe2(os.O_CLOEXEC)
        film.reader = threading.Thread(target=_pour, args=(into, film.memory), name="film", daemon=True)
        film.reader.start()
        answers = receive(out)
        try:
            first = next(answers)
        except BaseException:
            os.close(out)
            film.reader.join()  # before its memory goes
            film.is_done = True
            self.sweep(everything=True)
            raise
        rest = threading.Thread(target=self._follow, args=(film, first, answers, out), name="film-answers", daemon=True)
        rest.start()
        rest.join(2.0)  # pictures are there at once, and so is a short clip
        return film

    def find(self, token: str) -> Film | None:
        """Return the film of this path, or None."""
        with self._lock:
            film = self._film
        is_it = film is not None and secrets.compare_digest(film.token.encode(), token.encode())
        return film if is_it else None

    def sweep(self, *, everything: bool = False) -> None:
        """Let go of films whose time is over."""
        with self._lock:
            film = self._film
            if film is not None and film.is_done and (everything or film.until_s <= self._now_s()):
                self._drop()

    def read(self, film: Film, start: int, size: int) -> bytes:
        """Return bytes of a film; fewer, or none, once it is over."""
        with self._lock:
            if self._film is not film:
                return b""
            # Under the lock: `_drop` closes the descriptor, and its number may be another file's a
            # moment later.
            return os.pread(film.memory, size, start)

    def _drop(self) -> None:
        if self._film is not None:
            os.close(self._film.memory)
            self._film = None

    def _follow(self, film: Film, first: Mapping[str, Any], answers: Iterator[Mapping[str, Any]], out: int) -> None:
        said = dict(first)
        try:
            for answer in answers:
                said |= answer
                film.permille = int(said.get("permille", 0))
        except EdgeAgentError as error:
            film.problem = str(error)
        except Exception as error:
            log.error("film failed error=%s", type(error).__name__)
            film.problem = "this did not work"
        finally:
            os.close(out)
            if film.reader is not None:
                film.reader.join()
            if not film.problem:
                film.parts = tuple(list_parts(film.what, said))
            film.is_done = True


def list_parts(what: str, said: Mapping[str, Any]) -> Iterator[FilmPart]:
    """Return the place of each picture or run, by the releaser's own list."""
    start = 0
    for number, each in enumerate(said.get("pictures", ()), 1):
        yield FilmPart(start, int(each["size"]), "image/jpeg", f"picture-{number}.jpg", str(each["at"]))
        start += int(each["size"])
    for number, each in enumerate(said.get("result", {}).get("files", ()), 1):
        name = f"{what}-{number}.mp4"
        yield FilmPart(
            start, int(each["size"]), "video/mp4", name, f"{each['window']['start']}/{each['window']['end']}"
        )
        start += int(each["size"])


def _pour(pipe: int, memory: int) -> None:
    """Read a pipe into memory until it ends; beyond the bound its writer is stopped."""
    written = 0
    with os.fdopen(pipe, "rb", buffering=0) as source:
        while piece := source.read(_PIECE_BYTES):
            written += len(piece)
            if written > MAX_BYTES:
                return
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(memory, rest) :]
