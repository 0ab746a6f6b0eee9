"""What the status says of a stream."""

import pytest

from edge_agent.recording.status import report_stream


@pytest.mark.parametrize("held_back", [True, False])
def test_retention_that_waits_for_the_owner_is_said(held_back: bool) -> None:
    """Footage that stays for longer than the owner said is a warning that leads to the command."""
    stream = {"state": "recording", "since": 0, "reason": "", "detail": ""}
    storage = {"storage": "ok", "clock_held_back": held_back}
    facts = report_stream(stream, storage, picture={}, crashes={}, events={})
    assert ("edge-agent clock" in facts.get("warning", "")) is held_back
