"""What one gateway more costs an RTCC's embedded home: enrolment, an answer, reading the answers again.

    scripts/bench city [GATEWAYS [NEIGHBOURS]]

CPU of one thread; the disk's share is in the wall times. Beside GATEWAYS real ones (1000 by default) lie the records of
NEIGHBOURS (nine times as many), by id and by key.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.host.clock import SystemClock
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, Status, encode_answer
from edge_agent.protocol.application import encode_csr
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.office.keys import make_id
from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339

LAST = 30
"""So many enrolments at the end are measured."""
JTI = "j" * 22


def measure(name: str, count: int, work: Callable[[], object]) -> None:
    """Run and print milliseconds of CPU and of wall time for each of ``count``."""
    cpu, wall = time.process_time(), time.monotonic()
    work()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(f"{name:<44} {cpu * 1000 / count:8.2f} ms CPU {wall * 1000 / count:8.2f} ms")


def apply(key: Ed25519PrivateKey) -> bytes:
    """Make a gateway's application."""
    recorder, owner = Ed25519PrivateKey.generate().public_key(), Ed25519PrivateKey.generate().public_key()
    tls = ec.generate_private_key(ec.SECP256R1())
    return encode_csr(tls, gateway=key.public_key(), recorder=recorder, owner=owner)


def main() -> None:
    """Make a city in a temporary folder, and measure."""
    count, now = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, SystemClock().utc()
    neighbours = int(sys.argv[2]) if len(sys.argv) > 2 else 9 * count
    with tempfile.TemporaryDirectory() as folder:
        settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, {"evidence": "https://localhost:1/files/"})
        home = RtccHome.create(Path(folder) / "home", settings, now)
        keys = [Ed25519PrivateKey.generate() for _ in range(count + LAST)]
        ids = [enrol(home, apply(key), now).gateway for key in keys[:count]]
        last = [apply(key) for key in keys[count:]]
        record = (home.path / "gateways" / f"{ids[0]}.json").read_bytes()
        for _ in range(neighbours):
            name = make_id()
            (home.path / "gateways" / f"{name}.json").write_bytes(record)
            (home.path / "gateways" / "by-key" / (name + "x" * 21)).write_text(name)
        every = count + neighbours
        measure(f"enrol one at {every}", LAST, lambda: [enrol(home, each, now) for each in last])
        asked = {"aud": {"cells": ["dr5rs"]}, "release_by": encode_rfc3339(UtcNs(now + HOUR_NS))}
        home.write_request(JTI, jws.sign("rtcc-request+jws", asked, [keys[0]]))
        inbox = Inbox(home)
        answers = [
            (
                f"rtcc/1/gw/{gateway}/res",
                encode_answer(
                    Answer(gateway, settings.iss, JTI, 0, now, Status.QUEUED, cameras=("door",), not_before=now), key
                ),
            )
            for gateway, key in zip(ids, keys, strict=False)
        ]
        measure(f"take an answer in at {every}", count, lambda: [inbox.take(*each) for each in answers])
        measure("read an answer again", count, lambda: inbox.answers(JTI))


if __name__ == "__main__":
    main()
