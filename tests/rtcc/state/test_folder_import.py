"""CityState of an earlier version, which lay in folders: taken over whole, or not at all, and never lost."""

import hashlib
import json
import os
import sys

import pytest

from edge_agent.errors import ConfigError, ConflictError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.public_keys import public_jwk
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.announced import is_announced
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.deliveries import load_delivery
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339
from tests.rtcc.conftest import NOW, SETTINGS, Applicant, take

GATEWAY, GONE, JTI, OTHER = "g" * 22, "h" * 22, "j" * 22, "k" * 22


class FormerHome:
    """A home as the version before wrote it."""

    def __init__(self, path):
        self.path = path
        self.home = RtccHome.create(path, SETTINGS, NOW)
        self.applicant, self.gone = Applicant(), Applicant()
        self.write_gateway(GATEWAY, self.applicant)
        self.write_gateway(GONE, self.gone)
        self.write(f"gateways/revoked/{GONE}", b"2026-01-01T00:00:00Z")
        key = self.home.people.load_key("operator-1", Role.OPERATOR)
        asked = {"aud": {"gateway": GATEWAY}, "release_by": encode_rfc3339(UtcNs(NOW + HOUR_NS))}
        for jti in (JTI, OTHER):
            self.write(f"requests/{jti}/request.jws", jws.sign(TYP, asked, [key]))
        self.file = DeliveredFile("door", upload_name(GATEWAY, JTI, "door"), b"\x01" * 32, 4096, b"age-header\n")
        self.answers = [
            self.sign(JTI, 0, Status.QUEUED, cameras=("door",), not_before=NOW),
            self.sign(JTI, 4, Status.DELIVERED, files=(self.file,)),
        ]
        self.queued = self.sign(OTHER, 1, Status.QUEUED, cameras=("door",), not_before=NOW)
        self.progress = self.sign(OTHER, 2, Status.UPLOADING, sent_bytes=1, total_bytes=2)
        self.write(f"requests/{JTI}/{GATEWAY}/0000000000-queued.jws", self.answers[0])
        for name in ("0000000004-delivered", "last"):
            self.write(f"requests/{JTI}/{GATEWAY}/{name}.jws", self.answers[1])
        self.write(f"requests/{OTHER}/{GATEWAY}/0000000001-queued.jws", self.queued)
        self.write(f"requests/{OTHER}/{GATEWAY}/last.jws", self.progress)
        self.write(f"requests/{OTHER}/{GATEWAY}/announced.json", b"[]")
        self.upload = upload_name(GATEWAY, OTHER, "door")
        self.write(f"announced/{GATEWAY}/{self.upload}.json", json.dumps({"jti": OTHER}).encode())
        delivery = {
            "gateway": GATEWAY, "jti": JTI, "camera": "door", "upload": self.file.upload, "sha256": "01" * 32,
            "size": 4096, "age_header": "YWdlLWhlYWRlcgo=", "delivered_at": encode_rfc3339(NOW),
        }  # fmt: skip
        self.write(f"deliveries/{self.file.upload}.json", json.dumps(delivery).encode())
        self.conflict = self.sign(JTI, 5, Status.CANCELLED)
        self.write(f"conflicts/{GATEWAY}/{hashlib.sha256(self.conflict).hexdigest()}.jws", self.conflict)
        self.write("drafts/" + "d" * 22 + "/draft.json", b"{}")
        self.write("watched", b"")

    def write_gateway(self, gateway, applicant):
        keys = {
            name: public_jwk(getattr(applicant, name).public_key()) for name in ("gateway", "recorder", "owner", "tls")
        }
        record = {"gateway": gateway, "enrolled_at": encode_rfc3339(NOW), "keys": keys, "note": "case 12"}
        self.write(f"gateways/{gateway}.json", json.dumps(record).encode())

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def sign(self, jti, seq, status, **members):
        return encode_answer(Answer(GATEWAY, SETTINGS.iss, jti, seq, NOW, status, **members), self.applicant.gateway)


@pytest.fixture
def former(tmp_path):
    return FormerHome(tmp_path / "former")


def assert_is_whole(former):
    home = RtccHome.load(former.path)
    assert set(home.gateway_ids()) == {GATEWAY, GONE}
    assert (home.is_gateway_revoked(GATEWAY), home.is_gateway_revoked(GONE)) == (False, True)
    assert home.load_gateway(GATEWAY)["note"] == "case 12"
    with pytest.raises(EvidenceError, match=GATEWAY):
        enrol(home, former.applicant.csr, NOW)
    assert set(home.request_ids()) == {JTI, OTHER}
    assert [each.seq for each in Inbox(home).answers(JTI)] == [0, 4]
    assert [each.seq for each in Inbox(home).answers(OTHER)] == [1, 2]
    assert load_delivery(home, former.file.upload).file == former.file
    assert is_announced(home, GATEWAY, former.upload, NOW)
    assert list(home.state.exchanges.conflicts()) == [(GATEWAY, JTI, former.conflict)]
    assert home.state.drafts.read("d" * 22, "draft.json") == b"{}"
    # An answer that was judged before is not judged anew.
    topic = f"rtcc/1/gw/{GATEWAY}/res"
    assert take(home, topic, former.answers[1]) is None
    assert take(home, topic, former.queued) is None
    with pytest.raises(ConflictError, match="final"):
        take(home, topic, former.conflict)
    home.state.database.close()


def test_everything_of_a_former_home_is_there(former):
    """Gateways, revocations, requests, answers with their numbers, announcements, keys, conflicts, drafts."""
    assert_is_whole(former)
    assert not [name for name in ("gateways", "requests", "deliveries", "watched") if (former.path / name).exists()]
    kept = former.path / "former-state" / "requests" / JTI / GATEWAY / "last.jws"
    assert kept.read_bytes() == former.answers[1]
    assert_is_whole(former)  # and is not taken over twice


def test_a_take_over_that_is_killed_is_made_again(former):
    """Killed before each file or folder that it moves: the next start has everything."""
    for number in range(1, 40):
        child = os.fork()
        if not child:
            seen = 0

            def kill(event, _arguments, number=number):
                nonlocal seen
                if event in ("os.rename", "os.remove"):
                    seen += 1
                    if seen == number:
                        os._exit(9)

            sys.addaudithook(kill)
            try:
                assert RtccHome.load(former.path).state
            finally:
                os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
    assert 3 < number < 39
    assert_is_whole(former)


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_lost(former):
    """The folders stay as they are until somebody has mended it."""
    former.write(f"deliveries/{former.file.upload}.json", b"{}")
    with pytest.raises(ConfigError, match=f"{former.file.upload}.json"):
        RtccHome.load(former.path).state.gateways.ids()
    assert (former.path / "gateways" / f"{GATEWAY}.json").exists()
    assert not (former.path / "state.sqlite3").exists()


def put_gateways_back(home):
    (home / "former-state" / "gateways").rename(home / "gateways")


def write_gateways_anew(home):
    (home / "gateways").mkdir()
    (home / "gateways" / f"{GATEWAY}.json").write_text("{}")


LATER = {"put back from where they lay": put_gateways_back, "written by an older program": write_gateways_anew}


@pytest.mark.parametrize("come", LATER.values(), ids=LATER)
def test_folders_that_come_later_are_said_and_stay(former, come):
    """Nobody puts them aside as if they had been taken over; once they are gone, everything is as it was."""
    assert_is_whole(former)
    come(former.path)
    before = sorted(former.path.rglob("*"))
    with pytest.raises(ConfigError, match=f"{former.path}/gateways"):
        assert RtccHome.load(former.path).state
    assert sorted(former.path.rglob("*")) == before
    (former.path / "gateways").rename(former.path.parent / "elsewhere")
    assert_is_whole(former)


def test_folders_beside_a_home_of_this_version_are_said(tmp_path):
    """An older program that was given a home of ours: what it wrote is in no database, and that is said."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW)
    home.state.database.close()
    write_gateways_anew(home.path)
    with pytest.raises(ConfigError, match="folders of an earlier version"):
        assert RtccHome.load(home.path).state


def test_a_state_that_is_there_twice_is_not_taken_over(former):
    """The database is gone, and folders lie in both places: which is newer, a person knows."""
    assert_is_whole(former)
    (former.path / "state.sqlite3").unlink()
    write_gateways_anew(former.path)
    former.write_gateway(GATEWAY, former.applicant)
    with pytest.raises(ConfigError, match="twice"):
        assert RtccHome.load(former.path).state
    assert not (former.path / "state.sqlite3").exists()
    assert (former.path / "gateways" / f"{GATEWAY}.json").exists()
