"""Hours of recording: local time, over midnight, and through both changes of clocks."""

from zoneinfo import ZoneInfo

import pytest

from edge_agent.recording.hours import RecordingHours
from edge_agent.settings.gateway import Camera
from edge_agent.units import parse_rfc3339

ZONE = ZoneInfo("America/Chicago")

CASES: dict[str, tuple[list[str], str, bool]] = {
    "no hours are always": ([], "2026-11-28T12:00:00Z", False),
    "before them": (["18:00-08:00"], "2026-11-28T23:59:59Z", True),
    "their first moment": (["18:00-08:00"], "2026-11-29T00:00:00Z", False),
    "after midnight": (["18:00-08:00"], "2026-11-29T13:59:59Z", False),
    "their end": (["18:00-08:00"], "2026-11-29T14:00:00Z", True),
    "the second of two spans": (["06:00-07:00", "12:00-13:00"], "2026-11-28T18:30:00Z", False),
    "in summer an hour earlier by UTC": (["18:00-08:00"], "2026-07-01T23:00:00Z", False),
    "the hour that clocks show twice, first": (["01:00-02:00"], "2026-11-01T06:30:00Z", False),
    "the hour that clocks show twice, second": (["01:00-02:00"], "2026-11-01T07:30:00Z", False),
}


@pytest.mark.parametrize(("hours", "now", "is_closed"), CASES.values(), ids=CASES)
def test_camera_is_recorded_in_its_hours_only(hours, now, is_closed):
    """The hours are those that a clock on the wall shows."""
    camera = Camera.model_validate({"id": "door", "url": "rtsp://a/b", "hours": hours})
    assert RecordingHours(camera, ZONE).is_closed(parse_rfc3339(now)) is is_closed
