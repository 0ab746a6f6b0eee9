"""From a camera's records to its ring, through every failure of the disk.

Owns the one ``RingWriter`` of a stream: opens it, tries again after an error, tells afterwards what was lost. A ring's
trouble never reaches the camera's thread as an exception, and never another ring.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from edge_agent.buffer.format.constants import FLAG_CONTINUES, Kind
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import ErasedBlock, RingWriter
from edge_agent.capture.run.records import ClockNote, Gap, Gop, RunInfo
from edge_agent.errors import RecordTooLargeError, RingError, RingPreparingError, UnavailableError
from edge_agent.host.clock import Clock
from edge_agent.recording.ring_figures import RingFigures
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs, Window

log = logging.getLogger(__name__)

FIRST_RETRY_NS = 2 * SECOND_NS
LONGEST_RETRY_NS = MINUTE_NS
_MAYBE_UNSYNCED_NS = 5 * SECOND_NS
"""If the ring fails, records of the last so many seconds count as lost: ``sync_every`` is 4 s at most."""
_MOST_ERASED = 16
"""Erasures that are remembered: what was on its way when they came is in the ring, or gone, within seconds."""
_NOT_YET = "ring is not open yet"
_PATIENCE_S = 1.5
"""How long a person's command waits for a disk that another thread waits for: the next ring must have its turn."""
_NO_ANSWER = "ring's disk does not answer"
_NO_ANSWER_NS = 10 * SECOND_NS
"""A disk that keeps the ring busy for so long is told in the status."""


class RingSink:
    """Stores one stream's records. The camera's thread writes; control commands may erase in between.

    Args:
        name: ``<camera>.<quality>``.
        open_writer: Opens the ring, and makes it first if there is none.
        clock: The gateway's clocks.
    """

    def __init__(self, name: str, open_writer: Callable[[], RingWriter], clock: Clock) -> None:
        self._name, self._open_writer, self._clock = name, open_writer, clock
        self._lock = threading.Lock()
        self._writer: RingWriter | None = None
        self._is_closed = False
        self._retry_at = clock.boot()
        self._retry_ns = FIRST_RETRY_NS
        self._error = _NOT_YET
        self._is_preparing = False
        self._figures = RingFigures()
        self._last_run: RunInfo | None = None
        self._recent: deque[tuple[MonoNs, Draft]] = deque()
        self._lost_from: tuple[UtcNs, MonoNs] | None = None
        """By both clocks."""
        self._erased: deque[tuple[Window | None, MonoNs]] = deque(maxlen=_MOST_ERASED)
        self._busy_since: MonoNs | None = None

    @property
    def error(self) -> str:
        """Why the ring cannot be written at the moment; empty if it can."""
        return self._error

    def open(self) -> UtcNs | None:
        """Open the ring now; return the end of its footage, or None if it cannot be opened or is empty."""
        with self._turn():
            if not self._is_closed:
                self._reopen()
            return self._writer.newest_ns or None if self._writer else None

    def gop(self, gop: Gop) -> None:
        """Store footage."""
        flags = FLAG_CONTINUES if gop.continues else 0
        self._store(Draft(Kind.GOP, gop.start_ns, gop.duration_ns, gop.boot_ns, gop.payload, gop.commitment, flags))

    def gap(self, gap: Gap) -> None:
        """Store a hole."""
        self._figures.count_gap(gap.reason, gap.duration_ns)
        self._store(_note(Kind.GAP, gap.start_ns, gap.boot_ns, {"reason": gap.reason}, gap.duration_ns))

    def run(self, run: RunInfo) -> None:
        """Store the facts of a run; again after the ring was opened anew."""
        self._store(run)
        self._last_run = run

    def clock(self, note: ClockNote) -> None:
        """Store a note about the clocks."""
        self._store(_note(Kind.CLOCK, note.start_ns, note.boot_ns, note.facts))

    @property
    def sync_due(self) -> MonoNs | None:
        """When records have to be synced; None if all are, or the ring is not open. The camera's thread only."""
        writer = self._writer
        return None if writer is None else writer.sync_due

    def tick(self) -> None:
        """Sync, close, expire what is due; try again if the ring had failed."""
        with self._turn():
            if self._writer is None:
                self._reopen_if_due()
                return
            try:
                self._writer.tick()
            except (RingError, OSError) as error:
                self._fail(error)

    def erase(self, window: Window | None) -> list[ErasedBlock]:
        """Destroy the keys of all blocks that hold anything of a window.

        Raises:
            RingError: The ring failed meanwhile.
            UnavailableError: It is not open, or its disk does not answer.
        """
        with self._patiently():
            erased = self._demand().erase(window)
            self._erased.append((window, self._clock.boot()))
            return erased

    def retry(self) -> None:
        """Try at once to open a ring that failed: the fault may be mended.

        Raises:
            UnavailableError: Its disk does not answer.
        """
        with self._patiently():
            if self._writer is None and not self._is_closed:
                self._reopen()

    def confirm_clock(self, offset_ns: int) -> None:
        """Let retention follow the wall clock that is so far ahead of boot time; a ring that is not open hears of it
        when it is opened; one whose disk does not answer keeps its footage for longer, until it is confirmed again."""
        try:
            with self._patiently():
                if self._writer is not None:
                    self._writer.confirm_clock(offset_ns)
        except UnavailableError as error:
            log.warning("clock not confirmed for a ring: %s", error)

    def facts(self) -> Mapping[str, Any]:
        """Return what the status tells of the ring."""
        facts: dict[str, Any] = {"storage": self._error or "ok", "preparing": self._is_preparing}
        facts["figures"] = self._figures.facts()
        # No waiting for a disk: without the lock at hand the status goes without the ring's head.
        if not self._lock.acquire(timeout=0.05):
            now = self._clock.boot()
            self._busy_since = now if self._busy_since is None else self._busy_since
            if now - self._busy_since >= _NO_ANSWER_NS:
                facts["storage"] = _NO_ANSWER
        else:
            self._busy_since = None
            try:
                if self._writer is not None:
                    seq, chain = self._writer.head
                    facts |= {"ring_id": self._writer.superblock.ring_id.hex(), "seq": seq, "chain": chain.hex()}
                    facts["clock_held_back"] = self._writer.is_clock_held_back
                    facts["oldest_ns"] = self._writer.oldest_ns
            finally:
                self._lock.release()
        return facts

    def close(self, timeout_s: float) -> bool:
        """Sync and let go of the ring for good; False if a disk did not answer in time.

        The thread that waits for that disk lets go of the ring then: a sink that comes after this one can open it.
        """
        # Set without the lock: whoever holds it closes the writer at the end of its turn.
        self._is_closed = True
        if not self._lock.acquire(timeout=timeout_s):
            return False
        try:
            return self._close_writer()
        finally:
            self._lock.release()

    def _close_writer(self) -> bool:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
            return True
        except (RingError, OSError) as error:
            log.error("ring not closed cleanly stream=%s: %s", self._name, error)
            return False

    @contextmanager
    def _turn(self, timeout_s: float = -1) -> Iterator[None]:
        """Hold the lock, and do at the end what ``close`` did not come to."""
        if not self._lock.acquire(timeout=timeout_s):
            raise UnavailableError(f"{_NO_ANSWER}: stream={self._name}")
        try:
            yield
        finally:
            try:
                if self._is_closed:
                    self._close_writer()
            finally:
                self._lock.release()

    def _patiently(self) -> AbstractContextManager[None]:
        return self._turn(_PATIENCE_S)

    def _demand(self) -> RingWriter:
        if self._writer is None:
            raise UnavailableError(f"ring is not open: stream={self._name}: {self._error or 'closing'}")
        return self._writer

    def _store(self, record: Draft | RunInfo) -> None:
        with self._turn():
            self._reopen_if_due()
            if self._writer is None:
                self._lose(record)
                return
            draft = (
                _draft_run(record, self._writer)
                if isinstance(record, RunInfo)
                else self._without_erased(record, self._writer)
            )
            try:
                if self._lost_from is not None:
                    self._tell_loss(self._writer, draft, self._lost_from)
                self._writer.append(draft)
                self._figures.count_record(len(draft.payload))
                self._remember(draft)
            except RecordTooLargeError as error:
                log.error("record dropped stream=%s: %s", self._name, error)
                self._lose(draft)
            except (RingError, OSError) as error:
                self._fail(error)
                self._lose(draft)

    def _without_erased(self, draft: Draft, writer: RingWriter) -> Draft:
        """Return a gap in place of footage that was on its way while the owner erased what was recorded until then."""
        if draft.kind is not Kind.GOP or not self._erased:
            return draft
        # Whose time is not believed goes with any window, as blocks do.
        is_timed = writer.state_of(draft) is ClockState.SYNCHRONISED
        if not any(_was_meant(window if is_timed else None, at, draft) for window, at in self._erased):
            return draft
        self._figures.count_gap("erased", draft.duration_ns)
        return _note(Kind.GAP, draft.start_ns, draft.boot_ns, {"reason": "erased"}, draft.duration_ns)

    def _remember(self, draft: Draft) -> None:
        now = self._clock.boot()
        # Without its payload: it may be a megabyte.
        self._recent.append((now, replace(draft, payload=b"")))
        while self._recent[0][0] < now - _MAYBE_UNSYNCED_NS:
            self._recent.popleft()

    def _lose(self, draft: Draft | RunInfo) -> None:
        # Runs and notes last no time: without footage or a gap there is no hole to tell.
        if isinstance(draft, Draft) and draft.duration_ns:
            since = draft.start_ns, draft.boot_ns
            self._lost_from = since if self._lost_from is None else min(self._lost_from, since, key=_age)

    def _tell_loss(self, writer: RingWriter, draft: Draft, since: tuple[UtcNs, MonoNs]) -> None:
        """Store the hole that a failure made, before the first record after it."""
        # By boot time: the clock may have been set since. What began before the boot has no time of it.
        is_of_boot = bool(since[1] and draft.boot_ns)
        duration_ns = draft.boot_ns - since[1] if is_of_boot else draft.start_ns - since[0]
        if duration_ns > 0:
            boot, facts = MonoNs(max(0, draft.boot_ns - duration_ns)), {"reason": "storage"}
            gap = _note(Kind.GAP, UtcNs(draft.start_ns - duration_ns), boot, facts, duration_ns)
            writer.append(gap)
            self._figures.count_gap("storage", duration_ns)
            self._remember(gap)
        self._lost_from = None

    def _fail(self, error: Exception) -> None:
        """Let go of a ring that failed; records that may not have been synced count as lost."""
        self._figures.failures += 1
        writer, self._writer = self._writer, None
        while self._recent:
            self._lose(self._recent.popleft()[1])
        if writer is not None:
            try:
                writer.close()
            except (RingError, OSError):
                log.debug("failed ring not closed stream=%s", self._name)
        self._note_error(error)

    def _note_error(self, error: Exception) -> None:
        self._is_preparing = False
        text = str(error)
        if text != self._error:
            log.error("ring cannot be written stream=%s: %s %s", self._name, text, getattr(error, "hint", ""))
        self._error = text
        self._retry_at = MonoNs(self._clock.boot() + self._retry_ns)
        self._retry_ns = min(LONGEST_RETRY_NS, 2 * self._retry_ns)

    def _reopen_if_due(self) -> None:
        if self._writer is None and not self._is_closed and self._clock.boot() >= self._retry_at:
            self._reopen()

    def _reopen(self) -> None:
        try:
            self._writer = self._open_writer()
            self._is_preparing = False
        except RingPreparingError as error:
            self._is_preparing = True
            self._error, self._retry_at = str(error), MonoNs(self._clock.boot() + SECOND_NS)
            return
        except (RingError, OSError) as error:
            self._fail(error)
            return
        try:
            if self._last_run is not None:
                # As of now: by its beginning, which may be weeks ago, it would take a block of its own (FORMAT 7.2).
                run = replace(self._last_run, start_ns=self._clock.utc(), boot_ns=self._clock.boot())
                self._writer.append(_draft_run(run, self._writer))
        except (RingError, OSError) as error:
            self._fail(error)
            return
        if self._error and self._error != _NOT_YET:
            log.info("ring can be written again stream=%s", self._name)
        self._error, self._retry_ns = "", FIRST_RETRY_NS


def _was_meant(erased: Window | None, at: MonoNs, footage: Draft) -> bool:
    """Tell whether an erasure of a span, or of everything, meant footage that began before it."""
    span = Window(footage.start_ns, UtcNs(footage.start_ns + footage.duration_ns))
    return footage.boot_ns < at and (erased is None or erased.intersect(span) is not None)


def _age(since: tuple[UtcNs, MonoNs]) -> tuple[MonoNs, UtcNs]:
    """Order moments by boot time; those before the boot, which have none, by the wall clock."""
    return since[1], since[0]


def _draft_run(run: RunInfo, writer: RingWriter) -> Draft:
    """Say of a run also which source the ring it goes into is bound to (FORMAT 4.6)."""
    facts = {**run.facts, "source_sha256": writer.source.hex()}
    return _note(Kind.RUN, run.start_ns, run.boot_ns, facts)


def _note(kind: Kind, start: UtcNs, boot: MonoNs, facts: Mapping[str, Any], duration_ns: int = 0) -> Draft:
    payload = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
    return Draft(kind, start, duration_ns, boot, payload)
