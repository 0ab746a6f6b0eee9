"""What the RTCC finds about the papers of a release: what was asked and consented to holds, or the bundle fails."""

import pytest

from edge_agent.consent.policy import Mode
from edge_agent.consent.request import Quality
from edge_agent.consent.verdict import Mask
from edge_agent.keys import thumbprint
from edge_agent.rtcc.findings import Verdict
from edge_agent.units import DAY_NS, UtcNs, encode_rfc3339
from tests.footage import START, encode, records, window
from tests.opened import Opened, open_release
from tests.release import House

PIECES = records(encode(40, audio="aac"))
ZONE = [[0, 500], [500, 500], [500, 1000], [0, 1000]]


def open_under(folder, terms: dict, **options) -> Opened:
    """A release with sound, under these terms, by a gateway that does not look at them."""
    return open_release(folder, House(folder, terms=terms), window(0, 3), PIECES, audio=True, **options)


TERMS = {
    "deny": ({"mode": Mode.DENY}, "denies every release"),
    "ask": ({"mode": Mode.ASK}, "names no approval"),
    "no sound": ({"audio": False}, "allows no sound"),
    "the other stream": ({"quality": Quality.SUB}, "sub stream alone"),
    "masks": ({"masks": [ZONE]}, "is not masked"),
}


@pytest.mark.parametrize(("terms", "words"), TERMS.values(), ids=TERMS.keys())
def test_a_release_is_within_the_terms_that_the_owner_signed(tmp_path, terms, words):
    """The signed terms are read, whatever the gateway made of them."""
    findings = open_under(tmp_path, terms).open()
    assert findings.failed_parts() == {"consent"}
    assert words in findings.as_text()


@pytest.mark.parametrize("days", [-2, 60])
def test_a_consent_counts_while_it_is_valid(tmp_path, days):
    """A decision before the signature's time or after it is over leans on no consent."""
    opened = open_under(tmp_path, {})
    members = opened.manifest
    members["consent"]["decided_at"] = encode_rfc3339(UtcNs(START + days * DAY_NS))
    assert opened.open(opened.sign(opened.parts, members)).failed_parts() == {"consent"}


def test_an_approval_is_the_owners_and_stands_in_the_ledger(tmp_path):
    """Where the owner was asked the manifest names the owner's key, and so does the entry; any other fails."""
    house = House(tmp_path, terms={"mode": Mode.ASK})
    house.approved_by = thumbprint(house.owner.public_key())
    opened = open_release(tmp_path, house, window(0, 3), PIECES, audio=True)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    told = {item.sentence: item.verdict for item in findings.items if item.part == "consent"}
    assert told["That the owner approved this one release is the gateway's word."] is Verdict.NOT_PROVED
    proved = [sentence for sentence, verdict in told.items() if verdict is Verdict.PROVED]
    assert not any("approved this release" in sentence for sentence in proved)
    members = opened.manifest
    for approved_by, parts in ((None, {"consent", "ledger"}), ("x" * 43, {"consent", "ledger"})):
        members["consent"]["approved_by"] = approved_by
        assert opened.open(opened.sign(opened.parts, members)).failed_parts() == parts


def test_sound_is_in_the_grant(tmp_path):
    """Sound that the ledger's entry does not grant fails by the entry."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 3), PIECES)
    members = opened.manifest
    members["clips"][0]["sound"] = "as-recorded"
    assert "ledger" in opened.open(opened.sign(opened.parts, members)).failed_parts()


def test_masks_beyond_the_signed_ones_fail_nothing(tmp_path):
    """A file at home may mask more than was signed: that makes the terms tighter."""
    other = Mask(((0, 0), (100, 0), (100, 100)))
    signed = Mask(tuple((x, y) for x, y in ZONE))
    findings = open_under(tmp_path, {"masks": [ZONE]}, masks=(signed, other)).open()
    assert findings.ok, findings.as_text()
