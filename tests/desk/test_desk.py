"""The desk's process: who may begin, what it takes to sign, what is shown, and what is left of it afterwards."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlencode

import pytest

from tests.support.page_house import DESK_NAME, NUMBER, PASSPHRASE, PageHouse, read_pss_mb

pytestmark = [pytest.mark.peer]


def draft(page: PageHouse, path: str = f"/approve/{NUMBER}", **fields: str) -> str:
    """Begin an act; return the form's nonce."""
    answer = page.post_desk(path, {"ticket": page.ticket, "camera.door": "yes", **fields})
    assert answer.status == 200, answer.text
    return find_nonce(answer.text)


def find_nonce(text: str) -> str:
    found = re.search(r'name="nonce" value="([^"]+)"', text)
    assert found is not None, text
    return found[1]


def sign(page: PageHouse, nonce: str, code: str | None = None, passphrase: str = PASSPHRASE, **headers: str):
    code = page.house.phone[-1][1] if code is None else code
    return page.post_desk("/sign", {"nonce": nonce, "code": code, "passphrase": passphrase}, **headers)


def test_yes_takes_passphrase_and_code(page: PageHouse):
    """The sentence stands beside the form as in the message; the releaser gets bytes, signature and code."""
    nonce = draft(page)
    answer = sign(page, nonce)
    assert (answer.status, len(page.house.signed)) == (200, 1), answer.text
    assert page.house.signed[0]["cameras"] == ["door"]
    assert page.house.phone[-1][0] in answer.text
    assert sign(page, nonce).status == 400
    assert len(page.house.signed) == 1


def test_wrong_passphrase_and_wrong_code_are_told_and_end_in_a_new_form(page: PageHouse):
    """With a pause after each; the form before is worth nothing."""
    nonce = draft(page)
    answer = sign(page, nonce, code="12345")
    assert "six digits" in answer.text
    wrong = f"{(int(page.house.phone[-1][1]) + 1) % 1_000_000:06}"
    answer = sign(page, find_nonce(answer.text), code=wrong)
    assert "not the code" in answer.text
    answer = sign(page, find_nonce(answer.text), passphrase="not the passphrase")
    assert "The passphrase is wrong." in answer.text
    answer = sign(page, find_nonce(answer.text))
    assert "After a wrong passphrase no other is taken" in answer.text
    assert page.house.signed == []
    time.sleep(2.1)
    assert sign(page, find_nonce(answer.text)).status == 200
    assert len(page.house.signed) == 1


def test_nobody_begins_without_a_ticket_of_the_page(page: PageHouse):
    """A stranger on the Wi-Fi, without a paired device, rings no phone and reads nothing."""
    for ticket in ("", "x", page.ticket[:-1], page.ticket + "A", "\u0661", "A" * 32):
        assert page.post_desk(f"/approve/{NUMBER}", {"ticket": ticket, "camera.door": "yes"}).status == 403
        assert page.send_desk("GET", f"/approve/{NUMBER}?{urlencode({'ticket': ticket})}").status == 403
    assert page.send_desk("GET", f"/approve/{NUMBER}").status == 403
    assert page.house.phone == []


LINKS = {
    "yes": f"/desk/approve/{NUMBER}",
    "terms": "/desk/terms?camera=door",
    "the end of a pause": "/desk/resume",
    "a recording": "/desk/show?camera=door",
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_link_of_the_page_leads_to_the_desk(page: PageHouse, link: str):
    """With a ticket of that very moment, for a paired device and for nobody else."""
    assert page.get(link).headers["Location"] == "/pair"
    cookie = page.pair("phone")
    where = page.get(link, cookie).headers["Location"]
    assert where.startswith(page.desk_origin + link.removeprefix("/desk").partition("?")[0])
    assert page.send_desk("GET", where.removeprefix(page.desk_origin)).status == 200
    page.forget("phone")


@pytest.mark.parametrize("path", ["approve/0", "approve/x", "sign", "//evil.test/", "terms/preview", "film/x", ""])
def test_page_leads_to_no_other_place(page: PageHouse, path: str):
    """Its links are a closed list: none to anywhere else, and none that a stranger's link could extend."""
    cookie = page.pair("phone")
    assert page.get(f"/desk/{path}", cookie).status == 404
    page.forget("phone")


def test_device_that_is_taken_off_has_no_ticket_left(page: PageHouse):
    """Not even the one that its browser has open; those of other devices go on."""
    tickets = {}
    for name in ("lost phone", "mine"):
        where = page.get("/desk/resume", page.pair(name)).headers["Location"]
        tickets[name] = where.partition("ticket=")[2]
    page.forget("lost phone")
    status = {name: page.send_desk("GET", f"/resume?ticket={each}").status for name, each in tickets.items()}
    assert status == {"lost phone": 403, "mine": 200}
    page.forget("mine")


def test_what_is_not_in_force_yet_is_said(page: PageHouse):
    """Terms wait for root; a pause that ends may leave others: neither is told as done."""
    nonce = draft(page, "/resume", camera="door")
    page.house.outcome = {"state": "resumed", "paused": ["*", "yard"]}
    answer = sign(page, nonce).text
    assert re.search("Still paused:.*every camera.*yard", answer)
    nonce = draft(page, "/join", enrolment="{}")
    page.house.outcome = {"state": "left"}
    answer = sign(page, nonce).text
    assert "within moments" in answer
    assert "It counts from now on" not in answer


@pytest.mark.parametrize(("language", "compare"), [("es", "Compare y luego firme"), ("fr", "Comparez, puis signez")])
def test_desk_speaks_the_browsers_language(page: PageHouse, language: str, compare: str):
    """The words around the sentence; the sentence itself is the releaser's, as in the message."""
    wanted = {"Accept-Language": language}
    for path in ("/", f"/approve/{NUMBER}?t=1", "/resume?t=1", "/show?camera=door", "/terms?camera=door", "/film/x"):
        shown = page.send_desk("GET", f"{path}{'&' if '?' in path else '?'}ticket={page.ticket}", **wanted).text
        assert f'<html lang="{language}">' in shown, path
        for english in ("Go on", "Why", "What", "Longest", "This is your desk", "How long"):
            assert english not in shown, (path, english)
    answer = page.post_desk(f"/approve/{NUMBER}", {"ticket": page.ticket, "camera.door": "yes"}, **wanted)
    assert compare in answer.text
    assert page.house.phone[-1][0] in answer.text


@contextmanager
def mute_releaser(page: PageHouse) -> Iterator[None]:
    """A releaser that takes every command, and hangs up."""
    path = page.desk_settings.process_socket("releaser")
    aside = path.with_name("aside")
    path.rename(aside)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def hang_up() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        aside.rename(path)


def test_act_without_an_answer_may_have_been_done(page: PageHouse):
    """The releaser was told and hung up: the owner is not told that it failed, and is offered no second try."""
    nonce = draft(page)
    with mute_releaser(page):
        answer = sign(page, nonce)
    assert answer.status == 504
    assert "It may have been done" in answer.text
    assert page.house.phone[-1][0] in answer.text
    assert "<form" not in answer.text


def test_act_that_reached_nobody_is_offered_again(page: PageHouse):
    """No connection at all: nothing was done, which the desk may say."""
    nonce = draft(page)
    path = page.desk_settings.process_socket("releaser")
    path.rename(path.with_name("aside"))
    try:
        answer = sign(page, nonce)
    finally:
        path.with_name("aside").rename(path)
    assert (answer.status, "does not answer" in answer.text) == (403, True)
    assert sign(page, find_nonce(answer.text)).status == 200


@pytest.mark.parametrize(
    "headers",
    {
        "another site": {"Sec_Fetch_Site": "cross-site"},
        "another name of the house": {"Sec_Fetch_Site": "same-site"},
        "origin of the page": {"Origin": "https://page.home.test:8443"},
        "no origin": {"Origin": ""},
        "origin null": {"Origin": "null"},
        "no plain form": {"Content_Type": "text/plain"},
    }.items(),
    ids=lambda each: each[0],
)
def test_form_of_another_page_is_refused(page: PageHouse, headers):
    """At the first step and at the last."""
    nonce = draft(page)
    fields = {"ticket": page.ticket, "camera.door": "yes"}
    assert page.post_desk(f"/approve/{NUMBER}", fields, **headers[1]).status in (403, 415)
    assert sign(page, nonce, **headers[1]).status in (403, 415)
    assert page.house.signed == []
    assert len(page.house.phone) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "page.home.test:{port}", "evil.test:{port}", DESK_NAME, "", "a:b"]
)
def test_desk_answers_to_its_own_name_alone(page: PageHouse, host: str):
    """421 (RFC 9110, 15.5.20) by address, by the page's name and by any other; so a relay under its own name is out."""
    port = page.desk_settings.port
    answer = page.send_desk("GET", "/", Host=host.format(port=port))
    assert answer.status in (400, 421)
    if answer.status == 421:
        assert page.desk_origin in answer.text


def test_certificate_is_for_that_name_alone(page: PageHouse):
    """By address the browser itself refuses, and the page's certificate vouches for nobody's desk."""
    with pytest.raises(ssl.SSLCertVerificationError):
        page.context().wrap_socket(
            socket.create_connection(("127.0.0.1", page.desk_settings.port)), server_hostname="127.0.0.1"
        )
    with pytest.raises(ssl.SSLCertVerificationError):
        page.context().wrap_socket(socket.create_connection(("127.0.0.1", page.port)), server_hostname=DESK_NAME)


def test_answers_set_no_cookie_and_are_kept_nowhere(page: PageHouse):
    """No session that could be stolen; nothing in a cache; no other certificate once this one was trusted."""
    for path in ("/", f"/approve/{NUMBER}?ticket={page.ticket}", "/nothing", "/static/page.css"):
        answer = page.send_desk("GET", path)
        assert answer.headers["Set-Cookie"] is None
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_without_a_phone_the_terminal_is_named(page: PageHouse):
    """A desk that cannot reach the owner elsewhere signs nothing."""
    page.house.has_phone = False
    answer = page.post_desk(f"/approve/{NUMBER}", {"ticket": page.ticket, "camera.door": "yes"})
    assert answer.status == 502
    assert "no notice service" in answer.text


def test_pictures_are_shown_from_memory(page: PageHouse):
    """Each with its time; the path is random, and nobody finds another."""
    nonce = draft(page, "/show", camera="door", start="2026-11-28T15:35", minutes="10", what="look")
    assert page.house.drafts[next(reversed(page.house.drafts))]["start"] == "2026-11-28T21:35:00Z"  # Chicago
    where = sign(page, nonce).headers["Location"]
    shown = page.send_desk("GET", where)
    assert shown.text.count("<img") == 2
    picture = page.send_desk("GET", f"{where}/1")
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert page.send_desk("GET", f"{where}/3").status == 404
    assert page.send_desk("GET", "/film/" + "A" * 32).status == 404
    assert page.send_desk("GET", "/film/" + "A" * 32 + "/1").status == 404


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [("", 200, "0123456789"), ("bytes=0-3", 206, "0123"), ("bytes=7-", 206, "789"), ("bytes=-2", 206, "89"),
     ("bytes=4-400", 206, "456789"), ("bytes=10-", 200, "0123456789"), ("bytes=3-1", 200, "0123456789"),
     ("bytes=0-1,3-4", 200, "0123456789"), ("lines=1-2", 200, "0123456789")],
)  # fmt: skip
def test_recording_is_played_by_ranges(page: PageHouse, asked: str, status: int, got: str):
    """As players ask (RFC 9110, 14.2); what is malformed gets all of it."""
    nonce = draft(page, "/show", camera="door", start="2026-11-28T21:35", minutes="1", what="play")
    where = sign(page, nonce).headers["Location"]
    answer = page.send_desk("GET", f"{where}/1", **({"Range": asked} if asked else {}))
    assert (answer.status, answer.text) == (status, got)
    assert answer.headers["Cache-Control"] == "no-store"


def test_passphrase_code_and_key_are_nowhere_afterwards(page: PageHouse):
    """Not in the log, in the folder, or in an argument of a process."""
    nonce = draft(page)
    code = page.house.phone[-1][1]
    assert sign(page, nonce).status == 200
    for path in [page.desk_log, *page.desk_state.iterdir()]:
        text = path.read_text(errors="replace")
        assert PASSPHRASE not in text, path
        assert code not in text, path
        assert path == page.desk_log or path.stat().st_mode & 0o077 == 0, path


def test_hostile_forms_break_nothing(page: PageHouse):
    """Every field wrong in turn: an answer in words, and no error of ours in the log."""
    for fields in ({}, {"nonce": "x"}, {"nonce": "\u0000", "code": "1"}, {"code": "1" * 4000}):
        assert page.post_desk("/sign", fields).status in (400, 403)
    for fields in (
        {"camera": "door", "start": "now", "minutes": "1", "what": "play"},
        {"camera": "door", "start": "9999-12-31T23:59", "minutes": "10", "what": "play"},
        {"camera": "door", "start": "0001-01-01T00:00", "minutes": "10", "what": "look"},
        {"camera": "door", "start": "2026-11-28T21:35", "minutes": "11", "what": "play"},
        {"camera": "door", "start": "2026-11-28T21:35", "minutes": "1", "what": "erase"},
    ):
        assert page.post_desk("/show", {"ticket": page.ticket, **fields}).status == 400
    assert "failed" not in page.desk_log.read_text()


def test_desk_stays_small(page: PageHouse):
    """After all of the above at most 60 MB: the key's derivation was a child's."""
    assert page.desk_process is not None
    assert read_pss_mb(page.desk_process.pid) <= 60
