"""PROTOCOL 3 to 6 are true: the reasons, the members and the worked example are those of the code."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from edge_agent.consent.admission import SeenRequest, admit, incident_digest
from edge_agent.consent.decision import decide
from edge_agent.consent.policy import Mode
from edge_agent.consent.signed_consent import TYP as CONSENT_TYP
from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.reasons import CAUSES, main, say
from edge_agent.protocol.request import Category
from edge_agent.protocol.request_jws import verify_request
from edge_agent.protocol.verdict import Denial, Grant
from edge_agent.units import MINUTE_NS, UtcNs, parse_rfc3339
from tests.support.consents import sign_consent
from tests.support.gate import (
    HOME,
    ISS,
    ME,
    NOTICE,
    NOW,
    OWNER,
    SYNC,
    Rtcc,
    SeenBefore,
    facts,
    history,
    house_state,
    standing,
    terms,
)

TEXT = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
EXAMPLE = json.loads(re.search(r"### 4\.2.*?```json\n(.*?)```", TEXT, re.S)[1])
RTCC = Rtcc()
TRUST = RTCC.trust()
ARRIVAL = parse_rfc3339("2026-07-01T22:30:00Z")
DEFAULTS = house_state(standing(terms(mode=Mode.AUTO, categories=frozenset({Category.ROBBERY}))))


def section(number):
    return re.search(rf"^#+ {re.escape(number)}[. ].*?(?=^#+ \d)", TEXT, re.S | re.M)[0]


def test_the_table_of_reasons_is_that_of_the_code(capsys):
    """Every code, its check and its sentence, by check: made by ``python -m edge_agent.protocol.reasons``."""
    main()
    assert capsys.readouterr().out.strip() in section("4.1")


def test_every_reason_is_named_by_some_test():
    """A code that no test expects was never seen."""
    tests = "\n".join(path.read_text() for path in Path(__file__).parents[1].rglob("*.py"))
    answered = {"owner-denied", "owner-cancelled", "grant-narrowed"}  # entered by the releaser, not found by the gate
    assert [code for code in CAUSES if f'"{code}"' not in tests and code not in answered] == []


def test_sentences_are_filled_and_end():
    """A template without its values is a programming error, and is not shown to anybody."""
    with pytest.raises(KeyError):
        say("too-far")
    assert say("too-far", limit=300) == "The incident is farther than 300 m from this camera."
    assert all(rule.sentence[0].isupper() and rule.sentence.endswith(".") for rule in CAUSES.values())
    assert [rule.check for rule in CAUSES.values()] == sorted(rule.check for rule in CAUSES.values())


def judge(payload, *people, now=ARRIVAL, seen=None):
    request = verify_request(RTCC.sign(payload, *people), TRUST, now)
    admitted = admit(request, ME, seen or SeenBefore(), now, SYNC)
    return decide(admitted, DEFAULTS, history(), now, SYNC)[0]


def test_the_worked_request_is_granted():
    """As the text says, from the end of the cooling-off."""
    assert ARRIVAL == NOW
    verdict = judge(EXAMPLE)
    assert isinstance(verdict, Grant)
    assert verdict.not_before == ARRIVAL + 10 * MINUTE_NS
    assert verdict.cameras[0].windows == (verdict.request.window,)
    assert (HOME.lat, HOME.lon, ME.cell) == (32.2988, -90.1848, "9vxze")


def test_the_digests_of_the_worked_request():
    """Recomputed from what stands in the text alone."""
    digest = hashlib.sha256(json.dumps(EXAMPLE, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
    text = section("4.2")
    assert digest in text
    facts_line = re.search(r"`(\[\"robbery.*?\])`:", text, re.S)[1]
    assert hashlib.sha256(facts_line.encode()).hexdigest() in text
    request = verify_request(RTCC.sign(EXAMPLE), TRUST, ARRIVAL)
    assert request.payload_sha256.hex() == digest
    assert incident_digest(request.incident).hex() in text


def changed(**members):
    payload = json.loads(json.dumps(EXAMPLE))
    for path, value in members.items():
        *parents, last = path.split("__")
        target = payload
        for parent in parents:
            target = target[parent]
        target[last] = value
    return payload


BEFORE = SeenBefore({(ISS, EXAMPLE["jti"]): SeenRequest(b"\0" * 32, None)})
CHANGES = {
    'a member `"priority": 1`': lambda: judge(changed(priority=1)),
    "signed by `ann` alone": lambda: judge(EXAMPLE, "ann"),
    '`"iss": "rtcc.other-city"`': lambda: judge(changed(iss="rtcc.other-city")),
    '`"aud": {"cells": ["9vxz0"]}`': lambda: judge(changed(aud={"cells": ["9vxz0"]})),
    'the same `jti` with `"audio": true`, later': lambda: judge(changed(clip__audio=True), seen=BEFORE),
    "arrival at 2026-07-01T22:40:00Z": lambda: judge(EXAMPLE, now=UtcNs(ARRIVAL + 10 * MINUTE_NS)),
    "`clip.window.start` at 20:00:00Z": lambda: judge(changed(clip__window__start="2026-07-01T20:00:00Z")),
    "`incident.place.lat` 32.3020": lambda: judge(changed(incident__place__lat=32.3020)),
}


@pytest.mark.parametrize(("change", "call"), CHANGES.items(), ids=CHANGES.keys())
def test_each_changed_line_is_refused_as_the_text_says(change, call):
    """One thing changed, one reason, in the check that the table names."""
    row = next(line for line in section("4.2").splitlines() if line.startswith(f"| {change} |"))
    _, _, check, reason, _ = (cell.strip() for cell in row.split("|"))
    try:
        verdict = call()
    except DenialError as error:
        found = error.reason
    else:
        assert isinstance(verdict, Denial)
        found = verdict.reasons[0].code
    assert f"`{found}`" == reason
    assert CAUSES[found].check == int(check)


def members_of(number):
    rows = re.findall(r"^\| (`.*?) \|", section(number), re.M)
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def test_the_members_of_every_payload_are_those_of_the_text():
    """Requests, trust bundles and consents."""
    assert members_of("3.2") == set(EXAMPLE)
    assert members_of("5") == set(RTCC.trust_payload())
    consent = jws.parse(sign_consent(facts(), terms(), NOTICE, 1, NOW, OWNER), CONSENT_TYP).payload
    assert members_of("6.1") == set(consent)
    assert set(re.findall(r"`([a-z-]+)`", re.search(r"Categories: (.*?)There\s+is", TEXT, re.S)[1])) == {
        category.value for category in Category
    }
