"""Some gateways of the city in one process: ``python -m edge_agent.demo.large_city.street PLAN``.

Owns the only way in which these gateways are lighter than real ones: the releasers of a street share a process, cut one
clip at a time, and have a film in their rings in place of a recorder. Each has keys, a certificate, a store, a ledger
and rings of its own, and is the product's ``Releaser``, which decides, builds, uploads and hands the key over. Owners'
keys have no passphrase: its derivation is slow on purpose.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.commands import consent_verbs, enrol
from edge_agent.consent.policy import parse_policy
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore, encode_private, generate, locate_private
from edge_agent.custody.owner_identity import identity_path, recipient_path
from edge_agent.demo.home import HOUSE_TERMS, TrialCamera, TrialHome, wait_for_next_second
from edge_agent.demo.large_city.film import write_film
from edge_agent.demo.large_city.houses import House
from edge_agent.errors import EvidenceError, UnavailableError
from edge_agent.host.atomic_file import write_new_file
from edge_agent.host.clock import SystemClock
from edge_agent.host.hardening import harden, lock_folder
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.releaser import Releaser
from edge_agent.rtcc.office.keys import write_age_identity
from edge_agent.settings.gateway import read_text
from edge_agent.setup.provision import create_state, write_csr
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.builder import BundleBuilder
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)

CSR, ENROLMENT = "gateway.csr", "enrolment-from-rtcc.json"
"""In the folder of each house: its gateway's application, and the enrolment that comes back."""
ADDRESS = "rtsp://127.0.0.1:1/{}"
"""Of a camera: no camera answers there, as no gateway records."""
_READY_S, _STOP_S = 120.0, 30.0
_TURN = threading.Lock()
"""A clip is cut in a process of its own: two hundred at once would not fit into the memory."""


class _OneAtATime(BundleBuilder):
    """A house's builder, which waits for its turn in the street."""

    def build(self, *given: Any, **named: Any) -> BundleInfo:
        """Build as the product does."""
        with _TURN:
            return super().build(*given, **named)


class _Neighbour(Releaser):
    """The releaser of one house."""

    builder_type = _OneAtATime


class Resident:
    """One house of the street."""

    def __init__(self, street: Path, house: House) -> None:
        folder = street / str(house.number)
        cameras = tuple(TrialCamera(name, ADDRESS.format(name), rules) for name, rules in house.kind.cameras.items())
        place = house.place.lat, house.place.lon
        terms = {**HOUSE_TERMS, "cooling_off": f"{house.cooling_off_s}s"}
        self.home = TrialHome(folder, cameras, terms, ring_size="8MiB", block_size="64KiB", place=place)
        self.house = house
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"house-{house.number}")
        self._store: Database | None = None

    def build(self, film_start: UtcNs) -> None:
        """Make keys, configuration, application, and rings with a film in them."""
        home = self.home
        home.config_path.parent.mkdir(parents=True)
        home.write_config()
        home.write_consent()
        config = home.config
        _make_keys(config.state_dir)
        write_csr(config.state_dir, home.folder / CSR)
        config.gateway.run_dir.mkdir(parents=True)
        for camera in config.cameras:
            write_film(config, camera, film_start, f"house {self.house.number} {camera.id}")

    def move_in(self) -> None:
        """Install the enrolment and start the releaser."""
        words = argparse.Namespace(config=self.home.config_path, file=self.home.folder / ENROLMENT, expect=[], yes=True)
        enrol.run(words)
        self._thread.start()

    def sign(self) -> None:
        """Wait until the gateway is connected, and sign the owner's terms."""
        config, path = self.home.config, self.home.config.consent.file
        self.home.wait_for("broker and trust bundle", self._is_ready, _READY_S)
        passphrase = self.home.folder / "no-passphrase"
        passphrase.touch(mode=0o600)
        words = argparse.Namespace(for_=None, yes=True, camera=None, language="en", passphrase_file=passphrase)
        consent_verbs.sign(config, parse_policy(read_text(path), str(path)), words)

    def read_grants(self) -> list[tuple[str, str, str]]:
        """Return gateway, request and camera of all that the ledger says was granted, once the ledger is verified.

        Raises:
            EvidenceError: It is not whole.
        """
        assert self._store is not None
        gateway, key = self.home.gateway, KeyStore(self.home.config.state_dir, "releaser").load_public("gateway")
        granted: dict[str, list[str]] = {}
        with self._store.reading() as connection:
            ledger.verify(connection, ledger_origin(gateway), key)
            for each in ledger.entries(connection, kinds=["decision"]):
                if each.entry["outcome"] == "grant":
                    granted[str(each.entry["jti"])] = [camera["camera"] for camera in _list(each.entry["cameras"])]
                elif each.entry["outcome"] == "narrowed":
                    granted[str(each.entry["jti"])] = _list(each.entry["cameras"])
        return [(gateway, jti, camera) for jti, cameras in granted.items() for camera in cameras]

    def is_connected(self) -> bool:
        """Tell whether the gateway is at the broker."""
        return bool(self.home.ask("releaser", "status")["broker"] == "connected")

    def ask_to_stop(self) -> None:
        """Have the releaser end."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _is_ready(self) -> bool:
        if not self._thread.is_alive():
            raise UnavailableError(f"the releaser of house {self.house.number} ended")
        status = self.home.ask("releaser", "status")
        return bool(status["broker"] == "connected" and status["trust_bundle"] != "none")

    def _live(self) -> None:
        config = self.home.config
        with lock_folder(config.store_path.parent, "releaser"), Database(config.store_path) as store:
            self._store = store
            _Neighbour(config, load_enrolment(config.uplink.enrolment), store, self._stop).run()


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise EvidenceError("a ledger's decision names no cameras")
    return value


def _make_keys(state_dir: Path) -> None:
    """Make every key of a gateway, the owner's without a passphrase."""
    path = locate_private(state_dir, "owner")
    path.parent.mkdir(parents=True)
    recipient_path(state_dir).parent.mkdir()
    write_new_file(path, encode_private(generate("owner")), 0o600)
    recipient = write_age_identity(identity_path(state_dir), None)
    write_new_file(recipient_path(state_dir), f"{recipient}\n".encode(), 0o644)
    create_state(state_dir, None)


class Street:
    """All houses of the process, and the commands that its standard input brings."""

    def __init__(self, folder: Path, houses: list[House]) -> None:
        self._residents = [Resident(folder, house) for house in houses]

    def answer(self, command: Mapping[str, Any]) -> object:
        """Carry one command out."""
        match command["do"]:
            case "build":
                for each in self._residents:
                    each.build(UtcNs(command["film_start"]))
            case "move-in":
                # The commands speak to a person, and there is none here.
                with contextlib.redirect_stdout(io.StringIO()):
                    for each in self._residents:
                        each.move_in()
                    for each in self._residents:
                        each.sign()
                wait_for_next_second(SystemClock())
            case "count-connected":
                return sum(each.is_connected() for each in self._residents)
            case "read-grants":
                return [grant for each in self._residents for grant in each.read_grants()]
        return len(self._residents)

    def stop(self) -> None:
        """End every releaser."""
        for each in self._residents:
            each.ask_to_stop()
        for each in self._residents:
            each.join()


def main() -> int:
    """Serve until standard input ends."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(threadName)s %(name)s %(message)s")
    folder, *numbers = sys.argv[1:]
    harden()
    street = Street(Path(folder), [House(int(number)) for number in numbers])
    try:
        for line in sys.stdin:
            print(json.dumps(street.answer(json.loads(line))), flush=True)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        street.stop()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # A releaser that does not end must not keep the others.
