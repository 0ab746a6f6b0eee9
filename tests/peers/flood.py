"""Bogus requests by the thousand, and one genuine one among them, as an RTCC insider or a taken-over broker could send.

    python -m tests.peers.flood --port PORT --ca CA --certificate PEM --key PEM --topic TOPIC \
        [--rate 2000] [--seconds 60] [--genuine FILE --genuine-at 30]

Prints one JSON object: how many were sent and acknowledged, and how long it took.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

TICK_S = 0.01


def bogus_payloads(seed: int = 1) -> Iterator[bytes]:
    """Yield what must fail checks 1 to 5, each in another way, indefinitely."""
    rng = random.Random(seed)
    signed = {"protected": "e30", "signature": "x" * 86}
    makers: list[Any] = [
        lambda: rng.randbytes(rng.randrange(1, 400)),
        lambda: b"",
        lambda: b"{" * rng.randrange(1, 2000),
        lambda: b'{"payload":"e30","payload":"e30","signatures":[]}',
        lambda: json.dumps({"payload": "e30", "signatures": [signed] * 2}).encode(),
        lambda: json.dumps({"payload": "x" * 2000, "signatures": [signed]}).encode(),
        lambda: json.dumps({"payload": "e30", "signatures": [], "unknown": rng.random()}).encode(),
        lambda: b"\xef\xbb\xbf{}",
    ]
    for number in itertools.count():
        # Now and then as large as a message may be, and a little larger.
        yield b"x" * (65536 + number % 2) if number % 500 == 499 else makers[number % len(makers)]()


class Flood:
    """A publisher at QoS 1 that keeps a rate, whatever the broker's acknowledgements do."""

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path) -> None:
        self.acknowledged = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="rtcc-flood", protocol=paho.MQTTv5)
        self._client.tls_set(str(ca), str(certificate), str(key))
        self._client.max_inflight_messages_set(0)
        self._client.on_publish = self._count
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _count(self, *_: object) -> None:
        self.acknowledged += 1

    def run(
        self, topic: str, rate: int, seconds: float, genuine: bytes | None = None, genuine_at_s: float = 0,
        payloads: Iterator[bytes] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Publish for so many seconds; returns the figures."""
        payloads, sent, started = payloads or bogus_payloads(), 0, time.monotonic()
        genuine_sent_at: float | None = None
        while (elapsed := time.monotonic() - started) < seconds:
            if genuine is not None and genuine_sent_at is None and elapsed >= genuine_at_s:
                self._client.publish(topic, genuine, qos=1)
                genuine_sent_at = time.time()
            for _ in range(int(elapsed * rate) - sent):
                self._client.publish(topic, next(payloads), qos=1)
                sent += 1
            time.sleep(TICK_S)
        total = sent + (genuine_sent_at is not None)
        limit = time.monotonic() + 30
        while self.acknowledged < total and time.monotonic() < limit:
            time.sleep(TICK_S)
        self._client.disconnect()
        self._client.loop_stop()
        return {
            "sent": total,
            "acknowledged": self.acknowledged,
            "seconds": round(time.monotonic() - started, 2),
            "genuine_sent_at": genuine_sent_at,
        }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--genuine", type=Path)
    parser.add_argument("--genuine-at", type=float, default=30)
    args = parser.parse_args()
    flood = Flood(args.port, args.ca, args.certificate, args.key)
    genuine = args.genuine.read_bytes() if args.genuine else None
    print(json.dumps(flood.run(args.topic, args.rate, args.seconds, genuine, args.genuine_at)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
