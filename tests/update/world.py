"""A release repository with keys of the moment, a web server on loopback, and a machine that can fail at any step."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edge_agent.errors import UpdateError
from package.repository import Repository

KIND = "bookworm/amd64"


def deb(version: str) -> str:
    return f"edge-agent_{version}~bookworm_amd64.deb"


class Office:
    """The people who make releases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository(folder / "web")
        self.roots, self.targets = ([CryptoSigner.generate_ed25519() for _ in range(3)] for _ in range(2))
        self.online = CryptoSigner.generate_ed25519()
        self.files: dict[str, Path] = {}
        self.versions: dict[str, str] = {}

    @property
    def web(self) -> Path:
        return self.folder / "web"

    def name_roles(self, signers: Sequence[CryptoSigner] | None = None, now: datetime | None = None) -> bytes:
        keys = [[each.public_key for each in role] for role in (self.roots, self.targets)]
        draft = self.repository.draft_root(*keys, self.online.public_key, now or datetime.now(UTC))
        for signer in self.roots[:2] if signers is None else signers:
            self.repository.sign(draft, signer)
        return draft.read_bytes()

    def draft(self, version: str, minimum: str = "0.0.1", now: datetime | None = None) -> Path:
        package = self.folder / deb(version)
        package.write_bytes(f"package of {version}".encode() * 1000)
        self.files[package.name] = package
        self.versions[version] = package.name
        listed = ", ".join(f'"{each}": "{name}"' for each, name in self.versions.items())
        self.files["releases.json"] = self.folder / "releases.json"
        self.files["releases.json"].write_text(
            f'{{"format": 1, "version": "{version}", "minimum": "{minimum}", "packages": {{"{KIND}": {{{listed}}}}}}}'
        )
        return self.repository.draft_targets(self.files, now or datetime.now(UTC))

    def release(self, version: str, minimum: str = "0.0.1", now: datetime | None = None) -> None:
        draft = self.draft(version, minimum, now)
        for signer in self.targets[1:]:
            self.repository.sign(draft, signer)
        self.repository.publish(self.online, now or datetime.now(UTC))


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder; yields its URL and the paths that were asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class PowerCutError(BaseException):
    """The machine stops here."""


@dataclass
class FakeMachine:
    """A machine whose installed version is what the package says; ``cut_at`` is the step at which the power goes."""

    version: str
    services: tuple[str, ...] = ("edge-agent-recorder.service", "edge-agent-releaser.service")
    broken: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    uninstallable: frozenset[str] = frozenset()
    cut_at: int = -1
    steps: int = 0
    running: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.running = dict.fromkeys(self.services, self.version)

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            raise PowerCutError

    def installed_version(self) -> str:
        return self.version

    def running_services(self) -> tuple[str, ...]:
        return tuple(self.running)

    def install(self, package: Path) -> None:
        version = package.read_text().removeprefix("package of ").partition("package")[0]
        if version in self.uninstallable:
            raise UpdateError(f"{package.name} could not be installed")
        self._step()
        self.version = ""  # half of each
        self._step()
        self.version = version
        self._step()

    def accepts_configuration(self) -> bool:
        self._step()
        return self.version not in self.refused

    def restart(self, services: Sequence[str]) -> bool:
        self._step()
        works = bool(self.version) and self.version not in self.broken
        self.running = dict.fromkeys(services, self.version) if works else {}
        self._step()
        return works
