"""The rules as a set: asked in any order, they find the same."""

import random
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.consent import rules
from edge_agent.consent.rules import RULES, apply_rules
from tests.consent import strategies
from tests.consent.strategies import house_of, three_terms
from tests.support.gate import NOW


@settings(max_examples=60, deadline=None)
@given(strategies.requests, three_terms, strategies.histories, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_does_not_matter(ask, signed, past, rnd: random.Random):
    """Shuffled rules find the same reasons."""
    house = house_of(*signed)
    shuffled = list(RULES.items())
    rnd.shuffle(shuffled)
    as_listed = apply_rules(ask, house, past, NOW)
    with mock.patch.object(rules, "RULES", dict(shuffled)):
        as_shuffled = apply_rules(ask, house, past, NOW)
    assert [set(finding.reasons) for finding in as_listed] == [set(finding.reasons) for finding in as_shuffled]
