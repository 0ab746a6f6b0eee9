"""The releaser's clock, as the configuration has it: kept over a restart, wary of steps, never before its trust."""

from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.settings.gateway import Config
from edge_agent.units import ClockState
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.store.database import Database


def open_gateway_clock(config: Config) -> KeptClock:
    """Return the clock whose file lies beside the releaser's store."""
    system = SystemClock(read_build_time(), trust_wall_clock=config.clock.trust == "wall-clock")
    return KeptClock(config.store_path.with_name("clock.json"), read_boot_id(), system, doubts_steps=True)


def keep_clock(clock: KeptClock, trust: TrustStore, store: Database) -> None:
    """Take in where the clock stands; none is right that is before the trust bundle."""
    if trust.bundle is not None:
        clock.raise_floor(trust.bundle.issued_at)
    clock.keep()
    if clock.state() is ClockState.SYNCHRONISED:
        store.note_birth(clock.utc())
