"""What the fuzzers try on the gate's parsers, and what must hold whatever the bytes are: a value, or a denial in words.

    python -m tests.fuzz gate-TARGET [-max_total_time=60] [libFuzzer options]      needs atheris

TARGET is one of the names in ``TARGETS``; the corpus in ``tests/fuzz/corpus/gate-TARGET`` is replayed by
``test_targets.py`` in every test run. Run as a program, this file writes the first files of the corpus.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from edge_agent.consent.policy import encode_terms, parse_policy, parse_terms
from edge_agent.consent.signed_consent import TYP as CONSENT_TYP
from edge_agent.consent.signed_consent import verify_consent
from edge_agent.errors import ConfigError, DenialError
from edge_agent.protocol.reasons import CAUSES
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.protocol.request_jws import verify_request
from edge_agent.protocol.trust_bundle import TYP as TRUST_TYP
from edge_agent.protocol.trust_bundle import verify_trust
from edge_agent.settings.gateway import parse_config
from tests.support.consents import sign_consent
from tests.support.gate import NOTICE, NOW, OWNER, Rtcc, facts, request_payload, terms

CORPUS = Path(__file__).parent / "corpus"
RTCC = Rtcc()
TRUST = RTCC.trust()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _wrap(payload: bytes, typ: str) -> bytes:
    """Put a payload behind good headers and bad signatures, so that the fuzzer reaches the payload's members."""
    protected = _b64(json.dumps({"alg": "Ed25519", "kid": RTCC.kid("ann"), "typ": typ}).encode())
    signature = {"protected": protected, "signature": _b64(bytes(64))}
    return json.dumps({"payload": _b64(payload), "signatures": [signature]}).encode()


def _denies(call: Callable[[], object]) -> None:
    """What was not signed here is denied, with a reason of the list; nothing else ever comes out."""
    denial = None
    try:
        call()
    except DenialError as error:
        denial = error
    assert denial is not None, "bytes that nobody signed were believed"
    assert denial.reason in CAUSES
    assert str(denial).isprintable()


def envelope(data: bytes) -> None:
    """A request that nobody signed is denied."""
    _denies(lambda: verify_request(data, TRUST, NOW))


def request(data: bytes) -> None:
    """So is any payload behind headers that are right."""
    _denies(lambda: verify_request(_wrap(data, REQUEST_TYP), TRUST, NOW))


def trust(data: bytes) -> None:
    """A trust bundle that the roots did not sign is refused."""
    for raw in (data, _wrap(data, TRUST_TYP)):
        _denies(lambda raw=raw: verify_trust(raw, RTCC.pinned(), None, NOW))  # type: ignore[misc]


def consent(data: bytes) -> None:
    """A consent that the owner did not sign is none."""
    for raw in (data, _wrap(data, CONSENT_TYP)):
        _denies(lambda raw=raw: verify_consent(raw, OWNER.public_key(), facts()))  # type: ignore[misc]


def policy(data: bytes) -> None:
    """A text is a policy that survives being signed, or a complaint that leads to a line."""
    try:
        parsed = parse_policy(data.decode(errors="replace"), "f")
    except ConfigError as error:
        _leads_to_lines(error)
        return
    for camera in parsed.cameras:
        written = parsed.terms(camera)
        assert written is not None
        assert parse_terms(json.loads(json.dumps(encode_terms(written)))) == written


def config(data: bytes) -> None:
    """A text is a configuration, or a complaint that leads to a line."""
    try:
        parse_config(data.decode(errors="replace"), "f", Path("/nowhere"))
    except ConfigError as error:
        _leads_to_lines(error)


def _leads_to_lines(error: ConfigError) -> None:
    assert all(line.startswith("f:") for line in str(error).split("\n"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "envelope": envelope,
    "request": request,
    "trust": trust,
    "consent": consent,
    "policy": policy,
    "config": config,
}


def seeds() -> dict[str, dict[str, bytes]]:
    """Return good messages of keys that nobody has: a corpus begins near what is right."""
    stranger = Rtcc()
    shipped = Path(__file__).parents[2] / "config"
    policy_text = (shipped / "consent.yaml").read_text()
    lines = [line.removeprefix("#:").removeprefix(" ") for line in policy_text.splitlines() if line != "cameras: {}"]
    trust_payload = stranger.trust_payload()
    return {
        "envelope": {
            "good": stranger.sign(request_payload()),
            "three": stranger.sign(request_payload(), "ann", "bob", "cid"),
        },
        "request": {
            "gateway": json.dumps(request_payload()).encode(),
            "area": json.dumps(request_payload({"aud": {"cells": ["9vxze"]}, "clip.cameras": ["*"]})).encode(),
        },
        "trust": {"good": stranger.sign_trust(trust_payload), "payload": json.dumps(trust_payload).encode()},
        "consent": {"good": sign_consent(facts(), terms(), NOTICE, 1, NOW, stranger.roots[0])},
        "policy": {"shipped": policy_text.encode(), "all": "\n".join(lines).encode()},
        "config": {"shipped": (shipped / "edge-agent.yaml").read_bytes()},
    }


def main() -> None:
    """Write the seeds."""
    for name, files in seeds().items():
        (CORPUS / f"gate-{name}").mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (CORPUS / f"gate-{name}" / file).write_bytes(content)


if __name__ == "__main__":
    main()
