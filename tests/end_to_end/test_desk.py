"""The desk over the two real processes: a yes, a resume, pictures, a clip; and what a hostile desk or page cannot."""

import html
import re
from collections.abc import Iterator

import pytest

from edge_agent.consent.owner_order import TYP, sign_built_order
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Status
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339
from tests.support.page_house import Answer, PageHouse
from tests.support.phone import Phone

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def phone() -> Iterator[Phone]:
    """The owner's."""
    phone = Phone()
    yield phone
    phone.close()


@pytest.fixture
def at_home(make_world, phone: Phone) -> Iterator:
    """A world with a phone, page and desk."""
    pages = []

    def build(**changes) -> tuple:
        def tell_phone(home) -> None:
            (home.config_path.parent / "notify.yaml").write_text(f"phone: {phone.url}\n")
            (home.config_path.parent / "notify.yaml").chmod(0o600)

        world = make_world(
            terms={"mode": "ask"}, extra_config="notify: {services: [phone]}\n", prepare=tell_phone, **changes
        )
        page = PageHouse(config=world.home.config_path)
        pages.append(page)
        page.start()
        page.serve_desk()
        return world, page

    yield build
    for page in pages:
        page.stop()


def begin(page: PageHouse, path: str, **fields: str) -> Answer:
    answer = page.post_desk(path, {"ticket": page.ticket, **fields})
    assert answer.status == 200, answer.text
    return answer


def sign(world, page: PageHouse, phone: Phone, path: str, **fields: str) -> Answer:
    """Do one act as the owner does: compare the sentences, type passphrase and code."""
    before = len(phone.got)
    answer = begin(page, path, **fields)
    sentence, code = phone.wait_code(before)
    assert sentence in html.unescape(answer.text)
    nonce = re.search(r'name="nonce" value="([^"]+)"', answer.text)[1]  # type: ignore[index]
    passphrase = world.home.passphrase_path.read_text().strip()
    return page.post_desk("/sign", {"nonce": nonce, "code": code, "passphrase": passphrase})


def test_yes_at_the_desk_delivers(at_home, phone: Phone):
    """Asked, approved in a browser, delivered; the ledger says that it was done at the desk."""
    world, page = at_home()
    world.wait_recorded(6)
    signed = world.send(world.draft(5, 1))
    number = world.wait_state(signed.jti, "asked")["number"]
    cookie = page.pair("phone")
    link = re.search(r'href="([^"]+/approve/[^"]+)"', page.get(f"/requests/{number}", cookie).text)[1]  # type: ignore[index]
    where = page.get(html.unescape(link), cookie).headers["Location"]
    shown = page.send_desk("GET", where.removeprefix(page.desk_origin))
    assert "front-door" in shown.text
    assert "rtcc.example-city" in shown.text
    answer = sign(world, page, phone, f"/approve/{number}", **{"camera.front-door": "yes"})
    assert answer.status == 200, answer.text
    assert "Signed" in answer.text
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    assert world.open(signed.jti)
    assert [each["entry"] for each in world.entries("page")] == [{"what": "approve", "by": "desk", "number": number}]


def test_recording_is_looked_at_and_played(at_home, phone: Phone):
    """Pictures, then a clip by ranges, both out of memory; a pause is ended; each act is in the ledger."""
    world, page = at_home()
    world.wait_recorded(8)
    start = encode_rfc3339(UtcNs((world.clock.utc() - 8 * SECOND_NS) // SECOND_NS * SECOND_NS))
    from datetime import datetime
    from zoneinfo import ZoneInfo

    local = f"{datetime.fromisoformat(start).astimezone(ZoneInfo('America/Chicago')):%Y-%m-%dT%H:%M:%S}"
    for what, kind in (("look", "image/jpeg"), ("play", "video/mp4"), ("export", "video/mp4")):
        answer = sign(world, page, phone, "/show", camera="front-door", start=local, minutes="1", what=what)
        assert answer.status == 303, answer.text
        where = answer.headers["Location"]

        def shown(where=where) -> bool:
            text = page.send_desk("GET", where).text
            assert "fault" not in text, text
            return f"{where}/1" in text

        world.home.wait_for("it", shown)
        part = page.send_desk("GET", f"{where}/1", Range="bytes=0-99")
        assert (part.status, part.headers["Content-Type"]) == (206, kind)
    cookie = page.pair("phone")
    page.post("/pause", {"token": page.token(cookie), "camera": "*"}, cookie)
    assert sign(world, page, phone, "/resume", camera="*").status == 200
    assert world.home.ask("releaser", "status")["release_paused"] == []
    done = [each["entry"]["what"] for each in world.entries("page") if each["entry"]["by"] == "desk"]
    assert done == ["look", "play", "export", "resume"]


def test_desk_in_wrong_hands_with_the_passphrase_signs_nothing(at_home, phone: Phone):
    """Code that runs as the desk, with the owner's very key, has one socket: no code, no act; and no other command."""
    world, page = at_home()
    world.wait_recorded(4)
    signed = world.send(world.draft(3, 1))
    number = world.wait_state(signed.jti, "asked")["number"]
    path = page.desk_settings.process_socket("releaser")
    key = KeyStore(world.home.config.state_dir, "owner").load_private(
        "owner", world.home.passphrase_path.read_bytes().strip()
    )
    made = call(path, "draft", timeout_s=60, what="approve", number=number)
    payload = made["messages"][0]["payload"].encode()
    raw = sign_built_order(payload, key).decode()
    assert jws.parse(raw.encode(), TYP).payload_bytes == payload
    _, code = phone.wait_code()
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for proof in ({"code": wrong}, {}, None):
        with pytest.raises(EdgeAgentError):
            call(path, "sign", draft=made["draft"], jws=[raw], proof=proof)
    for command in ("order", "export", "look", "erase", "deny", "cancel", "pause", "revoke", "ledger", "reload"):
        with pytest.raises(EdgeAgentError, match="unknown command"):
            call(path, command, jws=raw, number=number)
    assert world.wait_state(signed.jti, "asked")
    assert [each["entry"]["what"] for each in world.entries("page")] == ["wrong code"]


def test_terms_are_changed_and_signed_at_the_desk(at_home, phone: Phone):
    """The form, its sentence, one code: ``consent.yaml`` says it, the signature counts, requests are judged by it."""
    world, page = at_home()
    world.wait_recorded(4)
    shown = page.send_desk("GET", f"/terms?camera=front-door&ticket={page.ticket}").text
    assert "rtcc.example-city" in shown
    fields = {
        "camera": "front-door", "mode": "auto", "agency.rtcc.example-city": "yes", "category.robbery": "yes",
        "distance_m": "200", "hours": "always", "requests_per_day": "50", "window": "10m", "ask_timeout": "15m",
        "cooling_off": "0s", "expires_after": "30d",
    }  # fmt: skip
    lines = page.post_desk("/terms/preview", {"ticket": page.ticket, "language": "es", **fields}).text.splitlines()
    assert len(lines) > 10
    assert page.post_desk("/terms", {"ticket": page.ticket, **fields, "distance_m": "9999"}).status == 400
    answer = sign(world, page, phone, "/terms", **fields)
    assert "Signed" in answer.text, answer.text
    assert "distance_m" in (world.home.config_path.parent / "consent.yaml").read_text()
    assert "in force" in world.home.run("consent", "show") or "signed until" in world.home.run("consent", "show")
    signed = world.send(world.draft(3, 1))
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
