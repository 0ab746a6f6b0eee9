"""A ring with keys, a clock that tests turn, and values that open it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.read.losses import Loss
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.protocol.request import Audience, Category, Incident, Place, Quality, Request
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs, Window

START = UtcNs(1_800_000_000 * SECOND_NS)
BLOCK = 64 << 10
ADDRESS = "rtsp://door.example/main"


class Keys:
    """One of each; made at run time."""

    def __init__(self) -> None:
        self.vault = X25519PrivateKey.generate()
        self.recorder = Ed25519PrivateKey.generate()


@dataclass
class FakeClock:
    """A clock that stands still until it is turned."""

    utc_ns: int = START
    boot_ns: int = 1000 * SECOND_NS
    state_now: ClockState = ClockState.SYNCHRONISED

    def utc(self) -> UtcNs:
        return UtcNs(self.utc_ns)

    def boot(self) -> MonoNs:
        return MonoNs(self.boot_ns)

    def state(self) -> ClockState:
        return self.state_now

    def run(self, by_ns: int) -> None:
        self.utc_ns += by_ns
        self.boot_ns += by_ns


@dataclass
class Rig:
    """One ring at ``path``."""

    folder: Path
    keys: Keys
    clock: FakeClock = field(default_factory=FakeClock)
    boot_id: bytes = b"boot-0123456789a"

    @property
    def path(self) -> Path:
        return self.folder / "door.main.ring"

    def create(self, blocks: int = 8, block_bytes: int = BLOCK, camera: str = "door", name: str = "") -> Superblock:
        return create_ring(
            self.folder / name if name else self.path,
            camera=camera,
            quality="main",
            size_bytes=(2 + blocks) * 4096 + blocks * block_bytes,
            block_size=block_bytes,
            recorder_key=self.keys.recorder,
            now=self.clock.utc(),
        )

    def writer(self, name: str = "", **options: object) -> RingWriter:
        return RingWriter.open(self.folder / name if name else self.path, **self._writing(options))

    def writer_on(self, disk: Disk, **options: object) -> RingWriter:
        return RingWriter(disk, **self._writing(options))

    def _writing(self, options: dict[str, object]) -> dict[str, Any]:
        recorder = options.pop("recorder_key", self.keys.recorder)
        return {
            "keys": RingKeys(self.keys.vault.public_key(), recorder),  # type: ignore[arg-type]
            "clock": self.clock,
            "boot_id": self.boot_id,
            "settings": WriterSettings(**{"source": ADDRESS, **options}),  # type: ignore[arg-type]
        }

    def reader(self, name: str = "") -> RingReader:
        return RingReader.open(
            self.folder / name if name else self.path, self.keys.vault, self.keys.recorder.public_key()
        )

    def writer_head(self) -> int:
        """Open and close a writer; return the newest block's number."""
        writer = self.writer()
        writer.close()
        return writer.head[0]

    def gop(self, payload: bytes | int = 6000, duration_ns: int = SECOND_NS, flags: int = 0) -> Draft:
        """Draft a GOP that ends now."""
        data = os.urandom(payload) if isinstance(payload, int) else payload
        return Draft(
            Kind.GOP,
            UtcNs(self.clock.utc_ns - duration_ns),
            duration_ns,
            MonoNs(self.clock.boot_ns - duration_ns),
            data,
            os.urandom(32),
            flags,
        )

    def note(self, kind: Kind, payload: bytes = b'{"reason":"camera-down"}', duration_ns: int = 0) -> Draft:
        return Draft(
            kind,
            UtcNs(self.clock.utc_ns - duration_ns),
            duration_ns,
            MonoNs(self.clock.boot_ns - duration_ns),
            payload,
        )

    def record(self, writer: RingWriter, count: int, payload: int = 6000) -> list[Draft]:
        """Append GOPs of one second each, in step with the clock."""
        drafts = []
        for _ in range(count):
            self.clock.run(SECOND_NS)
            draft = self.gop(payload)
            writer.append(draft)
            drafts.append(draft)
        return drafts


def everything() -> Window:
    return Window(UtcNs(0), UtcNs(1 << 61))


def make_grant(
    reader: RingReader,
    *windows: Window,
    camera: str = "door",
    quality: Quality = Quality.MAIN,
    address: str = ADDRESS,
) -> Grant:
    """Make a grant as the gate would, for footage of an address; its request is a stand-in."""
    span = windows or (everything(),)
    incident = Incident("JPD-1", Category.ROBBERY, span[0].start, Place(0.0, 0.0), span[0])
    request = Request(
        raw=b"",
        payload_sha256=bytes(32),
        jti="x",
        iss="rtcc",
        audience=Audience("gw", ()),
        iat=span[0].start,
        nbf=span[0].start,
        exp=span[0].end,
        release_by=span[0].end,
        incident=incident,
        cameras=(camera,),
        window=span[0],
        audio=False,
        quality=quality,
        purpose="",
        contact="",
        deliver="evidence",
        signers=(),
    )
    source = digest_source(reader.superblock.ring_id, address)
    granted = CameraGrant(camera, quality, tuple(span), False, (), bytes(32), 1, source)
    return Grant(request, (granted,), (), span[0].start, span[0].start, None, False)


def make_order(window: Window, camera: str = "door") -> ExportOrder:
    return ExportOrder("o", camera, Quality.MAIN, window, "t", window.start)


def read_all(reader: RingReader, *windows: Window, on_loss: Callable[[Loss], None] | None = None) -> list[StoredRecord]:
    return list(reader.read(make_grant(reader, *windows), "door", on_loss=on_loss))
