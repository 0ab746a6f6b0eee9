"""One damaged or foreign row, or file, ends no list, no start and no revocation that serves all gateways."""

import hashlib
import json
import logging
from dataclasses import replace

import pytest
from sqlalchemy import update

from edge_agent.errors import CustodyError, UnavailableError
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.cli import main
from edge_agent.rtcc.office.enrol import enrol, gateway_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.trust import sign_trust
from edge_agent.rtcc.receiver_storage import ReceiveStorage
from edge_agent.rtcc.state import tables
from edge_agent.rtcc.state.inbound import NewMessage
from tests.rtcc.conftest import NOW, SETTINGS, Applicant, take
from tests.rtcc.test_answers import sign_asking


class Delivered:
    """A gateway, and two requests to it: it has delivered, and said nothing."""

    def __init__(self, home):
        applicant, self.jti = Applicant(), make_id()
        self.id, self.key = enrol(home, applicant.csr, NOW).gateway, applicant.gateway
        home.write_request(self.jti, sign_asking(home, {"gateway": self.id}))
        self.upload = upload_name(self.id, self.jti, "door")
        file = DeliveredFile("door", self.upload, b"\x01" * 32, 4096, b"age-header\n")
        answer = Answer(self.id, home.settings.iss, self.jti, 0, NOW, Status.DELIVERED, files=(file,))
        take(home, f"rtcc/1/gw/{self.id}/res", encode_answer(answer, applicant.gateway))
        self.unanswered = make_id()
        home.write_request(self.unanswered, sign_asking(home, {"gateway": self.id}))


def change(table, **values):
    def spoil(home, one):
        with home.state.database.begin() as connection:
            mine = table.c.jti == one.unanswered if table is tables.requests else table.c.gateway == one.id
            connection.execute(update(table).where(mine).values(**values))

    return spoil


def put_foreign_file(home, _):
    (home.path / "trust" / "notes.jws").write_text("for later")


HAZARDS = {
    "a pin that is no JSON": change(tables.gateways, pinned_keys="{"),
    "a pin without its key": change(tables.gateways, pinned_keys="{}"),
    "an answer": change(tables.answers, raw=b"\x00"),
    "a delivery": change(tables.deliveries, sha256="no digest"),
    "a delivery's size": change(tables.deliveries, size="many"),
    "a request": change(tables.requests, raw=b"{"),
    "a foreign file among the trust bundles": put_foreign_file,
}


@pytest.fixture
def home(tmp_path):
    home = RtccHome.create(tmp_path / "home", replace(SETTINGS), NOW)
    sign_trust(home, NOW)
    yield home
    home.state.database.close()


@pytest.mark.parametrize("spoil", HAZARDS.values(), ids=HAZARDS)
def test_lists_and_revocation_go_on(home, capsys, spoil):
    """Every list shows the other gateway as before, ends with 0, and no traceback; the damaged one can be revoked."""
    damaged, other = Delivered(home), Delivered(home)
    spoil(home, damaged)
    for words, wanted in (
        (["watch", "--stored"], (other.upload, other.jti, other.unanswered, damaged.unanswered)),
        (["open"], (other.upload, other.id)),
        (["keys", "show"], (other.id, damaged.id)),
    ):
        assert main([*words, "--home", str(home.path)]) == 0
        said = capsys.readouterr()
        assert all(each in said.out for each in wanted)
        assert "Traceback" not in said.err
    home.revoke_gateway(damaged.id, "2026-05-04T21:10:00Z")
    assert home.is_gateway_revoked(damaged.id)


def mistype(keys, _):
    """Change one letter of the key that the gateway signs with: another key, or none."""
    x = keys["gateway"]["x"]
    return keys | {"gateway": keys["gateway"] | {"x": ("B" if x[0] == "A" else "A") + x[1:]}}


WRONG_KEYS = {"a wrong letter": mistype, "the row of another gateway": lambda _, others: others}


@pytest.mark.parametrize("spoil", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_an_answer_is_judged_by_the_key_that_was_enrolled_alone(home, spoil):
    """By a row with another key neither is the gateway's own answer refused, nor does that key's count: both wait."""
    one, other, pins = Delivered(home), Delivered(home), {}
    for each in (one, other):
        pins[each.id] = home.load_gateway(each.id)["keys"]
    change(tables.gateways, pinned_keys=json.dumps(spoil(pins[one.id], pins[other.id])))(home, one)
    answer = Answer(one.id, home.settings.iss, one.unanswered, 0, NOW, Status.DECLINED)
    signed = [encode_answer(answer, each.key) for each in (one, other)]
    home.state.inbound.put([NewMessage(f"rtcc/1/gw/{one.id}/res", raw, one.id, one.unanswered) for raw in signed])
    AnswerWorker(home).turn()
    assert home.state.inbound.count() == (2, 2)
    change(tables.gateways, pinned_keys=json.dumps(pins[one.id]))(home, one)
    home.state.inbound.retry()
    AnswerWorker(home).turn()
    assert home.state.inbound.count() == (0, 0)
    assert [raw for _, raw in home.state.exchanges.answers(one.unanswered)] == signed[:1]


def test_words_lead_to_the_row(home):
    """Table, row and column of a pin; the upload of a delivery."""
    one = Delivered(home)
    HAZARDS["a pin that is no JSON"](home, one)
    with pytest.raises(CustodyError, match=rf"table=gateways gateway={one.id} column=pinned_keys: not JSON"):
        gateway_key(home, one.id)
    HAZARDS["a delivery"](home, one)
    with pytest.raises(CustodyError, match=rf"table=deliveries upload={one.upload}"):
        home.state.exchanges.find_delivery(one.upload)


def test_a_receiver_starts_whatever_lies_in_its_folder(tmp_path, caplog):
    """A foreign folder, a note that cannot be counted, an upload of which the state says nothing: the rest is found."""
    uploads, received, found = tmp_path / "uploads", tmp_path / "received", []
    (uploads / "foreign.json").mkdir(parents=True)
    (uploads / "g1" / f"{'f' * 32}.json").mkdir(parents=True)
    notes = {
        ("g1", "a"): {"gateway": "g1", "size": "many", "offset": 0},
        ("g1", "b"): {"gateway": "g1", "size": 3, "offset": 3, "metadata": {"filename": "unknown0"}},
        ("g1", "c"): {"gateway": "g1", "size": 3, "offset": 3},
        ("g2", "d"): {"gateway": "g2", "size": 3, "offset": 3, "metadata": {"filename": "wanted00"}},
    }
    for (gateway, letter), note in notes.items():
        (uploads / gateway).mkdir(exist_ok=True)
        (uploads / gateway / f"{letter * 32}.part").write_bytes(b"all")
        (uploads / gateway / f"{letter * 32}.json").write_text(json.dumps(note))

    def find_signed(gateway, _):
        if gateway == "g1":
            raise UnavailableError("away")
        return hashlib.sha256(b"all").hexdigest()

    with caplog.at_level(logging.ERROR):
        ReceiveStorage(uploads, received, lambda *each: found.append(each), find_signed).recover(5)
    assert found == [("g2", "wanted00")]
    assert (received / "g2" / "wanted00").read_bytes() == b"all"
    assert (uploads / "g1" / f"{'b' * 32}.part").exists()  # asked again by its gateway, it is taken
    assert all(f"g1/{letter * 32}.json" in caplog.text for letter in "abcf")
