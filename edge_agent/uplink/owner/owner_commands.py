"""All that the owner can command of the releaser, whether the gateway belongs to an RTCC or not.

Wires the commands; each is in the module of its subject. The status, and whatever needs the RTCC, is not here.
"""

from collections.abc import Mapping

from edge_agent.host.control_socket import Handler
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.uplink.bundle.builder import BundleBuilder
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.owner.clock_commands import ClockCommands
from edge_agent.uplink.owner.erase_commands import ErasureCommands
from edge_agent.uplink.owner.export_commands import ExportCommands
from edge_agent.uplink.owner.keep_commands import KeepCommands
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.request_commands import RequestCommands


class OwnerCommands:
    """The owner's commands.

    Args:
        orders: Verifies the owner's orders.
        footage: The rings.
        builder: Makes the bundles of own footage.
        requests: Stops and approves requests.
        ledger: The ledger, and its checkpoints.
        clock: The wall clock, which the owner may confirm.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        footage: Footage,
        builder: BundleBuilder,
        requests: RequestCommands,
        ledger: LedgerCommands,
        clock: KeptClock,
    ) -> None:
        self.keeps = KeepCommands(orders, footage)
        """Moments that the owner keeps longer."""
        self.handlers: Mapping[str, Handler] = {
            **requests.handlers,
            **ledger.handlers,
            **ErasureCommands(orders.store, footage, requests.withdraw, clock).handlers,
            **ClockCommands(orders, clock).handlers,
            **ExportCommands(orders, footage, builder, ledger.sign).handlers,
            **self.keeps.handlers,
        }
        """By command name, for the control socket."""
