"""The recorder as a process: simulated cameras in, rings out."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.source import LiveSettings
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.media.commitments import Track, Unit, open_payload, record_commitment
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.settings.gateway import load_config
from edge_agent.settings.source_digest import digest_source
from edge_agent.setup.provision import create_state
from edge_agent.units import DAY_NS, SECOND_NS, UtcNs, Window
from edge_agent.uplink.clip.nut_reader import read_nut

pytestmark = pytest.mark.peer


class Gateway:
    """A gateway's folders, configuration and recorder process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"
        create_state(self.state, "a passphrase for a test")
        self.run_dir = root / "run"
        self.config = root / "edge-agent.yaml"
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def configure(self, cameras: dict[str, str], size: str = "16MiB", login: bool = False) -> None:
        lines = [f"gateway: {{state_dir: {self.state}, run_dir: {self.run_dir}}}", "clock: {trust: wall-clock}"]
        lines += [f"buffer: {{size: {size}, block_size: 1MiB}}", "cameras:"]
        for camera, url in cameras.items():
            lines.append(f"  - {{id: {camera}, url: '{url}'{', credentials: cam' if login else ''}}}")
        self.config.write_text("\n".join(lines) + "\n")

    def add_login(self, username: str, password: str) -> None:
        path = self.root / "credentials.yaml"
        path.touch(0o600)
        path.write_text(json.dumps({"cam": {"username": username, "password": password}}))

    @contextmanager
    def recorder(self) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-m", "edge_agent", "record", "--config", str(self.config)]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()

    def status(self) -> dict[str, dict[str, object]]:
        path = self.run_dir / "recorder/status.json"
        return json.loads(path.read_text())["cameras"] if path.exists() else {}

    def wait_for(self, condition: Callable[[dict[str, dict[str, object]]], bool], limit_s: float = 25) -> None:
        deadline = time.monotonic() + limit_s
        while not condition(self.status()):
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.1)

    def read(self, camera: str) -> list[StoredRecord]:
        vault = KeyStore(self.state, "releaser").load_private("vault")
        now = time.time_ns()
        window = Window(UtcNs(now - DAY_NS), UtcNs(now + DAY_NS))
        order = ExportOrder("test", camera, Quality.MAIN, window, "", UtcNs(now))
        reader = RingReader.open(self.state / "rings" / f"{camera}.main.ring", vault)
        try:
            return list(reader.read_own(order))
        finally:
            reader.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def is_recording(status: dict[str, dict[str, object]], *names: str) -> bool:
    return all(status.get(name, {}).get("state") == "recording" for name in names)


def footage_of(records: list[StoredRecord]) -> list[StoredRecord]:
    return [record for record in records if record.header.kind is Kind.GOP]


def test_recorded_footage_opens_with_the_vault_key_alone(gateway: Gateway) -> None:
    """Two cameras are recorded into rings whose records adjoin, keep their commitment and hold no plaintext."""
    account = Account("owner", "p@ss:w/rd")
    gateway.add_login("owner", "p@ss:w/rd")
    with (
        SimulatedCamera(CameraSettings(account=account)) as door,
        SimulatedCamera(CameraSettings(account=account)) as yard,
    ):
        gateway.configure({"door": door.url, "yard": yard.url}, login=True)
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "door.main", "yard.main"))
            first = gateway.status()["door.main"]
            gateway.wait_for(
                lambda status: status["door.main"]["last_record_ns"] > first["last_record_ns"] + 3 * SECOND_NS
            )
            asked = call(gateway.run_dir / "recorder/sock", "status")
            process.terminate()
            assert process.wait(10) == 0
            log = process.stderr.read()
    assert asked["cameras"]["door.main"]["codec"] == "h264"
    assert "p@ss" not in log
    assert "p%40ss" not in log
    for camera in ("door", "yard"):
        records = gateway.read(camera)
        footage = footage_of(records)
        assert sum(record.header.duration_ns for record in footage) >= 3 * SECOND_NS
        ends = [record.header.start_ns + record.header.duration_ns for record in footage]
        assert ends[:-1] == [record.header.start_ns for record in footage[1:]]
        for record in footage:
            check_commitment(record)
        kinds = [record.header.kind for record in records]
        assert Kind.RUN in kinds[: kinds.index(Kind.GOP)]
        check_source(gateway, camera, records)
        raw = (gateway.state / "rings" / f"{camera}.main.ring").read_bytes()
        assert b"nut/multimedia" not in raw
        assert b"recorder-stopped" not in raw


def check_source(gateway: Gateway, camera: str, records: list[StoredRecord]) -> None:
    """Every page and RUN names the configured address, not the URL with its login."""
    config = load_config(gateway.config)
    with RingReader.open(config.ring_path(camera, "main"), None) as reader:
        digest = digest_source(reader.superblock.ring_id, config.demand_camera(camera).address("main"))
        assert {page.source for page in reader.pages()} == {digest}
    runs = [json.loads(record.plaintext) for record in records if record.header.kind is Kind.RUN]
    assert {run["source_sha256"] for run in runs} == {digest.hex()}
    assert {run["clock_map"]["clock_rate"] for run in runs} == {90_000}


def check_commitment(record: StoredRecord) -> None:
    salt, nut = open_payload(record.plaintext)
    tracks, packets = read_nut(nut)
    described = [Track(track.index, track.codec, track.time_base, track.extradata) for track in tracks]
    units = [Unit(packet.track, packet.pts, packet.data) for packet in packets]
    assert record_commitment(salt, described, units) == record.header.commitment


@pytest.mark.skipif(os.geteuid() != 0, reason="the recorder's memory is hidden from everybody but root")
def test_no_codec_library_is_in_the_process_that_sees_every_picture(gateway: Gateway) -> None:
    """While it records, refuses a codec and follows an encoder that is set anew, the recorder maps no FFmpeg."""
    with SimulatedCamera() as door, SimulatedCamera() as yard:
        gateway.configure({"door": door.url, "yard": yard.url})
        gateway.config.write_text(gateway.config.read_text().replace("id: door,", "id: door, reader: ffmpeg,"))
        yard.fault("unknown-codec")
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            gateway.wait_for(lambda status: status["yard.main"].get("reason") == "unsupported-codec")
            door.fault("new-size")
            gateway.wait_for(lambda status: status["door.main"].get("width") == 160)
            maps = Path(f"/proc/{process.pid}/maps").read_text()
    libraries = {Path(line.split(maxsplit=5)[5]).name for line in maps.splitlines() if line.count("/")}
    assert any(name.startswith("libc.so") for name in libraries)
    foreign = ("libav", "libsw", "libx26", "cv2", "opencv", "numpy")
    assert not [name for name in libraries if name.startswith(foreign)]


def test_kill_loses_at_most_five_seconds(gateway: Gateway) -> None:
    """After kill -9 and a restart the ring holds everything up to five seconds before, then a GAP, then footage."""
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            first = gateway.status()["door.main"]["last_record_ns"]
            gateway.wait_for(lambda status: status["door.main"]["last_record_ns"] > first + 6 * SECOND_NS)
            killed_ns = time.time_ns()
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        (gateway.run_dir / "recorder/status.json").unlink()
        before = footage_of(gateway.read("door"))[-1].header
        assert killed_ns - (before.start_ns + before.duration_ns) <= 5 * SECOND_NS
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
    records = gateway.read("door")
    gaps = [json.loads(r.plaintext)["reason"] for r in records if r.header.kind is Kind.GAP]
    assert "recorder-stopped" in gaps
    spans = sorted(
        (r.header.start_ns, r.header.start_ns + r.header.duration_ns) for r in records if r.header.duration_ns
    )
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))


def test_one_camera_down_leaves_the_other_alone(gateway: Gateway) -> None:
    """A camera that refuses the password, one that is off and one whose name for credentials is missing say so each."""
    gateway.add_login("owner", "wrong")
    with SimulatedCamera() as door, SimulatedCamera(CameraSettings(account=Account("owner", "right"))) as yard:
        gateway.configure({"door": door.url, "yard": yard.url, "gate": "rtsp://127.0.0.1:9/cam"}, login=True)
        with gateway.recorder():
            gateway.wait_for(
                lambda s: (
                    is_recording(s, "door.main")
                    and s["yard.main"].get("reason") == "unauthorized"
                    and s["gate.main"].get("reason") == "unreachable"
                )
            )


def test_ring_that_cannot_be_made_stops_nobody_else(gateway: Gateway) -> None:
    """One ring's path is taken by something else: that stream says so, the other records."""
    (gateway.state / "rings").mkdir(exist_ok=True)
    (gateway.state / "rings" / "yard.main.ring").write_bytes(b"not a ring" * 1000)
    with SimulatedCamera() as door, SimulatedCamera() as yard:
        gateway.configure({"door": door.url, "yard": yard.url})
        with gateway.recorder():
            gateway.wait_for(lambda s: is_recording(s, "door.main") and s["yard.main"]["storage"] != "ok")
    assert footage_of(gateway.read("door"))


def test_second_recorder_is_refused(gateway: Gateway) -> None:
    """A second recorder on the same folder ends at once with words, and takes nothing from the first."""
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            with gateway.recorder() as second:
                assert second.wait(20) == os.EX_TEMPFAIL
                assert "another recorder" in second.stderr.read()
            assert call(gateway.run_dir / "recorder/sock", "status")["cameras"]["door.main"]["state"] == "recording"


def test_stop_takes_at_most_two_seconds_even_with_a_mute_camera(gateway: Gateway) -> None:
    """SIGTERM ends the process in time while one camera is being opened and does not answer."""
    with SimulatedCamera() as door, SimulatedCamera() as mute:
        mute.fault("mute")
        gateway.configure({"door": door.url, "mute": mute.url})
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            process.terminate()
            assert process.wait(3.0) == 0
    assert footage_of(gateway.read("door"))


def test_systemd_is_told(gateway: Gateway, tmp_path: Path) -> None:
    """READY, STATUS, WATCHDOG and STOPPING reach the notification socket."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, SimulatedCamera() as door:
        line.bind(address)
        line.settimeout(15)
        gateway.environment |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "900000"}
        gateway.configure({"door": door.url})
        seen = set()
        with gateway.recorder() as process:
            while not {"READY", "STATUS", "WATCHDOG"} <= seen:
                seen.add(line.recv(4096).decode().split("=")[0])
            process.terminate()
            while "STOPPING" not in seen:
                seen.add(line.recv(4096).decode().split("=")[0])


def test_erase_destroys_what_it_says(gateway: Gateway) -> None:
    """Erasing through the control socket leaves nothing to read, and recording goes on."""
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            asked_ns = time.time_ns()
            answer = call(gateway.run_dir / "recorder/sock", "erase", camera="door")
            assert answer["erased"]["door.main"]
            gateway.wait_for(lambda status: status["door.main"]["last_record_ns"] > asked_ns + 3 * SECOND_NS)
    footage = footage_of(gateway.read("door"))
    assert footage
    assert all(record.header.start_ns >= asked_ns for record in footage)


def test_pause_stops_recording_at_once(gateway: Gateway) -> None:
    """A pause needs no signature, ends the session with the camera, holds across a restart, and is told as a GAP."""
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            call(gateway.run_dir / "recorder/sock", "pause", camera="door", until=None)
            gateway.wait_for(lambda status: status["door.main"].get("reason") == "paused")
            gateway.wait_for(lambda _: not door.has_players())
        (gateway.run_dir / "recorder/status.json").unlink()
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("reason") == "paused")
            assert not door.has_players()


def test_camera_that_is_switched_off_is_paused_for_when_it_is_on(gateway: Gateway) -> None:
    """A pause of it is taken and kept; what cannot be done to it is said with the true reason."""
    with SimulatedCamera() as shed:
        gateway.configure({"shed": shed.url})
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("id: shed", "id: shed, enabled: false"))
        socket_path = gateway.run_dir / "recorder/sock"
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("shed.main", {}).get("state") == "off")
            call(socket_path, "pause", camera="shed", until=None)
            with pytest.raises(EdgeAgentError, match="no such camera: gate"):
                call(socket_path, "pause", camera="gate", until=None)
            with pytest.raises(EdgeAgentError, match="switched off"):
                call(socket_path, "erase", camera="shed")
        (gateway.run_dir / "recorder/status.json").unlink()
        gateway.config.write_text(text)
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("shed.main", {}).get("reason") == "paused")
            assert not shed.has_players()


def test_event_only_camera_is_left_alone_without_events(gateway: Gateway) -> None:
    """A camera of ``record: on_event`` is not asked for a stream; its state says why, and that no events can come."""
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        text = gateway.config.read_text().replace(
            f"'{door.url}'}}",
            f"'{door.url}', record: on_event, triggers: [{{kind: mqtt, topic: ring/door/motion, payload: 'ON'}}]}}",
        )
        gateway.config.write_text(text + "home_broker: {host: 127.0.0.1, port: 9}\n")
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("state") == "waiting")
            assert gateway.status()["door.main"]["reason"] == "not-by-rule"
            gateway.wait_for(lambda status: status["door.main"]["events"] == "trouble")
            assert gateway.status()["door.main"]["events_detail"] == "the home's broker is not reached: ECONNREFUSED"
            assert "no events come" in str(gateway.status()["door.main"]["warning"])
            assert not door.has_players()


@pytest.mark.slow
def test_killed_again_and_again_the_ring_stays_whole(gateway: Gateway) -> None:
    """Six kills, some of them within the first second: every byte checks, every record opens, no block comes twice."""
    path = gateway.state / "rings" / "door.main.ring"
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        for after_s in (4.0, 0.3, 1.5, 2.5, 0.8, 3.5):
            with gateway.recorder() as process:
                gateway.wait_for(lambda status: is_recording(status, "door.main"))
                time.sleep(after_s)  # any moment will do: it is killed wherever it is then
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            (gateway.run_dir / "recorder/status.json").unlink()
            before = [(record.seq, record.index) for record in gateway.read("door")]
            assert before == sorted(set(before))
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
    words = [sys.executable, "-m", "edge_agent", "ring", "check", str(path), "--config", str(gateway.config), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (report,) = json.loads(done.stdout)
    assert report["findings"] == []
    records = gateway.read("door")
    assert len({record.seq for record in records}) >= 6
    for record in footage_of(records):
        check_commitment(record)
    spans = sorted(
        (r.header.start_ns, r.header.start_ns + r.header.duration_ns) for r in records if r.header.duration_ns
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_another_disk_at_the_path_is_refused_while_the_other_camera_records(gateway: Gateway) -> None:
    """A ring that is not the remembered one is left alone and said; `ring accept` takes it, and it records on."""
    path = gateway.state / "rings" / "door.main.ring"
    words = [sys.executable, "-m", "edge_agent", "ring", "accept", "door", "--config", str(gateway.config)]
    with SimulatedCamera() as door, SimulatedCamera() as yard:
        gateway.configure({"door": door.url, "yard": yard.url})
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main", "yard.main"))
        path.rename(path.with_name("put-away"))
        (gateway.run_dir / "recorder/status.json").unlink()
        with gateway.recorder():
            gateway.wait_for(
                lambda s: is_recording(s, "yard.main") and "ring is not there" in str(s["door.main"].get("storage"))
            )
            assert not path.exists()
            subprocess.run(words, capture_output=True, check=True)
            gateway.wait_for(lambda s: s["door.main"].get("storage") == "ok")
    assert path.exists()


def test_changed_size_is_followed_and_the_other_camera_records_meanwhile(gateway: Gateway) -> None:
    """A new `size` in the configuration: the ring has it after the next start, with its id and its footage."""
    path = gateway.state / "rings" / "door.main.ring"
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
        before = footage_of(gateway.read("door"))
        gateway.configure({"door": door.url}, size="24MiB")
        (gateway.run_dir / "recorder/status.json").unlink()
        with gateway.recorder():
            gateway.wait_for(lambda s: is_recording(s, "door.main") and s["door.main"]["storage"] == "ok")
    assert 23 << 20 < path.stat().st_size <= 24 << 20
    after = footage_of(gateway.read("door"))
    assert [each.plaintext for each in before] == [each.plaintext for each in after[: len(before)]]
    assert {each.ring_id for each in after} == {each.ring_id for each in before}


def test_camera_that_needs_ffmpeg_begins_with_it_after_a_restart(gateway: Gateway) -> None:
    """What only FFmpeg can read is tried with our own reader once; the next start of the recorder remembers."""
    memory, asked = gateway.state / "recorder/readers.json", []
    with SimulatedCamera(CameraSettings(live=LiveSettings(codec="mjpeg"))) as door:
        gateway.configure({"door": door.url})
        for _ in range(2):
            before = door.requests
            (gateway.run_dir / "recorder/status.json").unlink(missing_ok=True)
            with gateway.recorder() as process:
                gateway.wait_for(lambda status: is_recording(status, "door.main") and memory.exists(), 60)
                assert gateway.status()["door.main"]["reader"] == "ffmpeg"
                asked.append(door.requests - before)
                process.terminate()
                assert process.wait(20) == 0
    assert asked[1] < asked[0], "our own reader asked as well"


def test_motion_starts_the_recording(gateway: Gateway) -> None:
    """A camera that waits for motion is watched through an open session, and recorded while something moves."""
    with SimulatedCamera() as door:
        door.fault("still")
        gateway.configure({"door": door.url})
        trigger = "triggers: [{kind: motion, area_percent: 0.5, for: 5s, from: 2s}]"
        text = gateway.config.read_text().replace(f"'{door.url}'}}", f"'{door.url}', record: on_event, {trigger}}}")
        gateway.config.write_text(text)
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("state") == "waiting")
            assert door.has_players()
            gateway.wait_for(lambda status: "picture" in status["door.main"])
            assert not footage_of(gateway.read("door"))
            moved_ns = time.time_ns()
            door.fault("still", False)
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            door.fault("still")
            gateway.wait_for(lambda status: status["door.main"]["state"] == "waiting")
    assert footage_of(gateway.read("door"))[0].header.start_ns < moved_ns


def test_clock_floor_is_kept(gateway: Gateway) -> None:
    """The recorder writes the time that it knew to be right, and starts from there."""
    path = gateway.state / "recorder" / "clock.json"
    with SimulatedCamera() as door:
        gateway.configure({"door": door.url})
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            first = json.loads(path.read_text())["utc_ns"]
            process.terminate()
            assert process.wait(10) == 0
        assert json.loads(path.read_text())["utc_ns"] > first
        ahead_ns = time.time_ns() + DAY_NS
        path.write_text(json.dumps({"utc_ns": ahead_ns}))
        (gateway.run_dir / "recorder/status.json").unlink()
        with gateway.recorder():
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            asked = call(gateway.run_dir / "recorder/sock", "status")
    assert asked["clock"] == "floor-only"
    assert asked["cameras"]["door.main"]["last_record_ns"] > ahead_ns


HANGING_DISK = """
import sys, time
def hang(event, arguments):
    if event == "open" and str(arguments[0]).endswith("door.main.ring"):
        time.sleep(3600)
sys.addaudithook(hang)
"""


def test_disk_that_does_not_answer_costs_its_own_camera_only(gateway: Gateway) -> None:
    """If the opening of one ring hangs, the others record and can be erased."""
    # A disk on which an open never returns, for the recorder's process alone: a FIFO would be refused at once.
    (gateway.root / "sitecustomize.py").write_text(HANGING_DISK)
    gateway.environment["PYTHONPATH"] = str(gateway.root)
    with SimulatedCamera() as door, SimulatedCamera() as yard:
        gateway.configure({"door": door.url, "yard": yard.url})
        rings = gateway.state / "rings"
        (rings / "door.main.ring").touch()
        with gateway.recorder() as process:
            gateway.wait_for(lambda status: is_recording(status, "yard.main"), limit_s=40)
            assert gateway.status()["door.main"]["storage"] == "ring is not open yet"
            for _ in range(5):  # more than there are threads that answer
                answer = call(gateway.run_dir / "recorder/sock", "erase", timeout_s=10)
                assert "does not answer" in answer["failed"]["door.main"]
                assert "yard.main" in answer["erased"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
