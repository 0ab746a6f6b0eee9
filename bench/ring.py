"""The ring against the bare disk and the bare primitives: ``scripts/bench ring``.

4 Mbit/s in records of one second, a sync every three, blocks as for a ring of 32 GiB. Files lie in ``$BENCH_DIR``,
which should be on the kind of disk that is asked about; the write counters need root and a loop device.
"""

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench.measure import Row, interleave, parse_arguments, report
from edge_agent.buffer.crypt import key_id, sign_page, sign_superblock
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.page import BlockEnd, Page
from edge_agent.buffer.format.record import chain_genesis, record_bytes
from edge_agent.buffer.preallocate import allocate
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.ring import choose_block_bytes, create_ring, make_file, plan_superblock
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.media.commitments import Track, Unit, record_commitment
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs, Window

RECORD = 500_000  # bytes of one second at 4 Mbit/s
SYNC_EVERY = 3  # records
BLOCK = choose_block_bytes(32 << 30)
START = UtcNs(1_800_000_000 * SECOND_NS)
BOOT_ID = bytes(16)
GIB = 1 << 30
RECORDER, VAULT = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()


class SteppedClock:
    """One second per record, whatever the time really takes."""

    def __init__(self) -> None:
        self.now = 0

    def utc(self) -> UtcNs:
        return UtcNs(START + self.now)

    def boot(self) -> MonoNs:
        return MonoNs(self.now)

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


class Recording:
    """A ring that is written second by second, over its first lap already."""

    def __init__(self, folder: Path, size_bytes: int, payload: bytes) -> None:
        self.path = folder / "door.main.ring"
        create_ring(
            self.path, camera="door", quality="main", size_bytes=size_bytes, block_size=BLOCK, recorder_key=RECORDER
        )
        self.clock, self.payload = SteppedClock(), payload
        # The writer syncs when its oldest unsynced record is `sync_every` less a tick old: three records, here.
        self.writer = RingWriter.open(
            self.path,
            keys=RingKeys(VAULT.public_key(), RECORDER),
            clock=self.clock,
            boot_id=BOOT_ID,
            settings=WriterSettings("rtsp://door.example/main", sync_every_ns=SYNC_EVERY * SECOND_NS),
        )

    def append(self, records: int) -> float:
        begun = time.perf_counter()
        for _ in range(records):
            self.clock.now += SECOND_NS
            self.writer.append(
                Draft(
                    Kind.GOP,
                    UtcNs(self.clock.utc() - SECOND_NS),
                    SECOND_NS,
                    MonoNs(self.clock.now - SECOND_NS),
                    self.payload,
                    bytes(32),
                )
            )
        return time.perf_counter() - begun


class PlainFile:
    """The peer: the same bytes, overwritten in place, synced at the same interval, and nothing else."""

    def __init__(self, path: Path, size_bytes: int, payload: bytes) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        allocate(self.fd, size_bytes)
        self.size, self.at, self.count = size_bytes, 0, 0
        self.data = payload.ljust(record_bytes(len(payload)), b"\0")

    def append(self, records: int) -> float:
        begun = time.perf_counter()
        for _ in range(records):
            if self.at + len(self.data) > self.size:
                self.at = 0
            os.pwrite(self.fd, self.data, self.at)
            self.at += len(self.data)
            self.count += 1
            if self.count % SYNC_EVERY == 0:
                os.fdatasync(self.fd)
        return time.perf_counter() - begun


def measure_append(folder: Path, runs: int) -> list[Row]:
    """Time to append against plain pwrite and fdatasync of the same bytes and the bare primitives."""
    size, records = 256 << 20, 150
    payload = os.urandom(RECORD)
    ring, plain = Recording(folder, size, payload), PlainFile(folder / "plain", size, payload)
    ring.append(size // RECORD + 10)
    plain.append(size // RECORD + 10)
    aead, buffer = ChaCha20Poly1305(bytes(32)), bytearray(RECORD + 16)

    def primitives() -> float:
        begun = time.perf_counter()
        for index in range(records):
            aead.encrypt_into(index.to_bytes(12, "little"), payload, b"", buffer)
            hashlib.sha256(buffer).digest()
        return time.perf_counter() - begun

    def cpu_of(work: Callable[[], float]) -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    # Short runs on a machine with other work: three times as many of them.
    each = interleave(
        3 * runs,
        {
            "ring": lambda: ring.append(records),
            "plain": lambda: plain.append(records),
            "primitives": primitives,
            "ring_cpu": lambda: cpu_of(lambda: ring.append(records)),
            "bare_cpu": lambda: cpu_of(lambda: plain.append(records) + primitives()),
        },
    )
    ring.writer.close()
    disk_rate = records * RECORD / each["plain"] / 1e6
    added_s = (each["ring"] - each["plain"]) / records
    met_up_to = 0.25 * RECORD / added_s / 1e6
    return [
        Row(
            "append / (pwrite + fdatasync), time",
            each["ring"] / each["plain"],
            1.25,
            note=f"this disk takes {disk_rate:.0f} MB/s from the page cache; met on any up to {met_up_to:.0f} MB/s",
        ),
        Row(
            "append / (pwrite + fdatasync + bare AEAD and SHA-256), time",
            each["ring"] / (each["plain"] + each["primitives"]),
            1.25,
        ),
        Row(
            "append / (pwrite + fdatasync + bare AEAD and SHA-256), CPU",
            each["ring_cpu"] / each["bare_cpu"],
            1.25,
            note=f"{each['ring_cpu'] / records * 1e6:.0f} us per record of {RECORD} B",
        ),
        measure_commitment(3 * runs),
    ]


def measure_commitment(runs: int) -> Row:
    """Time of a second's media commitment, 25 access units in one record, against SHA-256 of the same bytes."""
    salt, count = os.urandom(32), 100
    track = Track(0, "h264", Fraction(1, 90000), b"")
    bodies = [b"\0\0\0\1\x65" + os.urandom(RECORD // 25 - 5) for _ in range(25)]
    units = [Unit(0, 3600 * index, body) for index, body in enumerate(bodies)]
    joined = b"".join(bodies)

    def commit() -> float:
        begun = time.perf_counter()
        for _ in range(count):
            record_commitment(salt, (track,), units)
        return time.perf_counter() - begun

    def bare() -> float:
        begun = time.perf_counter()
        for _ in range(count):
            hashlib.sha256(joined).digest()
        return time.perf_counter() - begun

    each = interleave(runs, {"commit": commit, "bare": bare})
    return Row(
        "media commitment / bare SHA-256, time",
        each["commit"] / each["bare"],
        1.25,
        note=f"{each['commit'] / count * 1e6:.0f} us per record of {RECORD} B in 25 access units",
    )


def measure_read(folder: Path, runs: int) -> list[Row]:
    """Read a window of five minutes back, against reading the same bytes and bare AEAD."""
    seconds = 300
    payload = os.urandom(RECORD)
    recording = Recording(folder, 256 << 20, payload)
    recording.append(seconds + 40)
    recording.writer.close()
    window = Window(START, UtcNs(START + seconds * SECOND_NS))
    order = ExportOrder("bench", "door", Quality.MAIN, window, "", START)
    aead = ChaCha20Poly1305(bytes(32))
    stored = folder / "stored"
    with stored.open("wb") as file:
        for index in range(seconds):
            file.write(aead.encrypt(index.to_bytes(12, "little"), payload, b""))

    def ring() -> float:
        begun = time.perf_counter()
        with RingReader.open(recording.path, VAULT) as reader:
            count = sum(1 for _ in reader.read_own(order))
        assert count == seconds
        return time.perf_counter() - begun

    def bare() -> float:
        begun = time.perf_counter()
        with stored.open("rb", buffering=0) as file:
            for index in range(seconds):
                aead.decrypt(index.to_bytes(12, "little"), file.read(RECORD + 16), b"")
        return time.perf_counter() - begun

    ring()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = interleave(runs, {"ring": ring, "bare": bare})
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        Row(
            "read 5 minutes / (read + bare AEAD), time",
            times["ring"] / times["bare"],
            2,
            note=f"{times['ring'] * 1000:.0f} ms for 150 MB",
        ),
        Row("memory grown by reading them again", grown, 4, "MB"),
    ]


def fill_sparse(folder: Path, size_bytes: int) -> Path:
    """Make a ring of any size whose header pages are all written and whose blocks are holes."""
    public = RECORDER.public_key().public_bytes_raw()
    superblock = plan_superblock(
        camera="door", quality="main", size_bytes=size_bytes, block_size=None, recorder_public=public, now=START
    )
    path = folder / f"{size_bytes // GIB}.ring"
    make_file(path, superblock, sign_superblock(superblock, RECORDER), None, reserve=False)
    minute = 60 * SECOND_NS
    with path.open("rb+") as file:
        for seq in range(1, superblock.blocks + 1):
            opened = START + seq * minute
            page = Page(
                ring_id=superblock.ring_id,
                seq=seq,
                boot_id=BOOT_ID,
                run_id=BOOT_ID,
                opened_utc_ns=UtcNs(opened),
                opened_boot_ns=MonoNs(seq * minute),
                first_start_ns=UtcNs(opened),
                clock_state=ClockState.SYNCHRONISED,
                vault_key_id=key_id(VAULT.public_key()),
                sealed_key=bytes(80),
                recorder_key_id=key_id(RECORDER.public_key()),
                previous=BlockEnd(4096, 1, opened - minute, opened, minute, chain_genesis(superblock.ring_id)),
                source=bytes(32),
            )
            file.seek(superblock.page_offset(seq))
            file.write(sign_page(page, RECORDER))
    return path


_OPEN = """
import resource, sys, time
from pathlib import Path
from edge_agent.buffer.read.reader import RingReader
from edge_agent.units import UtcNs, Window
path, middle = Path(sys.argv[1]), int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
reader = RingReader.open(path, None)
opened = time.perf_counter() - begun
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
window = Window(UtcNs(middle), UtcNs(middle + 300 * 10**9))
reader.find_blocks((window,))
begun = time.perf_counter()
found = reader.find_blocks((window,))
print(opened, grown / 1024, time.perf_counter() - begun, len(found))
"""


def measure_open(folder: Path, runs: int) -> list[Row]:
    """Open rings of 16 GiB and 1 TiB, each in a process of its own, and find five minutes in them."""
    paths = {size: fill_sparse(folder, size * GIB) for size in (16, 1024)}
    middle = str(START + 2000 * 60 * SECOND_NS)
    values: dict[int, list[list[float]]] = {size: [] for size in paths}
    for _ in range(runs):
        for size, path in paths.items():
            done = subprocess.run(
                [sys.executable, "-c", _OPEN, str(path), middle], capture_output=True, text=True, check=True
            )
            values[size].append([float(word) for word in done.stdout.split()])
    medians = {size: [sorted(column)[runs // 2] for column in zip(*each, strict=True)] for size, each in values.items()}
    small, large = medians[16], medians[1024]
    assert 5 <= large[3] <= 8
    return [
        Row("open a ring of 1 TiB", large[0], 0.5, "s", f"16 GiB: {small[0]:.3f} s"),
        Row("memory for it", large[1], 20, "MB", f"16 GiB: {small[1]:.1f} MB"),
        Row("find five minutes in it", large[2] * 1000, 5, "ms", f"16 GiB: {small[2] * 1000:.2f} ms"),
        Row("open 1 TiB / open 16 GiB", large[0] / small[0], 1.5),
    ]


@contextmanager
def loop_ext4(folder: Path, size_bytes: int) -> Iterator[tuple[Path, Path] | None]:
    """Mount a fresh ext4; yield its folder and the kernel's counter, or None where that cannot be done here."""
    image, mount = folder / "image", folder / "mount"
    mount.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size_bytes)
    made = os.geteuid() == 0 and subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if not made or made.returncode != 0:
        yield None
        return
    loop = made.stdout.strip()
    try:
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", loop], check=True)
        subprocess.run(["mount", loop, mount], check=True)
        yield mount, Path("/sys/block", Path(loop).name, "stat")
    finally:
        subprocess.run(["umount", mount], check=False)
        subprocess.run(["losetup", "-d", loop], check=False)
        image.unlink()


def written_bytes(counter: Path) -> int:
    os.sync()
    return int(counter.read_text().split()[6]) * 512


class Segments:
    """The peer: segment files of a minute as ffmpeg leaves them, synced at the same interval, the oldest deleted."""

    def __init__(self, folder: Path, size_bytes: int, payload: bytes) -> None:
        self.folder, self.size_bytes, self.payload = folder, size_bytes, payload
        self.count, self.fd = 0, -1

    def append(self, records: int) -> None:
        for _ in range(records):
            if self.count % 60 == 0:
                if self.fd >= 0:
                    os.close(self.fd)
                kept = sorted(self.folder.glob("*.seg"))
                while kept and (len(kept) + 1) * 60 * RECORD > self.size_bytes:
                    kept.pop(0).unlink()
                self.fd = os.open(self.folder / f"{self.count:09d}.seg", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(self.fd, self.payload)
            self.count += 1
            if self.count % SYNC_EVERY == 0:
                os.fdatasync(self.fd)


def measure_wear(folder: Path) -> list[Row]:
    """Bytes written to the device per byte of footage, second lap, from the kernel's counters."""
    size, payload = 192 << 20, os.urandom(RECORD)
    lap = size // RECORD
    ratios = {}
    for name in ("ring", "segments"):
        with loop_ext4(folder, 320 << 20) as mounted:
            if mounted is None:
                return []
            mount, counter = mounted
            if name == "ring":
                recording = Recording(mount, size, payload)
                recording.append(lap + 5)
                before = written_bytes(counter)
                recording.append(lap)
                recording.writer.close()
            else:
                segments = Segments(mount, size, payload)
                segments.append(lap + 5)
                before = written_bytes(counter)
                segments.append(lap)
                os.close(segments.fd)
            ratios[name] = (written_bytes(counter) - before) / (lap * RECORD)
    return [
        Row(
            "bytes to the device / bytes of footage",
            ratios["ring"],
            1.01,
            note=f"segment files and deletion: {ratios['segments']:.4f}",
        )
    ]


def main() -> int:
    """Measure everything; return the exit code."""
    args = parse_arguments("ring", __doc__ or "")
    rows: list[Row] = []
    for measure in (measure_append, measure_read, measure_open):
        with tempfile.TemporaryDirectory(prefix="bench-ring-", dir=os.environ.get("BENCH_DIR")) as name:
            rows += measure(Path(name), args.runs)
    with tempfile.TemporaryDirectory(prefix="bench-ring-", dir=os.environ.get("BENCH_DIR")) as name:
        rows += measure_wear(Path(name))
    return report("ring", args, rows)


if __name__ == "__main__":
    sys.exit(main())
