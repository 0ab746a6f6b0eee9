"""go2rtc, built once for a run from its pinned modules, as a bridge between a camera and whoever reads it.

It is built by the Go that is there; if that is too old (Debian 12 has 1.19), by one that Go's proxy sends as a module.
"""

import json
import os
import platform
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.wait import wait_until

MODULE = Path(__file__).parent / "go2rtc"
PROGRAM = "github.com/AlexxIT/go2rtc"
LEAST_GO = (1, 23)
_TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.24.0.linux-{}"
_TOOLCHAIN_SUMS = {"amd64": "h1:oPC9yECkA1xwFfkEB5H9B9GDchhCH79d2Y7l4ybHXF0="}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_BUILD_S = 900


@pytest.fixture(scope="session")
def go2rtc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program; return where it is."""
    folder = tmp_path_factory.mktemp("go2rtc")
    # Its files in C are for cgo, which it is not built with.
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    subprocess.run(
        [_find_go(folder), "build", "-o", f"{folder}/go2rtc", PROGRAM],
        cwd=MODULE, env=environment, check=True, timeout=_BUILD_S,
    )  # fmt: skip
    return folder / "go2rtc"


def _find_go(folder: Path) -> Path | str:
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is not None and (int(found[1]), int(found[2])) >= LEAST_GO:
        return "go"
    machine = _MACHINES[platform.machine()]
    words = ["go", "mod", "download", "-json", _TOOLCHAIN.format(machine)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_BUILD_S, check=True)
    module = json.loads(done.stdout)
    # Of another machine's, Go has compared the sum with the one in its public log.
    assert module["Sum"] == _TOOLCHAIN_SUMS.get(machine, module["Sum"])
    root = Path(module["Dir"])
    for path in (*(root / "bin").iterdir(), *(root / "pkg" / "tool").rglob("*")):  # a module's files cannot be run
        if path.is_file():
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return root / "bin" / "go"


@contextmanager
def bridge(program: Path, folder: Path, source: str) -> Iterator[str]:
    """Serve a camera through go2rtc, over loopback alone; yield the URL.

    Args:
        program: Of ``go2rtc``.
        folder: For its configuration.
        source: URL of the camera.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "go2rtc.yaml"
    settings = {
        "app": {"modules": ["api", "rtsp"]},
        "api": {"listen": ""},
        "webrtc": {"listen": ""},
        "rtsp": {"listen": f"127.0.0.1:{port}"},
        "streams": {"cam": source},
    }
    config.write_text(json.dumps(settings))
    with subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _listens(port), 20, "go2rtc listens")
            yield f"rtsp://127.0.0.1:{port}/cam"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
