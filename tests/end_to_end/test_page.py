"""The resident's page over the two real processes: it shows what they do, and can stop them."""

import time
from collections.abc import Iterator

import pytest

from edge_agent.cli import COMMANDS
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.protocol.answer import Status
from tests.support.page_house import PageHouse

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def open_page() -> Iterator:
    """Turn the page of a world on, by the command, and serve it."""
    pages = []

    def turn_on(world) -> PageHouse:
        page = PageHouse(config=world.home.config_path)
        pages.append(page)
        page.start()
        return page

    yield turn_on
    for page in pages:
        page.stop()


def test_resident_sees_a_request_and_says_no_from_a_phone(make_world, open_page):
    """From the page: the cameras, who asks, what a yes would give; a no that the crime center is told as any other."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(6)
    page = open_page(world)
    cookie = page.pair("phone")
    assert "cameras record. Nothing waits for you." in page.get("/", cookie).text
    signed = world.send(world.draft(5, 1))
    number = world.wait_state(signed.jti, "asked")["number"]
    assert "One request waits for you." in page.get("/", cookie).text
    shown = page.get(f"/requests/{number}", cookie).text
    for each in ("rtcc.example-city", "at your house", "(operator)", "(supervisor)", "without sound"):
        assert each in shown, each
    answer = page.post(f"/requests/{number}/deny", {"token": page.token(cookie)}, cookie)
    assert answer.status == 303, (world.home.folder / "release.log").read_text()[-2000:]
    denied = world.wait_state(signed.jti, "denied")
    assert [each["code"] for each in denied["reasons"]] == ["owner-denied"]
    (entry,) = [each["entry"] for each in world.entries("page")]
    assert entry == {"what": "deny", "by": "page/phone", "number": number}
    ledger = page.get("/ledger", cookie).text
    assert "From your page or desk" in ledger
    assert "deny" in ledger


def test_pause_from_the_page_stops_an_upload(make_world, open_page):
    """The big button: what is under way ends, nothing that was sent can be opened, and only the passphrase resumes."""
    world = make_world(house={"cooling_off": "0s"}, extra_config="uplink:\n  bandwidth: 16KiB/s\n")
    world.wait_recorded(16)
    page = open_page(world)
    cookie = page.pair("phone")
    signed = world.send(world.draft(15, 6))
    world.wait_state(signed.jti, "uploading")
    assert page.post("/pause", {"token": page.token(cookie), "camera": "*"}, cookie).status == 303
    world.wait_state(signed.jti, "cancelled", "denied", "failed")
    assert world.answers(signed.jti)[-1].status is not Status.DELIVERED
    assert "You have paused" in page.get("/", cookie).text


def test_recordings_and_terms_are_those_of_the_house(make_world, open_page):
    """Days and hours come from the ring, sentences from the signed terms, in three languages."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(4)
    page = open_page(world)
    cookie = page.pair("phone")
    shown = page.get("/recordings?camera=front-door", cookie).text
    assert "Recorded:" in shown
    assert "encrypted on this gateway" in shown
    for language in ("en", "es", "fr"):
        text = page.get(f"/terms?language={language}", cookie).text
        assert f'<ul lang="{language}">' in text
    assert "signed until" in text


def test_page_in_wrong_hands_can_stop_and_read_and_nothing_else(make_world, open_page):
    """Code that runs as the page has its two sockets: no command of them loosens, shows footage, or destroys."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(4)
    page = open_page(world)
    signed = world.send(world.draft(3, 1))
    world.wait_state(signed.jti, "asked")
    tried = {*COMMANDS, "order", "erase", "explain", "accept-ring", "clock", "own-export", "stills", "ledger-growth"}
    tried |= {"draft", "sign", "look", "export", "adopt-terms", "terms-form"}
    allowed = {
        "releaser": {"status", "house", "requests", "request", "recordings", "terms", "ledger", "ledger-prove"},
        "recorder": {"status"},
    }
    tightens = {"deny", "cancel", "pause", "revoke"}
    for process, reads in allowed.items():
        path = page.settings.process_socket(process)
        for command in tried - reads - tightens:
            with pytest.raises(EdgeAgentError, match="unknown command"):
                call(path, command, jws="x", id=signed.jti)
    with pytest.raises(EdgeAgentError, match="needs the member 'by'"):
        call(page.settings.process_socket("releaser"), "pause")
    with pytest.raises(EdgeAgentError, match="unknown command"):
        call(page.settings.process_socket("recorder"), "pause", by="phone")
    assert world.wait_state(signed.jti, "asked")


def test_recording_goes_on_while_the_page_is_flooded_and_killed(make_world, open_page):
    """A page that asks without end, and one that dies, cost the cameras nothing and the owner's commands little."""
    world = make_world()
    world.wait_recorded(2)
    page = open_page(world)
    path = page.settings.process_socket("releaser")
    began = time.monotonic()
    for _ in range(50):
        call(path, "recordings", camera="front-door")
        call(path, "terms")
    assert page.process is not None
    page.process.kill()
    page.process.wait(10)
    assert world.home.ask("releaser", "status")["broker"] == "connected"
    assert time.monotonic() - began < 60
    world.wait_recorded(2)
