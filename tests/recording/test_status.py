"""What the status says of a stream."""

import pytest

from edge_agent.recording.status import report_stream


@pytest.mark.parametrize("held_back", [True, False])
def test_retention_that_waits_for_the_owner_is_said(held_back: bool) -> None:
    """Footage that stays for longer than the owner said is a warning that leads to the command."""
    stream = {"state": "recording", "since": 0, "reason": "", "detail": ""}
    storage = {"storage": "ok", "clock_held_back": held_back}
    facts = report_stream(stream, storage, picture={}, events={})
    assert ("edge-agent clock" in facts.get("warning", "")) is held_back


@pytest.mark.parametrize(
    ("state", "storage", "shown"),
    [("recording", "ok", "recording"), ("recording", "disk full", "not-stored"), ("down", "disk full", "down")],
)
def test_a_stream_of_which_nothing_is_kept_does_not_record(state: str, storage: str, shown: str) -> None:
    """``recording`` is said only of footage that is stored; a camera that is down stays down."""
    stream = {"state": state, "since": 0, "reason": "", "detail": ""}
    facts = report_stream(stream, {"storage": storage}, picture={}, events={})
    assert facts["state"] == shown
