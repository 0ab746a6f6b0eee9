"""From the installed program to a delivered clip, as a resident does it: what is typed, and what is tapped, is counted.

``python -m tests.support.taps [PICTURES]``; ``scripts/taps`` calls it. The program is a wheel of this tree in an
environment of its own, the browser is Chromium on a phone's screen, and nothing calls into the page.
"""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import LAT, LON
from edge_agent.rtcc.session import RtccSession
from tests.machine.town import Town
from tests.support.finger import (
    LIMIT_S,
    MOST_TAPS,
    MOST_TYPED,
    PASSPHRASE,
    find_pairing_link,
    go_to_yes,
    open_browser,
    tell_first_byte,
)
from tests.support.page_house import read_pss_mb
from tests.support.phone import Phone

ROOT = Path(__file__).parents[2]


class Terminal:
    """A person at the gateway's terminal."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.typed = self.edits = 0
        self._running: list[subprocess.Popen[bytes]] = []

    def type(self, command: str, *answers: tuple[str, str]) -> str:
        """Type a command, and the answers behind their prompts; return what was shown."""
        self._count(command)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(self._program, ["edge-agent", *command.split()[1:]])
        try:
            shown = self._answer(terminal, list(answers))
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # it waits for an answer that never comes
            raise
        finally:
            _, status = os.waitpid(pid, 0)
            os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == 0, shown
        return shown

    def find_process(self, command: str) -> int:
        """Return the process of one command of the program that was started here."""
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = each.read_bytes().decode().split("\0")
                if command in words and any(word.startswith(str(self._folder)) for word in words):
                    return int(each.parent.name)
        raise AssertionError(f"no process: {command}")

    @staticmethod
    def _answer(terminal: int, answers: list[tuple[str, str]]) -> str:
        shown, seen, deadline = "", 0, time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.5)[0]:
                try:
                    shown += os.read(terminal, 65536).decode(errors="replace")
                except OSError:  # its other end is closed
                    return shown
            if answers and answers[0][0] in shown[seen:]:
                seen = len(shown)
                os.write(terminal, f"{answers.pop(0)[1]}\n".encode())
        raise AssertionError(f"nothing more came: {shown}")

    def start(self, command: str) -> None:
        """Type a command that goes on."""
        self._count(command)
        log = (self._folder / "run.log").open("wb")
        words = [str(self._program), *command.split()[1:]]
        self._running.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def edit(self, path: Path, changes: dict[str, str]) -> None:
        """Change lines in an editor."""
        self.edits += 1
        print(f"   edited: {path.name}", flush=True)
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, f"{path}: {old}"
            text = text.replace(old, new, 1)
        path.write_text(text)

    def end(self) -> None:
        """Press Ctrl-C."""
        for each in self._running:
            each.send_signal(signal.SIGTERM)
            each.wait(30)

    def _count(self, command: str) -> None:
        self.typed += 1
        print(f"   $ {command.replace(str(self._folder), '…')}", flush=True)


def install(folder: Path) -> Path:
    """Put a wheel of this tree into an environment of its own, beside the libraries of this one; return the command."""
    wheels, environment = folder / "wheels", folder / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)], check=True, timeout=300)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(
        [*pip, "--python", str(environment / "bin" / "python"), "install", "--no-deps", str(wheel)],
        check=True, timeout=300,
    )  # fmt: skip
    (site,) = environment.glob("lib/python*/site-packages")
    libraries = next(each for each in sys.path if each.endswith("site-packages"))
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return environment / "bin" / "edge-agent"


def set_up(terminal: Terminal, folder: Path, camera: SimulatedCamera, phone: Phone) -> str:
    """Type and edit; return the pairing link."""
    config, state = folder / "etc", folder / "state"
    shown = terminal.type(
        f"edge-agent init --config {config} --state {state} --page 127.0.0.1",
        ("owner's passphrase: ", PASSPHRASE), ("the same once more: ", PASSPHRASE),
    )  # fmt: skip
    terminal.edit(
        config / "edge-agent.yaml",
        {
            "  # location: {lat: 32.29876, lon: -90.18481}": f"  location: {{lat: {LAT}, lon: {LON}}}",
            "  trust: kernel": "  trust: wall-clock",  # a trial on a machine whose kernel may not say
            "  size: 32GiB": "  size: 64MiB",
            "  # block_size: 16MiB": "  block_size: 1MiB",
            "\ncameras:\n": f"\ncameras:\n  - {{id: front-door, name: Front door, url: {camera.url}}}\n",
            "  services: []": "  services: [phone]",
        },
    )
    terminal.edit(
        config / "consent.yaml", {"\ncameras: {}\n": "\ncameras:\n  front-door: {}\n"}
    )  # named, and nothing of it may leave: what may is chosen at the desk
    terminal.edit(config / "notify.yaml", {"# phone: ntfys://ntfy.example.net/topic": f"phone: {phone.url}"})
    terminal.start(f"edge-agent run --config {config}/edge-agent.yaml")
    return find_pairing_link(shown, "127.0.0.1")


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose paths are short."""
    folder = Path(tempfile.mkdtemp(prefix="tap-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(pictures: Path | None = None) -> tuple[int, int]:
    """Do all of it; return how many commands were typed and how often something was tapped."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        program = install(folder)
        city = stack.enter_context(City(folder / "city"))
        camera = stack.enter_context(SimulatedCamera(CameraSettings()))
        town = Town(city, stack.enter_context(RtccSession(city.home, watch=True)), folder)
        phone = Phone()
        stack.callback(phone.close)
        terminal = Terminal(program, folder)
        stack.callback(terminal.end)
        link = set_up(terminal, folder, camera, phone)
        finger = stack.enter_context(open_browser("127.0.0.1", pictures))
        stack.push(lambda kind, *_: print((folder / "run.log").read_text()[-3000:]) if kind else None)
        jti = go_to_yes(
            finger, phone, city, link,
            lambda: terminal.type(
                f"edge-agent consent sign --config {folder}/etc/edge-agent.yaml",
                ("to sign: ", "yes"), ("owner's passphrase: ", PASSPHRASE),
            ),
            lambda gateway: town.send(gateway, "front-door"),
        )  # fmt: skip
        town.open_delivered(jti, LIMIT_S)
        for command, most in (("serve-page", 40), ("serve-desk", 60)):
            print(f"PSS of {command}: {read_pss_mb(terminal.find_process(command)):.0f} MB (at most {most})")
        print(f"first byte: {tell_first_byte(link.partition('pair')[0])}")
        print(f"delivered, and opened by the crime center: {jti}")
        print(f"typed commands: {terminal.typed} (at most {MOST_TYPED}); edited files: {terminal.edits}")
        print(f"taps: {finger.taps} (at most {MOST_TAPS})")
        return terminal.typed, finger.taps


if __name__ == "__main__":
    typed, taps = run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    sys.exit(0 if typed <= MOST_TYPED and taps <= MOST_TAPS else 1)
