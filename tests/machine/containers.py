"""The image and ``compose.yaml`` as they are: two containers, two users, a read-only root; run by podman."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.machine.town import CAMERA_PORT, Town
from tests.machine.virtual import MachineError

TREE = Path(__file__).parents[2]
PASSPHRASE = "correct horse battery staple"
_SERVICES = {"recorder": ("961", "960"), "releaser": ("962", "960")}
# The city listens on this namespace's loopback; a host that is a guest itself may not raise limits. No more is changed.
_LIMITS = "ulimits: {core: 0, nofile: 4096, nproc: 4096}"
_OVERRIDE = f"""\
services:
  recorder: {{network_mode: host, {_LIMITS}}}
  releaser: {{network_mode: host, {_LIMITS}}}
  owner: {{{_LIMITS}}}
"""
_EDITS = {
    "edge-agent.yaml": {
        "  # location: {lat": "  location: {lat",
        "  size: 32GiB": "  size: 256MiB",
        "  trust: kernel": "  trust: wall-clock",
        "\ncameras:\n": f"\ncameras:\n  - id: door\n    url: rtsp://127.0.0.1:{CAMERA_PORT}/cam\n",
    },
    "consent.yaml": {
        "  agencies: []": "  agencies: [rtcc.example-city]",
        "  cooling_off: 10m": "  cooling_off: 0s",
        "\ncameras: {}\n": "\ncameras:\n  door: {mode: auto, categories: [robbery]}\n",
    },
}


class Containers:
    """One project of compose; its volumes and containers end with ``close``."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="compose-"))
        shutil.copyfile(TREE / "container/compose.yaml", self._folder / "compose.yaml")
        (self._folder / "override.yaml").write_text(_OVERRIDE)
        (self._folder / "etc").mkdir()

    @property
    def etc(self) -> Path:
        """The folder with the configuration."""
        return self._folder / "etc"

    def compose(self, *words: str, content: str = "", check: bool = True) -> str:
        """Run podman-compose; MachineError if it fails."""
        files = ("-f", "compose.yaml", "-f", "override.yaml")
        return _run(["podman-compose", "-p", "edgetest", *files, *words], content, check=check, cwd=self._folder)

    def owner(self, *words: str, content: str = "") -> str:
        """Run a command as the owner does, in a container that is gone afterwards."""
        return self.compose("--profile", "owner", "run", "--rm", "-T", "owner", *words, content=content)

    def edit(self) -> None:
        """Do what an installer and an owner do in an editor."""
        for name, changes in _EDITS.items():
            text = (self.etc / name).read_text()
            for old, new in changes.items():
                if old not in text:
                    raise MachineError(f"{name}: the line is not there: {old}")
                text = text.replace(old, new, 1)
            (self.etc / name).write_text(text)

    def inside(self, service: str, command: str, *, check: bool = True) -> str:
        """Run a command beside a process, with its rights."""
        return _run(["podman", "exec", f"edgetest_{service}_1", "sh", "-c", command], check=check)

    def wait(self, what: str, service: str, command: str, word: str, limit_s: float = 120) -> None:
        """Wait until a word is in what a command prints."""
        begun = time.monotonic()
        while word not in (said := self.inside(service, command, check=False)):
            if time.monotonic() - begun > limit_s:
                logs = "".join(_run(["podman", "logs", "--tail", "15", f"edgetest_{each}_1"]) for each in _SERVICES)
                raise MachineError(f"waited {limit_s:.0f} s until {what}; {command} says:\n{said}\n{logs}")
            time.sleep(0.5)

    def close(self) -> None:
        """Remove containers and volumes."""
        self.compose("--profile", "owner", "down", "--volumes", check=False)


def tell(town: Town) -> dict[str, Any]:
    """Tell the demonstration's scenario in two containers; return the figures.

    Raises:
        MachineError: It went otherwise than it must.
    """
    home = Containers()
    home.close()
    try:
        print("== setup: keys and configuration", flush=True)
        begun = time.monotonic()
        home.owner("init", "--passphrase-file", "-", content=PASSPHRASE)
        home.edit()
        enrolment = town.city.enrol((home.etc / "gateway.csr").read_bytes())
        (home.etc / "from-rtcc.json").write_bytes(enrolment.content)
        home.owner("enrol", "/etc/edge-agent/from-rtcc.json", "--yes")
        print("== recorder and releaser, as compose.yaml says", flush=True)
        home.compose("up", "-d", "recorder", "releaser")
        home.wait("it records", "releaser", "edge-agent status", "door.main: recording")
        figures = {"setup_to_recording_s": round(time.monotonic() - begun, 1)}
        home.owner("consent", "sign", "--yes", "--passphrase-file", "-", content=PASSPHRASE)
        _look_at_the_walls(home)
        home.wait("the broker is there", "releaser", "edge-agent status", "broker: connected")
        time.sleep(16)
        print("== a request, a clip, and what the RTCC makes of it", flush=True)
        figures["request_to_opened_clip_s"] = round(town.ask(enrolment.gateway, "door", 120), 1)
        print("== both are killed, and come back", flush=True)
        begun = time.monotonic()
        for service in _SERVICES:
            _run(["podman", "kill", "-s", "KILL", f"edgetest_{service}_1"])
        home.compose("up", "-d", "recorder", "releaser")
        home.wait("it records again", "releaser", "edge-agent status", "door.main: recording")
        figures["killed_to_recording_s"] = round(time.monotonic() - begun, 1)
        home.owner("ring", "check")
        home.owner("ledger", "verify")
        return figures
    finally:
        home.close()


def _look_at_the_walls(home: Containers) -> None:
    """Demand two users without a capability, on a root that nobody writes; neither reads the other's keys."""
    print("== the walls", flush=True)
    for service, (user, group) in _SERVICES.items():
        status = home.inside(service, "cat /proc/1/status")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if facts["Uid"].split()[0] != user or facts["Gid"].split()[0] != group:
            raise MachineError(f"{service} runs as {facts['Uid']}")
        for name, wanted in {"CapEff": 0, "CapBnd": 0}.items():
            if int(facts[name], 16) != wanted:
                raise MachineError(f"{service}: {name} is {facts[name]}")
        if facts["NoNewPrivs"].strip() != "1" or facts["Seccomp"].strip() != "2":
            raise MachineError(f"{service}: no-new-privileges or seccomp is missing")
        other = next(each for each in _SERVICES if each != service)
        for command in ("touch /usr/x", "touch /etc/edge-agent/x", f"ls /var/lib/edge-agent/keys/{other}"):
            if "denied" not in (said := home.inside(service, command, check=False)) and "Read-only" not in said:
                raise MachineError(f"{service} may {command}: {said}")
        print(f"   {service}: uid {user}, no capability, read-only root, {other}'s keys are closed")
    if "bare" not in home.inside("releaser", "edge-agent status"):
        raise MachineError("status does not say that keys are bare")


def _run(words: list[str], content: str = "", *, check: bool = True, cwd: Path = TREE) -> str:
    done = subprocess.run(words, input=content, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)
    if check and done.returncode:
        raise MachineError(
            f"{' '.join(words[:12])}\nexit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-2500:]}"
        )
    return done.stdout + ("" if check else done.stderr)
