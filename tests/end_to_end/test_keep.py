"""``edge-agent keep``: a moment outlives the ring for its owner alone, is in the ledger, and ends."""

import json

import pytest

from edge_agent.errors import EdgeAgentError
from edge_agent.units import SECOND_NS, encode_rfc3339
from tests.end_to_end.conftest import passphrase

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def times(window) -> tuple[str, str]:
    return encode_rfc3339(window.start), encode_rfc3339(window.end)


def export(world, window, out):
    start, end = times(window)
    return world.home.run("export", "front-door", "--from", start, "--to", end, "--out", str(out), *passphrase(world))


def test_a_kept_moment_outlives_the_ring_for_its_owner_alone(world, tmp_path):
    """With the ring gone, export still has it and a granted request has nothing."""
    world.wait_recorded(6)
    window = world.draft(5, 2).window
    kept = json.loads(world.home.run("keep", "front-door", *times(window), "--json", *passphrase(world)))[0]
    assert kept["camera"] == "front-door"
    assert kept["id"] in world.home.run("keep")
    world.home.stop("record")
    ring = world.home.config.ring_path("front-door", "main")
    ring.rename(tmp_path / "gone.ring")
    export(world, window, tmp_path / "own.mp4")
    assert (tmp_path / "own.mp4").stat().st_size > 1000
    signed = world.send(world.over(window))
    world.wait_state(signed.jti, "denied", "no-footage", "failed")
    # Without a passphrase it can only be let go.
    assert "let go" in world.home.run("keep", "--drop", kept["id"])
    assert "nothing is kept" in world.home.run("keep")
    with pytest.raises(EdgeAgentError):
        export(world, window, tmp_path / "again.mp4")
    assert [each["entry"]["what"] for each in world.entries("keep")] == ["kept", "let go"]


def test_erasing_footage_erases_what_is_kept_of_it(world):
    """The owner's erasure leaves no copy behind that nobody thought of."""
    world.wait_recorded(6)
    window = world.draft(5, 2).window
    world.home.run("keep", "front-door", *times(window), *passphrase(world))
    assert len(list(world.home.config.keeps_dir.glob("*.ring"))) == 1
    world.home.run("erase", "front-door", "--yes")
    assert list(world.home.config.keeps_dir.glob("*.ring")) == []


def test_nothing_is_kept_without_the_owners_word_or_beyond_its_bounds(world):
    """A wrong passphrase, a time without footage, and more than a year are refused, and leave nothing."""
    world.wait_recorded(3)
    window = world.draft(2, 1).window
    wrong = world.folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the passphrase\n")
    with pytest.raises(EdgeAgentError, match="passphrase"):
        world.home.run("keep", "front-door", *times(window), "--passphrase-file", str(wrong))
    early = window.start - 3600 * SECOND_NS
    with pytest.raises(EdgeAgentError, match="nothing is recorded"):
        world.home.run("keep", "front-door", encode_rfc3339(early), "+1m", *passphrase(world))
    with pytest.raises(EdgeAgentError, match="at most"):
        world.home.run("keep", "front-door", *times(window), "--for", "367d", *passphrase(world))
    assert world.home.ask("releaser", "keeps")["keeps"] == []
