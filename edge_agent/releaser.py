"""The releaser: the process that talks to the internet and never to a camera.

Wires the parts of the uplink together and does no work itself. Opens rings read-only; holds the vault's private key,
the gateway's signing key and its TLS key.
"""

import logging
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent import __version__
from edge_agent.custody.keys import KeyStore
from edge_agent.host.clock import SystemClock, read_build_time
from edge_agent.host.control_socket import ControlServer, Handler
from edge_agent.host.hardening import harden, lock_folder, stop_on_signals
from edge_agent.host.systemd_notify import Notifier
from edge_agent.ledger.refusal_counts import RefusalCounter
from edge_agent.mqtt.connection import Broker
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.verdict import Verdict
from edge_agent.settings.gateway import Config, load_config
from edge_agent.uplink.bundle.builder import BundleBuilder, load_bundle_keys
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.inbound.ack_pace import AckPace
from edge_agent.uplink.inbound.answer_sender import Sender
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.inbound.consent_states import Marks, read_consent_states
from edge_agent.uplink.inbound.evaluator import Evaluator
from edge_agent.uplink.inbound.gateway_clock import keep_clock, open_gateway_clock
from edge_agent.uplink.inbound.intake import Intake
from edge_agent.uplink.inbound.presence import find_cell, make_broker_settings
from edge_agent.uplink.inbound.register import RequestRegister
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.inbound.trust_store import TrustStore, pin_roots
from edge_agent.uplink.owner.daily_checkpoint import DailyCheckpoint
from edge_agent.uplink.owner.deadlines import Deadlines
from edge_agent.uplink.owner.fault_news import FaultNews, ReleaserFacts
from edge_agent.uplink.owner.gateway_entries import enter_enrolment, enter_heads
from edge_agent.uplink.owner.gateway_status import GatewayStatus, find_ends
from edge_agent.uplink.owner.home_sockets import HomeSockets
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.owner.notifications import make_news
from edge_agent.uplink.owner.notifier import make_messenger
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.owner_commands import OwnerCommands
from edge_agent.uplink.owner.page_reads import FindConsents, PageReads
from edge_agent.uplink.owner.reload_commands import ReloadCommands, begin_anew
from edge_agent.uplink.owner.request_commands import RequestCommands
from edge_agent.uplink.owner.timetable import HouseJobs, RequestJobs
from edge_agent.uplink.owner.unenrolled import EnrolmentWatch, wait_enrolled
from edge_agent.uplink.owner.update_notes import UpdateNotes
from edge_agent.uplink.release.build_step import BuildStep
from edge_agent.uplink.release.certificate_renewal import CertificateRenewal
from edge_agent.uplink.release.key_step import KeyStep
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.release.staging import Staging
from edge_agent.uplink.release.terms_watch import TermsWatch
from edge_agent.uplink.release.upload_step import UploadStep
from edge_agent.uplink.release.upload_targets import make_targets
from edge_agent.uplink.release.worker import ReleaseSteps, ReleaseWorker
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.ledger_archive import begin_from_archive
from edge_agent.uplink.store.requests import OPEN_STATES, StoredRequest

log = logging.getLogger(__name__)

_TURN_S = 1.0


def main(config_path: Path) -> int:
    """Run until SIGTERM or SIGINT."""
    harden(gives_memory_back=False)
    stop = stop_on_signals()
    config = load_config(config_path)
    with lock_folder(config.store_path.parent, "releaser"), Database(config.store_path) as store:
        begin_from_archive(store, config.state_dir, SystemClock(read_build_time()).utc())
        reload = ReloadCommands(config_path)
        reload.listen()
        enrolment = wait_enrolled(config, store, stop, reload)
        if enrolment is not None:
            Releaser(config, enrolment, store, stop, reload).run()
    if not stop.is_set():
        begin_anew()
    return os.EX_OK


class Releaser:
    """All parts of the process, and its life.

    Args:
        config: ``edge-agent.yaml``.
        enrolment: The RTCC that this gateway belongs to.
        store: The process's memory.
        stop: Ends everything.
        reload: Ends everything as well, for a changed configuration.
    """

    builder_type: ClassVar[type[BundleBuilder]] = BundleBuilder
    """Of the demonstration's own if many releasers share a machine."""

    def __init__(
        self,
        config: Config,
        enrolment: Enrolment,
        store: Database,
        stop: threading.Event,
        reload: ReloadCommands | None = None,
    ) -> None:
        self._config, self._enrolment, self._store = config, enrolment, store
        self._asked_to_stop, self._reload = stop, reload
        self._stop = stop = threading.Event()
        keys = KeyStore(config.state_dir, "releaser")
        key, owner = keys.load_private("gateway"), keys.load_public("owner")
        self._clock = clock = open_gateway_clock(config)
        self._trust = TrustStore(store, pin_roots(enrolment), clock)
        keep_clock(clock, self._trust, store)
        self._house_reader = HouseReader(config, enrolment, owner, store)
        self._footage = Footage(config, keys.load_private("vault"), keys.load_public("recorder"))
        self._evaluator = Evaluator(enrolment, find_cell(config), store, self._house_reader, self._trust, clock)
        self._register = RequestRegister(store, enrolment.gateway, key)
        self._ledger = LedgerCommands(store, enrolment.gateway, key, clock)
        # From the broker to the verdict
        self._refusal_counter = RefusalCounter(clock)
        self._intake = Intake(
            store, self._evaluator, self._register, self._trust, self._refusal_counter, AckPace(clock, stop.wait),
            self._on_verdict,
        )  # fmt: skip
        self._renewal = CertificateRenewal(config, enrolment, keys, clock, self._show_certificate)
        settings = make_broker_settings(config, enrolment, self._renewal.identity())
        self._broker = Broker(settings, self._intake.handle, clock)
        # From the grant to the key
        bundle_keys = load_bundle_keys(config, keys, enrolment.gateway)
        self._builder = self.builder_type(config, bundle_keys, self._footage, self._house_reader, clock)
        self._worker, self._reauthorization, key_step = self._make_worker()
        self._sender = Sender(store, self._broker, clock, key_step.confirm, stop)
        # The owner
        self._marks = Marks(store.read_id(), store.consents.find)
        consents = partial(read_consent_states, config, enrolment, owner, self._marks)
        self._news = make_news(config, store, self._house_reader, clock)
        self._messenger = make_messenger(config, store.notices, self._news, stop)
        self._faults, self._status = self._make_status(keys.custody_level(), consents)
        orders = OwnerOrders(enrolment.gateway, owner, store, clock)
        requests = RequestCommands(orders, config, self._evaluator, self._reauthorization, self._register, self._worker)
        self._deadlines = Deadlines(store, self._footage, self._worker, clock, self._news.remind, requests.refuse)
        commands = OwnerCommands(orders, self._footage, self._builder, requests, self._ledger, clock)
        self._jobs = self._make_jobs(commands)
        handlers = {"status": self._status.read, **commands.handlers, **self._join_reload(owner)}
        self._control = ControlServer(config.control_path("releaser"), handlers, stop)
        reads = PageReads(config, self._footage, self._house_reader, consents, clock)
        self._home = HomeSockets(orders, config, handlers, reads, self._messenger)

    def run(self) -> None:
        """Start every thread, watch them, stop them."""
        notifier, watch = Notifier(), EnrolmentWatch(self._config)
        watch.look()
        enter_enrolment(self._store, self._enrolment, self._clock.utc())
        self._footage.keep_holds([request.jti for request in self._store.requests.list_newest(OPEN_STATES)])
        self._messenger.start()
        self._control.start()
        self._home.open(self._stop)
        self._worker.start()
        self._sender.start()
        self._jobs.start()
        self._broker.start()
        log.info("releaser runs gateway=%s version=%s", self._enrolment.gateway, __version__)
        notifier.ready()
        # One thread that has ended stops the watchdog's sign of life: systemd starts the whole process again.
        while not (self._asked_to_stop.wait(_TURN_S) or (self._reload is not None and self._reload.take())):
            keep_clock(self._clock, self._trust, self._store)
            self._take_enrolment(watch)
            now = self._clock.boot()
            threads = (self._worker, self._sender, self._jobs, self._control)
            if self._broker.is_live(now) and all(thread.is_alive() for thread in threads):
                notifier.alive(now)
        self._stop.set()
        if self._asked_to_stop.is_set():
            notifier.stopping()
        # First: no message comes in while the rest ends, and the broker keeps what was not acknowledged.
        self._broker.close()
        self._enter_refusals(running=True)
        for part in (self._sender, self._worker, self._jobs, self._messenger, self._control, self._home):
            part.join()

    def _take_enrolment(self, watch: EnrolmentWatch) -> None:
        """Take over an enrolment file that was installed meanwhile: a certificate at once, anything else anew."""
        new = watch.look()
        if new is not None and not self._renewal.take_certificate(new) and self._reload is not None:
            self._reload.ask()

    def _show_certificate(self, identity: TlsIdentity) -> None:
        self._broker.renew(identity)

    # Parts

    def _make_worker(self) -> tuple[ReleaseWorker, Reauthorization, KeyStep]:
        config, enrolment = self._config, self._enrolment
        staging = Staging(config.staging_dir, config.uplink.staging_size_bytes)
        upload_targets = make_targets(config, enrolment, self._renewal.context, staging, self._clock)
        store, register, clock = self._store, self._register, self._clock
        build_step = BuildStep(store, register, self._builder, staging, self._ledger.sign, clock)
        upload_step = UploadStep(store, register, upload_targets, staging, clock)
        reauthorization = Reauthorization(store, self._evaluator, register, staging, clock, self._on_end)
        key_step = KeyStep(store, register, reauthorization)
        steps = ReleaseSteps(build_step, upload_step, key_step)
        worker = ReleaseWorker(store, register, reauthorization, steps, clock, self._stop)
        return worker, reauthorization, key_step

    def _make_status(self, custody: str, consents: FindConsents) -> tuple[FaultNews, GatewayStatus]:
        clock, broker, ends = self._clock, self._broker.status, partial(find_ends, self._renewal, self._trust)
        facts = ReleaserFacts(lambda: clock.facts()["why"], lambda: broker().connected, consents, ends)
        faults = FaultNews(self._config, self._news.tell, self._news.wanted, clock, facts)
        return faults, GatewayStatus(
            self._renewal, custody, self._store, clock, self._trust, broker, consents, ends,
            faults.lines, self._messenger.counts, self._refusal_counter.read, self._intake.limits.count,
        )  # fmt: skip

    def _make_jobs(self, commands: OwnerCommands) -> Jobs:
        config, store, clock = self._config, self._store, self._clock
        updates = UpdateNotes(config.state_dir, store, self._news, clock)
        heads = partial(enter_heads, config, self._footage, store, clock)
        house = HouseJobs(commands.keeps, self._faults, updates, heads, clock)
        terms = TermsWatch(config.consent.file, store, self._evaluator, self._reauthorization)
        checkpoint = DailyCheckpoint(self._ledger, self._broker, clock)
        requests = RequestJobs(
            house, self._deadlines, self._intake, self._enter_refusals, terms, self._renewal, checkpoint, store
        )
        return Jobs(clock, requests.plan, self._stop)

    def _join_reload(self, owner: Ed25519PublicKey) -> Mapping[str, Handler]:
        if self._reload is None:
            return {}
        enrolment, marks, clock = self._enrolment, self._marks, self._clock
        self._reload.find_consents = lambda new: read_consent_states(new, enrolment, owner, marks, clock.utc())
        return self._reload.handlers

    def _on_verdict(self, request: StoredRequest, verdict: Verdict) -> None:
        self._deadlines.plan(self._jobs, request, verdict)

    def _on_end(self, request: StoredRequest) -> None:
        self._footage.drop_holds(request.jti)

    def _enter_refusals(self, *, running: bool = False) -> None:
        self._intake.limits.enter_all(self._refusal_counter, self._clock.utc(), running=running)
