"""The releaser's clock, as the configuration has it: kept over a restart, and wary of steps."""

from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.settings.gateway import Config


def open_gateway_clock(config: Config) -> KeptClock:
    """Return the clock whose file lies beside the releaser's store."""
    system = SystemClock(read_build_time(), trust_wall_clock=config.clock.trust == "wall-clock")
    return KeptClock(config.store_path.with_name("clock.json"), read_boot_id(), system, doubts_steps=True)
