"""Footage is released only if its page names the source that was granted; the owner reads all of it (FORMAT 3.5)."""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.buffer.format.constants import PAGE_BYTES, Kind
from edge_agent.buffer.format.page import parse_page
from edge_agent.buffer.read.source import list_foreign_spans
from edge_agent.settings.source_digest import digest_source
from tests.buffer.format.test_format import read_example
from tests.buffer.rig import ADDRESS, Keys, Rig, everything, make_grant, make_order

BEDROOM = "rtsp://door.example/bedroom"
UNKNOWN = bytes(32)


def record(rig: Rig, *addresses: str, count: int = 3) -> dict[bytes, str]:
    """Record a few GOPs from each address in turn, as a recorder that is started with it; payload → address."""
    rig.create(blocks=32)
    found = {}
    for address in addresses:
        writer = rig.writer(source=address)
        found |= {draft.payload: address for draft in rig.record(writer, count)}
        writer.close()
    return found


def released(rig: Rig, address: str = ADDRESS) -> tuple[set[bytes], list]:
    lost: list = []
    with rig.reader() as reader:
        grant = make_grant(reader, address=address)
        return {each.plaintext for each in reader.read(grant, "door", on_loss=lost.append)}, lost


def test_a_source_that_was_away_is_a_gap(rig: Rig) -> None:
    """Pointed away and back, the nights between stay at home: a gap `source-changed`, each record with its span."""
    written = record(rig, ADDRESS, BEDROOM, ADDRESS)
    payloads, lost = released(rig)
    assert payloads == {payload for payload, address in written.items() if address == ADDRESS}
    assert [each.reason for each in lost] == ["source-changed"] * 3
    assert all(each.window.duration_ns == 10**9 for each in lost)


def test_the_owner_is_told_which_footage_falls_out(rig: Rig) -> None:
    """By the header pages alone, without a key: each time at another source, and one that goes on."""
    record(rig, ADDRESS, BEDROOM, ADDRESS, BEDROOM)
    with rig.reader() as reader:
        source, pages = digest_source(reader.superblock.ring_id, ADDRESS), list(reader.pages())
    opened = [page.opened_utc_ns for page in pages]
    assert list_foreign_spans(pages, source) == [(opened[1], opened[2]), (opened[3], None)]
    assert list_foreign_spans(pages[:1], source) == []


def test_nothing_of_another_source_is_evidence(rig: Rig) -> None:
    """Pages and headers of another source tell when something moved there: they are not disclosed."""
    record(rig, ADDRESS, BEDROOM, ADDRESS)
    with rig.reader() as reader:
        shown = [parse_page(block.page_bytes) for block in reader.evidence(make_grant(reader), "door")]
        own = list(reader.evidence_own(make_order(everything())))
        wanted = digest_source(reader.superblock.ring_id, ADDRESS)
    assert {page.source for page in shown} == {wanted}
    assert len(own) > len(shown)


def test_the_owner_reads_every_source(rig: Rig) -> None:
    """An export is of all footage in the owner's ring, wherever the camera pointed."""
    written = record(rig, ADDRESS, BEDROOM)
    with rig.reader() as reader:
        assert {each.plaintext for each in reader.read_own(make_order(everything()))} == set(written)


def test_an_unknown_source_is_granted_to_nobody(rig: Rig) -> None:
    """A page with zeros for a source matches no grant, not even one with zeros."""
    rig.create(blocks=32)
    writer = rig.writer()
    writer.source = UNKNOWN
    drafts = rig.record(writer, 3)
    writer.close()
    with rig.reader() as reader:
        assert {page.source for page in reader.pages()} == {UNKNOWN}
        grant = make_grant(reader)
        nothing = replace(grant, cameras=(replace(grant.cameras[0], source=UNKNOWN),))
        for each in (grant, nothing):
            lost: list = []
            assert list(reader.read(each, "door", on_loss=lost.append)) == []
            assert [loss.reason for loss in lost] == ["source-changed"] * len(drafts)
            assert list(reader.evidence(each, "door")) == []


def test_a_run_that_names_another_source_is_not_released(rig: Rig) -> None:
    """A RUN record can only take away: footage behind it is of another source, until the next RUN."""
    ring = rig.create()
    writer = rig.writer()
    kept = {draft.payload for draft in rig.record(writer, 2)}
    for address in (BEDROOM, ADDRESS):
        note = json.dumps({"source_sha256": digest_source(ring.ring_id, address).hex()}).encode()
        writer.append(rig.note(Kind.RUN, note))
        drafts = rig.record(writer, 2)
        kept |= {draft.payload for draft in drafts} if address == ADDRESS else set()
    writer.close()
    payloads, lost = released(rig)
    assert {payload for payload in payloads if len(payload) == 6000} == kept
    assert [each.reason for each in lost] == ["source-changed"] * 2


def test_a_gap_of_another_source_tells_nothing_of_itself(rig: Rig) -> None:
    """Why a camera elsewhere was down is nothing that leaves: its stretch is `source-changed` like its footage."""
    rig.create()
    writer = rig.writer(source=BEDROOM)
    writer.append(rig.note(Kind.GAP, duration_ns=5 * 10**9))
    writer.close()
    payloads, lost = released(rig)
    assert (payloads, [each.reason for each in lost]) == (set(), ["source-changed"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([ADDRESS, BEDROOM, "onvif://door.example/main"]), min_size=1, max_size=6))
def test_exactly_the_granted_source_is_released(addresses: list[str]) -> None:
    """Whatever order a camera was pointed in, a grant opens all records of its source and none of another."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder), Keys())
        written = record(rig, *addresses, count=2)
        for address in {*addresses, ADDRESS}:
            payloads, lost = released(rig, address)
            assert payloads == {payload for payload, of in written.items() if of == address}
            assert len(lost) == len(written) - len(payloads)


def test_the_example_names_its_source() -> None:
    """FORMAT 3.5 and 10: page and RUN of the example have the digest of the address that is printed there."""
    ring, facts = read_example()
    page = ring[3 * PAGE_BYTES : 4 * PAGE_BYTES]
    digest = hashlib.sha256(b"edge-agent/v1 source" + page[8:24] + b"rtsp://192.0.2.10/main").digest()
    assert page[328:360] == digest
    assert json.loads(facts["payload_0"]) == {"source_sha256": digest.hex()}


def test_the_salt_is_the_ring(rig: Rig) -> None:
    """The same address in two rings has two digests: nobody sees that two houses, or streams, have the same."""
    one, other = rig.create(), rig.create(name="other.ring")
    assert digest_source(one.ring_id, ADDRESS) != digest_source(other.ring_id, ADDRESS)
