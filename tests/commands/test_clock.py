"""``edge-agent clock``: what it shows, and that one order of the owner goes to both processes or is told as missing."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.commands.clock import waits_for_owner
from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.control_socket import ControlServer, Peer
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.settings.gateway import load_config
from edge_agent.units import DAY_NS, HOUR_NS, ClockState, encode_rfc3339
from tests.commands import typed
from tests.support.fakes import FakeKernel


class Process:
    """A process's clock behind its control socket; takes any order, as the real one after its checks."""

    def __init__(self, folder: Path, name: str, held_back: list[str]) -> None:
        self.kernel = FakeKernel(wall=time.time_ns())
        self.clock = KeptClock(folder / f"{name}.json", b"a" * 16, self.kernel.system(), doubts_steps=True)
        self.clock.keep()
        self.held_back = held_back
        self.orders: list[str] = []
        self.refuses = False
        self.handlers = {"clock": self._clock, "confirm-clock": self._confirm, "order": self._confirm}

    def _clock(self, _members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        return {**self.clock.facts(), "held_back": self.held_back}

    def _confirm(self, members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        if self.refuses:
            raise UsageError("the disk is full")
        self.orders.append(members["jws"])
        self.held_back = []
        done = self.clock.confirm()
        return {name: encode_rfc3339(getattr(done, name)) for name in ("floor", "floor_was", "time")}


class Gateway:
    """An enrolled gateway, whose processes are started by ``serve``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "edge-agent.yaml"
        self.path.write_text(
            "gateway: {state_dir: state, run_dir: .}\nclock: {trust: wall-clock}\n"
            "uplink: {enrolment: enrolment.json}\ncameras:\n  - {id: door, url: 'rtsp://127.0.0.1:1/live'}\n"
        )
        self.recorder, self.releaser = Process(folder, "recorder", []), Process(folder, "releaser", [])
        self._passphrase = str(folder / "passphrase")
        self._stop, self._servers = threading.Event(), []

    def serve(self, *names: str) -> None:
        for name in names or ("recorder", "releaser"):
            server = ControlServer(
                load_config(self.path).control_path(name),  # type: ignore[arg-type]
                getattr(self, name).handlers,
                self._stop,
            )
            server.start()
            self._servers.append(server)

    def close(self) -> None:
        self._stop.set()
        for server in self._servers:
            server.join()

    def run(self, *words: str) -> int:
        return typed.run("clock", *words, "--config", str(self.path), "--passphrase-file", self._passphrase)


@pytest.fixture
def gateway(enrolled: Path) -> Iterator[Gateway]:
    gateway = Gateway(enrolled)
    yield gateway
    gateway.close()


def test_doubt_is_shown_with_its_reason(gateway: Gateway, capsys) -> None:
    """What is not believed, why, and what to do, in words and in JSON; the exit code tells a script."""
    gateway.serve()
    assert gateway.run() == 0
    assert "confirm" not in capsys.readouterr().out
    gateway.releaser.kernel.step(8 * HOUR_NS)
    gateway.recorder.held_back = ["door.main"]
    assert gateway.run() == 1
    told = capsys.readouterr().out
    assert "was set by +28800 s" in told
    assert "keeps footage of door.main for longer" in told
    assert "edge-agent clock confirm" in told
    assert gateway.run("--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["releaser"]["step_ns"] > 7 * HOUR_NS
    assert shown["recorder"]["held_back"] == ["door.main"]
    assert set(shown["here"]) >= {"wall", "kernel", "source", "boot_ns", "utc_minus_boot_ns", "build_time"}
    assert set(shown["releaser"]) >= {"floor", "floor_least", "state", "why"}


WORDS = {
    "a source, and a process that doubts": ("synchronised", "floor-only", [], True),
    "a source, and footage kept back": ("synchronised", "synchronised", ["door.main"], True),
    "a source, and nothing else": ("synchronised", "synchronised", [], False),
    "no source, and footage kept back": ("floor-only", "floor-only", ["door.main"], False),
}


@pytest.mark.parametrize(("source", "state", "held_back", "is_awaited"), WORDS.values(), ids=WORDS)
def test_a_word_is_asked_for_only_if_it_would_be_taken(source, state, held_back, is_awaited):
    """Without a time source `confirm` refuses: `clock` does not send anybody there."""
    process = {"state": state, "held_back": held_back}
    shown = {"here": {"source": {"state": source}}, "recorder": process, "releaser": {"state": state}}
    assert waits_for_owner(shown) is is_awaited


def test_process_that_does_not_run_is_said(gateway: Gateway, capsys) -> None:
    """What can be seen without it is shown all the same."""
    gateway.serve("recorder")
    assert gateway.run() == 1
    told = capsys.readouterr().out
    assert "wall clock" in told
    assert "releaser     not running" in told


def test_one_order_confirms_both(gateway: Gateway, capsys) -> None:
    """Both processes get the very same signature, and nothing waits afterwards."""
    gateway.serve()
    gateway.releaser.kernel.step(8 * HOUR_NS)
    gateway.recorder.held_back = ["door.main"]
    assert gateway.run("confirm", "--yes") == 0
    assert gateway.recorder.orders == gateway.releaser.orders
    assert len(gateway.recorder.orders) == 1
    assert gateway.releaser.clock.state() is ClockState.SYNCHRONISED
    capsys.readouterr()
    assert gateway.run("confirm", "--yes") == 0
    assert "nothing waits" in capsys.readouterr().out
    assert len(gateway.recorder.orders) == 1


def test_nobody_there_to_compare_confirms_nothing(gateway: Gateway) -> None:
    """Without a terminal and without ``--yes`` no order is signed."""
    gateway.serve()
    gateway.releaser.kernel.step(DAY_NS)
    with pytest.raises(UsageError, match="nobody is there"):
        gateway.run("confirm")
    assert gateway.releaser.orders == []


def test_without_a_process_nothing_is_confirmed(gateway: Gateway) -> None:
    """No half of it: what cannot be entered in the ledger does not count for retention either."""
    gateway.serve("recorder")
    gateway.recorder.held_back = ["door.main"]
    with pytest.raises(UnavailableError):
        gateway.run("confirm", "--yes")
    assert gateway.recorder.orders == []


def test_half_that_failed_is_told(gateway: Gateway, capsys) -> None:
    """The releaser took it, the recorder did not: said, with a code, and the command can be given again."""
    gateway.serve()
    gateway.releaser.kernel.step(DAY_NS)
    gateway.recorder.held_back, gateway.recorder.refuses = ["door.main"], True
    assert gateway.run("confirm", "--yes") == 75
    assert "NOT CONFIRMED recorder: the disk is full" in capsys.readouterr().out
    gateway.recorder.refuses = False
    assert gateway.run("confirm", "--yes") == 0
    assert len(gateway.recorder.orders) == 1


def test_refused_by_the_releaser_nothing_reaches_the_recorder(gateway: Gateway) -> None:
    """The ledger comes first."""
    gateway.serve()
    gateway.releaser.kernel.step(DAY_NS)
    gateway.releaser.refuses = True
    with pytest.raises(Exception, match="disk is full"):
        gateway.run("confirm", "--yes")
    assert gateway.recorder.orders == []
