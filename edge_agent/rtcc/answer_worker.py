"""A worker: takes messages that a reader has inserted, judges them, and keeps what they are; any number at once.

Owns a worker's transactions: a judgement and its outcome become durable together. After a kill nothing of a
batch has happened, and another worker takes it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError, ConflictError, EvidenceError, UnavailableError
from edge_agent.protocol.answer import Answer
from edge_agent.rtcc.answers import Inbox, Judged
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import inbound
from edge_agent.rtcc.state.inbound import MAX_FAILURES, TakenMessage

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 32
_IDLE_S, _AWAY_S = 0.2, 2.0

log = logging.getLogger(__name__)


class AnswerWorker:
    """One worker; one thread runs it.

    Args:
        home: Holds the state.
        batch: How many messages are judged in one transaction.
        on_kept: Told of each answer that is news, once it is durable.
    """

    def __init__(self, home: RtccHome, batch: int = BATCH, on_kept: Callable[[Answer], None] | None = None) -> None:
        self._home, self._inbox, self.batch, self._on_kept = home, Inbox(home), batch, on_kept

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``; without the state, try again.

        Raises:
            ConfigError: As ``turn``.
        """
        while not stop.is_set():
            try:
                if not self.turn():
                    stop.wait(_IDLE_S)
            except UnavailableError as error:
                log.warning("worker waits: %s", error)
                stop.wait(_AWAY_S)

    def turn(self) -> int:
        """Judge one batch; return how many messages were judged or failed.

        Raises:
            UnavailableError: The state cannot be reached; nothing was judged.
            ConfigError: The database refuses us, whatever the message; nothing was judged.
        """
        try:
            return self._judge(self.batch)
        except (UnavailableError, ConfigError):
            raise
        except Exception:
            log.exception("a batch failed; its messages are judged one by one")
        judged = 0
        for _ in range(self.batch):
            if not self._judge_one():
                break
            judged += 1
        return judged + 1

    def _judge(self, most: int) -> int:
        with self._home.state.database.begin() as connection:
            taken = inbound.take(connection, most)
            judged = self._inbox.judge(connection, taken) if taken else []
            # In the same transaction: after a kill the messages are still there, and nothing of them is kept.
            if taken:
                _dispose(connection, taken, judged)
        self._tell(taken, judged)
        return len(taken)

    def _judge_one(self) -> bool:
        """Judge the oldest message that no worker has; False if there is none, or it failed, which is counted."""
        taken: list[TakenMessage] = []
        try:
            with self._home.state.database.begin() as connection:
                taken = inbound.take(connection, 1)
                if not taken:
                    return False
                judged = self._inbox.judge_one(connection, taken[0])
                _dispose(connection, taken, [judged])
        except (UnavailableError, ConfigError):
            raise
        except Exception:
            self._note_failure(taken)
            return False
        self._tell(taken, [judged])
        return True

    def _note_failure(self, taken: Sequence[TakenMessage]) -> None:
        # In transactions of their own: that of the judgement was undone, and its count with it.
        for each in taken:
            failures = self._home.state.inbound.note_failure(each.number)
            level = logging.ERROR if failures >= MAX_FAILURES else logging.WARNING
            where = f"number={each.number} gateway={each.gateway} jti={each.jti}"
            log.log(level, "message failed: %s failures=%d", where, failures, exc_info=True)

    def _tell(self, taken: Sequence[TakenMessage], judged: Sequence[Judged]) -> None:
        # A gateway that floods fills no log: one line for each batch says the last reason, and how often.
        refused: dict[str, list[EvidenceError]] = {}
        for message, each in zip(taken, judged, strict=True):
            if each.waits is not None:
                log.error("answer waits for a person (rtcc work --retry): %s", each.waits)
            elif isinstance(each.fault, ConflictError):
                log.error("answer kept for a person (rtcc watch --conflicts): %s", each.fault)
            elif each.fault is not None:
                refused.setdefault(message.gateway, []).append(each.fault)
            elif each.answer is not None and self._on_kept is not None:
                self._on_kept(each.answer)
        for faults in refused.values():
            log.warning("answer refused: %s count=%d", faults[-1], len(faults))


def _dispose(connection: "Connection", taken: Sequence[TakenMessage], judged: Sequence[Judged]) -> None:
    """Remove what was judged; what could not be, waits for a person."""
    waiting = [message for message, each in zip(taken, judged, strict=True) if each.waits is not None]
    inbound.set_aside(connection, waiting)
    inbound.remove(connection, [each for each in taken if each not in waiting] if waiting else taken)
