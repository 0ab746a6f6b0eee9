"""A recorder's writer as a process of its own, to be killed: writes records that prove themselves.

    python -m tests.crash.writer_process RING KEYS_FOLDER BOOT_ID_HEX PAYLOAD_BYTES [PAUSE_S]

Prints ``N`` once everything up to record N is synced. The payload of a record follows from its start time.
"""

import hashlib
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.host.clock import SystemClock
from edge_agent.units import UtcNs

_SYNC_EVERY_RECORDS = 7


def payload_of(start_ns: int, length: int) -> bytes:
    """Return what a record of that start time holds."""
    return hashlib.shake_128(start_ns.to_bytes(8, "little")).digest(length)


def main() -> None:
    """Append indefinitely."""
    path, folder, boot_id, length = Path(sys.argv[1]), Path(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4])
    pause_s = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    clock = SystemClock(trust_wall_clock=True)
    writer = RingWriter.open(
        path,
        keys=RingKeys(
            X25519PublicKey.from_public_bytes((folder / "vault").read_bytes()),
            Ed25519PrivateKey.from_private_bytes((folder / "recorder").read_bytes()),
        ),
        clock=clock,
        boot_id=boot_id,
        settings=WriterSettings("rtsp://door.example/main"),
    )
    last = 0
    while True:
        for _ in range(_SYNC_EVERY_RECORDS):
            # Strictly rising, so that a start time names one record.
            last = max(clock.utc(), last + 1)
            writer.append(Draft(Kind.GOP, UtcNs(last), 1, clock.boot(), payload_of(last, length)))
        writer.sync()
        print(last, flush=True)
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
