"""Which cameras a changed ``edge-agent.yaml`` touches, for the recorder.

Pure. A camera is untouched if everything that its recording depends on is the same; its name, its place and the time
until its fault is told do not count.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from edge_agent.custody.credentials import Login
from edge_agent.errors import UsageError
from edge_agent.settings.gateway import Camera, Config


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of cameras, by the effect of a reload on them; a changed one is both ``stop`` and ``start``."""

    stop: frozenset[str]
    start: frozenset[str]
    untouched: frozenset[str]

    def undone(self) -> "Changes":
        """Return what leads back to the configuration before, however far this came."""
        return Changes(self.stop | self.start, self.stop, self.untouched)


def find_changes(old: Config, old_logins: Mapping[str, Login], new: Config, new_logins: Mapping[str, Login]) -> Changes:
    """Compare two configurations.

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
