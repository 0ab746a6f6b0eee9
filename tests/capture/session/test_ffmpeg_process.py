"""FFmpeg in a process of its own: it is killed when it must be, believed in nothing, and sees nothing of ours."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.camera_tls import Trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session import ffmpeg_messages as wire
from edge_agent.capture.session.ffmpeg_child import _name_by_address
from edge_agent.capture.session.ffmpeg_process import ProcessSession, open_session
from edge_agent.capture.session.interface import Arrival, Endpoint, SenderReport
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.units import SECOND_NS, MonoNs, UtcNs
from tests.capture.conftest import Recording, wait_until

QUICK = CameraSettings(live=LiveSettings(gop=8))
NOWHERE = Endpoint("rtsp://127.0.0.1:1/cam", open_timeout_s=0.5)


def children() -> set[int]:
    """Return the processes that read cameras for this one."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"ffmpeg_child" in words or b"-c" in words.split(b"\0"):
                found.add(int(pid))
    return found


def script(body: str) -> tuple[str, ...]:
    """Return a program that stands in for the child."""
    return sys.executable, "-c", f"import os, sys, time, struct\n{body}"


def open_with(
    body: str, endpoint: Endpoint = NOWHERE, silence_s: float = 0.3, released: threading.Event | None = None
) -> ProcessSession:
    clock = SystemClock()
    loss, over = PacketLoss(clock), released or threading.Event()
    return open_session(endpoint, clock, loss, silence_s, over, script(body))


SAY = """
def say(kind, body=b""):
    sys.stdout.buffer.write(struct.pack("<cI", kind, len(body)) + body)
    sys.stdout.buffer.flush()
TRACK = b'{"index": 0, "kind": "video", "codec": "h264", "time_base": "1/90000", "extradata": "", "width": 64,'
TRACK += b' "height": 48, "sample_rate": 0, "channels": 0, "sample_aspect": "0"}'
OPENED = b"[[" + TRACK + b"], false, \\"\\"]"
PICTURE = struct.pack("<BBqqqqQI", 0, 3, 1, 1, 0, 0, 0, 0) + b"picture"
"""


READY = "say(b'R', b'1')\n"
OPEN = READY + "say(b'O', OPENED)\n"
HANG = "sys.stdout.flush()\ntime.sleep(600)"
FAILED = "reader-failed"
ENDS: dict[str, tuple[str, str, str]] = {
    "it is killed": ("os.kill(os.getpid(), 9)", FAILED, "signal=SIGKILL"),
    "it crashes": ("os.abort()", FAILED, "signal=SIGABRT"),
    "it leaves": ("sys.exit(3)", FAILED, "exit=3"),
    "it says nothing": (READY + HANG, "no-answer", ""),
    "it opens and says nothing": (OPEN + HANG, "stalled", ""),
    "no tracks": (READY + "say(b'O', b'[[], false, 0]')", FAILED, "it described no tracks"),
    "a foreign reason": (READY + "say(b'E', b'[1, 1]')", FAILED, "it gave no reason"),
    "another track": (OPEN + "say(b'A', b'\\x05' + PICTURE[1:])", FAILED, "it sent another track"),
    "no picture": (OPEN + "say(b'A', b'x')", FAILED, "it sent no picture"),
    "tracks again": (OPEN + "say(b'O', OPENED)", FAILED, "it began twice"),
    "no number": (OPEN + "say(b'M', b'')", FAILED, "it sent no number"),
    "too much": (OPEN + "sys.stdout.write('A\\0\\0\\0\\x70')\n" + HANG, FAILED, "it sent too much at once"),
    "half a picture": (OPEN + "sys.stdout.write('A\\x70\\0\\0\\0')\n" + HANG, "stalled", ""),
}


@pytest.mark.parametrize(("body", "reason", "detail"), ENDS.values(), ids=ENDS.keys())
def test_child_that_fails_ends_its_session_alone(body: str, reason: str, detail: str) -> None:
    """However the child fails: a reason, in time, and no process is left."""
    before = children()
    began = time.monotonic()
    with pytest.raises(CaptureError) as raised:
        session = open_with(SAY + body)
        try:
            list(session.read())
        finally:
            session.close()
    assert (raised.value.reason, raised.value.detail) == (reason, detail)
    assert time.monotonic() - began < 10
    assert children() == before


@pytest.mark.parametrize("body", [READY, OPEN], ids=["while it opens", "while it reads"])
def test_hung_child_is_killed_when_nobody_wants_its_session(body: str) -> None:
    """A released session ends within two seconds, whatever FFmpeg waits for."""
    released, before = threading.Event(), children()
    endpoint = Endpoint(NOWHERE.url, open_timeout_s=60)
    timer = threading.Timer(0.5, released.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(CaptureError, match="ended"):
        session = open_with(SAY + body + HANG, endpoint, 60, released)
        try:
            list(session.read())
        finally:
            session.close()
    assert time.monotonic() - began < 4
    assert children() == before


def test_arrival_is_within_what_can_be() -> None:
    """Whatever time a child tells: its picture came after the one before it, and not later than now."""
    now, utc, since = MonoNs(90 * SECOND_NS), UtcNs(1_700_000_000 * SECOND_NS), MonoNs(80 * SECOND_NS)
    for told, arrived in {-5: 80, 0: 80, 85: 85, 95: 90, 1 << 30: 90}.items():
        sent = Arrival(0, None, 0, True, b"x", UtcNs(0), MonoNs(told * SECOND_NS), None, None)
        got = wire.parse_arrival(wire.encode_head(sent) + sent.data, 1, utc, now, since)
        assert (got.boot, got.utc) == (arrived * SECOND_NS, utc - (90 - arrived) * SECOND_NS)


ticks = st.integers(-(1 << 63), (1 << 63) - 1)


@given(
    st.builds(
        Arrival,
        track=st.integers(0, 1),
        pts=st.none() | ticks,
        duration=ticks,
        is_keyframe=st.booleans(),
        data=st.binary(min_size=1, max_size=50),
        utc=st.just(UtcNs(77)),
        boot=st.integers(0, 77).map(MonoNs),
        camera_utc=st.none() | ticks.map(UtcNs),
        report=st.none() | st.builds(SenderReport, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)),
        rtp=st.none(),
        is_by_arrival=st.booleans(),
        is_damaged=st.just(False),
    )
)
def test_arrival_comes_through_as_it_was(sent: Arrival) -> None:
    """Ticks, flags, sender reports and bytes are the same on the other side of the pipe."""
    got = wire.parse_arrival(wire.encode_head(sent) + sent.data, 2, UtcNs(77), MonoNs(77), MonoNs(0))
    assert got == Arrival(**{name: getattr(sent, name) for name in Arrival._fields} | {"utc": UtcNs(sent.boot)})


@given(st.binary(max_size=300) | st.text(max_size=99).map(lambda text: f'[[{text}], true, ""]'.encode()))
def test_no_bytes_of_a_child_do_more_than_end_its_session(body: bytes) -> None:
    """Every parser of what the child says gives a value or a CaptureError."""
    for parse in (
        wire.parse_opened,
        wire.parse_count,
        lambda raw: wire.parse_arrival(raw, 2, UtcNs(5), MonoNs(5), MonoNs(0)),
    ):
        with contextlib.suppress(CaptureError):
            parse(body)
    assert isinstance(wire.parse_end(body), CaptureError)


OLD_KERNEL = """
from tests.peers.seccomp_run import ALLOW, Filter, failing
old = Filter(ALLOW)
old.add(failing(38), "landlock_create_ruleset")
old.load()
"""
"""The kernel that has no Landlock answers ENOSYS."""


def in_child(body: str, *readable: Path, kernel: str = "") -> str:
    """Run some Python under the limits of the child; return what it prints."""
    code = f"""{kernel}
import encodings.idna, os, signal, socket, sys
from pathlib import Path
from edge_agent.host.sandbox import confine_client
is_walled = confine_client(memory_bytes=1 << 30, readable=[Path(each) for each in sys.argv[1:]])
def attempt(what):
    try:
        return what() or "done"
    except OSError as error:
        return type(error).__name__ if isinstance(error, PermissionError) else f"OSError: {{error.errno}}"
{body}
"""
    words = [sys.executable, "-c", code, *map(str, readable)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


ATTEMPTS = {
    "another file": "print(attempt(lambda: open(sys.argv[1] + '.other').read()))",
    "the folder": "print(attempt(lambda: os.listdir(os.path.dirname(sys.argv[1]))))",
    "writing": "print(attempt(lambda: open(sys.argv[1], 'a')))",
    "a new file": "print(attempt(lambda: open(sys.argv[1] + '.new', 'w')))",
    "deleting": "print(attempt(lambda: os.unlink(sys.argv[1] + '.other')))",
    "a program": "print(attempt(lambda: os.execv('/bin/true', ['true'])))",
    "a signal to its parent": "print(attempt(lambda: os.kill(os.getppid(), signal.SIGUSR1)))",
    "a socket of another program": "print(attempt(lambda: socket.socket(socket.AF_UNIX)))",
    "listening": "print(attempt(lambda: socket.create_server(('127.0.0.1', 0)) and None))",
}


@pytest.mark.parametrize("body", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_confined_client_reaches_nothing_of_this_machine(tmp_path: Path, body: str) -> None:
    """Neither files nor programs nor processes, nor anybody who would connect to it."""
    (tmp_path / "ca.pem").write_text("ca")
    (tmp_path / "ca.pem.other").write_text("secret")
    assert in_child(body, tmp_path / "ca.pem") in ("PermissionError", "OSError: 97")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "ca.pem.other"]


@pytest.mark.skipif(not Path("/usr/share/doc/libseccomp2").exists(), reason="libseccomp is not installed (libseccomp2)")
def test_client_on_an_old_kernel_has_the_layers_that_there_are() -> None:
    """Without Landlock the filter of system calls still keeps other programs' sockets away; and it is told."""
    body = ATTEMPTS["a socket of another program"] + "; print(is_walled)"
    assert in_child(body, kernel=OLD_KERNEL).split("\n") == ["OSError: 97", "False"]


def test_confined_client_has_what_it_needs(tmp_path: Path) -> None:
    """The files that are named, and connections that it opens itself."""
    (tmp_path / "ca.pem").write_text("authorities")
    assert in_child("print(open(sys.argv[1]).read())", tmp_path / "ca.pem", tmp_path / "none") == "authorities"
    with SimulatedCamera(QUICK) as camera:
        port = camera.url.split(":")[2].split("/")[0]
        connect = f"print(attempt(lambda: socket.create_connection(('127.0.0.1', {port})) and None))"
        assert in_child(connect) == "done"


@pytest.fixture
def camera() -> Iterator[SimulatedCamera]:
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=account)) as simulated:
        yield simulated


LOGIN = {"username": "owner", "password": "secret-word"}


NAMED = {
    "rtsp://cam.local/x": ("192.0.2.7", "rtsp://192.0.2.7/x", ""),
    "rtsps://cam.local:8322/x": ("2001:db8::7", "rtsps://[2001:db8::7]:8322/x", "cam.local"),
}


@pytest.mark.parametrize(("url", "expected"), NAMED.items(), ids=NAMED.keys())
def test_name_that_the_child_cannot_resolve_is_still_verified(url: str, expected: tuple[str, str, str]) -> None:
    """The address is dialled, and the certificate must carry the name."""
    address, dialled, name = expected
    trust = Trust(Path("/ca.pem")) if name else None
    found = _name_by_address(Endpoint(url, trust=trust), address)
    assert found.url == dialled
    assert (found.trust.verify_host if found.trust else "") == name


@pytest.mark.peer
def test_login_is_told_to_nobody_but_the_child(camera: SimulatedCamera) -> None:
    """Neither arguments nor environment of the child have a word of it."""
    before = children()
    with Recording(Endpoint(camera.url, **LOGIN)) as recording:
        recording.wait_for_gops(1)
        (child,) = children() - before
        for name in ("cmdline", "environ"):
            words = subprocess.run(["cat", f"/proc/{child}/{name}"], capture_output=True, check=False).stdout
            assert b"secret-word" not in words
        status = Path(f"/proc/{child}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert children() == before


KILLS: dict[str, Callable[[int], None]] = {
    "SIGSEGV": lambda pid: os.kill(pid, signal.SIGSEGV),
    "SIGKILL": lambda pid: os.kill(pid, signal.SIGKILL),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", KILLS)
def test_death_of_the_child_is_a_reason_and_no_more(camera: SimulatedCamera, name: str) -> None:
    """The stream is down for that reason, told with the signal, and is recorded again by another child."""
    before = children()
    with Recording(Endpoint(camera.url, **LOGIN)) as recording:
        recording.wait_for_gops(2)
        (child,) = children() - before
        KILLS[name](child)
        wait_until(lambda: recording.status.snapshot()["reason"] == "reader-failed")
        assert recording.status.snapshot()["detail"] == f"signal={name}"
        recording.wait_for_gops(len(recording.sink.gops) + 2)
    assert "reader-failed" in {gap.reason for gap in recording.sink.gaps}


@pytest.mark.peer
def test_stopped_child_costs_its_time_out_and_no_more(camera: SimulatedCamera) -> None:
    """A child that hangs is a session that stalled: it is killed, and another one records."""
    before = children()
    with Recording(Endpoint(camera.url, **LOGIN), watchdog_ns=2 * SECOND_NS) as recording:
        recording.wait_for_gops(2)
        (child,) = children() - before
        os.kill(child, signal.SIGSTOP)
        wait_until(lambda: recording.status.snapshot()["reason"] == "stalled")
        recording.wait_for_gops(len(recording.sink.gops) + 2)
        assert child not in children()


@pytest.mark.peer
def test_camera_is_told_of_the_end(camera: SimulatedCamera) -> None:
    """A session that is released says TEARDOWN: a camera that hears nothing takes no other one for a minute."""
    camera.fault("stale-session")
    for _ in range(2):
        with Recording(Endpoint(camera.url, **LOGIN)) as recording:
            recording.wait_for_gops(1)
