"""``edge-agent erase``: whatever is not erased is named, and the exit code says so."""

import json

import pytest

from edge_agent.commands import erase
from edge_agent.errors import UnavailableError
from tests.commands.typed import run

KEPT = {
    "nothing kept": ([], 0, []),
    "a kept moment": (["front-door.ring"], 74, ["kept moments"]),
}


@pytest.mark.parametrize(("kept", "code", "failed"), KEPT.values(), ids=KEPT)
def test_kept_moments_that_remain_are_named(tmp_path, monkeypatch, capsys, kept, code, failed):
    """Without an enrolment, too: the owner's kept moments are the releaser's to erase, and it does not answer."""
    state = tmp_path / "state"
    keeps = state / "releaser" / "keeps"
    keeps.mkdir(parents=True)
    for name in kept:
        (keeps / name).touch()
    config = tmp_path / "edge-agent.yaml"
    config.write_text(
        f"gateway: {{state_dir: {state}, run_dir: {tmp_path}}}\ncameras: [{{id: door, url: 'rtsp://a/b'}}]\n"
    )

    def answer(path, command, **_members):
        if "releaser" in str(path):
            raise UnavailableError("nobody answers")
        return {"erased": {"door.main": []}, "failed": {}}

    monkeypatch.setattr(erase, "call", answer)
    assert run("erase", "door", "--yes", "--json", "--config", str(config)) == code
    assert sorted(json.loads(capsys.readouterr().out)["failed"]) == failed
