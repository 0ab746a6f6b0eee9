"""One camera that floods, and its neighbours: processes, sockets and rings as in a house, on loopback."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from bench.measure import tree_cpu_s
from edge_agent.buffer.format.constants import Kind
from edge_agent.capture.run.records import Gop
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.source import LiveSettings
from edge_agent.units import SECOND_NS

from ..test_recorder import Gateway, is_recording
from .conftest import read_pictures
from .flooder import KINDS

FPS = 10
MOST_LATE_NS = SECOND_NS // FPS


@contextmanager
def flooding(kind: str, mbit_s: float) -> Iterator[str]:
    """Run a camera that floods; yield its URL."""
    command = [sys.executable, "-m", "tests.capture.flooder", kind, str(mbit_s)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"rtsp://127.0.0.1:{int(process.stdout.readline())}/t"
        finally:
            process.kill()


def check_neighbour(gateway: Gateway, name: str, least_ns: int) -> None:
    """Nothing of a camera is missing, and its pictures stand at the times that they show."""
    records = gateway.read(name)
    footage = [record for record in records if record.header.kind is Kind.GOP]
    gaps = [record for record in records if record.header.kind is Kind.GAP]
    starts = [record.header.start_ns for record in footage]
    ends = [record.header.start_ns + record.header.duration_ns for record in footage]
    assert ends[:-1] == starts[1:]
    assert not [gap for gap in gaps if starts[0] < gap.header.start_ns < ends[-1]]
    assert ends[-1] - starts[0] >= least_ns
    gops = [
        Gop(r.header.start_ns, r.header.duration_ns, r.header.boot_ns, r.plaintext, b"", continues=False)
        for r in footage
    ]
    late = [abs(ring - pixel) for ring, pixel in read_pictures(gops)]
    assert len(late) >= 0.9 * (ends[-1] - starts[0]) * FPS / SECOND_NS
    assert np.percentile(late, 99) <= MOST_LATE_NS


def record_beside(gateway: Gateway, kind: str, *, mbit_s: float, neighbours: int, seconds: float) -> float:
    """Record a camera that floods and its neighbours for a while; return the share of a core that it took."""
    names = [f"cam{number}" for number in range(neighbours)]
    live = LiveSettings(width=320, height=180, fps=FPS, gop=FPS)
    with ExitStack() as stack:
        cameras = {name: stack.enter_context(SimulatedCamera(CameraSettings(live=live))).url for name in names}
        gateway.configure({"flood": stack.enter_context(flooding(kind, mbit_s)), **cameras})
        gateway.config.write_text(gateway.config.read_text().replace("id: flood,", "id: flood, reader: own,"))
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, *(f"{name}.main" for name in names)), 60)
            before_s, began = tree_cpu_s(process.pid), time.monotonic()
            time.sleep(seconds)
            share = (tree_cpu_s(process.pid) - before_s) / (time.monotonic() - began)
            states = gateway.status()
            process.terminate()
            assert process.wait(20) == 0
    assert is_recording(states, *(f"{name}.main" for name in names))
    for name in names:
        check_neighbour(gateway, name, int(seconds * SECOND_NS))
    return share


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.mark.parametrize("kind", ["fragments of a byte", "aggregates of pictures of two bytes"])
def test_a_flood_costs_the_neighbours_nothing(gateway: Gateway, kind: str) -> None:
    """One camera sends far more than it may: its neighbours lose no picture and keep their times."""
    record_beside(gateway, kind, mbit_s=20, neighbours=2, seconds=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_50_mbit_costs_seven_neighbours_nothing(gateway: Gateway, kind: str) -> None:
    """At full size: 50 Mbit/s of what costs a reader most, in each form that it is taken apart in."""
    share = record_beside(gateway, kind, mbit_s=50, neighbours=7, seconds=10)
    print(f"{kind}: {share:.0%} of a core")
    assert share < 0.6 * (os.cpu_count() or 1)
