"""From the installed program to a delivered clip, as a resident does it: what is typed, and what is tapped, is counted.

``python -m tests.support.taps [PICTURES]``; ``scripts/taps`` calls it. The program is a wheel of this tree in an
environment of its own, the browser is Chromium on a phone's screen, and nothing calls into the page.
"""

import contextlib
import http.client
import os
import pty
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, sync_playwright

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import LAT, LON
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.deliveries import deliveries, open_delivery
from edge_agent.rtcc.office.request import RequestDraft, sign_request, to_gateway
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, Window
from tests.support.page_house import read_pss_mb
from tests.support.phone import Phone

ROOT = Path(__file__).parents[2]
MOST_TYPED, MOST_TAPS = 3, 25
PASSPHRASE = "correct horse battery staple"
_LIMIT_S = 60.0


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
        shown, seen, deadline = "", 0, time.monotonic() + _LIMIT_S
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


class Finger:
    """A person at a phone."""

    def __init__(self, tab: Page, pictures: Path | None) -> None:
        self.tab, self.taps, self._pictures = tab, 0, pictures

    def tap(self, what: Locator, said: str) -> None:
        """Tap on something that is there."""
        self._count(said)
        what.click()

    def fill(self, what: Locator, text: str, said: str) -> None:
        """Tap into a field, and type."""
        self._count(said)
        what.fill(text)

    def open(self, link: str, said: str) -> None:
        """Tap on a link that another program shows."""
        self._count(said)
        self.tab.goto(link)

    def keep(self, name: str) -> None:
        """Take a picture."""
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            self.tab.screenshot(path=self._pictures / f"{name}.png", full_page=True)

    def _count(self, said: str) -> None:
        self.taps += 1
        print(f"   {self.taps:2}  {said}", flush=True)


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
    link = re.search(r"https://127\.0\.0\.1:\d+/pair#[0-9A-Z-]+", shown)
    assert link is not None, shown
    return link[0]


def sign(finger: Finger, phone: Phone, before: int) -> None:
    """Compare the sentence with the one in the message, and sign."""
    sentence, code = phone.wait_code(before)
    shown = finger.tab.locator(".sentence").inner_text()
    assert shown == sentence, (shown, sentence)
    finger.fill(finger.tab.get_by_label("Code of the message"), code, "the code, out of the message")
    finger.fill(finger.tab.get_by_label("Your passphrase"), PASSPHRASE, "the passphrase")
    finger.keep("sign")
    finger.tap(finger.tab.get_by_role("button", name="Sign"), "Sign")
    finger.tab.get_by_role("heading", name="Signed").wait_for(timeout=60_000)
    finger.keep("signed")


def join(finger: Finger, phone: Phone, city: City, link: str) -> str:
    """Pair the phone, and join the city's crime center; return the gateway's id there."""
    tab = finger.tab
    wait_for_page(tab, link)
    finger.fill(tab.get_by_label("A name for this device"), "phone", "a name for the phone")
    finger.tap(tab.get_by_role("button", name="Pair"), "Pair")
    finger.keep("home")
    finger.tap(tab.get_by_role("link", name="Join one"), "Join one, at your desk")
    enrolment = city.enrol(tab.locator("pre").inner_text().encode())  # what is sent, and what comes back
    finger.fill(tab.get_by_label("The text of their file"), enrolment.content.decode(), "the crime center's answer")
    finger.keep("join")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    sign(finger, phone, before)
    return enrolment.gateway


def sign_first(terminal: Terminal, folder: Path, tab: Page, home: str) -> None:
    """Sign the first terms where ring, sources and crime center are shown: at the terminal, once the gateway joined."""
    deadline = time.monotonic() + _LIMIT_S
    while "not signed" not in tab.content():
        assert time.monotonic() < deadline, tab.content()
        time.sleep(0.5)
        tab.goto(f"{home}terms")
    terminal.type(
        f"edge-agent consent sign --config {folder}/etc/edge-agent.yaml",
        ("to sign: ", "yes"), ("owner's passphrase: ", PASSPHRASE),
    )  # fmt: skip


def give_terms(finger: Finger, phone: Phone, home: str) -> None:
    """Change the camera's terms, and sign them."""
    tab = finger.tab
    finger.open(f"{home}terms", "the page's Terms")
    finger.tap(tab.get_by_role("link", name="Change and sign them"), "Change and sign them, at your desk")
    finger.tap(tab.get_by_label("rtcc.example-city"), "who may ask")
    finger.tap(tab.get_by_label("robbery"), "robbery")
    tab.get_by_label("How long a clip waits").select_option("0s")
    finger.taps += 1
    print(f"   {finger.taps:2}  waits 0 s, so that this script ends", flush=True)
    tab.wait_for_timeout(1500)
    finger.keep("terms")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    sign(finger, phone, before)


def say_yes(finger: Finger, phone: Phone) -> None:
    """Follow the notice, and say yes."""
    tab = finger.tab
    links = [link for _, body in phone.got for link in re.findall(r"https://127\S+/requests/\d+", body)]
    finger.open(links[-1], "the link in the notice")
    finger.keep("request")
    finger.tap(tab.get_by_role("link", name="Say yes"), "Say yes, or to less, at your desk")
    finger.keep("approve")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    sign(finger, phone, before)


def wait_for_page(tab: Page, link: str) -> None:
    """Open an address once it answers."""
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            tab.goto(link)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


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
        phone = Phone()
        stack.callback(phone.close)
        terminal = Terminal(program, folder)
        stack.callback(terminal.end)
        link = set_up(terminal, folder, camera, phone)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--host-resolver-rules=MAP *.local 127.0.0.1"],
        )
        stack.callback(browser.close)
        words = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "ignore_https_errors": True}
        finger = Finger(browser.new_context(**words).new_page(), pictures)  # type: ignore[arg-type]
        stack.push(lambda kind, *_: finger.keep("failed") if kind else None)
        stack.push(lambda kind, *_: print((folder / "run.log").read_text()[-3000:]) if kind else None)
        gateway = join(finger, phone, city, link)
        home = link.partition("pair")[0]
        sign_first(terminal, folder, finger.tab, home)
        give_terms(finger, phone, home)
        session = stack.enter_context(RtccSession(city.home, watch=True))
        now = SystemClock().utc()
        window = Window(UtcNs(now - 6 * SECOND_NS), UtcNs(now - 2 * SECOND_NS))
        incident = Incident("E-1", Category.ROBBERY, window.end, Place(LAT, LON), window)
        draft = RequestDraft(
            to_gateway(gateway), incident, window, "a robbery at the corner", "desk 4", ("front-door",),
            release_within_ns=HOUR_NS,
        )  # fmt: skip
        before = len(phone.got)
        signed = sign_request(city.home, draft, now, operator="operator-1", supervisor="supervisor-1")
        session.send(signed)
        wait_for_notice(phone, before)
        say_yes(finger, phone)
        assert list(session.answers(signed.jti, _LIMIT_S))[-1].status is Status.DELIVERED
        (delivery,) = [each for each in deliveries(city.home) if each.jti == signed.jti]
        open_delivery(city.home, delivery, folder / "opened")
        tell_figures(terminal, home)
        print(f"delivered, and opened by the crime center: {signed.jti}")
        print(f"typed commands: {terminal.typed} (at most {MOST_TYPED}); edited files: {terminal.edits}")
        print(f"taps: {finger.taps} (at most {MOST_TAPS})")
        return terminal.typed, finger.taps


def tell_figures(terminal: Terminal, home: str) -> None:
    """Print how large page and desk are after all of this, and how soon the first byte of a page comes."""
    for command, most in (("serve-page", 40), ("serve-desk", 60)):
        print(f"PSS of {command}: {read_pss_mb(terminal.find_process(command)):.0f} MB (at most {most})")
    at, times = urlsplit(home), []
    for _ in range(10):
        began = time.monotonic()
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(str(at.hostname), at.port, timeout=20, context=context)
        connection.request("GET", "/pair")
        connection.getresponse().read(1)
        times.append(1000 * (time.monotonic() - began))
        connection.close()
    print(f"first byte, TLS included: {sorted(times)[5]:.0f} ms in the middle, {min(times):.0f} ms at best (goal 100)")


def wait_for_notice(phone: Phone, before: int) -> None:
    """Wait until a request's link came."""
    deadline = time.monotonic() + _LIMIT_S
    while not any("/requests/" in body for _, body in phone.got[before:]):
        assert time.monotonic() < deadline, phone.got
        time.sleep(0.1)


if __name__ == "__main__":
    typed, taps = run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    sys.exit(0 if typed <= MOST_TYPED and taps <= MOST_TAPS else 1)
