"""Break each check of the gate on purpose, and see that a test goes red: ``python tests/mutate_gate.py``.

Works on a copy in a temporary folder. A mutant is one text replaced by another in one file; one that no test notices is
printed, and the exit code is 1. The tests that went red are run once more without a mutant: there they must be green.
``--list`` shows the mutants, words as arguments pick those whose name holds them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 3600
"""A run that takes longer shows nothing: it is neither a mutant that was noticed nor one that was not."""
ENVELOPE = ("protocol/request_jws.py", "tests/protocol/test_request_jws.py")
JWS = ("protocol/jws.py", "tests/protocol/test_request_jws.py tests/protocol/test_jws.py")
TRUST_STORE = ("uplink/inbound/trust_store.py", "tests/uplink/inbound/test_intake.py")
IN_FORCE = ("uplink/store/in_force.py", "tests/uplink/inbound/test_intake.py")
TRUST = ("protocol/trust_bundle.py", "tests/protocol/test_trust_bundle.py tests/protocol/test_request_jws.py")
ADMISSION = ("consent/admission.py", "tests/consent/test_admission.py")
RULES = ("consent/rules.py", "tests/consent/test_decision.py")
DECISION = ("consent/decision.py", "tests/consent/test_decision.py")
WAIVER = ("consent/signed_consent.py", "tests/consent/test_signed_consent.py tests/consent/test_decision.py")
BOUND = ("consent/bound.py", "tests/consent/test_decision.py")
READER = ("buffer/read/reader.py", "tests/buffer/test_source.py")
SOURCE = ("buffer/read/source.py", "tests/buffer/test_source.py")
TIGHTER = ("consent/meet.py", "tests/consent/test_meet.py")
HOURS = ("consent/hours.py", "tests/consent/test_hours.py")
WIRE = ("protocol/members.py", "tests/protocol/test_request_jws.py")
PRINTABLE = ("printable_text.py", "tests/test_printable_text.py")

Mutant = tuple[tuple[str, str], str, str]
"""The file below ``edge_agent`` with the tests that must notice; the text that is broken; the text put in its place."""
MUTANTS: dict[str, Mutant] = {
    # Checks 1 to 3
    "size": (JWS, "if len(raw) > max_bytes:", "if False:"),
    "depth": (JWS, "if depth > MAX_DEPTH:", "if False:"),
    "depth off by one": (JWS, "if depth > MAX_DEPTH:", "if depth > MAX_DEPTH + 1:"),
    "duplicate members": (JWS, "if len(members) != len(pairs):", "if False:"),
    "NaN": (JWS, "parse_constant=_refuse_constant, ", ""),
    "overflow": (JWS, "if not math.isfinite(number):", "if False:"),
    "surrogates": (JWS, 'if b"\\\\u" in raw:', "if False:"),
    "unknown members of the envelope": (JWS, "for name in sorted(set(value) - names):", "for name in ():"),
    "unprotected header": (JWS, '"header" in signature:', "False:"),
    "crit": (JWS, 'if "crit" in header:', "if False:"),
    "keys in headers": (JWS, "for name in sorted(_KEY_HEADERS & set(header)):", "for name in ():"),
    "unknown header": (JWS, "for name in sorted(set(header) - _HEADER):", "for name in ():"),
    "typ": (JWS, 'if header["typ"] != typ:', "if False:"),
    "alg": (JWS, 'if header["alg"] not in (ED25519, ES256):', "if False:"),
    "kid": (JWS, 'if not isinstance(header["kid"], str) or', "if False and"),
    "number of signatures": (JWS, "not 1 <= len(signatures) <= MAX_SIGNATURES", "not len(signatures)"),
    "unknown members of the payload": (WIRE, 'extra="forbid"', 'extra="ignore"'),
    "strict types": (WIRE, "strict=True", "strict=False"),
    "printable text": (PRINTABLE, "if not _is_visible(letter) or marks > MAX_MARKS:", "if False:"),
    "empty windows": (WIRE, "        self.window()\n", "        pass\n"),
    # Checks 4 to 6
    "unknown key": (JWS, "if header.kid not in keys:", "if False:"),
    "alg of the key": (JWS, "if alg_of(keys[header.kid]) != header.alg:", "if False:"),
    "bad signature": (JWS, 'deny("signature-invalid")', "pass"),
    "repeated signature": (JWS, "if len(set(texts)) != len(texts):", "if False:"),
    "same key": (JWS, "if len({thumbprint(keys[kid]) for kid in kids}) != len(kids):", "if False:"),
    "no bundle": (TRUST, "if trust is None:", "if False:"),
    "expired bundle": (TRUST, "if now >= trust.expires:", "if False:"),
    "expired bundle off by one": (TRUST, "if now >= trust.expires:", "if now > trust.expires:"),
    "revoked key": (TRUST, "if kid in trust.revoked:", "if False:"),
    "key of the future": (TRUST, "if now < key.valid.start:", "if False:"),
    "key of the past": (TRUST, "if now >= key.valid.end:", "if False:"),
    "same person": (ENVELOPE, "if len({key.person for key in keys}) != len(keys):", "if False:"),
    "operator": (ENVELOPE, "if Role.OPERATOR not in roles:", "if False:"),
    "supervisor": (ENVELOPE, "if Role.SUPERVISOR not in roles:", "if False:"),
    "role twice": (ENVELOPE, "if len(set(roles)) != len(roles):", "if False:"),
    "issuer of the bundle": (ENVELOPE, "message.payload.iss != trust.iss", "False"),
    "cameras once": (ENVELOPE, "if len(set(self.cameras)) != len(self.cameras) or", "if"),
    "one audience": (ENVELOPE, "if len(self.model_fields_set) != 1 or", "if"),
    # The trust bundle
    "G13 floor of a version": (TRUST_STORE, "or bundle.version > floor[0]:", "or bundle.version > 0:"),
    "G13 floor of a payload": (TRUST_STORE, "bundle.version > floor[0]", "bundle.version >= floor[0]"),
    "G13 floors fall": (IN_FORCE, 'DELETE FROM trust"', 'DELETE FROM trust_floor"'),
    "old threshold": (TRUST, "if len(signed & set(trusted.keys)) < trusted.threshold:", "if False:"),
    "new threshold": (TRUST, "if len(signed & set(new_roots.keys)) < new_roots.threshold:", "if False:"),
    "rollback": (TRUST, "if wire.version <= current.version:", "if wire.version < current.version:"),
    "issuer change": (TRUST, "if wire.iss != current.iss:", "if False:"),
    "lifetime": (TRUST, "if not 0 < wire.expires - wire.issued_at <= MAX_LIFETIME_NS:", "if False:"),
    "bundle of the future": (TRUST, "wire.issued_at > now + REQUEST_SKEW_NS", "False"),
    "kid of the bundle": (TRUST, "if thumbprint(key) != entry.kid or", "if"),
    "roots twice": (TRUST, "if len(keys) != len(jwks) or not", "if not"),
    "recipients": (TRUST, 'not in (["evidence"], ["escrow", "evidence"])', "is None"),
    "old roots": (TRUST, "trusted = current.roots if current is not None else roots", "trusted = roots"),
    # Checks 7 to 10
    "issuer": (ADMISSION, "if request.iss != me.iss:", "if False:"),
    "audience": (ADMISSION, "me.cell not in request.audience.cells", "False"),
    "replay": (ADMISSION, "raise Replayed(known.answer)", "return"),
    "jti reused": (ADMISSION, "if known.payload_sha256 != request.payload_sha256:", "if False:"),
    "replay before time": (
        ADMISSION,
        "    _check_replay(request, seen)\n    _check_time(request, me, now, clock_state)\n",
        "    _check_time(request, me, now, clock_state)\n    _check_replay(request, seen)\n",
    ),
    "clock": (
        ADMISSION,
        "if clock_state is not ClockState.SYNCHRONISED or me.born_at is None:",
        "if me.born_at is None:",
    ),
    "order of times": (
        ADMISSION,
        "if not request.iat <= request.nbf < request.exp <= request.release_by:",
        "if False:",
    ),
    "validity": (ADMISSION, "if request.exp - request.iat > longest_ns:", "if False:"),
    "release by": (ADMISSION, "if request.release_by - request.iat > MAX_RELEASE_NS:", "if False:"),
    "issued in future": (ADMISSION, "if request.iat > now + REQUEST_SKEW_NS:", "if False:"),
    "not yet valid": (ADMISSION, "if request.nbf > now + REQUEST_SKEW_NS:", "if False:"),
    "expired": (ADMISSION, "if request.exp <= now - REQUEST_SKEW_NS:", "if False:"),
    "release by passed": (ADMISSION, "if request.release_by <= now:", "if False:"),
    "incident window": (ADMISSION, "if incident.window.duration_ns > MAX_INCIDENT_WINDOW_NS:", "if False:"),
    "clip in incident": (ADMISSION, "contains(request.window):", "contains(request.window) and False:"),
    "incident in future": (ADMISSION, "if incident.window.end > now:", "if False:"),
    "clip in future": (ADMISSION, "if request.window.end > now:", "if False:"),
    "reported late": (ADMISSION, "if incident.reported_at > request.iat:", "if False:"),
    "incident changed": (ADMISSION, "if first is not None and first != incident_digest(incident):", "if False:"),
    "incident digest: place": (ADMISSION, "        [repr(incident.place.lat), repr(incident.place.lon)],\n", ""),
    # Check 11: every rule is left out once
    **{
        f"rule {name}": (RULES, f'    "{name}": ', f'    # "{name}": ')
        for name in (
            "version",
            "validity-start",
            "validity-end",
            "mode",
            "agency",
            "signatures",
            "reported",
            "incident",
            "blackout",
            "category",
            "distance",
            "length",
            "age",
            "hours",
            "quality",
            "cooling-off",
            "per-day",
            "per-month",
            "per-incident",
            "minutes",
        )
    },
    "house paused": (RULES, "if now < house_state.paused_until:", "if False:"),
    "camera paused": (RULES, "if now < in_force.paused_until:", "if False:"),
    "revoked": (RULES, "if in_force.revoked:", "if False:"),
    "file cannot shorten": (
        RULES,
        "min(case.consent.valid_until, case.consent.valid_from + case.house.expires_after)",
        "case.consent.valid_until",
    ),
    "distance off by one": (RULES, "metres <= case.terms.distance_m", "metres <= case.terms.distance_m + 100"),
    "quota off by one": (RULES, "case.history.last_day < limit", "case.history.last_day <= limit"),
    "minutes without this one": (
        RULES,
        "case.history.last_month_ns + case.request.window.duration_ns",
        "case.history.last_month_ns",
    ),
    "hours not cut": (
        RULES,
        "return self.terms.hours.windows(window, self.time_zone) if window is not None else ()",
        "return (self.request.window,)",
    ),
    "clock in decide": (RULES, "if clock_state is not ClockState.SYNCHRONISED:", "if False:"),
    "release by in decide": (RULES, "if now >= request.release_by:", "if False:"),
    "one refusal ignored": (DECISION, "finding.case is not None and not finding.reasons", "finding.case is not None"),
    "ask skipped": (DECISION, "    if waiting:\n", "    if False:\n"),
    "silence is a yes": (DECISION, "and now >= _ask_until(case)]", "and False]"),
    "an edit takes the question away": (
        DECISION,
        "waiting = _waiting(offered, now) or would_ask",
        "waiting = _waiting(offered, now)",
    ),
    "approval of another": (
        DECISION,
        "if (approval.jti, approval.request_sha256) != (request.jti, request.payload_sha256):",
        "if False:",
    ),
    "approval of more cameras": (DECISION, "if not set(approval.cameras) <= set(offers.names) or", "if"),
    "approval of a longer window": (
        DECISION,
        " or not request.window.contains(approval.window):",
        ":",
    ),
    "late approval": (DECISION, "if windows and now < mine.answer_by:", "if windows:"),
    "approval before the request": (
        DECISION,
        "if not admitted.arrived_at - APPROVAL_SKEW_NS <= approval.signed_at <=",
        "if not approval.signed_at <=",
    ),
    "approval of the future": (DECISION, "<= approval.signed_at <= now + APPROVAL_SKEW_NS:", "<= approval.signed_at:"),
    "approval does not narrow cameras": (DECISION, " if mine.camera in approval.cameras else ()", ""),
    "approval does not narrow time": (
        DECISION,
        "windows = intersect(mine.windows, (approval.window,))",
        "windows = mine.windows",
    ),
    "audio without consent": (DECISION, "audio=case.request.audio and case.terms.audio", "audio=case.request.audio"),
    "masks forgotten": (DECISION, "masks=case.terms.masks", "masks=()"),
    "no cooling-off": (DECISION, "cooling_off=max(case.house.cooling_off for case in offered)", "cooling_off=0"),
    "cooling-off from the order's own time": (DECISION, "cools_from=now)", "cools_from=approval.signed_at)"),
    "escrow of one is enough": (DECISION, "escrow=all(", "escrow=any("),
    "quotas of the file": (
        DECISION,
        "    findings = apply_rules(admitted, house_state, history, now, as_signed=True)",
        "    findings = apply_rules(admitted, house_state, history, now, as_signed=False)",
    ),
    "only the file asks": (DECISION, "as_signed=True)", "as_signed=False)"),
    "notes tell of other cameras": (
        ("uplink/inbound/steps.py", "tests/consent/test_decision.py"),
        "if each.camera in granted]",
        "]",
    ),
    # The key
    "G6 a key that was taken back leaves": (
        ("uplink/release/key_step.py", "tests/uplink/release/test_worker.py"),
        "leaves = is_here and isinstance(verdict, Grant)",
        "leaves = isinstance(verdict, Grant)",
    ),
    # Consent
    "owner's signature": (WAIVER, "        jws.verify(message, {thumbprint(owner_key): owner_key})\n", ""),
    "G12 threshold is a fact": (WAIVER, '        "threshold": facts.threshold,\n', '        "threshold": 2,\n'),
    "G13 the store is a fact": (WAIVER, '        "store": facts.store,\n', '        "store": "5a" * 16,\n'),
    "G13 requests older than the store": (ADMISSION, "request.iat < me.born_at", "False"),
    "G13 a store that knows no time": (ADMISSION, " or me.born_at is None", ""),
    "G12 every stream is a fact": (WAIVER, "in sorted(facts.streams,", "in sorted(facts.streams[:1],"),
    "G12 which stream": (WAIVER, 'if each["quality"] == quality.value', "if each"),
    "G12 source of the page": (SOURCE, "found == source and found != ZERO_DIGEST", "found != ZERO_DIGEST"),
    "G12 unknown source": (SOURCE, "found == source and found != ZERO_DIGEST", "found == source"),
    "G12 source of the run": (SOURCE, "        if is_foreign:\n", "        if False:\n"),
    "G12 evidence of another source": (
        READER,
        "if not is_of(source, block.page.source):\n                continue",
        "if False:\n                continue",
    ),
    "G12 gaps of another source": (
        READER,
        "            if header.index in foreign:\n",
        "            if header.index in foreign and header.kind is Kind.GOP:\n",
    ),
    "G12 a later consent's source": (
        BOUND,
        "of = (self.camera, self.quality, self.source)",
        "of = (self.camera, self.quality, other.source)",
    ),
    "facts": (WAIVER, "    if changed:\n", "    if False:\n"),
    "terms said": (WAIVER, "if encode_terms(terms) != wire.terms:", "if False:"),
    "validity of the consent": (WAIVER, "if wire.event.valid_until <= wire.event.valid_from:", "if False:"),
    "longest validity": (WAIVER, "min(valid_until, latest)", "valid_until"),
    "unnamed camera": (WAIVER, "    if file is None:\n", "    if False:\n"),
    "file alone": (WAIVER, "return meet(signed, file)", "return file"),
    "file ignored": (WAIVER, "return meet(signed, file)", "return signed"),
    **{
        f"order of {name}": (TIGHTER, f'"{name}": _LOWER', f'"{name}": _HIGHER')
        for name in ("distance_m", "window", "audio", "escrow", "padding", "requests_per_day")
    },
    "order of cooling_off": (TIGHTER, '"cooling_off": _HIGHER', '"cooling_off": _LOWER'),
    "order of notify": (TIGHTER, '"notify": _MORE', '"notify": _FEWER'),
    "order of mode": (TIGHTER, "_rank(Mode.DENY, Mode.ASK, Mode.AUTO)", "_rank(Mode.AUTO, Mode.ASK, Mode.DENY)"),
    "no summer time": (HOURS, "if _offset(probe, zone) != offset_ns:", "if False:"),
    "half-open hours": (HOURS, "if max(a, c) < min(b, d)", "if max(a, c) <= min(b, d)"),
}


def run_tests(folder: Path, tests: Iterable[str]) -> list[str]:
    """Run tests in the copy, up to the first that fails; return the lines of pytest that say which went red and why.

    Raises:
        SystemExit: They took longer than ``TIMEOUT_S``, or ended otherwise: that shows nothing of a mutant.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "GATE_MUTANT": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"neither red nor green after {TIMEOUT_S} s: {tests}") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR tests"))]
    if done.returncode not in (0, 1, 2) or bool(done.returncode) != bool(lines):
        raise SystemExit(f"pytest ended with {done.returncode}: {tests}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return lines


def kill(folder: Path, mutant: Mutant) -> list[str]:
    """Apply one mutant to the copy, run its tests, put the text back; return what went red."""
    (file, tests), old, new = mutant
    path = folder / "edge_agent" / file
    text = path.read_text()
    if text.count(old) < 1:
        raise SystemExit(f"mutant no longer fits: {old!r} is not in {file}")
    path.write_text(text.replace(old, new, 1))
    try:
        return run_tests(folder, tests.split())
    finally:
        path.write_text(text)


def pick(mutants: Mapping[str, Mutant], words: Sequence[str]) -> list[str]:
    """Return the names that hold every word.

    Raises:
        SystemExit: None does. An empty choice would look like a run in which every mutant was noticed.
    """
    names = [name for name in mutants if all(word in name for word in words)]
    if not names:
        raise SystemExit(f"no mutant is called {' '.join(words)!r}; there are:\n" + "\n".join(mutants))
    return names


def copy_tree(folder: Path) -> None:
    """Copy what the tests need."""
    for part in ("edge_agent", "tests", "config", "docs", "setup.cfg"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)


def try_mutants(folder: Path, mutants: Mapping[str, Mutant], names: Sequence[str]) -> tuple[set[str], list[str]]:
    """Try the named mutants in the copy; return the tests that went red, and the mutants that none noticed."""
    killers: set[str] = set()
    survivors = []
    for name in names:
        began_s, red = time.monotonic(), kill(folder, mutants[name])
        took_s = time.monotonic() - began_s
        print(f"{'red  ' if red else 'GREEN'} {name} ({took_s:.0f} s): {(red or [''])[0][:200]}", flush=True)
        killers |= {line.split(" ", 1)[1].split(" - ")[0] for line in red}
        survivors += [] if red else [name]
    return killers, survivors


def main(words: list[str], mutants: Mapping[str, Mutant] = MUTANTS) -> int:
    """Try all mutants, or those whose name holds the words."""
    if words == ["--list"]:
        print("\n".join(mutants))
        return 0
    names = pick(mutants, words)
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder = Path(temporary)
        copy_tree(folder)
        killers, survivors = try_mutants(folder, mutants, names)
        # A test that is red without a mutant, too, notices none. Those that stayed green need no such proof.
        if killers and (red := run_tests(folder, sorted(killers))):
            raise SystemExit(f"a test is red though nothing is broken: {red[0]}")
    print(f"mutants: {len(names)}, not noticed: {len(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
