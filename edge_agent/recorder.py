"""The recorder process: every camera into its ring, until it is told to stop.

Owns the wiring and the status file. Holds the vault's public key and its own signing key; must never hold a key that
opens footage, and never talk to anything but cameras.
"""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edge_agent.buffer.write.writer_settings import RingKeys
from edge_agent.custody.credentials import Login, load_logins
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.control_socket import ControlServer, Handler
from edge_agent.host.hardening import harden, leave, lock_folder
from edge_agent.host.page_socket import open_page_socket, select_handlers
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.host.systemd_notify import Notifier
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.hold_rules import HoldRules
from edge_agent.recording.home_sensors import SensorPublisher
from edge_agent.recording.mirrors import Mirrors
from edge_agent.recording.owner_commands import RecordingCommands
from edge_agent.recording.owner_orders import UsedOrders
from edge_agent.recording.pauses import Pauses
from edge_agent.recording.picture_watch import PictureWatches
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.recording.reload import Changes, Loaded, Reloads
from edge_agent.recording.ring_commands import RingCommands
from edge_agent.recording.ring_ids import KnownRingIds
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.recording.status import RecorderStatus
from edge_agent.recording.stream_addresses import Sources
from edge_agent.recording.streams import Streams
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS, ClockState, MonoNs

log = logging.getLogger(__name__)

STATUS_EVERY_NS = 2 * SECOND_NS
_POLL_S = 0.5


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
        self._config, self._logins, self._clock = config, logins, clock
        self._notifier = notifier or Notifier({})
        self._stop = threading.Event()
        self._status_due = MonoNs(0)
        folder, boot_id, keys = config.recorder_state_dir, read_boot_id(), KeyStore(config.state_dir, "recorder")
        self._reloads = Reloads(load, self._take_over)
        self._readers = ReaderMemory(folder / "readers.json", clock.utc)
        self._sources = Sources(logins, folder, self._stop, self._readers)
        self._triggers = Triggers(config, logins, self._sources, clock)
        self._views = PictureWatches(config, self._triggers, clock)
        pauses = Pauses(folder / "pauses.json", boot_id)
        used_orders = UsedOrders(folder / "orders.json")
        self._sensors = SensorPublisher(f"edge_agent_{keys.load_public('recorder').public_bytes_raw().hex()[:8]}")
        pins = KnownRingIds(folder / "rings.json")
        ring_keys = RingKeys(keys.load_public("vault"), keys.load_private("recorder"))
        self._rings = RingOpener(config, ring_keys, clock, boot_id, pins, self._stop)
        self._mirrors = Mirrors(
            now=lambda: clock.utc() if clock.state() is ClockState.SYNCHRONISED else None, ring_id=self._rings.ring_id
        )
        rules = HoldRules(pauses, self._triggers, clock)
        self._streams = Streams(config, clock, self._rings, self._sources, self._views, rules)
        self._status = RecorderStatus(boot_id, clock, self._streams, self._mirrors, self._views, self._triggers)
        commands = RecordingCommands(self._read_config, keys, pauses, used_orders, clock, self._streams.sinks)
        rings = RingCommands(self._read_config, self._streams.sinks, self._rings, self._mirrors.erase)
        self._handlers: Mapping[str, Handler] = {
            "status": lambda *_: self.status(),
            "erase": rings.erase,
            "accept-ring": rings.accept,
            "clock": commands.describe_clock,
            "pause": commands.pause,
            "order": commands.order,
            "reload": self._reloads.answer,
        }

    def stop(self) -> None:
        """Ask the recorder to end; from any thread or signal handler."""
        self._stop.set()

    def ask_reload(self) -> "Future[dict[str, Any]]":
        """Have the configuration read anew, by the thread of ``run``; any thread, or a signal handler."""
        return self._reloads.ask()

    def status(self) -> dict[str, Any]:
        """Return how everything does, as JSON values."""
        return self._status.read(self._config)

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
        control = ControlServer(self._config.control_path("recorder"), self._handlers, self._stop)
        page: ControlServer | None = None
        try:
            control.start()
            # Reads only: a lost phone must not blind the cameras.
            reads = select_handlers(self._handlers, ("status",))
            page = open_page_socket(self._config.page_path("recorder"), reads, self._stop)
            self._views.start()
            self._streams.start()
            self._triggers.start()
            self._sensors.change(self._config, self._logins)
            self._mirrors.change(self._config)
            self._mirrors.start()
            self._notifier.ready()
            while not self._stop.wait(_POLL_S):
                self._do_chores()
                self._reloads.carry_out(self._config, self._logins)
        finally:
            self._stop.set()
            self._notifier.stopping()
            self._streams.close()
            self._triggers.close()
            self._sensors.close()
            self._mirrors.close()
            self._views.close()
            for server in (control, page):
                if server is not None:
                    server.join()
            self._write_status()
            self._clock.keep(now=True)

    def _read_config(self) -> Config:
        return self._config

    def _make_folders(self) -> None:
        try:
            self._config.rings_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"folder cannot be made: {self._config.rings_dir}: {error.strerror}") from error

    def _take_over(self, config: Config, logins: Mapping[str, Login], changes: Changes) -> None:
        self._streams.end(changes.stop)
        self._config, self._logins = config, logins
        self._sources.change(logins)
        self._rings.change(config)
        self._triggers.change(config, logins, changes)
        self._views.change(config, changes)
        self._sensors.change(config, logins)
        self._mirrors.change(config)
        self._beat()
        self._streams.start_again(config, changes.start, self._beat)

    def _beat(self) -> None:
        self._notifier.alive(self._clock.boot())

    def _do_chores(self) -> None:
        now = self._clock.boot()
        if now >= self._status_due:
            self._status_due = MonoNs(now + STATUS_EVERY_NS)
            self._write_status()
            self._clock.keep()
        if all(stream.thread.is_alive() for stream in self._streams.running.values()):
            self._notifier.alive(now)

    def _write_status(self) -> None:
        status = self.status()
        self._readers.take(self._config, status["cameras"])
        states = [camera["state"] for camera in status["cameras"].values()]
        self._notifier.status(f"{states.count('recording')} of {len(self._streams.running)} streams recording")
        try:
            write_small_file(self._config.status_path, json.dumps(status).encode(), durable=False)
        except OSError as error:
            log.warning("status not written path=%s: %s", self._config.status_path, error.strerror)


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
