"""Reader and worker in one thread, for a home whose state is a file: messages are inserted, acknowledged, and judged.

Owns the turns of the two. They take turns, so that a gateway that says much fills its own share of the state and not
the broker's queue, in which others wait behind it.
"""

import logging
import threading
from collections.abc import Callable

from edge_agent.errors import ConfigError, UnavailableError
from edge_agent.protocol.answer import Answer
from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.arrivals import Arrivals
from edge_agent.rtcc.office.home import RtccHome

BATCH = 128
"""More than a worker beside others takes: here no other worker waits for a commit."""
_IDLE_S, _AWAY_S = 0.5, 2.0
_CLOSE_S = 15.0
"""A transaction waits no longer for the file (``state.database``)."""

log = logging.getLogger(__name__)


class AnswerIntake:
    """Takes answers in until it is closed. Give ``arrivals.put`` to the connection.

    Args:
        home: Holds the state.
        on_kept: Gets each answer once it is durable, on this thread.
        on_fault: Gets the reason if nothing can be taken in any more; the broker keeps what was not acknowledged.
    """

    def __init__(
        self, home: RtccHome, on_kept: Callable[[Answer], None], on_fault: Callable[[ConfigError], None]
    ) -> None:
        self.arrivals = Arrivals(home.state.inbound.put)
        self._worker = AnswerWorker(home, BATCH, on_kept)
        self._on_fault = on_fault
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtcc-answers", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process has inserted and not judged."""
        self._thread.start()

    def close(self) -> None:
        """End after the turn that runs; the next process judges the rest."""
        self._stop.set()
        self.arrivals.wake()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        # As after a full batch: what an earlier process left is judged before a message is waited for.
        judged = self._worker.batch
        while not self._stop.is_set():
            try:
                self.arrivals.store(0.0 if judged else _IDLE_S)
                judged = self._worker.turn()
            except UnavailableError as error:
                log.warning("answers wait: %s", error)
                self._stop.wait(_AWAY_S)
            except ConfigError as error:
                self._on_fault(error)
                return
            except Exception:  # a fault of ours in one message must not end the answers of all gateways
                log.exception("answers wait")
                self._stop.wait(_AWAY_S)
