"""The mirrors' thread: what fails is told and tried again, and stops nobody."""

from edge_agent.recording.mirrors import Mirrors
from edge_agent.settings.gateway import parse_config
from tests.peers.wait import wait_until


def test_a_mirror_that_fails_is_told_and_the_others_go_on(tmp_path):
    """The status says why; without a mirror_dir it says nothing."""
    text = "cameras: [{id: door, url: 'rtsp://a/b'}, {id: yard, url: 'rtsp://a/c'}]\n"
    mirrors = Mirrors(0.05)
    mirrors.change(parse_config(text + f"buffer: {{dir: {tmp_path}, mirror_dir: {tmp_path}/away}}\n", "t", tmp_path))
    mirrors.start()
    try:
        wait_until(lambda: "folder is missing" in mirrors.facts("yard.main")["mirror"], 10)
        (tmp_path / "away").mkdir()
        wait_until(lambda: "folder is missing" not in mirrors.facts("yard.main")["mirror"], 10)
        assert mirrors.facts("door.main")["mirror"] != "ok"  # there is no ring yet
        mirrors.change(parse_config(text, "t", tmp_path))
        assert mirrors.facts("door.main") == {}
    finally:
        mirrors.close()
