"""The rules are asked of every camera: what they find, what of it is counted, and what is shown."""

import random
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.consent import camera_findings
from edge_agent.consent.camera_findings import apply_rules, counted, trace
from edge_agent.consent.decision import decide
from edge_agent.consent.house_state import FOREVER
from edge_agent.consent.policy import Mode
from edge_agent.consent.rules import RULES
from edge_agent.protocol.verdict import Denial
from edge_agent.units import MINUTE_NS, ClockState
from tests.consent import strategies
from tests.consent.strategies import house_of, three_terms
from tests.support.gate import NOW, SYNC, admitted, history, house_state, standing, terms


def test_quotas_count_what_the_signed_terms_would_have_granted():
    """A file made tighter for a while must not save up requests for later."""
    tight = house_state(standing(terms(), terms(mode=Mode.DENY)))
    assert isinstance(decide(admitted(), tight, history(), NOW, SYNC)[0], Denial)
    assert counted(admitted(), tight, history(), NOW, SYNC) == (("door", 10 * MINUTE_NS),)
    refused = house_state(standing(terms(mode=Mode.DENY), terms()))
    assert counted(admitted(), refused, history(), NOW, SYNC) == ()
    assert counted(admitted(), tight, history(), NOW, ClockState.FLOOR_ONLY) == ()


def test_the_trace_names_every_rule_for_every_camera():
    """``explain`` shows the passed rules as well as the others."""
    house = house_state(("door", standing(terms())), ("yard", standing(terms(mode=Mode.DENY), camera="yard")))
    steps = trace(admitted({"clip.cameras": ["*"]}), house, history(), NOW, SYNC)
    assert {(step.rule, step.camera) for step in steps} == {
        (rule, camera) for rule in RULES for camera in ("door", "yard")
    }
    assert [(step.rule, step.camera, step.reason.code) for step in steps if step.reason] == [
        ("mode", "yard", "mode-deny")
    ]
    general = trace(admitted(), house_state(paused_until=FOREVER), history(), NOW, ClockState.FLOOR_ONLY)
    assert [step.reason.code for step in general if step.reason] == ["clock-unsynchronised", "release-paused"]


@settings(max_examples=60, deadline=None)
@given(strategies.requests, three_terms, strategies.histories, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_does_not_matter(ask, signed, past, rnd: random.Random):
    """Shuffled rules find the same reasons."""
    house = house_of(*signed)
    shuffled = list(RULES.items())
    rnd.shuffle(shuffled)
    as_listed = apply_rules(ask, house, past, NOW)
    with mock.patch.object(camera_findings, "RULES", dict(shuffled)):
        as_shuffled = apply_rules(ask, house, past, NOW)
    assert [set(finding.reasons) for finding in as_listed] == [set(finding.reasons) for finding in as_shuffled]
