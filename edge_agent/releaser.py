"""The releaser: the process that talks to the internet and never to a camera.

Wires the uplink's rooms together and does no work itself. Opens rings read-only; holds the vault's private key, the
gateway's signing key and its TLS key.
"""

import logging
import os
import sqlite3
import threading
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from edge_agent import __version__
from edge_agent.consent.house_state import occasions
from edge_agent.consent.policy import Occasion
from edge_agent.custody.keys import KeyStore
from edge_agent.custody.owner_identity import load_recipient
from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.control_socket import ControlServer, Handler
from edge_agent.host.hardening import harden, lock_folder, stop_on_signals
from edge_agent.host.language import load_texts
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.host.systemd_notify import Notifier
from edge_agent.ledger import table as ledger
from edge_agent.ledger.refusal_counts import RefusalCounter
from edge_agent.mqtt.connection import Broker
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.trust_bundle import Roots
from edge_agent.protocol.verdict import Verdict
from edge_agent.settings.gateway import Config, load_config
from edge_agent.unenrolled import EnrolmentWatch, wait_enrolled
from edge_agent.units import SECOND_NS, ClockState, UtcNs
from edge_agent.uplink.bundle.builder import BundleBuilder, BundleKeys
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.inbound.ack_pace import AckPace
from edge_agent.uplink.inbound.answer_sender import Sender
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.inbound.consent_states import Marks, read_consent_states
from edge_agent.uplink.inbound.evaluator import Evaluator
from edge_agent.uplink.inbound.intake import Intake
from edge_agent.uplink.inbound.presence import encode_state, find_cell, make_broker_settings
from edge_agent.uplink.inbound.register import RequestRegister
from edge_agent.uplink.inbound.retention import prune
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.owner.clock_commands import ClockCommands
from edge_agent.uplink.owner.deadlines import Deadlines
from edge_agent.uplink.owner.erase_commands import ErasureCommands
from edge_agent.uplink.owner.export_commands import ExportCommands
from edge_agent.uplink.owner.fault_news import EVERY_S as FAULTS_EVERY_S
from edge_agent.uplink.owner.fault_news import FaultNews, ReleaserFacts
from edge_agent.uplink.owner.gateway_entries import enter_enrolment, enter_heads
from edge_agent.uplink.owner.gateway_status import GatewayStatus, find_ends
from edge_agent.uplink.owner.home_sockets import HomeSockets
from edge_agent.uplink.owner.keep_commands import KeepCommands
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.owner.notifier import make_messenger
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.page_links import PageLinks
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.owner.reload_commands import ReloadCommands, begin_anew
from edge_agent.uplink.owner.request_commands import RequestCommands
from edge_agent.uplink.owner.update_notes import EVERY_S as UPDATES_EVERY_S
from edge_agent.uplink.owner.update_notes import UpdateNotes
from edge_agent.uplink.release.build_step import BuildStep
from edge_agent.uplink.release.certificate_renewal import EVERY_S as RENEW_EVERY_S
from edge_agent.uplink.release.certificate_renewal import CertificateRenewal
from edge_agent.uplink.release.key_step import KeyStep
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.release.staging import Staging
from edge_agent.uplink.release.terms_watch import EVERY_S as TERMS_EVERY_S
from edge_agent.uplink.release.terms_watch import TermsWatch
from edge_agent.uplink.release.upload_step import UploadStep
from edge_agent.uplink.release.upload_targets import UploadTargets
from edge_agent.uplink.release.worker import ReleaseSteps, ReleaseWorker
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.ledger_archive import begin_from_archive
from edge_agent.uplink.store.requests import OPEN_STATES, StoredRequest

log = logging.getLogger(__name__)

_TURN_S = 1.0
_RETRY_S = 5.0
_REFUSALS_S = 600.0
_HOUR_S = 3600.0
CHECKPOINT_HOUR_UTC = 3
"""When the daily checkpoint leaves: at the same time every day, whatever happened."""


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
    """All rooms of the process, and its life.

    Args:
        config: ``edge-agent.yaml``.
        enrolment: The RTCC that this gateway belongs to.
        store: The process's memory.
        stop: Ends everything.
        reload: Ends everything as well, for a changed configuration.
    """

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
        self._key, owner = keys.load_private("gateway"), keys.load_public("owner")
        system = SystemClock(read_build_time(), trust_wall_clock=config.clock.trust == "wall-clock")
        kept = config.store_path.with_name("clock.json")
        self._clock = clock = KeptClock(kept, read_boot_id(), system, doubts_steps=True)
        roots = Roots(enrolment.threshold, {thumbprint(root): root for root in enrolment.roots})
        self._trust = TrustStore(store, roots, clock)
        self._keep_clock()
        self._refusal_counter, pace = RefusalCounter(), AckPace(clock, stop.wait)
        self._house_reader = HouseReader(config, enrolment, owner, store)
        self._evaluator = Evaluator(enrolment, find_cell(config), store, self._house_reader, self._trust, clock)
        self._register = RequestRegister(store, enrolment.gateway, self._key)
        self._footage = Footage(config, keys.load_private("vault"), keys.load_public("recorder"))
        self._renewal = CertificateRenewal(config, enrolment, keys, clock, self._show_certificate)
        self._intake = Intake(
            store, self._evaluator, self._register, self._trust, self._refusal_counter, clock, pace, self._on_verdict
        )
        settings = make_broker_settings(config, enrolment, self._renewal.identity())
        self._broker = Broker(settings, self._intake.handle, clock)
        self._builder = self._make_builder(keys)
        self._worker, self._reauthorization, key_step = self._make_worker()
        self._terms = TermsWatch(config.consent.file, store, self._evaluator, self._reauthorization)
        texts, zone = load_texts(config.gateway.language), ZoneInfo(config.gateway.time_zone)
        self._news = News(store, self._wanted_news, zone, clock, texts, PageLinks(config.state_dir, texts))
        self._messenger = make_messenger(config, store.notices, self._news, stop)
        marks = Marks(store.read_id(), store.consents.find)
        consents = partial(read_consent_states, config, enrolment, owner, marks)
        ends = partial(find_ends, self._renewal, self._trust)
        self._faults = FaultNews(
            config, self._news.tell, self._wanted_news, clock,
            ReleaserFacts(lambda: clock.facts()["why"], lambda: self._broker.status().connected, consents, ends),
        )  # fmt: skip
        self._status = GatewayStatus(
            self._renewal, keys.custody_level(), store, clock, self._trust, self._broker.status, consents, ends,
            self._faults.lines, self._messenger.counts, self._refusal_counter.read, self._intake.limits.count,
        )  # fmt: skip
        self._sender = Sender(store, self._broker, clock, key_step.confirm, stop)
        self._jobs = Jobs(clock, self._plan, stop)
        self._ledger = LedgerCommands(store, enrolment.gateway, self._key, clock)
        orders = OwnerOrders(enrolment.gateway, owner, store, clock)
        self._desk = RequestCommands(
            orders, config, self._evaluator, self._reauthorization, self._register, self._worker
        )
        self._deadlines = Deadlines(store, self._footage, self._worker, clock, self._news.remind, self._desk.refuse)
        self._keeps = KeepCommands(orders, self._footage)
        handlers = self._make_handlers(orders)
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
        while not (self._asked_to_stop.wait(_TURN_S) or (self._reload is not None and self._reload.take())):
            self._keep_clock()
            self._take_enrolment(watch)
            now = self._clock.boot()
            threads = (self._worker, self._sender, self._jobs, self._control)
            if self._broker.is_live(now) and all(thread.is_alive() for thread in threads):
                notifier.alive(now)
        self._stop.set()
        if self._asked_to_stop.is_set():
            notifier.stopping()
        self._broker.close()
        self._enter_refusals(running=True)
        for part in (self._sender, self._worker, self._jobs, self._messenger, self._control):
            part.join()

    def _keep_clock(self) -> None:
        """Take in where the clock stands; none is right that is before the trust bundle."""
        if self._trust.bundle is not None:
            self._clock.raise_floor(self._trust.bundle.issued_at)
        self._clock.keep()
        if self._clock.state() is ClockState.SYNCHRONISED:
            self._store.note_birth(self._clock.utc())

    def _take_enrolment(self, watch: EnrolmentWatch) -> None:
        """Take over an enrolment file that was installed meanwhile: a certificate at once, anything else anew."""
        new = watch.look()
        if new is not None and not self._renewal.take_certificate(new) and self._reload is not None:
            self._reload.ask()

    def _show_certificate(self, identity: TlsIdentity) -> None:
        self._broker.renew(identity)

    # Parts

    def _make_builder(self, keys: KeyStore) -> BundleBuilder:
        bundle_keys = BundleKeys(
            self._enrolment.gateway, self._key, keys.load_public("recorder"), keys.custody_level(),
            load_recipient(self._config.state_dir),
        )  # fmt: skip
        return BundleBuilder(self._config, bundle_keys, self._footage, self._house_reader, self._clock)

    def _make_worker(self) -> tuple[ReleaseWorker, Reauthorization, KeyStep]:
        config, enrolment = self._config, self._enrolment
        staging = Staging(config.staging_dir, config.uplink.staging_size_bytes)
        upload_targets = UploadTargets(
            enrolment, self._renewal.context, staging, self._clock, config.uplink.bandwidth_bytes_per_s,
            self._is_upload_hour,
        )  # fmt: skip
        store, register, clock = self._store, self._register, self._clock
        build_step = BuildStep(store, register, self._builder, staging, self._sign_checkpoint, clock)
        upload_step = UploadStep(store, register, upload_targets, staging, clock)
        reauthorization = Reauthorization(store, self._evaluator, register, upload_step, clock, self._on_end)
        key_step = KeyStep(store, register, reauthorization)
        steps = ReleaseSteps(build_step, upload_step, key_step)
        worker = ReleaseWorker(store, register, reauthorization, steps, clock, self._stop)
        return worker, reauthorization, key_step

    def _make_handlers(self, orders: OwnerOrders) -> dict[str, Handler]:
        owner, store, clock = orders.owner, self._store, self._clock
        if self._reload is not None:
            marks, enrolment = Marks(store.read_id(), store.consents.find), self._enrolment
            self._reload.find_consents = lambda new: read_consent_states(new, enrolment, owner, marks, clock.utc())
        own = ExportCommands(orders, self._footage, self._builder, self._sign_checkpoint)
        return {
            "status": self._status.read,
            **self._desk.handlers,
            **self._ledger.handlers,
            **ErasureCommands(store, self._footage, self._desk.withdraw, clock).handlers,
            **ClockCommands(orders, clock).handlers,
            **own.handlers,
            **self._keeps.handlers,
            **(self._reload.handlers if self._reload is not None else {}),
        }

    def _sign_checkpoint(self, connection: sqlite3.Connection, now: UtcNs) -> str:
        return ledger.checkpoint(connection, ledger_origin(self._enrolment.gateway), self._key, now)

    def _is_upload_hour(self) -> bool:
        hours = self._config.uplink.upload_hours
        local = datetime.fromtimestamp(self._clock.utc() // SECOND_NS, ZoneInfo(self._config.gateway.time_zone))
        return not hours or any(each.contains(local.hour * 60 + local.minute) for each in hours)

    def _wanted_news(self) -> frozenset[Occasion]:
        return occasions(self._house_reader.read(self._clock.utc()))

    def _on_verdict(self, request: StoredRequest, verdict: Verdict) -> None:
        self._deadlines.plan(self._jobs, request, verdict)

    def _on_end(self, request: StoredRequest) -> None:
        self._footage.drop_holds(request.jti)

    # Jobs that are due at a time

    def _plan(self, jobs: Jobs) -> None:
        now = self._clock.utc()
        self._deadlines.plan_all(jobs)
        jobs.every("waiting", _RETRY_S, self._intake.retry_waiting)
        jobs.every("refusals", _REFUSALS_S, self._enter_refusals)
        jobs.every("heads", _HOUR_S, self._enter_heads)
        jobs.at("terms at start", now, self._terms.look)
        jobs.every("terms", TERMS_EVERY_S, self._terms.look)
        jobs.every("faults", FAULTS_EVERY_S, self._faults.look)
        jobs.every("keeps", _HOUR_S, self._keeps.expire)
        jobs.at("keeps at start", now, self._keeps.settle)
        jobs.every("prune", _HOUR_S, self._prune)
        updates = UpdateNotes(self._config.state_dir, self._store, self._news, self._clock)
        jobs.every("updates", UPDATES_EVERY_S, updates.look)
        jobs.at("updates at start", now, updates.look)
        jobs.every("certificate", RENEW_EVERY_S, self._renewal.look)
        jobs.at("certificate at start", now, self._renewal.look)
        self._plan_checkpoint(jobs)

    def _plan_checkpoint(self, jobs: Jobs) -> None:
        day_s = 24 * 3600
        now_s = self._clock.utc() // SECOND_NS
        next_s = (now_s - CHECKPOINT_HOUR_UTC * 3600) // day_s * day_s + day_s + CHECKPOINT_HOUR_UTC * 3600
        jobs.at("checkpoint", UtcNs(next_s * SECOND_NS), lambda: self._send_checkpoint(jobs))

    def _send_checkpoint(self, jobs: Jobs) -> None:
        try:
            self._broker.set_state(encode_state(online=True, checkpoint=self._ledger.checkpoint()))
        finally:
            self._plan_checkpoint(jobs)

    def _enter_refusals(self, *, running: bool = False) -> None:
        with self._store.transaction() as connection:
            entered = self._refusal_counter.enter(connection, self._clock.utc(), running=running)
            self._intake.limits.enter_counts(connection, self._clock.utc())
        self._refusal_counter.forget(entered)

    def _prune(self) -> None:
        if self._clock.state() is ClockState.SYNCHRONISED:
            prune(self._store, self._clock.utc())

    def _enter_heads(self) -> None:
        enter_heads(self._config, self._footage, self._store, self._clock.utc())
