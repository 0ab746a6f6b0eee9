"""The recorder's reload: which cameras a changed ``edge-agent.yaml`` touches, and the way there and back.

A camera is untouched if everything that its recording depends on is the same; its name, its place and the time
until its fault is told do not count. A reload that fails leads back to the configuration before.
"""

import contextlib
import logging
import queue
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from edge_agent.custody.credentials import Login
from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.control_socket import Peer
from edge_agent.settings.gateway import Camera, Config

log = logging.getLogger(__name__)

_RELOAD_S = 60.0
"""So long the control command waits for the recorder."""

Loaded = tuple[Config, Mapping[str, Login]]


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of cameras, by the effect of a reload on them; a changed one is both ``stop`` and ``start``."""

    stop: frozenset[str]
    start: frozenset[str]
    untouched: frozenset[str]

    def undone(self) -> "Changes":
        """Return what leads back to the configuration before, however far this came."""
        return Changes(self.stop | self.start, self.stop, self.untouched)


class Reloads:
    """The reloads that were asked for. Any thread asks; one carries them out.

    Args:
        load: Reads the configuration and the logins anew; None if they cannot be.
        take_over: Makes a configuration, its logins, and the cameras that they touch those that count.
    """

    def __init__(
        self,
        load: Callable[[], Loaded] | None,
        take_over: Callable[[Config, Mapping[str, Login], Changes], None],
    ) -> None:
        self._load, self._take_over = load, take_over
        self._asked: queue.SimpleQueue[Future[dict[str, Any]]] = queue.SimpleQueue()

    def ask(self) -> "Future[dict[str, Any]]":
        """Have the configuration read anew, by the thread that carries out; any thread, or a signal handler."""
        asked: Future[dict[str, Any]] = Future()
        self._asked.put(asked)
        return asked

    def answer(self, _request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """Answer the control command ``reload``: the cameras that were stopped, started and left alone."""
        log.info("reload asked for uid=%d", peer.uid)
        try:
            return self.ask().result(_RELOAD_S)
        except TimeoutError:
            raise UnavailableError("the recorder is still at it", "edge-agent status shows what it does") from None

    def carry_out(self, config: Config, logins: Mapping[str, Login]) -> None:
        """Carry out one reload if any was asked for, from the configuration that counts now; never raises."""
        with contextlib.suppress(queue.Empty):
            asked = self._asked.get_nowait()
            try:
                asked.set_result(self._reload(config, logins))
            except Exception as error:
                is_fault = not isinstance(error, EdgeAgentError)
                log.error("configuration is not taken over, the one before goes on: %s", error, exc_info=is_fault)
                asked.set_exception(error)

    def _reload(self, before: Config, before_logins: Mapping[str, Login]) -> dict[str, Any]:
        """Take over what has changed; cameras that are not touched record on as if nothing had happened."""
        if self._load is None:
            raise UsageError("this recorder cannot read its configuration anew")
        config, logins = self._load()
        changes = find_changes(before, before_logins, config, logins)
        try:
            self._take_over(config, logins, changes)
        except Exception:
            self._take_over(before, before_logins, changes.undone())
            raise
        told = {name: sorted(getattr(changes, name)) for name in ("stop", "start", "untouched")}
        log.warning("configuration taken over started=%d stopped=%d", len(changes.start), len(changes.stop))
        return told


def find_changes(old: Config, old_logins: Mapping[str, Login], new: Config, new_logins: Mapping[str, Login]) -> Changes:
    """Compare two configurations. Pure.

    Raises:
        UsageError: Something has changed that only a restart of the services takes over.
    """
    for name, before, after in (
        ("gateway.state_dir", old.gateway.state_dir, new.gateway.state_dir),
        ("gateway.run_dir", old.gateway.run_dir, new.gateway.run_dir),
        ("clock.trust", old.clock.trust, new.clock.trust),
    ):
        if before != after:
            raise UsageError(f"{name} has changed: that takes a restart", "sudo systemctl restart edge-agent.target")
    before_all = {each.id: _depends_on(old, old_logins, each) for each in old.cameras if each.enabled}
    after_all = {each.id: _depends_on(new, new_logins, each) for each in new.cameras if each.enabled}
    same = frozenset(name for name, facts in after_all.items() if before_all.get(name) == facts)
    return Changes(frozenset(before_all) - same, frozenset(after_all) - same, same)


def _depends_on(config: Config, logins: Mapping[str, Login], camera: Camera) -> tuple[Hashable, ...]:
    has_mqtt = any(trigger.kind == "mqtt" for trigger in camera.triggers)
    home = config.home_broker if has_mqtt else None
    return (
        camera.model_copy(update={"name": "", "location": None, "down_after_ns": None}).model_dump_json(),
        tuple((config.ring_size_bytes(camera, each), config.ring_path(camera.id, each)) for each in camera.qualities),
        config.keep_for_ns(camera),
        config.buffer.sync_every_ns,
        config.buffer.block_size_bytes,
        config.gateway.time_zone if camera.hours else "",
        logins.get(camera.credentials or ""),
        None if home is None else home.model_dump_json(),
        None if home is None else logins.get(home.credentials or ""),
    )
