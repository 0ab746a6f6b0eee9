"""The package's own scripts, with stand-ins for what they call: what the owner switched off stays off."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Machine:
    """Runs the scripts on a folder, and notes what they ask of systemd."""

    def __init__(self, root: Path) -> None:
        self.root, self.said = root, root / "said"
        self.said.touch()
        (root / "bin").mkdir()
        (root / "run/systemd/system").mkdir(parents=True)
        for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "python"):
            tool = root / "bin" / name
            tool.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.said}\n')
            tool.chmod(0o755)

    def run(self, script: str, *words: str) -> str:
        text = (ROOT / "package" / script).read_text().replace("/opt/edge-agent/bin", f"{self.root}/bin")
        text = text.replace("/run/", f"{self.root}/run/").replace("/opt/", f"{self.root}/opt/")
        self.said.write_text("")
        path = f"{self.root}/bin:{os.environ['PATH']}"
        subprocess.run(["sh", "-c", text, script, *words], check=True, timeout=30, env={"PATH": path})
        return self.said.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


CASES = {
    "first installation": (("install",), ("configure", ""), True),
    "again after a removal": (("install", "0.1"), ("configure", "0.1"), True),
    "upgrade": (("upgrade", "0.1"), ("configure", "0.1"), False),
    "configured anew": (None, ("configure", "0.1"), False),
}


@pytest.mark.parametrize(("preinst", "postinst", "is_on"), CASES.values(), ids=CASES)
def test_the_timer_is_switched_on_by_an_installation_alone(machine, preinst, postinst, is_on):
    """Whoever switched updates off finds them off after every upgrade; the resuming service is always there."""
    if preinst is not None:
        machine.run("preinst", *preinst)
    told = machine.run("postinst", *postinst)
    assert ("edge-agent-update.timer" in told) is is_on
    assert "enable -q edge-agent-update-resume.service" in told
    assert "edge-agent-update.timer" not in machine.run("postinst", "configure", "0.1")
