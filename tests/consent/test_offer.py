"""The offer that an approval answers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.base64url import encode_b64url
from edge_agent.consent.offer import digest_offers, encode_offers, offers_of, parse_offers
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.units import Window

PROTOCOL = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
SECTION = re.search(r"^### 6\.3 .*?(?=^## 7)", PROTOCOL, re.S | re.M)[0]
EXAMPLE = re.search(r"```json\n(.*?)\n```", SECTION, re.S)[1]


def test_the_worked_example_of_the_protocol():
    """The bytes of PROTOCOL 6.3 are read, written back the same, and have the digest that stands there."""
    offers = parse_offers(json.loads(EXAMPLE))
    assert json.dumps(encode_offers(offers), separators=(",", ":")) == EXAMPLE
    assert encode_b64url(digest_offers(offers)) in SECTION


CHANGES = {
    "another camera": {"camera": "yard"},
    "another stream": {"quality": Quality.SUB},
    "a minute more": {"windows": (Window.parse("2026-05-04T21:30:00Z", "2026-05-04T21:36:00Z"),)},
    "sound": {"audio": True},
    "a mask less": {"masks": ()},
    "another mask": {"masks": (Mask(((0, 0), (500, 0), (500, 401))),)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_widens_an_offer_is_another_offer(change):
    """Nothing that a yes lets out can be exchanged under the owner's signature."""
    offers = parse_offers(json.loads(EXAMPLE))
    (camera,) = offers.cameras
    other = replace(offers, cameras=(replace(camera, **CHANGES[change]),))
    assert digest_offers(other) != digest_offers(offers)
    assert digest_offers(replace(offers, escrow=False)) != digest_offers(offers)
    assert digest_offers(replace(offers, cameras=(camera, camera))) != digest_offers(offers)


def test_nothing_is_offered_without_a_bound():
    """A request that was never decided offers nothing."""
    assert offers_of(None).names == ()
