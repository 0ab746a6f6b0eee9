"""The ledger's commands at the control socket, and what the one who kept a checkpoint makes of their answers."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import EvidenceError, UsageError
from edge_agent.host.control_socket import Members, Peer
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin, verify_growth, verify_proof
from edge_agent.uplink.owner.ledger_commands import LedgerCommands
from edge_agent.uplink.store.database import Database
from tests.support.fakes import FakeClock

ORIGIN = ledger_origin("gw-1")
KEY = Ed25519PrivateKey.generate()
PEER = Peer(0, 0, 0)


class Ledger:
    """A store with a desk before it."""

    def __init__(self, path):
        self.store = Database(path)
        self.desk = LedgerCommands(self.store, "gw-1", KEY, FakeClock())

    def enter(self, count, **entry):
        with self.store.transaction() as connection:
            for number in range(count):
                ledger.append(connection, "decision", {"jti": str(number)} | entry, FakeClock().utc())

    def call(self, command, **members):
        return self.desk.handlers[command](json.loads(json.dumps(members)), PEER)


@pytest.fixture
def make_ledger(tmp_path):
    made = []

    def make(name):
        made.append(Ledger(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def test_ledger_proves_that_it_goes_on_from_a_kept_checkpoint(make_ledger):
    """What `checkpoint` printed then and `prove-growth` prints today fit together, for whoever has the public key."""
    kept = make_ledger("store.sqlite")
    kept.enter(3)
    note = kept.call("ledger-checkpoint")["checkpoint"]
    assert kept.call("ledger-checkpoint")["checkpoint"] == note
    kept.enter(300)
    proof = kept.call("ledger-growth", remembered=note)["proof"]
    old, new = verify_growth(proof, note, ORIGIN, KEY.public_key())
    assert (old.size, new.size) == (256, 768)
    assert kept.call("ledger-verify", remembered=[note])["remembered"] == 1


def test_rewritten_ledger_prints_no_proof(make_ledger):
    """Another ledger under the same key says that it is not the one that was signed, and a shorter one that it is."""
    first, forged = make_ledger("store.sqlite"), make_ledger("forged.sqlite")
    first.enter(3)
    note = first.call("ledger-checkpoint")["checkpoint"]
    forged.enter(3, outcome="deny")
    with pytest.raises(EvidenceError, match="two trees of one size differ"):
        forged.call("ledger-growth", remembered=note)
    first.enter(300)
    longer = first.call("ledger-checkpoint")["checkpoint"]
    with pytest.raises(EvidenceError, match="shorter"):
        forged.call("ledger-growth", remembered=longer)


def test_entry_is_proved_and_shown(make_ledger):
    """The newest entries in order, and the proof of one of them."""
    desk = make_ledger("store.sqlite")
    desk.enter(5)
    pages = list(desk.call("ledger", last=2))
    assert [each["index"] for page in pages for each in page["entries"]] == [3, 4]
    proved = verify_proof(desk.call("ledger-prove", index=4)["proof"], ORIGIN, KEY.public_key())
    assert proved.leaf.entry == {"jti": "4"}


def test_the_last_entries_are_found_without_reading_the_others(make_ledger, monkeypatch):
    """However long the ledger has become; of a kind as of all."""
    desk = make_ledger("store.sqlite")
    desk.enter(500)
    parsed = []
    parse = ledger.parse_leaf
    monkeypatch.setattr(ledger, "parse_leaf", lambda raw: parsed.append(raw) or parse(raw))
    pages = list(desk.call("ledger", last=3, kinds=["decision"]))
    assert [each["index"] for page in pages for each in page["entries"]] == [497, 498, 499]
    assert len(parsed) == 3
    assert sum(len(page["entries"]) for page in desk.call("ledger")) == 500


WRONG = {
    "last is a text": ("ledger", {"last": "4"}),
    "last is too large": ("ledger", {"last": 2**63}),
    "kinds is a number": ("ledger", {"kinds": 4}),
    "kinds has a number": ("ledger", {"kinds": [4]}),
    "no index": ("ledger-prove", {}),
    "index is a list": ("ledger-prove", {"index": []}),
    "remembered is a number": ("ledger-verify", {"remembered": 1}),
    "nothing remembered": ("ledger-growth", {}),
}


@pytest.mark.parametrize(("command", "members"), WRONG.values(), ids=WRONG)
def test_member_of_another_type_is_the_callers_error(make_ledger, command, members):
    """It is said, and is no error of the program in its log."""
    desk = make_ledger("store.sqlite").desk
    with pytest.raises(UsageError):
        answer = desk.handlers[command](Members(members), PEER)
        list(answer)
