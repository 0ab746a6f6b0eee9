"""The releaser before this gateway belongs to an RTCC: the owner's commands work, and no RTCC can ask for anything.

Wires the commands of the control socket, without a broker, a trust bundle or an upload. Not being enrolled is a state
of the gateway and no fault: ``edge-agent enrol`` ends it, and the releaser goes on by itself.
"""

import logging
import os
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent import __version__
from edge_agent.consent.camera_state import CameraConsent, encode_consents
from edge_agent.consent.policy import Occasion
from edge_agent.custody.enrolment_file import load_enrolment, renewed_path
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import ControlServer, Peer, Reply
from edge_agent.host.language import load_texts
from edge_agent.host.systemd_notify import Notifier
from edge_agent.protocol.enrolment import Enrolment, name_unenrolled
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.builder import BundleBuilder, load_bundle_keys
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.inbound.consent_states import Marks, read_consent_states
from edge_agent.uplink.inbound.evaluator import Evaluator
from edge_agent.uplink.inbound.gateway_clock import open_gateway_clock
from edge_agent.uplink.inbound.register import RequestRegister
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.owner.fault_news import FaultNews, ReleaserFacts
from edge_agent.uplink.owner.gateway_entries import enter_heads
from edge_agent.uplink.owner.home_sockets import HomeSockets
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.owner.notifier import make_messenger
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.owner_commands import OwnerCommands
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.owner.reload_commands import ReloadCommands
from edge_agent.uplink.owner.request_commands import RequestCommands
from edge_agent.uplink.owner.timetable import HouseJobs
from edge_agent.uplink.owner.update_notes import UpdateNotes
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import OPEN_STATES, StoredRequest

log = logging.getLogger(__name__)

_TURN_S = 1.0
_JOIN_S = 10.0
"""Until the control socket is closed: the releaser that goes on makes its own at the same path."""


def wait_enrolled(
    config: Config, store: Database, stop: threading.Event, reload: ReloadCommands | None = None
) -> Enrolment | None:
    """Return the installed enrolment, at once if there is one; serve the owner until then.

    Returns:
        None if ``stop`` or a reload came first.
    """
    watch = EnrolmentWatch(config)
    enrolment = watch.look()
    return enrolment if enrolment is not None else Unenrolled(config, store, stop, watch, reload).run()


class EnrolmentWatch:
    """Looks whether the enrolment file is there and right; reads it again only if it has changed."""

    def __init__(self, config: Config) -> None:
        self._path, self._renewed = config.uplink.enrolment, renewed_path(config.store_path)
        self._seen: tuple[int, int, int] | None = None
        self.problem = ""
        """Why the file that is there cannot be used; empty if there is none."""

    def look(self) -> Enrolment | None:
        """Return the enrolment, or None; a fault of the file is logged once."""
        seen = self._stat()
        if seen is None:
            self._seen, self.problem = None, ""
            return None
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            return load_enrolment(self._path, self._renewed)
        except EdgeAgentError as error:
            self.problem = str(error)
            log.error("enrolment file cannot be used: %s", error)
            return None

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        # The inode's last change also rises with `chmod`, which mends a file that others can write.
        return found.st_ino, found.st_size, found.st_ctime_ns


class _NoWorker:
    """Nothing is carried out; staged payloads of a withdrawn request go as the releaser starts."""

    def wake(self) -> None:
        pass

    def remove(self, name: str) -> None:
        pass


class Unenrolled:
    """The desks that need no RTCC, until there is one.

    Args:
        config: ``edge-agent.yaml``.
        store: The process's memory.
        stop: Ends everything.
        watch: Looks for the enrolment file.
        reload: Ends it for a changed configuration.
    """

    def __init__(
        self, config: Config, store: Database, stop: threading.Event, watch: EnrolmentWatch,
        reload: ReloadCommands | None = None,
    ) -> None:  # fmt: skip
        self._reload = reload
        self._config, self._store, self._stop, self._watch = config, store, stop, watch
        self._ended = threading.Event()
        self._clock = clock = open_gateway_clock(config)
        keys = KeyStore(config.state_dir, "releaser")
        self._custody, self._owner = keys.custody_level(), keys.load_public("owner")
        key = keys.load_private("gateway")
        self._footage = Footage(config, keys.load_private("vault"), keys.load_public("recorder"))
        nobody = _name_nobody(name_unenrolled(key.public_key()))
        self._house_reader = HouseReader(config, nobody, self._owner, store)
        orders = OwnerOrders(nobody.gateway, self._owner, store, clock)
        commands = self._make_commands(orders, keys, key, nobody)
        more = reload.handlers if reload is not None else {}
        handlers = {"status": self._status, **commands.handlers, **more}
        self._control = ControlServer(config.control_path("releaser"), handlers, self._ended)
        texts = load_texts(config.gateway.language)
        news = News(store, lambda: frozenset(Occasion), ZoneInfo(config.gateway.time_zone), clock, texts)
        self._messenger = make_messenger(config, store.notices, news, self._ended)
        reads = PageReads(config, self._footage, self._house_reader, self._consents, clock)
        self._home = HomeSockets(orders, config, handlers, reads, self._messenger)
        facts = ReleaserFacts(why_unclear=lambda: clock.facts()["why"])
        self._faults = FaultNews(config, news.tell, lambda: frozenset(Occasion), clock, facts)
        updates = UpdateNotes(config.state_dir, store, news, clock)
        heads = partial(enter_heads, config, self._footage, store, clock)
        self._jobs = Jobs(clock, HouseJobs(commands.keeps, self._faults, updates, heads, clock).plan, self._ended)

    def _make_commands(
        self, orders: OwnerOrders, keys: KeyStore, key: Ed25519PrivateKey, nobody: Enrolment
    ) -> OwnerCommands:
        config, store, clock = self._config, self._store, self._clock
        evaluator = Evaluator(nobody, "", store, self._house_reader, TrustStore(store, None, clock), clock)
        register, worker = RequestRegister(store, nobody.gateway, key), _NoWorker()
        reauthorization = Reauthorization(store, evaluator, register, worker, clock, self._on_end)
        requests = RequestCommands(orders, config, evaluator, reauthorization, register, worker)
        bundle_keys = load_bundle_keys(config, keys, nobody.gateway)
        builder = BundleBuilder(config, bundle_keys, self._footage, self._house_reader, clock)
        ledger = LedgerCommands(store, nobody.gateway, key, clock)
        return OwnerCommands(orders, self._footage, builder, requests, ledger, clock)

    def run(self) -> Enrolment | None:
        """Answer the owner until the enrolment file comes, or ``stop``; return the enrolment, or None."""
        notifier = Notifier()
        self._footage.keep_holds([request.jti for request in self._store.requests.list_newest(OPEN_STATES)])
        self._clock.keep()
        self._messenger.start()
        self._control.start()
        home = self._home.open(self._ended)
        self._jobs.start()
        log.info("releaser waits for an enrolment; your own footage and ledger can be read version=%s", __version__)
        notifier.status("not enrolled: waits for `edge-agent enrol FILE`")
        notifier.ready()
        enrolment: Enrolment | None = None
        while enrolment is None and not self._stop.wait(_TURN_S):
            self._clock.keep()
            if self._control.is_alive() and self._jobs.is_alive():
                notifier.alive(self._clock.boot())
            enrolment = self._watch.look()
            if self._reload is not None and self._reload.take():
                break
        self._ended.set()
        self._jobs.join()
        self._messenger.join()
        for server in (self._control, *home):
            server.join(_JOIN_S)
        if enrolment is not None:
            notifier.status("")
            log.info("gateway is enrolled gateway=%s rtcc=%s", enrolment.gateway, enrolment.iss)
        return enrolment

    def _on_end(self, request: StoredRequest) -> None:
        self._footage.drop_holds(request.jti)

    def _consents(self, now: UtcNs) -> dict[str, CameraConsent]:
        marks = Marks(self._store.read_id(), self._store.consents.find)
        return read_consent_states(self._config, None, self._owner, marks, now)

    def _status(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        clock, now = self._clock.facts(), self._clock.utc()
        return {
            "gateway": None,
            "enrolment": self._watch.problem or "not enrolled",
            "version": __version__,
            "broker": "not enrolled",
            "clock": ": ".join(filter(None, (clock["state"], clock["why"]))),
            "trust_bundle": "none",
            "custody": self._custody,
            "store": self._store.read_id(),
            "recipients": {},
            "consents": encode_consents(self._consents(now)),
            "release_paused": sorted(self._store.pauses.list_current(now)),
            "faults": self._faults.lines(),
            "refused_unread": 0,
            "refused_counted": 0,
            "waiting_for_you": [],
            "releasing": [],
        }


def _name_nobody(name: str) -> Enrolment:
    """Return the place at no RTCC: no root whose signature counts, nowhere to upload to, nobody to hear from."""
    return Enrolment(
        gateway=name, iss="", broker_host="", broker_port=0, ca_pem="", certificate_pem="", uploads={}, roots=(),
        threshold=2, not_after_s=0, tls_thumbprint="",
    )  # fmt: skip
