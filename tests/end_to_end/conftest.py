"""The two real processes, a real broker and a real receiver, cameras in this process; everything on loopback."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import av
import pytest

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import HOUSE_TERMS, LAT, LON, TrialCamera, TrialHome
from edge_agent.demo.picture import read_strip
from edge_agent.host.clock import SystemClock
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.deliveries import deliveries, open_delivery
from edge_agent.rtcc.office.request import RequestDraft, SignedRequest, sign_request, to_gateway
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, Window, parse_rfc3339

AUTO = {"mode": "auto", "categories": ["robbery"], "requests_per_day": 90, "requests_per_month": 900}
_numbers = count(1)


@dataclass
class World:
    """A city and one house in it, with everything that a test does to them."""

    folder: Path
    city: City
    home: TrialHome
    cameras: dict[str, SimulatedCamera]
    session: RtccSession
    clock: SystemClock = field(default_factory=SystemClock)

    def draft(self, start_s: float, end_s: float, **changes: Any) -> RequestDraft:
        """Ask for a window that many seconds ago, for an incident at the house that spans just that."""
        now = self.clock.utc()
        window = Window(UtcNs(now - int(start_s * SECOND_NS)), UtcNs(now - int(end_s * SECOND_NS)))
        incident = self._incident(window)
        draft = RequestDraft(to_gateway(self.home.gateway), incident, window, "a test", "desk 1", ("front-door",))
        return replace(draft, release_within_ns=HOUR_NS, **changes)

    def _incident(self, window: Window) -> Incident:
        return Incident(f"E-{next(_numbers)}", Category.ROBBERY, window.end, Place(LAT, LON), window)

    def over(self, window: Window, **changes: Any) -> RequestDraft:
        """Ask for this very window."""
        return replace(self.draft(2, 1, **changes), window=window, incident=self._incident(window))

    def sign(self, draft: RequestDraft) -> SignedRequest:
        """Sign by an operator and a supervisor."""
        return sign_request(self.city.home, draft, self.clock.utc(), operator="operator-1", supervisor="supervisor-1")

    def send(self, draft: RequestDraft) -> SignedRequest:
        """Sign and send."""
        signed = self.sign(draft)
        self.session.send(signed)
        return signed

    def answers(self, jti: str, timeout_s: float = 60.0) -> list[Answer]:
        """Collect the answers to a request to its end."""
        return list(self.session.answers(jti, timeout_s))

    def find(self, jti: str) -> dict[str, Any] | None:
        """Return what the owner sees of a request."""
        found = self.home.ask("releaser", "requests", last=500)["requests"]
        return next((each for each in found if each["jti"] == jti), None)

    def number(self, jti: str) -> str:
        """Return what the gateway calls a request that it has."""
        found = self.find(jti)
        assert found is not None
        return str(found["number"])

    def wait_state(self, jti: str, *states: str, limit_s: float = 40.0) -> dict[str, Any]:
        """Wait until the owner sees a request in one of these states."""

        def reached() -> dict[str, Any] | None:
            found = self.find(jti)
            return found if found is not None and found["state"] in states else None

        return self.home.wait_for(f"{jti} in {states}", reached, limit_s)

    def refused_unread(self) -> dict[str, int]:
        """Return what was counted and not entered, by reason."""
        return self.home.ask("releaser", "status")["refused_unread"]

    def open(self, jti: str) -> Any:
        """Open the one bundle of a request as the RTCC does, into ``folder/jti``."""
        (delivery,) = [each for each in deliveries(self.city.home) if each.jti == jti]
        return open_delivery(self.city.home, delivery, self.folder / jti)

    def clips(self, jti: str) -> list[Path]:
        """Return the clips of an opened request."""
        return sorted((self.folder / jti / "clips").glob("*.mp4"))

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the ledger's entries."""
        from edge_agent.host.control_socket import stream

        path = self.home.config.control_path("releaser")
        return [each for answer in stream(path, "ledger", kinds=kinds, last=0) for each in answer.get("entries", ())]

    def wait_recorded(self, seconds: float, camera: str = "front-door") -> None:
        """Wait until a camera's newest record is that many seconds later than the newest one of now."""

        def newest() -> int:
            status = self.home.ask("recorder", "status")
            return int(status["cameras"][f"{camera}.main"].get("last_record_ns") or 0)

        start = self.clock.utc()
        self.home.wait_for("footage", lambda: newest() >= start + int(seconds * SECOND_NS), seconds + 30)


def passphrase(world: World) -> tuple[str, str]:
    """The words that give a command the owner's passphrase."""
    return "--passphrase-file", str(world.home.passphrase_path)


@dataclass(frozen=True)
class ShownPicture:
    """One decoded picture: the time that its pixels carry, and its time by the ring's clock."""

    pixels: UtcNs
    ring: UtcNs


def read_pictures(opened: Path, clip: str = "clips/001.mp4", typ: str = "clip-manifest+jws") -> list[ShownPicture]:
    """Decode a clip of an opened bundle; ring times are the manifest's start and the pictures' PTS."""
    manifest = jws.parse((opened / "manifest.jws").read_bytes(), typ, 1 << 24).payload
    (start,) = [parse_rfc3339(each["start"]) for each in manifest["clips"] if each["file"] == clip]
    pictures: list[ShownPicture] = []
    with av.open(str(opened / clip)) as container:
        first = None
        for frame in container.decode(video=0):
            first = frame.pts if first is None else first
            since_ns = int((frame.pts - first) * frame.time_base * SECOND_NS)
            pixels = read_strip(frame.to_ndarray(format="gray"))
            pictures.append(ShownPicture(pixels, UtcNs(start + since_ns)))
    return pictures


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Bring up a city and a house with two cameras; both processes run unless ``start=False``."""
    # Unix sockets have short paths.
    short = Path(tempfile.mkdtemp(prefix="ee-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, short, ignore_errors=True)

        def make(
            *,
            terms: dict[str, Any] | None = None,
            house: dict[str, Any] | None = None,
            settings: CameraSettings | None = None,
            extra_config: str = "",
            prepare: Callable[[TrialHome], None] = lambda _: None,
        ) -> World:
            cameras = {
                name: stack.enter_context(SimulatedCamera(settings or CameraSettings()))
                for name in ("front-door", "back-yard")
            }
            city = stack.enter_context(City(short / "city"))
            trial = (
                TrialCamera("front-door", cameras["front-door"].url, AUTO | (terms or {})),
                TrialCamera("back-yard", cameras["back-yard"].url, AUTO | {"mode": "deny"}),
            )
            home = TrialHome(short / "home", trial, {**HOUSE_TERMS, **(house or {})})
            stack.callback(home.stop)
            home.create(city)
            if extra_config:
                home.config_path.write_text(home.config_path.read_text() + extra_config)
            prepare(home)
            home.start("record")
            home.wait_ready()
            home.start("release")
            home.wait_ready()
            home.sign()
            session = stack.enter_context(RtccSession(city.home, watch=True))
            return World(tmp_path, city, home, cameras, session)

        yield make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """The usual world: front-door by terms, back-yard never."""
    return make_world()
