"""The package for arm64, in a Debian for arm64 that user-mode emulation runs: installed, recording, exporting.

No kernel boots and systemd is not the first process: that the program starts there and does its work is what is shown.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from edge_agent.demo.picture import read_strip
from edge_agent.units import SECOND_NS
from tests.machine.containers import PASSPHRASE
from tests.machine.town import CAMERA_PORT, Town
from tests.machine.virtual import MachineError

_RECORD_S = 60
_EDITS = {
    "  size: 32GiB": "  size: 256MiB",
    "  trust: kernel": "  trust: wall-clock",
    "\ncameras:\n": f"\ncameras:\n  - id: door\n    url: rtsp://127.0.0.1:{CAMERA_PORT}/cam\n",
}
_LIMIT_S = 2400.0


def tell(town: Town, root: Path, package: Path) -> dict[str, Any]:
    """Install the package in a root folder, record a minute, and look at each exported picture.

    Raises:
        MachineError: It went otherwise than it must.
    """
    with _mounted(root):
        print(f"== {_run(root, 'uname -m; cat /etc/debian_version').split()}: apt install", flush=True)
        shutil.copyfile(package, root / "root" / package.name)
        begun = time.monotonic()
        said = _run(root, f"apt-get install -y /root/{package.name}")
        if "sudo edge-agent init" not in said:
            raise MachineError(f"the package does not say the second command:\n{said[-2000:]}")
        figures: dict[str, Any] = {"install_s": round(time.monotonic() - begun, 1)}
        (root / "root/pass").write_text(PASSPHRASE)
        (root / "root/pass").chmod(0o600)
        _run(root, "edge-agent init --passphrase-file /root/pass")
        config = root / "etc/edge-agent/edge-agent.yaml"
        text = config.read_text()
        for old, new in _EDITS.items():
            if old not in text:
                raise MachineError(f"the line is not there: {old}")
            text = text.replace(old, new, 1)
        config.write_text(text)
        print(_run(root, "edge-agent check --offline", check=False), flush=True)
        with _running(root):
            _wait_recording(root)
            figures["to_first_second_s"] = round(time.monotonic() - begun, 1)
            print(f"== it records for {_RECORD_S} s", flush=True)
            time.sleep(_RECORD_S)
            figures["export"] = _export(root, town.folder)
        _run(root, "edge-agent ring check")
        return figures


def _export(root: Path, folder: Path) -> str:
    _run(root, "edge-agent export door --from 1m-ago --to now --out /root/door.mp4 --passphrase-file /root/pass")
    times, unreadable = [], 0
    for path in sorted((root / "root").glob("door*.mp4")):
        kept = folder / path.name
        shutil.copyfile(path, kept)
        with av.open(str(kept)) as clip:
            for frame in clip.decode(video=0):
                try:
                    times.append(int(read_strip(frame.to_ndarray(format="gray"))))
                except ValueError:
                    unreadable += 1
    span_s = (max(times) - min(times)) / SECOND_NS if times else 0.0
    if unreadable or span_s < _RECORD_S - 15:
        raise MachineError(f"{len(times)} pictures of {span_s:.1f} s, {unreadable} are wrong")
    return f"{len(times)} pictures of {span_s:.1f} s, 0 are wrong"


def _wait_recording(root: Path) -> None:
    begun = time.monotonic()
    while "door.main: recording" not in (said := _run(root, "edge-agent status", check=False)):
        if time.monotonic() - begun > _LIMIT_S:
            raise MachineError(said)
        time.sleep(1)


@contextmanager
def _running(root: Path) -> Iterator[None]:
    """Run both processes; the exit code of an orderly end must be 0."""
    log = (root / "root/run.log").open("wb")
    words = ["chroot", str(root), "edge-agent", "run"]
    with log, subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            yield
            process.send_signal(signal.SIGTERM)
            if code := process.wait(120):
                raise MachineError(f"edge-agent run ended with {code}")
        except MachineError as error:
            told = (root / "root/run.log").read_text(errors="replace")[-6000:]
            raise MachineError(f"{error}\n{told}") from error
        finally:
            process.terminate()  # the two processes that it started end with it
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _mounted(root: Path) -> Iterator[None]:
    # In a mount namespace of our own (scripts/test-machine): they end with this process.
    for kind in ("proc", "sysfs"):
        subprocess.run(["mount", "-t", kind, kind, root / kind.replace("sysfs", "sys")], check=True, timeout=30)
    subprocess.run(["mount", "--bind", "/dev", root / "dev"], check=True, timeout=30)
    try:
        yield
    finally:
        for name in ("proc", "sys", "dev"):
            subprocess.run(["umount", "-l", root / name], check=False, timeout=30)


def _run(root: Path, command: str, *, check: bool = True) -> str:
    done = subprocess.run(
        ["chroot", str(root), "sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode:
        raise MachineError(f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout + done.stderr
