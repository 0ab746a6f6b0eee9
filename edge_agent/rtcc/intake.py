"""Reading a broker: each message is in the state before it is acknowledged, and one reader has the broker at a time.

Owns the reader's lease. It verifies nothing: ``edge_agent.rtcc.answer_worker`` does. A message that was not
acknowledged comes again, to this reader or to the standby that takes its session over.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import Clock
from edge_agent.mqtt.connection import Broker, BrokerSettings
from edge_agent.rtcc.arrivals import Arrivals
from edge_agent.rtcc.state.inbound import NewMessage
from edge_agent.rtcc.state.readers import LEASE_NS, Readers
from edge_agent.units import SECOND_NS, MonoNs

_RENEW_NS = LEASE_NS // 4
_NAP_S = 0.5

log = logging.getLogger(__name__)


class IntakeReader:
    """The reader of one broker, or its standby; one thread runs it.

    Args:
        settings: Of the connection: a client id that is always the same, a session that stays.
        store: Inserts messages, durable on return; raises ``UnavailableError`` if the state cannot be reached.
        readers: The leases of the broker's readers.
        clock: For leases and the connection's liveness.
        say: Told when this becomes the reader, or the standby.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        store: Callable[[Sequence[NewMessage]], None],
        readers: Readers,
        clock: Clock,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self._settings, self._store, self._readers, self._clock, self._say = settings, store, readers, clock, say
        self._name = f"{settings.host}:{settings.port}"
        self._holder = secrets.token_hex(8)
        # Not by the wall clock: set back, it would end the renewals, and set forward, the lease.
        self._renewed_at: MonoNs | None = None

    def run(self, stop: threading.Event) -> None:
        """Read, or stand by, until ``stop``."""
        is_told = False
        while not stop.is_set():
            if self._hold():
                self._say(f"reading {self._name}")
                self._read(stop)
                is_told = False
            else:
                if not is_told:
                    self._say(f"standing by for {self._name}")
                is_told = True
                stop.wait(_NAP_S)
        self._leave()

    def _read(self, stop: threading.Event) -> None:
        """Take messages from a connection until ``stop``, or until another one reads the broker."""
        arrivals = Arrivals(self._store)
        broker = Broker(self._settings, arrivals.put, self._clock)
        broker.start()
        try:
            while not stop.is_set() and self._hold():
                try:
                    arrivals.store(_NAP_S)
                except UnavailableError as error:
                    log.warning("messages wait, the state cannot be reached: %s", error)
                    stop.wait(_NAP_S)
        finally:
            broker.close()

    def _hold(self) -> bool:
        """Tell whether the broker is ours; asks the state at most every ``_RENEW_NS``."""
        now = self._clock.boot()
        if self._renewed_at is not None and now - self._renewed_at < _RENEW_NS:
            return True
        try:
            is_ours = self._readers.hold(self._name, self._holder, self._clock.utc())
            self._renewed_at = now if is_ours else None
        except UnavailableError as error:
            log.warning("lease was not renewed: broker=%s %s", self._name, error)
        # A second less than others wait: two that read one broker would cut each other off.
        return self._renewed_at is not None and now - self._renewed_at < LEASE_NS - SECOND_NS

    def _leave(self) -> None:
        try:
            self._readers.leave(self._name, self._holder, self._clock.utc())
        except UnavailableError as error:
            log.warning("lease ends by itself: broker=%s %s", self._name, error)
