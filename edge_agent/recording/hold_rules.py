"""Why a stream is not recorded now: a pause, hours, or a rule that waits for an event.

Part of the recorder process. A camera's thread asks all the time.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from edge_agent.capture.recorded_stream import BY_RULE
from edge_agent.host.clock import Clock
from edge_agent.recording.event_triggers import Triggers
from edge_agent.recording.hours import RecordingHours
from edge_agent.recording.pauses import Pauses
from edge_agent.settings.gateway import Camera, QualityName


class HoldRules:
    """Joins what may hold a stream. Any thread.

    Args:
        pauses: The owner's pauses.
        triggers: The gates of event-only cameras.
        clock: The gateway's clocks.
    """

    def __init__(self, pauses: Pauses, triggers: Triggers, clock: Clock) -> None:
        self._pauses, self._triggers, self._clock = pauses, triggers, clock

    def rule_of(
        self, camera: Camera, quality: QualityName, time_zone: ZoneInfo, stores: Callable[[], bool]
    ) -> Callable[[], str]:
        """Return a function that tells why a stream is not recorded now; empty if it is. It is for that stream's life.

        A pause comes first: it is told even of a camera that would wait for an event.

        Args:
            camera: Whose stream it is.
            quality: Which of its streams.
            time_zone: Of the camera's hours.
            stores: Tells whether the stream's session has stored something.
        """
        gate, hours = self._triggers.gate_of(camera.id), RecordingHours(camera, time_zone)

        def find_reason() -> str:
            now = self._clock.boot()
            reason = ""
            if self._pauses.is_paused(camera.id, self._clock.utc(), now):
                reason = "paused"
            elif hours.is_closed(self._clock.utc()):
                reason = "outside-hours"
            if gate is None:
                return reason
            if reason:
                gate.pass_over(now, quality)
                return reason
            return "" if gate.is_open(now, quality, stores=stores()) else BY_RULE

        return find_reason
