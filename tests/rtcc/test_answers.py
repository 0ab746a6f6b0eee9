"""Answers at the RTCC: a gateway is believed for its own answers to our own requests, in order, and no further."""

import dataclasses
import hashlib
import io
import time

import pyrage
import pytest
from sqlalchemy import func, insert, select

from edge_agent.errors import ConflictError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.age_stream import seal_stream
from edge_agent.protocol.answer import MAX_CAMERAS, Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.announced import is_announced
from edge_agent.rtcc.answers import MAX_ANSWERS, MAX_CONFLICTS, Inbox
from edge_agent.rtcc.deliveries import assemble, deliveries, find_upload, load_delivery
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.state import exchanges, tables
from edge_agent.units import DAY_NS, HOUR_NS, UtcNs, encode_rfc3339
from tests.rtcc.conftest import NOW, Applicant, take

JTI = "j" * 22
IN_AN_HOUR = UtcNs(NOW + HOUR_NS)


def delivered_file(gateway, camera="door", sha256=b"\x01" * 32):
    return DeliveredFile(camera, upload_name(gateway, JTI, camera), sha256, 4096, b"age-encryption.org/v1\n")


@pytest.fixture
def gateway(home, applicant, now):
    gateway = enrol(home, applicant.csr, now).gateway
    home.write_request(JTI, sign_asking(home, {"gateway": gateway}))
    return gateway


def sign_asking(home, aud, release_by=IN_AN_HOUR):
    """Sign of a request what an answer is held against."""
    key = home.people.load_key("operator-1", Role.OPERATOR)
    return jws.sign(TYP, {"aud": aud, "release_by": encode_rfc3339(release_by)}, [key])


def kept_conflicts(home):
    return list(home.state.exchanges.conflicts())


def audited(home, kind):
    with home.state.database.read() as connection:
        query = select(func.count()).where(tables.audit_events.c.kind == kind)
        return connection.execute(query).scalar()


@pytest.fixture
def file(gateway):
    return delivered_file(gateway)


@pytest.fixture
def send(home, applicant, gateway):
    def send(seq, status=Status.UPLOADING, key=None, topic=None, **changes):
        members = {"sent_bytes": seq, "total_bytes": 1 << 20} if status is Status.UPLOADING else {}
        answer = Answer(gateway, home.settings.iss, JTI, seq, NOW, status, **members)
        raw = encode_answer(dataclasses.replace(answer, **changes), key or applicant.gateway)
        return take(home, topic or f"rtcc/1/gw/{gateway}/res", raw)

    return send


def test_answers_are_kept_and_read_again(home, send, file):
    """Progress keeps its last, the others each; what is kept is the signed message itself."""
    for seq in range(3):
        assert send(seq).seq == seq
    assert send(7, Status.DELIVERED, files=(file,)).status is Status.DELIVERED
    assert [answer.seq for answer in Inbox(home).answers(JTI)] == [7]


def test_a_repeated_answer_is_taken_once(home, send):
    """The broker may deliver twice, and a gateway sends its last answer again for a duplicate request."""
    assert send(1)
    assert send(1) is None
    assert send(0) is None
    assert send(2, Status.CANCELLED)
    assert send(2, Status.CANCELLED) is None


def test_a_delivered_answer_brings_the_key(home, send, gateway, file):
    """The age header is found by the name of the upload, with what the payload must be."""
    with pytest.raises(EvidenceError, match="no key"):
        load_delivery(home, file.upload)
    send(0, Status.DELIVERED, files=(file,))
    delivery = load_delivery(home, file.upload)
    assert (delivery.file, delivery.gateway, delivery.jti) == (file, gateway, JTI)
    assert list(deliveries(home)) == [delivery]
    assert find_upload(home, delivery) is None
    (home.received_dir / gateway).mkdir(parents=True)
    (home.received_dir / gateway / file.upload).write_bytes(b"payload")
    assert find_upload(home, delivery).read_bytes() == b"payload"


def test_header_and_payload_make_a_stock_age_file(home, send, gateway, tmp_path, file):
    """The upload opens with the key that came in the answer; a byte more or less, and it is not assembled."""
    recipient = home.recipients()["evidence"]
    payload = io.BytesIO()
    header = seal_stream(iter([b"the bundle"]), [recipient], payload)
    sha256, size = hashlib.sha256(payload.getvalue()).digest(), len(payload.getvalue())
    send(0, Status.DELIVERED, files=(DeliveredFile("door", file.upload, sha256, size, header),))
    delivery = load_delivery(home, file.upload)
    with pytest.raises(EvidenceError, match="not here"):
        assemble(home, delivery, tmp_path / "bundle.age")
    (home.received_dir / gateway).mkdir(parents=True)
    for wrong in (payload.getvalue() + b"x", payload.getvalue()[:-1], b"y" + payload.getvalue()[1:]):
        (home.received_dir / gateway / file.upload).write_bytes(wrong)
        with pytest.raises(EvidenceError, match="signed for"):
            assemble(home, delivery, tmp_path / "bundle.age")
        assert list(tmp_path.glob("*.age*")) == []
    (home.received_dir / gateway / file.upload).write_bytes(payload.getvalue())
    path = assemble(home, delivery, tmp_path / "bundle.age")
    assert path.stat().st_mode & 0o077 == 0
    identity = pyrage.x25519.Identity.from_str(home.load_identity())
    assert pyrage.decrypt(path.read_bytes(), [identity]) == b"the bundle"


@pytest.mark.parametrize("upload", ["", "../rtcc", "nothing-of-the-kind"])
def test_no_key_is_found_outside_the_deliveries(home, upload):
    """A name given on the command line leads to no other file."""
    with pytest.raises(EvidenceError):
        load_delivery(home, upload)


REFUSED = {
    "another key": lambda send: send(0, key=Applicant().gateway),
    "a gateway that is not enrolled": lambda send: send(0, topic=f"rtcc/1/gw/{'x' * 22}/res"),
    "another topic": lambda send: send(0, topic="rtcc/1/trust"),
    "another requester": lambda send: send(0, requester="rtcc.elsewhere"),
    "a request that we did not send": lambda send: send(0, jti="k" * 22),
    "a second answer of one number": lambda send: (send(0), send(0, sent_bytes=5)),
    "an answer after the final one": lambda send: (send(0, Status.DECLINED), send(1)),
    "the same answer with another status": lambda send: (send(0, Status.DECLINED), send(0, Status.CANCELLED)),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_what_no_gateway_of_ours_may_say_is_refused(send, attempt):
    """Key, gateway, topic, requester, request, number and order are all checked."""
    with pytest.raises(EvidenceError):
        attempt(send)


def test_a_gateway_cannot_take_anothers_delivered_away(home, send, gateway, file, now):
    """Naming the victim's upload first is a conflict of the attacker; the victim's key is kept when it comes."""
    other = Applicant()
    other_id = enrol(home, other.csr, now).gateway
    raw = encode_answer(
        Answer(other_id, home.settings.iss, JTI, 0, NOW, Status.DELIVERED, files=(file,)), other.gateway
    )
    with pytest.raises(ConflictError, match="another's"):
        take(home, f"rtcc/1/gw/{other_id}/res", raw)
    assert list(deliveries(home)) == []
    assert kept_conflicts(home) == [(other_id, JTI, raw)]
    send(0, Status.DELIVERED, files=(file,))
    assert load_delivery(home, file.upload).gateway == gateway


def test_a_payload_in_anothers_folder_is_not_the_deliverys(home, send, file):
    """A payload that another gateway uploaded under the victim's name is never opened as the victim's."""
    send(0, Status.DELIVERED, files=(file,))
    for folder in (home.received_dir, home.received_dir / ("x" * 22)):
        folder.mkdir(exist_ok=True)
        (folder / file.upload).write_bytes(b"forged")
    assert find_upload(home, load_delivery(home, file.upload)) is None


CONFLICTS = {
    "a key for another payload": lambda send, file: send(1, Status.DELIVERED, files=(file,)),
    "a final answer after the final one": lambda send, _: send(1, Status.CANCELLED),
    "another answer of one number": lambda send, _: send(0, Status.CANCELLED),
}


@pytest.mark.parametrize("attempt", CONFLICTS.values(), ids=CONFLICTS)
def test_an_answer_that_contradicts_is_kept_for_a_person(home, send, gateway, file, attempt):
    """It is acknowledged afterwards, and a key comes once: the message is kept, and what was taken first stays.

    However often it comes, it is one message and one event of the audit, which only grows.
    """
    send(0, Status.DELIVERED, files=(file,))
    changed = delivered_file(gateway, sha256=b"\x02" * 32)
    for _ in range(5):
        with pytest.raises(ConflictError):
            attempt(send, changed)
    assert (len(kept_conflicts(home)), audited(home, "conflict")) == (1, 1)
    assert load_delivery(home, file.upload).file == file


def test_an_answer_that_the_state_refuses_is_kept_for_a_person(home, send, gateway, file):
    """A constraint that would refuse it indefinitely ends in a conflict, once, and leaves nothing half done."""
    place = {"jti": JTI, "gateway": gateway, "seq": 3, "status": "queued"}
    with home.state.database.begin() as connection:
        connection.execute(insert(tables.answers), {**place, "raw": b"", "taken_at_ns": 0})
    for _ in range(2):
        with pytest.raises(ConflictError, match="does not fit the state"):
            send(3, Status.DELIVERED, files=(file,))
    assert [each[:2] for each in kept_conflicts(home)] == [(gateway, JTI)]
    assert audited(home, "conflict") == 1
    assert list(deliveries(home)) == []
    assert send(4, Status.DELIVERED, files=(file,)).seq == 4


def test_what_was_announced_before_its_answer_is_announced_once(home, send, gateway, file):
    """A folder taken over may hold an announcement whose `queued` was lost; the final answer ends it as any other."""
    with home.state.database.begin() as connection:
        connection.execute(insert(tables.announced).values(gateway=gateway, upload=file.upload, jti=JTI))
    cameras = tuple(f"camera-{each}" for each in range(MAX_CAMERAS - 1))
    assert send(0, Status.QUEUED, cameras=("door", *cameras), not_before=NOW).seq == 0
    assert is_announced(home, gateway, file.upload, NOW)
    send(1, Status.DELIVERED, files=(file,))
    assert not is_announced(home, gateway, file.upload, NOW)


def test_a_first_answer_that_is_final_ends_what_was_announced_before(home, send, gateway, file):
    """The same folder, and nothing but the end comes."""
    with home.state.database.begin() as connection:
        connection.execute(insert(tables.announced).values(gateway=gateway, upload=file.upload, jti=JTI))
    send(0, Status.CANCELLED)
    assert not is_announced(home, gateway, file.upload, NOW)


def test_conflicts_are_bounded(home, send, gateway):
    """A gateway that contradicts itself fills no disk."""
    send(0, Status.CANCELLED)
    for seq in range(1, MAX_CONFLICTS + 1):
        with pytest.raises(ConflictError):
            send(seq)
    with pytest.raises(EvidenceError, match="too many conflicts"):
        send(MAX_CONFLICTS + 1)
    assert len(kept_conflicts(home)) == MAX_CONFLICTS


def test_all_conflicts_are_shown(home, monkeypatch):
    """The oldest first, page by page, also those of one moment; none is behind a limit."""
    monkeypatch.setattr(exchanges, "PAGE", 4)
    rows = [
        {"gateway": f"{number % 3}" * 22, "sha256": f"{number:064}", "jti": JTI, "raw": b"", "kept_at_ns": number // 5}
        for number in range(23)
    ]
    with home.state.database.begin() as connection:
        connection.execute(insert(tables.conflicts), rows)
    expected = sorted(rows, key=lambda row: (row["kept_at_ns"], row["gateway"], row["sha256"]))
    assert [each[0] for each in kept_conflicts(home)] == [row["gateway"] for row in expected]


def test_many_answers_hold_up_no_final_one(home, send, file):
    """The bound on answers never costs a key."""
    for seq in range(MAX_ANSWERS):
        send(seq, Status.QUEUED, cameras=("door",), not_before=NOW)
    assert send(MAX_ANSWERS, Status.DELIVERED, files=(file,))
    assert load_delivery(home, file.upload)


def test_a_gateway_cannot_fill_the_disk(home, send):
    """Progress replaces progress; other answers are bounded in number."""
    for seq in range(MAX_ANSWERS):
        send(seq, Status.QUEUED, cameras=("door",), not_before=NOW)
    with pytest.raises(EvidenceError, match="too many"):
        send(MAX_ANSWERS, Status.QUEUED, cameras=("door",), not_before=NOW)


def test_queued_announces_uploads_until_the_final_answer(home, send, gateway, file, now):
    """The receiver takes in what a verified ``queued`` names, of that gateway alone, and nothing after the end."""
    others = upload_name("B" * 22, JTI, "door")

    def announced(upload=file.upload, by=gateway):
        return is_announced(home, by, upload, UtcNs(time.time_ns()))

    assert not announced()
    assert send(1, Status.QUEUED, cameras=("door",), not_before=NOW)
    assert announced()
    assert not announced(by="B" * 22)
    assert not announced(others)
    assert not is_announced(home, gateway, file.upload, UtcNs(time.time_ns() + DAY_NS))
    assert send(2, Status.DELIVERED, files=(file,))
    assert not announced()


ASKED = {
    "this gateway": (lambda gateway: ({"gateway": gateway}, NOW + HOUR_NS), True),
    "an area": (lambda _: ({"cells": ["dr5rs"]}, NOW + HOUR_NS), True),
    "another gateway": (lambda _: ({"gateway": "B" * 22}, NOW + HOUR_NS), False),
    "this gateway, long ago": (lambda gateway: ({"gateway": gateway}, NOW - HOUR_NS), False),
    "an area, long ago": (lambda _: ({"cells": ["dr5rs"]}, NOW - 1), False),
}


@pytest.mark.parametrize(("ask", "expected"), ASKED.values(), ids=ASKED)
def test_only_who_was_asked_in_time_announces(home, send, gateway, ask, expected):
    """A `queued` for any request that was ever sent opens the receiver to nobody."""
    old = "o" * 22
    aud, release_by = ask(gateway)
    home.write_request(old, sign_asking(home, aud, UtcNs(release_by)))
    send(0, Status.QUEUED, cameras=("door",), not_before=NOW, jti=old)
    upload = upload_name(gateway, old, "door")
    assert is_announced(home, gateway, upload, NOW) is expected
    assert not is_announced(home, gateway, upload, UtcNs(NOW + HOUR_NS))


def test_what_one_request_may_announce_is_bounded(home, send, gateway):
    """A gateway that names ever new cameras fills no folder."""
    for number in range(4):
        cameras = tuple(f"camera-{number}-{each}" for each in range(MAX_CAMERAS))
        send(number, Status.QUEUED, cameras=cameras, not_before=NOW)
    uploads = [upload_name(gateway, JTI, f"camera-{n}-{each}") for n in range(4) for each in range(MAX_CAMERAS)]
    assert len([each for each in uploads if is_announced(home, gateway, each, NOW)]) == MAX_CAMERAS


@pytest.mark.parametrize("path", ["../x/12345678", "..", "", "a" * 65, "upload.json"])
def test_no_name_leads_out_of_the_announced(home, gateway, path):
    """The receiver asks about a gateway's plain name."""
    assert not is_announced(home, gateway, path, UtcNs(0))
    assert not is_announced(home, path, "12345678", UtcNs(0))
