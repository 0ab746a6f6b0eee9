"""The recorder process: every camera into its ring, until it is told to stop.

Owns the wiring and the status file. Holds the vault's public key and its own signing key; must never hold a key that
opens footage, and never talk to anything but cameras.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys
from edge_agent.capture.camera import CameraThread
from edge_agent.capture.event_window import EventGate
from edge_agent.capture.recorded_stream import RecordedStream
from edge_agent.capture.session.hub import Hub
from edge_agent.custody.credentials import Login, load_logins
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.control_socket import ControlServer, Peer
from edge_agent.host.hardening import harden, leave, lock_folder
from edge_agent.host.page_socket import open_page_socket, select_handlers
from edge_agent.host.persistent_clock import KeptClock, describe_confirmed
from edge_agent.host.systemd_notify import Notifier
from edge_agent.recording.erase_commands import EraseCommands
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.first_opening import FirstOpening
from edge_agent.recording.home_sensors import SensorPublisher
from edge_agent.recording.hours import RecordingHours
from edge_agent.recording.mirrors import Mirrors
from edge_agent.recording.owner_orders import ClockOrder, ResumeOrder, UsedOrders, verify_order
from edge_agent.recording.pauses import ALL, Pauses
from edge_agent.recording.picture_watch import PictureWatches
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.recording.reload import Changes, find_changes
from edge_agent.recording.ring_ids import KnownRingIds
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.recording.ring_sink import RingSink
from edge_agent.recording.status import report_stream
from edge_agent.recording.stream_addresses import Sources
from edge_agent.recording.streams import RELOAD_CLOSE_S, RunningStream, close_streams
from edge_agent.settings.gateway import Camera, Config, QualityName, load_config
from edge_agent.units import SECOND_NS, ClockState, MonoNs, encode_rfc3339

log = logging.getLogger(__name__)

STATUS_EVERY_NS = 2 * SECOND_NS
_POLL_S = 0.25
_RELOAD_S = 60.0

Loaded = tuple[Config, Mapping[str, Login]]


class Recorder:
    """Records all enabled cameras of a configuration.

    Args:
        config: The cameras to record, and the folders.
        logins: The cameras' credentials by name.
        clock: The gateway's clocks.
        notifier: The line to systemd.
        load: Reads the configuration and the logins anew.
    """

    def __init__(
        self,
        config: Config,
        logins: Mapping[str, Login],
        clock: KeptClock,
        notifier: Notifier | None = None,
        load: Callable[[], Loaded] | None = None,
    ) -> None:
        self._config, self._logins, self._clock, self._load = config, logins, clock, load
        self._reloads: queue.SimpleQueue[Future[dict[str, Any]]] = queue.SimpleQueue()
        self._notifier = notifier or Notifier({})
        self._boot_id = read_boot_id()
        self._stop = threading.Event()
        self._streams: dict[str, RunningStream] = {}
        self._hub = Hub()
        self._status_due = MonoNs(0)
        self._readers = ReaderMemory(config.recorder_state_dir / "readers.json", clock.utc)
        self._sources = Sources(logins, config.recorder_state_dir, self._stop, self._readers)
        self._triggers = Triggers(config, logins, self._sources, clock)
        self._views = PictureWatches(config, self._triggers, clock)
        self._pauses = Pauses(config.recorder_state_dir / "pauses.json", self._boot_id)
        self._used_orders = UsedOrders(config.recorder_state_dir / "orders.json")
        self._keys = keys = KeyStore(config.state_dir, "recorder")
        self._mirrors = Mirrors(now=lambda: clock.utc() if clock.state() is ClockState.SYNCHRONISED else None)
        self._sensors = SensorPublisher(f"edge_agent_{keys.load_public('recorder').public_bytes_raw().hex()[:8]}")
        pins = KnownRingIds(config.recorder_state_dir / "rings.json")
        ring_keys = RingKeys(keys.load_public("vault"), keys.load_private("recorder"))
        self._rings = RingOpener(config, ring_keys, clock, self._boot_id, pins, self._stop)

    def stop(self) -> None:
        """Ask the recorder to end; from any thread or signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Record until ``stop``; everything is synced on return.

        Raises:
            RingBusyError: Another recorder works on the same state folder.
            ConfigError: A folder cannot be made.
        """
        with lock_folder(self._config.recorder_state_dir, "recorder"):
            self._make_folders()
            self._record()

    def _record(self) -> None:
        control = ControlServer(self._config.control_path("recorder"), self._handlers(), self._stop)
        try:
            control.start()
            # Reads only: a lost phone must not blind the cameras.
            reads = select_handlers(self._handlers(), ("status",))
            open_page_socket(self._config.page_path("recorder"), reads, self._stop)
            self._views.start()
            self._hub.start()
            opening = FirstOpening(self._clock)
            for camera, quality in self._config.rings():
                self._start_stream(camera, quality, opening)
            self._triggers.start()
            self._sensors.change(self._config, self._logins)
            self._mirrors.change(self._config)
            self._mirrors.start()
            self._notifier.ready()
            while not self._stop.wait(_POLL_S):
                self._do_chores()
                self._reload_if_asked()
        finally:
            self._stop.set()
            self._notifier.stopping()
            close_streams(self._streams, self._clock)
            self._hub.close()
            self._triggers.close()
            self._sensors.close()
            self._mirrors.close()
            self._views.close()
            control.join()
            self._write_status()
            self._clock.keep(now=True)

    def _make_folders(self) -> None:
        try:
            self._config.rings_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"folder cannot be made: {self._config.rings_dir}: {error.strerror}") from error

    def _start_stream(self, camera: Camera, quality: QualityName, opening: FirstOpening) -> None:
        name, stop = f"{camera.id}.{quality}", threading.Event()
        sink = RingSink(name, partial(self._open_ring, camera, quality), self._clock)
        gate = self._triggers.gate_of(camera.id)
        hours = RecordingHours(camera, ZoneInfo(self._config.gateway.time_zone))
        stream = RecordedStream(
            name,
            self._sources.resolver(camera, quality, lambda: self._streams[name].thread.status),
            hold=lambda: self._reason_to_hold(camera.id, gate, hours),
            look=self._views.look_of(camera, quality),
        )
        thread = CameraThread(stream, sink, self._clock, stop, covered_until=opening.open(name, sink.open))
        self._streams = {**self._streams, name: RunningStream(thread, sink, stop)}  # others may read the old one
        thread.start(self._hub)

    def _open_ring(self, camera: Camera, quality: QualityName) -> RingWriter:
        writer = self._rings.open(camera, quality)
        offset_ns = self._clock.confirmed_offset_ns
        if offset_ns is not None:  # the owner's word counts for a ring that was not open then, and over a restart
            writer.confirm_clock(offset_ns)
        return writer

    def _reason_to_hold(self, camera_id: str, gate: EventGate | None, hours: RecordingHours) -> str:
        if self._pauses.is_paused(camera_id, self._clock.utc(), self._clock.boot()):
            return "paused"
        if hours.is_closed(self._clock.utc()):
            return "outside-hours"
        return "not-by-rule" if gate is not None and not gate.is_open(self._clock.boot()) else ""

    def _do_chores(self) -> None:
        now = self._clock.boot()
        if now >= self._status_due:
            self._status_due = MonoNs(now + STATUS_EVERY_NS)
            self._write_status()
            self._clock.keep()
        if all(stream.thread.is_alive() for stream in self._streams.values()):
            self._notifier.alive(now)

    # Reload

    def ask_reload(self) -> "Future[dict[str, Any]]":
        """Have the configuration read anew, by the thread of ``run``; any thread, or a signal handler."""
        asked: Future[dict[str, Any]] = Future()
        self._reloads.put(asked)
        return asked

    def _reload_if_asked(self) -> None:
        with contextlib.suppress(queue.Empty):
            asked = self._reloads.get_nowait()
            try:
                asked.set_result(self._reload())
            except Exception as error:
                is_fault = not isinstance(error, EdgeAgentError)
                log.error("configuration is not taken over, the one before goes on: %s", error, exc_info=is_fault)
                asked.set_exception(error)

    def _reload(self) -> dict[str, Any]:
        """Take over what has changed; cameras that are not touched record on as if nothing had happened."""
        if self._load is None:
            raise UsageError("this recorder cannot read its configuration anew")
        config, logins = self._load()
        before, before_logins = self._config, self._logins
        changes = find_changes(before, before_logins, config, logins)
        try:
            self._take_over(config, logins, changes)
        except Exception:
            self._take_over(before, before_logins, changes.undone())
            raise
        told = {name: sorted(getattr(changes, name)) for name in ("stop", "start", "untouched")}
        log.warning("configuration taken over started=%d stopped=%d", len(changes.start), len(changes.stop))
        return told

    def _take_over(self, config: Config, logins: Mapping[str, Login], changes: Changes) -> None:
        gone = {name: each for name, each in self._streams.items() if name.rpartition(".")[0] in changes.stop}
        close_streams(gone, self._clock, RELOAD_CLOSE_S)
        self._streams = {name: each for name, each in self._streams.items() if name not in gone}
        self._config, self._logins = config, logins
        self._sources.change(logins)
        self._rings.change(config)
        self._triggers.change(config, logins, changes)
        self._views.change(config, changes)
        self._sensors.change(config, logins)
        self._mirrors.change(config)
        self._notifier.alive(self._clock.boot())
        self._start_streams(changes.start)

    def _start_streams(self, cameras: Collection[str]) -> None:
        """Start every part that can be started; then raise the first error of the others."""
        errors, opening = [], FirstOpening(self._clock)
        for camera, quality in self._config.rings():
            if camera.id in cameras:
                try:
                    self._start_stream(camera, quality, opening)
                except Exception as error:
                    log.exception("camera cannot be started stream=%s.%s", camera.id, quality)
                    errors.append(error)
                self._notifier.alive(self._clock.boot())
        if errors:
            raise errors[0]

    def _answer_reload(self, _request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        log.info("reload asked for uid=%d", peer.uid)
        try:
            return self.ask_reload().result(_RELOAD_S)
        except TimeoutError:
            raise UnavailableError("the recorder is still at it", "edge-agent status shows what it does") from None

    # Status and commands

    def status(self) -> dict[str, Any]:
        """Return how everything does, as JSON values."""
        cameras = {name: self._status_of(name, stream) for name, stream in self._streams.items()}
        for camera in self._config.cameras:
            if not camera.enabled:
                cameras[f"{camera.id}.main"] = {"state": "off", "since": "", "reason": "disabled"}
        return {
            "written_at": encode_rfc3339(self._clock.utc()),
            "boot_id": self._boot_id.hex(),
            "pid": os.getpid(),
            "clock": self._clock.state().value,
            "cameras": cameras,
        }

    def _status_of(self, name: str, stream: RunningStream) -> dict[str, Any]:
        camera = name.rpartition(".")[0]
        return report_stream(
            stream.thread.status.snapshot(),
            {**stream.sink.facts(), **self._mirrors.facts(name)},
            picture=self._views.facts(camera),
            events=self._triggers.facts(camera),
        )

    def _write_status(self) -> None:
        status = self.status()
        self._readers.take(self._config, status["cameras"])
        states = [camera["state"] for camera in status["cameras"].values()]
        self._notifier.status(f"{states.count('recording')} of {len(self._streams)} streams recording")
        try:
            write_small_file(self._config.status_path, json.dumps(status).encode(), durable=False)
        except OSError as error:
            log.warning("status not written path=%s: %s", self._config.status_path, error.strerror)

    def _handlers(self) -> Mapping[str, Callable[[Mapping[str, Any], Peer], Mapping[str, Any]]]:
        return {
            "status": lambda *_: self.status(),
            "erase": EraseCommands(lambda: self._config, self._list_sinks, self._rings, self._mirrors.erase).erase,
            "accept-ring": self._accept_ring,
            "clock": self._describe_clock,
            "pause": self._pause,
            "order": self._order,
            "reload": self._answer_reload,
        }

    def _list_sinks(self) -> dict[str, RingSink]:
        return {name: stream.sink for name, stream in self._streams.items()}

    def _accept_ring(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        chosen = [(n, s) for n, s in self._streams.items() if request.get("ring") in ("*", n)]
        if not chosen:
            raise UsageError(f"no such ring: {str(request.get('ring'))[:40]!r}")
        storage = {}
        for name, stream in chosen:
            if stream.sink.error:
                log.warning("ring accepted stream=%s uid=%d", name, peer.uid)
                self._rings.accept(name)
                stream.sink.retry()
            storage[name] = stream.sink.error or "ok"
        return {"storage": storage}

    def _pause(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        camera = str(request.get("camera", ALL))
        if camera != ALL:  # one that is switched off as well: somebody may switch it on
            self._config.demand_camera(camera)
        self._pauses.pause(camera, request.get("until"), self._clock.wall(), self._clock.boot())
        log.warning("recording paused camera=%s until=%s uid=%d", camera, request.get("until") or "resumed", peer.uid)
        return {}

    def _order(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        from edge_agent.custody.enrolment_file import find_gateway_name

        gateway = find_gateway_name(self._config.uplink.enrolment, self._keys.load_public("gateway"))
        owner = self._keys.load_public("owner")
        # By the wall clock as it is: a wrong floor must not keep the owner's word from being heard.
        order = verify_order(str(request.get("jws", "")).encode(), gateway, owner, self._clock.wall())
        match order:
            case ResumeOrder():
                self._used_orders.mark_used(order.order_id)
                return self._resume(order, peer)
            case ClockOrder():
                self._clock.demand_confirmable()
                self._used_orders.mark_used(order.order_id)
                return self._confirm_clock(peer)

    def _resume(self, order: ResumeOrder, peer: Peer) -> Mapping[str, Any]:
        self._pauses.resume(order.camera)
        log.warning("recording resumed camera=%s uid=%d", order.camera, peer.uid)
        return {"state": "resumed", "paused": self._pauses.standing(self._clock.utc(), self._clock.boot())}

    def _confirm_clock(self, peer: Peer) -> Mapping[str, Any]:
        """Believe the wall clock, and let retention follow it: footage that is too old by it goes."""
        confirmed = self._clock.confirm()
        offset_ns = self._clock.confirmed_offset_ns
        assert offset_ns is not None
        for stream in self._streams.values():
            stream.sink.confirm_clock(offset_ns)
        log.warning("clock confirmed time=%s uid=%d", encode_rfc3339(confirmed.time), peer.uid)
        return describe_confirmed(confirmed)

    def _describe_clock(self, _request: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        rings = {name: stream.sink.facts() for name, stream in self._streams.items()}
        return {**self._clock.facts(), "held_back": [n for n, facts in rings.items() if facts.get("clock_held_back")]}


def main(config_path: Path) -> int:
    """Run the recorder until SIGTERM or SIGINT; returns the exit code."""
    harden()

    def load() -> Loaded:
        config = load_config(config_path)
        return config, load_logins(config.credentials_file)

    config, logins = load()
    system = SystemClock(read_build_time(), trust_wall_clock=config.clock.trust == "wall-clock")
    clock = KeptClock(config.recorder_state_dir / "clock.json", read_boot_id(), system)
    recorder = Recorder(config, logins, clock, Notifier(), load)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: recorder.stop())
    signal.signal(signal.SIGHUP, lambda *_: recorder.ask_reload())
    try:
        recorder.run()
    except Exception as error:
        log.error("recorder ends: %s", error, exc_info=not isinstance(error, EdgeAgentError))
        leave(getattr(error, "exit_code", os.EX_SOFTWARE))
        raise
    return leave(os.EX_OK)
