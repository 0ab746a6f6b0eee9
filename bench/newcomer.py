"""A newcomer's path from `edge-agent init` to the opened clip: every step typed at a real terminal, and counted.

A step is a command, or an edit of a file; keystrokes are all characters typed, with answers, passphrases and edits.
The RTCC is there already: its broker, its receiver and `rtcc watch` run. The goal is at most twelve steps.
"""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

MOST_STEPS = 12
_PASSPHRASE = "correct horse battery staple"
_TIMEOUT_S = 90.0
_PLACE = "32.29876,-90.18481"


@dataclass(frozen=True, slots=True)
class Typed:
    """One thing that a person did."""

    who: str
    what: str
    keystrokes: int
    seconds: float


class Walk:
    """Does the steps and counts them.

    Args:
        folder: Empty; short, because Unix sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Typed] = []

    def type(self, who: str, *words: str, answers: tuple[tuple[str, str], ...] = (), code: int = 0) -> str:
        """Type a command at a terminal, answer its prompts in order, and return what it showed."""
        begun = time.monotonic()
        shown, ended = type_command(words, answers, self.folder)
        if ended != code:
            raise SystemExit(f"step failed: {' '.join(words)}: exit={ended}\n{shown}")
        typed = len(" ".join(words)) + 1 + sum(len(answer) + 1 for _, answer in answers)
        self.steps.append(Typed(who, " ".join(words), typed, time.monotonic() - begun))
        return shown

    def edit(self, who: str, path: Path, changes: dict[str, str]) -> None:
        """Edit a file: each text is replaced by another, and what is new in it counts."""
        text, typed = path.read_text(), 0
        for before, after in changes.items():
            if before not in text:
                raise SystemExit(f"{path}: there is no {before!r} to edit")
            text = text.replace(before, after, 1)
            typed += max(1, len(after) - len(before))
        path.write_text(text)
        self.steps.append(Typed(who, f"edit {path.name}", typed, 0.0))


def type_command(words: tuple[str, ...], answers: tuple[tuple[str, str], ...], folder: Path) -> tuple[str, int]:
    """Run a command of ours with a terminal of 80 columns; return what it showed and its exit code."""
    program = "edge_agent.cli" if words[0] == "edge-agent" else "edge_agent.rtcc.cli"
    command = [sys.executable, "-c", f"import sys; from {program} import main; sys.exit(main())", *words[1:]]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder, start_new_session=True
    ) as process:
        os.close(theirs)
        shown, waiting, deadline = "", list(answers), time.monotonic() + _TIMEOUT_S
        with contextlib.suppress(OSError):  # EIO is the end of a terminal
            while time.monotonic() < deadline:
                if select.select([ours], [], [], 0.2)[0]:
                    shown += os.read(ours, 4096).decode(errors="replace")
                if waiting and waiting[0][0] in shown.rpartition("\n")[2]:
                    os.write(ours, waiting.pop(0)[1].encode() + b"\n")
                    shown += "\n"
        process.kill()
        code = process.wait()
    os.close(ours)
    return shown.replace("\r\n", "\n"), code


@contextmanager
def started(walk: Walk, config: Path) -> Iterator[None]:
    """Type `edge-agent run`, and leave it running."""
    words = ("edge-agent", "run", "--config", str(config))
    walk.steps.append(Typed("resident", " ".join(words), len(" ".join(words)) + 1, 0.0))
    with (walk.folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", *words[1:]], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def walk_to_clip(folder: Path) -> list[Typed]:
    """Walk the whole way; SystemExit if a step fails or the clip does not verify."""
    walk = Walk(folder)
    config, state = folder / "config", folder / "state"
    file = ("--config", str(config / "edge-agent.yaml"))
    owner = ("owner's passphrase", _PASSPHRASE)
    with ExitStack() as stack:
        camera = stack.enter_context(SimulatedCamera(CameraSettings()))
        city = stack.enter_context(City(folder / "city"))
        stack.enter_context(RtccSession(city.home, watch=True))
        home = ("--home", str(city.home.path))
        words = ("edge-agent", "init", "--config", str(config), "--state", str(state))
        prompts = (owner, ("once more", _PASSPHRASE), ("phones of your home", "n"))
        walk.type("resident", *words, answers=prompts)
        lat, lon = _PLACE.split(",")
        walk.edit("resident", config / "edge-agent.yaml", {
            "\n  # location: {lat: 32.29876, lon: -90.18481}": f"\n  location: {{lat: {lat}, lon: {lon}}}",
            "\ncameras:\n": f"\ncameras:\n  - {{id: front-door, url: '{camera.url}', size: 64MiB}}\n",
            "\n  trust: kernel": "\n  trust: wall-clock",
        })  # fmt: skip
        walk.type("resident", "edge-agent", "check", *file)
        stack.enter_context(started(walk, config / "edge-agent.yaml"))
        csr, answer = str(config / "gateway.csr"), str(folder / "enrolment.json")
        walk.type("rtcc", "rtcc", "enrol", csr, "--out", answer, *home)
        walk.type("resident", "edge-agent", "enrol", answer, "--yes", *file)
        walk.edit("resident", config / "consent.yaml", {
            "\n  agencies: []": "\n  agencies: [rtcc.example-city]",
            "\n  cooling_off: 10m": "\n  cooling_off: 0s",
            "\ncameras: {}": "\ncameras:\n  front-door: {mode: ask, categories: [robbery]}",
        })  # fmt: skip
        wait_for_footage(file, folder)
        walk.type("resident", "edge-agent", "consent", "sign", *file, answers=(('"yes"', "yes"), owner))
        jti = _ask(walk, home, answer)
        number = wait_for_ask(file, folder)
        words = ("edge-agent", "requests", "approve", number, *file)
        walk.type("resident", *words, answers=(('"yes"', "yes"), owner))
        wait_for_delivery(file, folder, number)
        shown = walk.type("rtcc", "rtcc", "open", jti, *home)
        if "FAILED" in shown or "failed" in shown.splitlines()[-1]:
            raise SystemExit(f"the clip does not verify:\n{shown}")
    return walk.steps


def _ask(walk: Walk, home: tuple[str, ...], enrolment: str) -> str:
    """Have the RTCC ask for a few seconds of a moment ago; return the request's id."""
    gateway = json.loads(Path(enrolment).read_text())["gateway"]
    now = time.time_ns()
    start, end = (encode_rfc3339(UtcNs(now // SECOND_NS * SECOND_NS - back * SECOND_NS)) for back in (4, 1))
    shown = walk.type(
        "rtcc", "rtcc", "request", "--gateway", gateway, "--operator", "operator-1", "--supervisor", "supervisor-1",
        "--incident", "E-1", "--category", "robbery", "--place", _PLACE, "--reported-at", end,
        "--incident-window", f"{start}/{end}", "--purpose", "a robbery next door", "--contact", "desk 1", *home,
    )  # fmt: skip
    known = [word.strip(".,:;()") for line in shown.splitlines() for word in line.split()]
    return next(word for word in known if len(word) == 22)


def _wait(file: tuple[str, ...], folder: Path, words: tuple[str, ...], condition: str) -> str:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        shown, _ = type_command(("edge-agent", *words, *file, "--json"), (), folder)
        if condition in shown:
            return shown
        time.sleep(0.3)
    raise SystemExit(f"waited for {condition!r}:\n{shown}")


def wait_for_footage(file: tuple[str, ...], folder: Path) -> None:
    """Wait until something is recorded and the gateway is at the broker. No step: nobody types anything."""
    _wait(file, folder, ("status",), '"state": "recording"')
    _wait(file, folder, ("status",), '"broker": "connected"')
    time.sleep(6)  # of footage


def wait_for_ask(file: tuple[str, ...], folder: Path) -> str:
    """Wait until the request waits for the owner; return its number."""
    shown = _wait(file, folder, ("requests", "list"), '"asked"')
    return str(json.loads(shown)[0]["number"])


def wait_for_delivery(file: tuple[str, ...], folder: Path, number: str) -> None:
    """Wait until the clip is delivered."""
    _wait(file, folder, ("requests", "show", number), '"delivered"')


def main() -> int:
    """Walk, and print the steps; 1 if there are more than the goal."""
    with tempfile.TemporaryDirectory(prefix="nc-") as folder:
        steps = walk_to_clip(Path(folder))
        for number, step in enumerate(steps, 1):
            what = step.what.replace(folder, "")
            print(f"{number:2}  {step.who:8}  {step.keystrokes:4} keys  {step.seconds:5.1f} s  {what[:100]}")
    keys, seconds = sum(step.keystrokes for step in steps), sum(step.seconds for step in steps)
    print(f"{len(steps)} steps, {keys} keystrokes, {seconds:.0f} s of commands (goal: at most {MOST_STEPS} steps)")
    return 0 if len(steps) <= MOST_STEPS else 1


if __name__ == "__main__":
    sys.exit(main())
