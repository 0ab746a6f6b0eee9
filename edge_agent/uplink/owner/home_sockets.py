"""The two sockets at which the releaser serves the home's browsers: one for the page, one for the desk.

Owns which commands are behind each, and that the releaser runs on without either.
"""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.errors import EdgeAgentError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import ControlServer, Handler, Peer
from edge_agent.host.language import load_texts
from edge_agent.host.page_socket import open_page_socket
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.owner.desk_commands import DeskCommands, Teller
from edge_agent.uplink.owner.desk_drafts import Drafts
from edge_agent.uplink.owner.desk_tickets import DeskTickets
from edge_agent.uplink.owner.join_desk import JoinDesk
from edge_agent.uplink.owner.page_commands import PageCommands
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.owner.terms_desk import TermsDesk
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)

_NOBODY = Peer(0, 0, 0)


class HomeSockets:
    """Both, for as long as the process runs.

    Args:
        gateway: This gateway's id.
        owner: The owner's pinned key.
        config: Cameras, and where the sockets lie.
        store: Requests and the ledger.
        clock: The moment of each act.
        commands: The handlers of the owner's own socket.
        reads: What only browsers ask.
        tell: Brings the desk's codes to the owner.
    """

    def __init__(
        self,
        gateway: str,
        owner: Ed25519PublicKey,
        config: Config,
        store: Database,
        clock: Clock,
        commands: Mapping[str, Handler],
        reads: PageReads,
        tell: Teller,
    ) -> None:
        self._config = config

        def ask(name: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
            answer = commands[name](members, _NOBODY)
            assert isinstance(answer, Mapping)
            return answer

        texts, thumb = load_texts(config.gateway.language), thumbprint(owner)
        enrolment = _find_enrolment(config.uplink.enrolment)
        terms = None
        if enrolment is not None:
            house_reader = HouseReader(config, enrolment, owner, store)
            terms = TermsDesk(config, thumb, house_reader, store, clock, texts, ask)
        join = JoinDesk(config, clock, texts)
        drafts = Drafts(gateway, thumb, config, ask, clock, texts, terms, join)
        # Two of them, for each counts how often it is asked: a page that asks without end does not starve the desk.
        page, shown = (PageCommands(config, store, clock, commands, reads).handlers for _ in range(2))
        tickets = DeskTickets(time.monotonic)
        self._page = {**page, **tickets.page_handlers}
        parts: list[JoinDesk | TermsDesk] = [join] if terms is None else [join, terms]
        more = dict(tickets.desk_handlers)
        for part in parts:
            more |= part.reads
        carry_out = {name: each for part in parts for name, each in part.commands.items()}
        self._desk = DeskCommands(
            owner, store, clock, {**commands, **carry_out}, {**shown, **more}, drafts, tell, texts
        ).handlers  # fmt: skip

    def open(self, stop: threading.Event) -> list[ControlServer]:
        """Serve both until ``stop``; return those that could be made."""
        paths = ((self._config.page_path("releaser"), self._page), (self._config.desk_path, self._desk))
        return [each for each in (open_page_socket(path, handlers, stop) for path, handlers in paths) if each]


def _find_enrolment(path: Path) -> Enrolment | None:
    """Return the installed enrolment; None if there is none or, logged, a wrong one: the owner's stops work on."""
    if not path.exists():
        return None
    try:
        return load_enrolment(path)
    except EdgeAgentError as error:
        log.error("the desk signs no terms, for the enrolment file cannot be used: %s", error)
        return None
