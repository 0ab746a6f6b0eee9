"""A second disk: asked for by a reload, brought up while recording, read by the owner when the ring is gone."""

import pytest

from edge_agent.units import encode_rfc3339
from tests.end_to_end.conftest import passphrase

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_an_export_reads_the_mirror_when_the_ring_is_gone(world, tmp_path):
    """`ring check` finds both whole; without the ring the footage is still its owner's."""
    second = tmp_path / "second"
    second.mkdir()
    path = world.home.config_path
    path.write_text(path.read_text().replace("\nbuffer:\n", f"\nbuffer:\n  mirror_dir: {second}\n"))
    world.home.run("reload")
    world.home.wait_ready()
    world.wait_recorded(6)
    window = world.draft(5, 3).window
    # A reload brings mirrors up at once: what was just recorded is in the next copy.
    world.home.run("reload")

    def is_mirrored():
        streams = world.home.ask("recorder", "status")["cameras"]
        return streams["front-door.main"].get("mirror") == "ok" and (second / "front-door.main.ring").exists()

    world.home.wait_for("the mirror", is_mirrored)
    world.wait_recorded(1)
    world.home.stop("record")
    assert "front-door.main mirror: whole" in world.home.run("ring", "check")
    world.home.config.ring_path("front-door", "main").rename(tmp_path / "stolen.ring")
    start, end = encode_rfc3339(window.start), encode_rfc3339(window.end)
    words = ("--from", start, "--to", end, "--out", str(tmp_path / "own.mp4"), *passphrase(world))
    world.home.run("export", "front-door", *words)
    assert (tmp_path / "own.mp4").stat().st_size > 1000
