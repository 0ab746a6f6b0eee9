"""A delivered clip plays where people will play it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.cutter import cut_clips
from edge_agent.uplink.clip.messages import Job
from tests.support.footage import RATE, encode, records, window
from tests.uplink.clip.test_cutter import feed

CHROMIUM = Path(__file__).parents[2] / "peers" / "chromium"


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("chromium") is None or not (CHROMIUM / "node_modules").is_dir(),
    reason="needs Debian's chromium, and `npm ci` in tests/peers/chromium",
)
@pytest.mark.parametrize("bframes", [0, 2])
def test_chromium_plays_a_delivered_clip(tmp_path, bframes):
    """Every picture of the grant is shown at its own time, read from the pixels."""
    messages = list(cut_clips(Job((window(0.5, 4),)), feed(records(encode(50, bframes=bframes)))))
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"".join(message for message in messages if isinstance(message, bytes)))
    (end,) = (message for message in messages if isinstance(message, wire.RunEnd))
    pictures = round((end.end_ns - end.start_ns) * RATE / 10**9)
    done = subprocess.run(["node", "play.js", path, "0.5"], cwd=CHROMIUM, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["seen"]
    # Reordered pictures begin one step late: no edit list hides it.
    first_us = 1_000_000 // RATE if bframes else 0
    assert all(shown_us == first_us + (number - 10) * 1_000_000 // RATE for number, shown_us in seen)
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 10
    assert numbers[-1] < 10 + pictures
    assert len(numbers) >= pictures * 3 // 4  # a busy machine drops pictures, never shows wrong ones
