"""What the owner is told: every turn of a request, every end that comes near, each once, and nothing not wanted."""

import contextlib
from zoneinfo import ZoneInfo

import pytest

from edge_agent.consent.policy import Mode, Occasion
from edge_agent.host.language import load_texts
from edge_agent.local_time import encode_local
from edge_agent.protocol.reasons import say
from edge_agent.texts import Language
from edge_agent.units import DAY_NS, HOUR_NS
from edge_agent.uplink.inbound.refusal_limits import RefusalLimits, RefusalRoom
from edge_agent.uplink.owner.notice_words import Notice
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.notices import MAX_HOUSE_ROWS
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.fakes import FakeClock
from tests.support.gate_house import KilledError
from tests.support.releaser import Delivery, House

ALL = frozenset(Occasion)


class Owner:
    """Takes what a service is told, one message after another."""

    def __init__(self, store: Database, clock: FakeClock, *services: str, language: Language = "en") -> None:
        self.wanted = ALL
        self.services = services or ("phone",)
        store.notices.set_services(self.services)
        self.news = News(store, lambda: self.wanted, ZoneInfo("America/Chicago"), clock, load_texts(language))

    def hear(self, service: str = "phone", most: int = 100) -> list[str]:
        """Take up to so many messages; return their titles."""
        titles = []
        while len(titles) < most and (told := self.news.find_next(service)) is not None:
            titles.append(told.notice.title)
            self.news.mark_told(service, told)
        return titles


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.signed["door"] = gate.terms(mode=Mode.ASK, requests_per_day=100, requests_per_incident=100)
    yield house
    house.store.close()


@pytest.fixture
def owner(house):
    return Owner(house.store, house.clock)


REFUSED = {"incident.category": "arson", "incident.number": "of another kind"}


def test_the_question_comes_before_any_number_of_refusals(house, owner):
    """Three hundred refused requests do not drop or delay the one notice that matters, and are told as one."""
    for _ in range(150):
        house.ask(REFUSED)
    asked = house.ask()
    for _ in range(150):
        house.ask(REFUSED)
    first, *rest = owner.hear()
    assert first == f"Your word is needed: request {asked.id}"
    assert len(rest) == 1
    assert rest[0].endswith("requests were refused")


def test_refusals_are_told_once_in_an_hour(house, owner):
    """The first refusal is told at once; those that follow are summed up when the hour is over."""
    first = house.ask(REFUSED)
    assert owner.hear() == [f"A request was refused: request {first.id}"]
    for _ in range(3):
        house.ask(REFUSED)
    assert owner.hear() == []
    house.clock.advance(HOUR_NS)
    assert owner.hear() == ["3 requests were refused"]
    assert owner.hear() == []


def test_every_turn_of_a_request_is_told_once(house, owner):
    """Asked, approved, delivered: three messages, all with the gateway's own number."""
    request = house.ask()
    assert owner.hear() == [f"Your word is needed: request {request.id}"]
    house.approve(request)
    assert owner.hear() == [f"A clip will be released: request {request.id}"]
    house.carry_on()
    house.sender.turn()
    house.worker.turn()
    assert owner.hear() == [f"A clip was released: request {request.id}"]
    assert owner.hear() == []


def test_a_handover_is_told_when_the_key_leaves_and_not_before(house, owner):
    """While the keys wait everything can still be stopped: no message says that footage was handed over."""
    house.approve(request := house.ask())
    owner.hear()
    house.carry_on()
    assert house.state() is RequestState.DELIVERED
    assert owner.hear() == []
    house.sender.turn()
    assert owner.hear() == [f"A clip was released: request {request.id}"]


def test_a_service_that_is_late_is_not_told_of_a_handover_that_has_not_been(house, owner):
    """Reached while the keys wait, it is told what was granted; and what left once it has."""
    house.approve(request := house.ask())
    house.carry_on()
    assert owner.hear() == [f"A clip will be released: request {request.id}"]
    house.sender.turn()
    assert owner.hear() == [f"A clip was released: request {request.id}"]


def test_the_text_is_of_the_moment_of_sending(house, owner):
    """A question that was answered before a service could be reached is not asked any more; nothing is told twice."""
    request = house.ask()
    house.approve(request)
    house.call("cancel", number=request.id)
    assert owner.hear() == [f"A request was refused: request {request.id}"]
    assert owner.hear() == []


def test_what_happens_while_a_message_is_on_its_way_is_told_after_it(house, owner):
    """The state changes between the making of a text and its sending: the change is told next."""
    request = house.ask()
    told = owner.news.find_next("phone")
    house.approve(request)
    owner.news.mark_told("phone", told)
    assert told.notice.title == f"Your word is needed: request {request.id}"
    assert owner.hear() == [f"A clip will be released: request {request.id}"]


def test_each_service_has_its_own_list(house):
    """What one service has taken, the other still has before it; one that is gone leaves nothing behind."""
    owner = Owner(house.store, house.clock, "phone", "mail")
    request = house.ask()
    assert owner.hear("phone") == owner.hear("mail") == [f"Your word is needed: request {request.id}"]
    other = house.ask()
    assert owner.hear("phone") == [f"Your word is needed: request {other.id}"]
    assert Owner(house.store, house.clock, "mail").hear("mail") == [f"Your word is needed: request {other.id}"]
    assert Owner(house.store, house.clock, "phone").hear("phone") == []


def test_rows_survive_a_restart(house):
    """What was written down with the decision is told after a kill, and what was told is not told again."""
    Owner(house.store, house.clock)
    told, waits = house.ask(), house.ask()
    assert Owner(house.store, house.clock).hear(most=1) == [f"Your word is needed: request {told.id}"]
    house.restart()
    assert Owner(house.store, house.clock).hear() == [f"Your word is needed: request {waits.id}"]


def test_a_row_is_written_with_its_decision_or_not_at_all(house, owner):
    """A decision that is rolled back is told to nobody."""
    with contextlib.suppress(KilledError), house.store.transaction():
        house.intake.handle(Delivery(house.sign()))
        raise KilledError
    assert owner.hear() == []


def test_what_ended_long_ago_is_told_no_more(house, owner):
    """A service that was away for weeks is not flooded with what cannot be changed any more."""
    request = house.ask()
    house.call("cancel", number=request.id)
    house.approve(later := house.ask())
    house.call("cancel", number=later.id)
    house.clock.advance(8 * DAY_NS)
    assert owner.hear() == [f"A request was refused: request {request.id}"]


def test_refusals_that_went_before_they_were_told_are_told_as_a_number(house):
    """A flood drops the oldest messages, told or not: the owner hears how many, once in an hour, for each service."""
    owner = Owner(house.store, house.clock, "phone", "mail")
    house.intake.limits = RefusalLimits(house.store, RefusalRoom(messages=3))
    first = house.ask(REFUSED)
    assert owner.hear() == [f"A request was refused: request {first.id}"]
    for _ in range(8):
        house.ask(REFUSED)
    assert owner.hear("mail") == ["3 requests were refused"]
    house.clock.advance(HOUR_NS)
    assert owner.hear() == ["3 requests were refused"]
    assert owner.hear("mail") == ["6 requests were refused"]
    house.clock.advance(HOUR_NS)
    assert owner.hear() == ["6 requests were refused"]
    assert owner.hear() == owner.hear("mail") == []
    for _ in range(2):
        house.ask(REFUSED)
    house.clock.advance(HOUR_NS)
    assert owner.hear() == ["2 requests were refused"], "what was told goes without another word"


def test_a_request_that_is_forgotten_while_a_text_is_made_harms_nothing(house, owner, monkeypatch):
    """Its number was read a moment before: the next thing is told."""
    gone, refused, waits = house.ask(), house.ask(REFUSED), house.ask()
    find = house.store.requests.find_numbered
    none = (gone.id, refused.id)
    monkeypatch.setattr(house.store.requests, "find_numbered", lambda n: None if n in none else find(n))
    assert owner.hear() == [f"Your word is needed: request {waits.id}"]


def test_what_waits_for_a_service_that_is_missing_at_a_start_is_kept(house):
    """The file with its address could not be read once: nothing is lost for it, of before or of meanwhile."""
    Owner(house.store, house.clock, "phone", "mail")
    first = house.ask()
    house.store.notices.set_services(["phone"], missing=["mail"])
    second = house.ask()
    owner = Owner(house.store, house.clock, "phone", "mail")
    assert owner.hear("mail") == [f"Your word is needed: request {each.id}" for each in (first, second)]


def test_rows_go_with_their_request(house, owner):
    """What is forgotten is told to nobody, and its rows take no room."""
    request = house.ask()
    house.call("deny", number=request.id)
    with house.store.transaction() as connection:
        house.store.requests.remove(connection, request.id)
        for table in ("notice", "notice_waiting"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
    assert owner.hear() == []


WANTED = {
    "questions alone": (Occasion.ASK, ["Your word is needed"]),
    "arrivals alone": (Occasion.REQUEST, ["Request"]),
    "releases alone": (Occasion.RELEASE, ["A clip will be released"]),
    "refusals alone": (Occasion.REFUSAL, ["A request was refused"]),
    "ends alone": (Occasion.EXPIRY, []),
}


@pytest.mark.parametrize(("occasion", "titles"), WANTED.values(), ids=WANTED)
def test_occasion_that_is_not_wanted_is_not_told(house, owner, occasion, titles):
    """The owner's signed terms say what is told; what is not wanted waits for nobody."""
    owner.wanted = frozenset({occasion})
    house.ask()
    house.approve(house.ask())
    house.ask(REFUSED)
    heard = owner.hear()
    assert len(heard) == (2 if occasion is Occasion.REQUEST else len(titles))
    assert all(title.startswith(titles[0]) or title.startswith("A request was refused") for title in heard)
    owner.wanted = ALL
    house.clock.advance(HOUR_NS)
    assert owner.hear() == []


def test_a_question_is_asked_once_more_while_it_waits(house, owner):
    """The reminder is a message of its own; of a question that was answered meanwhile there is none."""
    request, answered = house.ask(), house.ask()
    owner.hear()
    for each in (request, answered):
        owner.news.remind(each)
    house.call("deny", number=answered.id)
    assert owner.hear() == [
        f"Your word is still needed: request {request.id}",
        f"A request was refused: request {answered.id}",
    ]


def test_a_fault_is_told_whatever_the_consents_say(house, owner):
    """No terms of requests can keep a dead camera from being told, before and after a restart."""
    owner.wanted = frozenset()
    owner.news.tell(Notice(None, "Not recorded: Door", "The camera gives no footage."))
    house.ask()
    house.restart()
    owner = Owner(house.store, house.clock)
    owner.wanted = frozenset()
    assert owner.hear() == ["Not recorded: Door"]


def test_a_message_says_until_when_in_local_time(house, owner):
    """The owner's clock, to the second, and the number that the commands take."""
    request = house.ask()
    body = owner.news.find_next("phone").notice.body
    assert encode_local(request.due, ZoneInfo("America/Chicago")) in body
    assert f"requests show {request.id}," in body


def test_a_refusal_says_why_in_the_owners_language(house):
    """The sentence is the translated one; each reason once."""
    owner = Owner(house.store, house.clock, language="es")
    house.ask({"clip.cameras": ["attic", "cellar"]})
    body = owner.news.find_next("phone").notice.body
    assert body.count(load_texts("es")(say("camera-unknown"))) == 1


def test_rows_about_the_house_are_bounded(house, owner):
    """However often the house changes while nobody can be told, so many rows are kept, the newest ones."""
    for number in range(MAX_HOUSE_ROWS + 50):
        owner.news.updated({"what": "offered", "to": f"1.{number}"})
    heard = owner.hear(most=1000)
    assert len(heard) == MAX_HOUSE_ROWS
    assert heard[-1] == f"Release 1.{MAX_HOUSE_ROWS + 49} of the edge agent is there"
