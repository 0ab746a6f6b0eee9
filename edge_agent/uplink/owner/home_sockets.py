"""The two sockets at which the releaser serves the home's browsers: one for the page, one for the desk.

Owns which commands are behind each, and that the releaser runs on without either.
"""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import ControlServer, Handler, Peer
from edge_agent.host.language import load_texts
from edge_agent.host.page_socket import open_page_socket
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.settings.gateway import Config
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.owner.desk_commands import DeskCommands, Teller
from edge_agent.uplink.owner.desk_drafts import Drafts
from edge_agent.uplink.owner.desk_tickets import DeskTickets
from edge_agent.uplink.owner.join_desk import JoinDesk
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.page_commands import PageCommands
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.owner.terms_desk import TermsDesk

log = logging.getLogger(__name__)

# The page and the desk ask for a device, not for a user of this machine.
_NOBODY = Peer(0, 0, 0)


class HomeSockets:
    """Both, for as long as the process runs.

    Args:
        orders: The owner's signed orders.
        config: Cameras, and the paths of the sockets.
        commands: The handlers of the owner's own socket.
        reads: The reads for browsers alone.
        tell: Brings the desk's codes to the owner.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        config: Config,
        commands: Mapping[str, Handler],
        reads: PageReads,
        tell: Teller,
    ) -> None:
        self._config, store, clock = config, orders.store, orders.clock

        def ask(name: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
            answer = commands[name](members, _NOBODY)
            assert isinstance(answer, Mapping)
            return answer

        texts = load_texts(config.gateway.language)
        enrolment = _find_enrolment(config.uplink.enrolment)
        terms = None
        if enrolment is not None:
            house_reader = HouseReader(config, enrolment, orders.owner, store)
            terms = TermsDesk(config, orders, house_reader, texts, ask)
        join = JoinDesk(config, clock, texts)
        drafts = Drafts(orders, config, ask, texts, terms, join)
        # Two of them, for each counts how often it is asked: a page that asks without end does not starve the desk.
        page, shown = (PageCommands(config, store, clock, commands, reads).handlers for _ in range(2))
        tickets = DeskTickets(time.monotonic)
        self._page = {**page, **tickets.page_handlers}
        parts: list[JoinDesk | TermsDesk] = [join] if terms is None else [join, terms]
        more = dict(tickets.desk_handlers)
        for part in parts:
            more |= part.reads
        carry_out = {name: each for part in parts for name, each in part.commands.items()}
        acts = {**commands, **carry_out}
        self._servers: list[ControlServer] = []
        self._desk = DeskCommands(orders, acts, {**shown, **more}, drafts, tell, texts).handlers

    def open(self, stop: threading.Event) -> list[ControlServer]:
        """Serve both until ``stop``; return those that could be made."""
        paths = ((self._config.page_path("releaser"), self._page), (self._config.desk_path, self._desk))
        self._servers = [each for each in (open_page_socket(path, handlers, stop) for path, handlers in paths) if each]
        return self._servers

    def join(self) -> None:
        """Wait until both have ended after ``stop``: one that ends later removes the socket of the next releaser."""
        for server in self._servers:
            server.join()


def _find_enrolment(path: Path) -> Enrolment | None:
    """Return the installed enrolment; None if there is none or, logged, a wrong one: the owner's stops work on."""
    if not path.exists():
        return None
    try:
        return load_enrolment(path)
    except EdgeAgentError as error:
        log.error("the desk signs no terms, for the enrolment file cannot be used: %s", error)
        return None
