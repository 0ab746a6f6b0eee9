"""Whether a camera is to be recorded at this time of day, by the hours that its configuration names.

Pure. The hours are local time of the gateway's zone, by the wall clock as it is. A camera without hours depends on no
clock.
"""

from datetime import datetime, tzinfo

from edge_agent.settings.gateway import Camera
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs


class RecordingHours:
    """The hours of one camera; asked at every packet.

    Args:
        camera: Whose hours.
        zone: The zone of their local time.
    """

    def __init__(self, camera: Camera, zone: tzinfo) -> None:
        self._hours, self._zone = camera.hours, zone
        self._known: tuple[int, bool] = (-1, False)

    def is_closed(self, now: UtcNs) -> bool:
        """Tell whether nothing is to be recorded now; every offset from UTC is one of whole minutes."""
        if not self._hours:
            return False
        # Asked at every packet: the answer is looked up once a minute.
        minute = now // MINUTE_NS
        if self._known[0] != minute:
            local = datetime.fromtimestamp(minute * MINUTE_NS // SECOND_NS, self._zone)
            inside = any(each.contains(local.hour * 60 + local.minute) for each in self._hours)
            self._known = (minute, not inside)
        return self._known[1]
