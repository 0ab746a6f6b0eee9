"""A worker: takes messages that a reader has inserted, judges them, and keeps what they are; any number at once.

Owns a worker's transactions: a judgement and its outcome become durable together. After a kill nothing of a
batch has happened, and another worker takes it.
"""

import logging
import threading

from edge_agent.errors import ConfigError, ConflictError, UnavailableError
from edge_agent.rtcc.answers import Inbox, Judged
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import inbound
from edge_agent.rtcc.state.inbound import MAX_FAILURES

BATCH = 32
_IDLE_S, _AWAY_S = 0.2, 2.0

log = logging.getLogger(__name__)


class AnswerWorker:
    """One worker; one thread runs it.

    Args:
        home: Whose state.
        batch: How many messages are judged in one transaction.
    """

    def __init__(self, home: RtccHome, batch: int = BATCH) -> None:
        self._home, self._inbox, self._batch = home, Inbox(home), batch

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
            return self._judge(self._batch)
        except (UnavailableError, ConfigError):
            raise
        except Exception:
            log.exception("a batch failed; its messages are judged one by one")
        judged = 0
        for _ in range(self._batch):
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
                inbound.remove(connection, taken)
        for each in judged:
            _tell(each)
        return len(taken)

    def _judge_one(self) -> bool:
        """Judge the oldest message that no worker has; False if there is none, or it failed, which is counted."""
        number = 0
        try:
            with self._home.state.database.begin() as connection:
                taken = inbound.take(connection, 1)
                if not taken:
                    return False
                number = taken[0].number
                judged = self._inbox.judge_one(connection, taken[0])
                inbound.remove(connection, taken)
        except (UnavailableError, ConfigError):
            raise
        except Exception:
            # In a transaction of its own: that of the judgement was undone, and its count with it.
            failures = self._home.state.inbound.note_failure(number)
            level = logging.ERROR if failures >= MAX_FAILURES else logging.WARNING
            log.log(level, "message failed: number=%d failures=%d", number, failures, exc_info=True)
            return False
        _tell(judged)
        return True


def _tell(judged: Judged) -> None:
    if isinstance(judged.fault, ConflictError):
        log.error("answer kept for a person (rtcc watch --conflicts): %s", judged.fault)
    elif judged.fault is not None:
        log.warning("answer refused: %s", judged.fault)
