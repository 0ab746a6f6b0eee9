"""The checkpoint of the ledger that leaves once a day, in the gateway's retained state (PROTOCOL 2)."""

from edge_agent.host.clock import Clock
from edge_agent.mqtt.connection import Broker
from edge_agent.units import DAY_NS, HOUR_NS, UtcNs
from edge_agent.uplink.inbound.presence import encode_state
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.owner.ledger_commands import LedgerCommands

CHECKPOINT_HOUR_UTC = 3
"""When it leaves: at the same time every day, whatever happened."""


class DailyCheckpoint:
    """Signs and sends it.

    Args:
        ledger: Signs the head.
        broker: Shows the state to the RTCC.
        clock: The time of day.
    """

    def __init__(self, ledger: LedgerCommands, broker: Broker, clock: Clock) -> None:
        self._ledger, self._broker, self._clock = ledger, broker, clock

    def plan(self, jobs: Jobs) -> None:
        """Have the next one leave at its hour; it plans the one after it."""
        since_hour_ns = (self._clock.utc() - CHECKPOINT_HOUR_UTC * HOUR_NS) // DAY_NS * DAY_NS
        due = UtcNs(since_hour_ns + DAY_NS + CHECKPOINT_HOUR_UTC * HOUR_NS)
        jobs.at("checkpoint", due, lambda: self._send(jobs))

    def _send(self, jobs: Jobs) -> None:
        try:
            self._broker.set_state(encode_state(online=True, checkpoint=self._ledger.checkpoint()))
        finally:
            self.plan(jobs)
