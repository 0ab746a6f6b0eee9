"""Which streams' pictures are looked at, and the reason: their health, and motion if it opens a camera.

Part of the recorder process; the looking is done in one child for all cameras (``capture.pictures.analyser``).
"""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from edge_agent.capture.pictures.analyser import HEALTH, PictureWatch, StreamView
from edge_agent.capture.recorded_stream import Look
from edge_agent.host.clock import Clock
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.reload import Changes
from edge_agent.settings.gateway import Camera, Config, QualityName
from edge_agent.settings.triggers import MotionTrigger
from edge_agent.units import encode_rfc3339

MAX_VIEWS = 1 << 16
"""A view's number takes two bytes on the wire; it comes again after so many reloads."""


class PictureWatches:
    """The views of all enabled cameras. One stream of each is looked at: the smaller one, if there are two.

    Args:
        config: Which cameras and triggers there are.
        triggers: Told of motion.
        clock: The gateway's clocks.
    """

    def __init__(self, config: Config, triggers: Triggers, clock: Clock) -> None:
        self._watch = PictureWatch(clock)
        self._looks: dict[str, Look] = {}
        self._views: dict[str, StreamView] = {}
        self._triggers = triggers
        self._numbers = itertools.count()
        for camera in config.cameras:
            self._add(camera)

    def change(self, config: Config, changes: Changes) -> None:
        """Take over a changed configuration. Of untouched cameras everything stays that was learnt."""
        for camera_id in changes.stop:
            view = self._views.pop(camera_id, None)
            if view is not None:
                self._looks.pop(view.name, None)
        for camera in config.cameras:
            if camera.id in changes.start:
                self._add(camera)

    def _add(self, camera: Camera) -> None:
        if not camera.enabled:
            return
        # The last of the qualities is the smaller stream, if there are two.
        name = f"{camera.id}.{camera.qualities[-1]}"
        on_motion = _motion_of(camera, self._triggers)
        view = StreamView(next(self._numbers) % MAX_VIEWS, name, looks_at_health=True, on_motion=on_motion)
        self._views[camera.id] = view
        self._looks[name] = Look(
            partial(self._watch.offer, view),
            keeps_open=on_motion is not None,
            before_ns=max((trigger.before_ns for trigger in camera.triggers), default=0),
        )

    def start(self) -> None:
        """Begin to look."""
        self._watch.start()

    def close(self) -> None:
        """End the child."""
        self._watch.close()

    def look_of(self, camera: Camera, quality: QualityName) -> Look | None:
        """Return the other use of a stream's keyframes; None if there is none."""
        return self._looks.get(f"{camera.id}.{quality}")

    def facts(self, camera_id: str) -> Mapping[str, Any]:
        """Return what the status tells of a camera's picture."""
        view = self._views.get(camera_id)
        if view is None or view.health is None:
            return {}
        code, since = view.health
        facts = {"picture": code, "picture_since": encode_rfc3339(since)}
        return facts if code == "ok" else {**facts, "warning": HEALTH[code]}


def _motion_of(camera: Camera, triggers: Triggers) -> Callable[[float], None] | None:
    """Return a function to call on motion; None for a camera that does not wait for it."""
    wanted = [trigger for trigger in camera.triggers if isinstance(trigger, MotionTrigger)]
    if camera.record != "on_event" or not wanted:
        return None
    fires = [(trigger.area_percent, triggers.firing(camera, trigger)) for trigger in wanted]

    def tell(percent: float) -> None:
        for area_percent, fire in fires:
            if percent >= area_percent:
                fire()

    return tell
