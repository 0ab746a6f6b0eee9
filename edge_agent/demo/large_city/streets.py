"""The processes of the gateways, seen from outside: the commands that they take, and their answers."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_agent.demo.interrupts import hold_interrupts
from edge_agent.demo.large_city.houses import House
from edge_agent.demo.large_city.street import CSR, ENROLMENT
from edge_agent.errors import UnavailableError
from edge_agent.rtcc.office.enrol import IssuedEnrolment
from edge_agent.units import UtcNs

PER_STREET = 25
_STOP_S = 60.0
_TOLD = 2000


class Streets:
    """All gateways, ``PER_STREET`` a process; as a context, they end with it.

    Args:
        folder: Of the houses; each has its number for a name.
        houses: All of them.
    """

    def __init__(self, folder: Path, houses: Sequence[House]) -> None:
        self._folder, self.houses = folder, houses
        self.gateways: dict[House, str] = {}
        """Id of each enrolled gateway."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for start in range(0, len(self.houses), PER_STREET):
            numbers = [str(house.number) for house in self.houses[start : start + PER_STREET]]
            words = [sys.executable, "-m", "edge_agent.demo.large_city.street", str(self._folder), *numbers]
            with self._log_path(len(self._processes)).open("ab") as log_file, hold_interrupts():
                self._processes.append(
                    subprocess.Popen(
                        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_file, text=True,
                        start_new_session=True,
                    )
                )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The end of its standard input ends a street; all are told before one is waited for.
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_S)

    def build(self, film_start: UtcNs) -> None:
        """Make the houses, with footage from a moment on."""
        self._ask("build", film_start=film_start)

    def enrol(self, house: House, issued: IssuedEnrolment) -> None:
        """Leave a house what the RTCC sent."""
        self.gateways[house] = issued.gateway
        (self._folder / str(house.number) / ENROLMENT).write_bytes(issued.content)

    def read_csr(self, house: House) -> bytes:
        """Return the application of a house's gateway."""
        return (self._folder / str(house.number) / CSR).read_bytes()

    def move_in(self) -> None:
        """Install the enrolments, start the releasers, and sign the owners' terms; returns once all is done."""
        self._ask("move-in")

    def count_connected(self) -> int:
        """Return how many gateways are at the broker."""
        return sum(self._ask("count-connected"))

    def read_grants(self) -> set[tuple[str, str, str]]:
        """Return gateway, request and camera of all that the ledgers say was granted."""
        return {tuple(grant) for grants in self._ask("read-grants") for grant in grants}

    def _ask(self, command: str, **members: Any) -> list[Any]:
        """Tell all of them, then take each one's answer: they work at the same time."""
        line = json.dumps({"do": command, **members})
        for number, process in enumerate(self._processes):
            assert process.stdin is not None
            try:
                print(line, file=process.stdin, flush=True)
            except OSError:
                raise self._explain(number) from None
        return [self._take(number) for number in range(len(self._processes))]

    def _take(self, number: int) -> Any:
        stdout = self._processes[number].stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise self._explain(number)
        return json.loads(line)

    def _explain(self, number: int) -> UnavailableError:
        text = self._log_path(number).read_text(errors="replace")
        return UnavailableError(f"gateways of one process ended:\n{text[-_TOLD:]}")

    def _log_path(self, number: int) -> Path:
        return self._folder / f"gateways-{number}.log"
