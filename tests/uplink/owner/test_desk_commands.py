"""What the desk may have done: the owner's signature over the releaser's own bytes, and the code told beside them."""

import base64
import contextlib
import itertools
import json
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.offer import Offer, Offers
from edge_agent.consent.owner_order import TYP, build_order, sign_built_order
from edge_agent.consent.policy import Mode
from edge_agent.errors import DenialError, EdgeAgentError, UnavailableError, UsageError
from edge_agent.protocol import jws
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.texts import ENGLISH
from edge_agent.units import Window
from edge_agent.uplink.owner.desk_codes import LIFE_S, TRIES, Codes, DeskDraft, ToSign, WrongCodeError
from edge_agent.uplink.owner.desk_commands import DeskCommands
from edge_agent.uplink.owner.desk_drafts import Drafts, say_approval
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import CONFIG, PEER, House


class Phone:
    """The owner's phone: what a notice service brings."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.is_there = True

    def tell_now(self, notice):
        if not self.is_there:
            return []
        self.got.append(notice.body)
        return ["phone"]

    @property
    def sentence(self) -> str:
        return self.got[-1].splitlines()[0].rpartition(": ")[0]

    @property
    def code(self) -> str:
        return self.got[-1].splitlines()[0].rpartition(": ")[2]


def payload_of(made) -> str:
    (message,) = made["messages"]
    return message["payload"]


class Desk:
    """The desk's socket over one house, and the owner who sits at it."""

    def __init__(self, house: House) -> None:
        def never(*_):
            raise AssertionError("the desk reached what it must not")

        self.phone, self.shown = Phone(), []
        commands = {**house.desk.handlers, "export": self._show, "look": self._show, "status": self._tell_pauses}
        self._house = house
        reads = dict.fromkeys(("house", "request", "recordings", "terms", "status"), never)
        orders = OwnerOrders(gate.GATEWAY, gate.OWNER.public_key(), house.store, house.clock)
        drafts = Drafts(orders, CONFIG, lambda name, members: commands[name](members, PEER), ENGLISH)
        self.commands = DeskCommands(orders, commands, reads, drafts, self.phone, ENGLISH)

    def _tell_pauses(self, _members, _peer):
        return {"release_paused": sorted(self._house.store.pauses.list_current(self._house.clock.utc()))}

    def _show(self, members, _peer):
        self.shown.append(members)
        return {"pictures": []}

    def draft(self, what="approve", **members):
        return self.commands.handlers["draft"]({"what": what, **members}, PEER)

    def sign(self, made, code=None, payload=None, key=gate.OWNER, proof=None):
        raw = sign_built_order((payload or payload_of(made)).encode(), key).decode()
        proof = {"code": self.phone.code if code is None else code} if proof is None else proof
        return self.commands.handlers["sign"]({"draft": made["draft"], "jws": [raw], "proof": proof}, PEER)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.signed["door"] = gate.terms(mode=Mode.ASK)
    yield house
    house.store.close()


@pytest.fixture
def desk(house):
    return Desk(house)


def test_the_list_is_closed(desk):
    """Reads, a draft and its signature; no order, stop, key or erasure has a name here."""
    assert set(desk.commands.handlers) == {"house", "request", "recordings", "terms", "status", "draft", "sign"}


def test_yes_with_passphrase_and_code_is_a_yes(house, desk):
    """The request is granted, and the ledger tells that it was done at the desk."""
    request = house.ask()
    made = desk.draft(number=request.id)
    assert made["sentence"] == desk.phone.sentence
    assert "door, " in made["sentence"]
    assert made["sentence"].endswith(f", to {gate.ISS}")
    desk.sign(made)
    assert house.state() is RequestState.GRANTED
    assert house.entries("page") == [{"what": "approve", "by": "desk", "number": request.id}]
    assert [each["outcome"] for each in house.entries("approval")] == ["approved"]


def test_sentence_is_of_the_part_that_is_signed(house, desk):
    """Minutes that are taken away are not in the sentence, nor in what can leave."""
    request = house.ask()
    (offer,) = house.call("request", number=request.id)["request"]["offer"]["cameras"]
    window = offer["windows"][0]
    whole = desk.draft(number=request.id)["sentence"]
    made = desk.draft(number=request.id, cameras=["door"], start=window["start"], end=window["start"][:-3] + "30Z")
    assert made["sentence"] != whole
    payload = json.loads(payload_of(made))
    assert payload["window"]["end"].endswith("30Z")
    desk.sign(made)
    assert house.entries("approval")[0]["window"].endswith("30Z")


@pytest.mark.parametrize(
    "wish",
    {
        "more cameras": {"cameras": ["door", "yard"]},
        "no minute of it": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T00:01:00Z"},
        "no window": {"start": "x", "end": "y"},
        "cameras of another type": {"cameras": "door"},
        "no such request": {"number": 4711},
        "no number": {"number": "1"},
    }.items(),
    ids=lambda each: each[0],
)
def test_nothing_is_drafted_beyond_what_is_offered(house, desk, wish):
    """And nobody is told a code for it."""
    request = house.ask()
    with pytest.raises(EdgeAgentError):
        desk.draft(**{"number": request.id} | wish[1])
    assert desk.phone.got == []


def test_taken_over_desk_cannot_have_another_sentence_signed(house, desk):
    """The code of one sentence is no code for another, whatever bytes, signature or name the desk sends with it."""
    request = house.ask()
    pause = desk.draft("resume", camera="*")
    told = desk.phone.code
    yes = desk.draft(number=request.id)
    with pytest.raises(WrongCodeError):
        desk.sign(yes, code=told)
    for made, payload in ((pause, payload_of(yes)), (pause, payload_of(pause).replace("*", "door"))):
        with pytest.raises(DenialError):
            desk.sign(made, code=told, payload=payload)
    assert house.state() is RequestState.ASKED
    assert house.entries("resume") == []


def test_stolen_passphrase_signs_nothing(house, desk):
    """With the owner's key, bytes of one's own making and every form of proof but the code: nothing is carried out."""
    request = house.ask()
    made = desk.draft(number=request.id)
    for proof in (
        {},
        {"code": None},
        {"code": 482913},
        {"code": ""},
        {"code": "x"},
        "482913",
        None,
        [],
        {"passkey": ""},
    ):
        with pytest.raises(EdgeAgentError):
            desk.commands.handlers["sign"](
                {"draft": made["draft"], "jws": [sign_built_order(payload_of(made).encode(), gate.OWNER).decode()],
                 "proof": proof}, PEER,
            )  # fmt: skip
    own = build_order("resume", {"what": "release", "camera": "*"}, gate.GATEWAY, "A" * 22, house.clock.utc())
    with pytest.raises(DenialError):
        desk.sign(made, payload=own.decode())
    assert house.state() is RequestState.ASKED
    assert house.entries("resume") == []


def test_code_without_the_owners_signature_does_nothing_and_is_not_used_up(house, desk):
    """Who reads the owner's messages still needs the passphrase, and keeps the owner from nothing."""
    request = house.ask()
    made = desk.draft(number=request.id)
    with pytest.raises(DenialError):
        desk.sign(made, key=Ed25519PrivateKey.generate())
    assert house.state() is RequestState.ASKED
    desk.sign(made)
    assert house.state() is RequestState.GRANTED


RESUMED = {
    "all cameras": (["*"], "*", "the pause of all cameras ends: clips can leave again"),
    "one camera": (["door"], "door", "the pause of door ends: clips can leave again"),
    "one camera, while all are paused": (
        ["*", "door"], "door", "the pause of door ends; nothing can leave yet, for all cameras are paused",
    ),
    "all cameras, while one is paused too": (
        ["*", "door"], "*", "the pause of all cameras ends: clips can leave again; still paused: door",
    ),
    "nothing was paused": ([], "*", "the pause of all cameras ends: clips can leave again"),
}  # fmt: skip


@pytest.mark.parametrize(("paused", "ended", "said"), RESUMED.values(), ids=RESUMED)
def test_sentence_of_a_resume_says_what_counts_afterwards(house, desk, paused, ended, said):
    """Pauses end one by one: what stays paused is said, and 'can leave again' is said only if it can."""
    for camera in paused:
        house.call("pause", camera=camera)
    assert desk.draft("resume", camera=ended)["sentence"] == said


def test_code_is_good_once(house, desk):
    """The same signature and code again are over."""
    house.call("pause", camera="*")
    made = desk.draft("resume", camera="*")
    desk.sign(made)
    house.call("pause", camera="*")
    with pytest.raises(UsageError, match="over"):
        desk.sign(made)
    assert len(house.entries("resume")) == 1


def test_wrong_code_stands_in_the_ledger(house, desk):
    """The owner sees that somebody had the passphrase and no code."""
    request = house.ask()
    made = desk.draft(number=request.id)
    wrong = f"{(int(desk.phone.code) + 1) % 1_000_000:06}"
    with pytest.raises(WrongCodeError):
        desk.sign(made, code=wrong)
    assert house.entries("page") == [{"what": "wrong code", "by": "desk", "number": request.id}]


def test_without_a_notice_service_it_stays_in_the_terminal(house, desk):
    """The desk is told so, and no draft waits for a code that nobody has."""
    request = house.ask()
    desk.phone.is_there = False
    with pytest.raises(UnavailableError, match="no notice service"):
        desk.draft(number=request.id)


def test_desk_cannot_make_the_phone_ring_without_end(house, desk):
    """After a burst it waits."""
    with contextlib.suppress(EdgeAgentError):
        for _ in range(100):
            desk.draft("resume", camera="*")
    assert 1 <= len(desk.phone.got) <= 7


@pytest.mark.parametrize("what", ["look", "play", "export"])
def test_what_is_shown_is_ten_minutes_of_one_camera_at_most(house, desk, what):
    """The order names it, the ledger does, and the owner's own command carries it out."""
    span = {"start": "2026-11-28T19:00:00Z", "end": "2026-11-28T19:10:00Z"}
    with pytest.raises(UsageError, match="ten minutes"):
        desk.draft(what, camera="door", **span | {"end": "2026-11-28T19:10:01Z"})
    with pytest.raises(EdgeAgentError):
        desk.draft(what, camera="attic", **span)
    desk.sign(desk.draft(what, camera="door", **span))
    assert jws.parse(desk.shown[0]["jws"].encode(), TYP).payload["window"] == span
    assert house.entries("page") == [{"what": what, "by": "desk", "camera": "door"}]


def test_what_is_seen_before_a_yes_is_the_excerpt_that_would_leave(house, desk):
    """The ring may have been written over meanwhile: the pictures come from the footage that the request holds."""
    request = house.ask()
    span = {"start": "2026-11-28T19:00:00Z", "end": "2026-11-28T19:10:00Z"}
    desk.sign(desk.draft("look", camera="door", number=request.id, **span))
    desk.sign(desk.draft("look", camera="door", **span))
    assert [each.get("jti") for each in desk.shown] == [request.jti, None]


def test_guessing_is_bounded_to_a_few_tries_a_day():
    """Whoever has the passphrase and drafts without end: 3 tries each, and pauses that grow to an hour."""
    now = [0.0]
    codes = Codes(lambda: now[0])
    tried = 0
    for number in itertools.count():
        draft = DeskDraft("resume", (ToSign(TYP, str(number).encode()),), "", "order")
        right = codes.offer(draft)
        for _ in range(TRIES + 1):
            with contextlib.suppress(UsageError):
                try:
                    codes.redeem(draft, f"{(int(right) + 1) % 1_000_000:06}")
                except WrongCodeError:
                    tried += 1
            now[0] += 60.0
        if now[0] > 86400:
            break
    assert TRIES <= tried <= 40


def test_draft_is_over_after_five_minutes():
    """As the order in it is."""
    now = [0.0]
    codes = Codes(lambda: now[0])
    draft = DeskDraft("resume", (ToSign(TYP, b"x"),), "", "order")
    code = codes.offer(draft)
    now[0] = LIFE_S
    with pytest.raises(UsageError):
        codes.redeem(draft, code)


def test_signature_over_other_whitespace_of_the_same_json_does_not_count(house, desk):
    """The very bytes, not what they mean."""
    request = house.ask()
    made = desk.draft(number=request.id)
    with pytest.raises(DenialError):
        desk.sign(made, payload=json.dumps(json.loads(payload_of(made))))
    raw = json.loads(sign_built_order(payload_of(made).encode(), gate.OWNER))
    assert base64.urlsafe_b64decode(raw["payload"] + "==") == payload_of(made).encode()


CHICAGO_SPANS = {
    "first time": ("2026-11-01T06:10:00Z", "2026-11-01T06:20:00Z"),
    "second time": ("2026-11-01T07:10:00Z", "2026-11-01T07:20:00Z"),
    "from one to the other": ("2026-11-01T06:10:00Z", "2026-11-01T07:20:00Z"),
    "backwards on the clock": ("2026-11-01T06:50:00Z", "2026-11-01T07:05:00Z"),
}


def test_sentence_of_a_yes_stands_for_one_window():
    """If clocks are set back that day, each time has its offset; escrow, sound and masks are named too."""
    zone = ZoneInfo("America/Chicago")

    def say(start, end, *, audio=False, masks=(), escrow=False):
        offer = Offer("door", Quality.MAIN, (Window.parse(start, end),), audio, masks)
        return say_approval(Offers((offer,), escrow), "rtcc.example-city", zone, ENGLISH)

    said = {name: say(*span) for name, span in CHICAGO_SPANS.items()}
    assert len(set(said.values())) == len(said)
    assert said["from one to the other"] == (
        "door, 2026-11-01 01:10 CDT (UTC-05:00)–01:20 CST (UTC-06:00), to rtcc.example-city"
    )
    plain = ("2026-11-02T06:10:00Z", "2026-11-02T06:20:00Z")
    assert say(*plain) == "door, 2026-11-02 00:10–00:20, to rtcc.example-city"
    assert say(*plain, audio=True, masks=(Mask(((0, 0), (1, 0), (1, 1))),), escrow=True) == (
        "door, 2026-11-02 00:10–00:20, with sound, areas blacked out: 1, "
        "to rtcc.example-city and the key that it keeps in escrow"
    )
