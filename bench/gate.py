"""The gate against its floor: verify + admit + decide, over the time of two bare Ed25519 verifications."""

import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Row, interleave, parse_arguments, report
from edge_agent.consent.admission import admit
from edge_agent.consent.decision import decide
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import verify_request
from edge_agent.protocol.verdict import Grant
from tests.support.gate import ME, NOW, SYNC, Rtcc, SeenBefore, history, house_state, request_payload

GOAL = 5.0
CALLS = 200


def per_call(call: Callable[[], object]) -> Callable[[], float]:
    """Return a measurement of ``call``: the microseconds of one, over ``CALLS``."""

    def measure() -> float:
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        return (time.perf_counter_ns() - start) / CALLS / 1000

    return measure


def main() -> int:
    """Measure both in turn; return the exit code."""
    args = parse_arguments("gate", __doc__ or "")
    rtcc = Rtcc()
    rtcc.people["bob"] = Ed25519PrivateKey.generate()  # two Ed25519 signatures, like the floor's
    trust, raw = rtcc.trust(), rtcc.sign(request_payload())
    house, past, seen = house_state(), history(), SeenBefore()
    payload = jws.parse(raw, "rtcc-request+jws").payload_bytes
    keys = [rtcc.people[name] for name in ("ann", "bob")]
    signed = [(key.public_key(), key.sign(payload)) for key in keys]

    def bare() -> None:
        for key, signature in signed:
            key.verify(signature, payload)

    def gate() -> object:
        admitted = admit(verify_request(raw, trust, NOW), ME, seen, NOW, SYNC)
        return decide(admitted, house, past, NOW, SYNC)[0]

    if not isinstance(gate(), Grant):
        raise SystemExit("the request of the benchmark is not granted")
    times = interleave(max(args.runs, 5), {"bare": per_call(bare), "gate": per_call(gate)})
    note = f"gate {times['gate']:.0f} us, two bare verifications {times['bare']:.0f} us"
    return report("gate", args, [Row("gate / two bare Ed25519", times["gate"] / times["bare"], GOAL, note=note)])


if __name__ == "__main__":
    sys.exit(main())
