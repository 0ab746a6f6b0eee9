"""The resident's page over HTTPS: what a paired device sees, what its forms do, and what everybody else gets."""

import json
import shutil
import socket
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from edge_agent.host import control_socket
from edge_agent.host.accepting import HANDSHAKE_TIMEOUT_S
from edge_agent.page import connections
from edge_agent.page.guard import find_fault
from edge_agent.page.listening import MAX_THREADS
from tests.peers.wait import wait_until
from tests.support.page_house import HOSTILE, NUMBER, FakeHouse, PageHouse, request

UNIT = Path(__file__).parents[2] / "systemd/edge-agent-page.service"
PATHS = ("/", "/requests", f"/requests/{NUMBER}", "/recordings", "/ledger", "/terms", "/devices")


@pytest.mark.parametrize("path", PATHS)
def test_every_page_opens_for_a_paired_device_and_for_no_other(page: PageHouse, cookie: str, path: str):
    """Without the cookie, or with a wrong one, there is the way to pair and nothing of the house."""
    page.house.entries = [
        {"index": 7, "at": "2026-11-28T20:00:00Z", "kind": "page", "entry": {"what": "deny", "by": "page/x"}}
    ]
    assert page.get(path, cookie).status == 200
    for wrong in ("", "__Host-edge-agent=" + "A" * 43, "__Host-edge-agent=", cookie[:-1]):
        answer = page.get(path, wrong)
        assert (answer.status, answer.headers["Location"], answer.text) == (303, "/pair", "")


def test_home_says_in_one_sentence_how_it_is(page: PageHouse, cookie: str):
    """Cameras by name, what waits, what is paused: in that order of importance."""
    text = page.get("/", cookie).text
    assert "1 of 2 cameras record. One request waits for you." in text
    assert "not recording: the camera could not be reached" in text
    page.house.requests, page.house.paused = [request("denied")], ["yard"]
    page.house.cameras.pop("yard.main")
    text = page.get("/", cookie).text
    assert "The camera records. You have paused: nothing leaves of Yard." in text


def test_request_shows_who_why_where_and_what_a_yes_would_give(page: PageHouse, cookie: str):
    """Before somebody answers, everything that is signed and everything that the terms leave of it."""
    page.house.requests = [request(reasons=[{"code": "hours", "camera": "yard", "sentence": "Not in these hours."}])]
    text = page.get(f"/requests/{NUMBER}", cookie).text
    for each in (
        "rtcc.example-city", "robbery at the corner shop", "E-2026-118", "about 310 m north-east of your house",
        "ann (operator)", "bob (supervisor)", "desk 4, 555-0100", "Sat 28 Nov, 13:12:00 to 13:22:00",
        "Front door: Sat 28 Nov, 13:12:00 to 13:20:00 (8 min), without sound, 1 area blacked out",
        "Yard: Not in these hours.", "Silence is a no.",
    ):  # fmt: skip
        assert each in text, each


def test_forms_deny_stop_pause_and_withdraw_in_the_devices_name(page: PageHouse, cookie: str):
    """Each act reaches the releaser once, with the device, and leads to a page that says what was done."""
    token = page.token(cookie)
    acts = [
        (f"/requests/{NUMBER}/deny", {}, {"command": "deny", "number": NUMBER}),
        (f"/requests/{NUMBER}/cancel", {}, {"command": "cancel", "number": NUMBER}),
        ("/pause", {"camera": "door", "for": "until-resumed"}, {"command": "pause", "camera": "door", "until": None}),
        ("/terms/revoke", {"camera": "door", "sure": "yes"}, {"command": "revoke", "camera": "door"}),
    ]
    for path, fields, told in acts:
        answer = page.post(path, {"token": token, **fields}, cookie)
        assert answer.status == 303, answer.text
        assert page.house.acts.pop() == {**told, "by": "kitchen tablet"}
        assert 'class="done"' in page.get(answer.headers["Location"], cookie).text


def test_withdrawing_names_its_camera(page: PageHouse, cookie: str):
    """A form without the field is not one for every camera: only a new signature gives a consent back."""
    token = page.token(cookie)
    for fields in ({}, {"camera": ""}):
        answer = page.post("/terms/revoke", {"token": token, "sure": "yes", **fields}, cookie)
        assert answer.status == 400
    assert page.house.acts == []


STRANGE = {
    "a number of 5000 digits": b"GET /requests/" + b"9" * 5000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a number of 5000 digits to act on": b"POST /requests/" + b"9" * 5000 + b"/deny HTTP/1.1\r\nHost: HOST\r\n"
    b"Origin: https://HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n",
    "a length of 5000 digits": b"POST /pair HTTP/1.1\r\nHost: HOST\r\nOrigin: https://HOST\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a number of another script": "GET /requests/\u0661 HTTP/1.1\r\nHost: HOST\r\n\r\n".encode(),
    "a form that breaks off": b"POST /pair HTTP/1.1\r\nHost: HOST\r\nOrigin: https://HOST\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ncode=",
    "a form that is no text": b"POST /pair HTTP/1.1\r\nHost: HOST\r\nOrigin: https://HOST\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n\xff\xfe%",
}


def read_log(page: PageHouse) -> str:
    """Return the log once it has its first line, which is written a moment after the page answers."""
    wait_until(lambda: "page is served" in page.log.read_text(), 5)
    return page.log.read_text()


@pytest.mark.parametrize("words", STRANGE.values(), ids=STRANGE)
def test_what_a_stranger_sends_is_no_line_of_the_journal(page: PageHouse, words: bytes):
    """Refused with a status below 500, before anybody asks who it is; nothing is logged of it."""
    before = read_log(page)
    plain = socket.create_connection(("127.0.0.1", page.port), timeout=20)
    with page.context().wrap_socket(plain, server_hostname="127.0.0.1") as one:
        one.sendall(words.replace(b"HOST", f"127.0.0.1:{page.port}".encode()))
        if not words.endswith(b"code="):
            assert one.recv(100).split()[1] < b"500"
    assert page.get("/pair").status == 200  # by now the other is dealt with: one loop, in order
    assert page.log.read_text() == before


def test_length_of_many_digits_is_refused_by_the_guard_itself():
    """Whatever stands in front of it, int() is not asked for more digits than it takes."""
    words = {
        "host": "x", "origin": "https://x", "content-type": "application/x-www-form-urlencoded",
        "content-length": "9" * 5000,
    }  # fmt: skip
    fault = find_fault("POST", Headers(words), frozenset({"x"}))
    assert fault is not None
    assert fault[0] == 413


def test_fault_of_the_page_itself_is_one_line(page: PageHouse, cookie: str):
    """An answer that says so and shows nothing, and no page of trace in the journal."""
    before = read_log(page)
    page.house.requests = [{"number": NUMBER}]
    answer = page.get(f"/requests/{NUMBER}", cookie)
    assert answer.status == 500
    assert "Something is wrong" in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"
    wait_until(lambda: page.log.read_text() != before, 5)
    said = page.log.read_text().removeprefix(before)
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_page_has_fewer_threads_than_its_unit_allows(monkeypatch: pytest.MonkeyPatch):
    """All that is asked at once while a process takes requests and does not answer."""
    monkeypatch.setattr(control_socket, "_WORKERS", 64)
    limit = int(UNIT.read_text().split("TasksMax=")[1].split()[0])
    house = FakeHouse()
    page = PageHouse(house)
    try:
        page.start()
        cookie = page.pair()
        assert page.process is not None
        threads = Path(f"/proc/{page.process.pid}/task")
        words = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nCookie: {cookie}\r\n\r\n".encode()
        house.gate.clear()
        with ExitStack() as stack:
            for number in range(40):
                source = (f"127.0.1.{number // 10 + 1}", 0)
                plain = stack.enter_context(socket.create_connection(("127.0.0.1", page.port), 20, source))
                one = stack.enter_context(page.context().wrap_socket(plain, server_hostname="127.0.0.1"))
                one.sendall(words)
            wait_until(lambda: len(list(threads.iterdir())) > MAX_THREADS, 5)
            with pytest.raises(TimeoutError):
                one.settimeout(1)
                one.recv(1)
            assert len(list(threads.iterdir())) < limit
            house.gate.set()
            one.settimeout(20)
            assert one.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        house.gate.set()
        page.stop()


def test_pause_for_a_time_ends_at_a_whole_second(page: PageHouse, cookie: str):
    """The releaser is told a moment, not a length."""
    page.post("/pause", {"token": page.token(cookie), "for": "8h", "camera": "*"}, cookie)
    until = page.house.acts[0]["until"]
    assert until.endswith("Z")
    assert "." not in until


@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    {
        "no token": ({}, {}, 403),
        "wrong token": ({"token": "0" * 64}, {}, 403),
        "another page's form": ({"token": "right"}, {"Origin": "https://evil.test"}, 403),
        "no origin": ({"token": "right"}, {"Origin": ""}, 403),
        "origin of a sandbox": ({"token": "right"}, {"Origin": "null"}, 403),
        "another site, says the browser": ({"token": "right"}, {"Sec_Fetch_Site": "cross-site"}, 403),
        "another page of the same site": ({"token": "right"}, {"Sec_Fetch_Site": "same-site"}, 403),
        "form of another kind": ({"token": "right"}, {"Content_Type": "text/plain"}, 415),
        "upload": ({"token": "right"}, {"Content_Type": "multipart/form-data; boundary=x"}, 415),
        "form of 9 kB": ({"token": "right", "x": "y" * 9000}, {}, 413),
        "seventeen fields": ({"token": "right", **{str(n): "" for n in range(17)}}, {}, 400),
        "rebound name": ({"token": "right"}, {"Host": "evil.test:8443"}, 421),
        "no pause of this length": ({"token": "right", "for": "9y"}, {}, 400),
    }.values(),
    ids=str,
)
def test_forged_form_does_nothing(page: PageHouse, cookie: str, fields, headers, expected):
    """Whatever another page, another name or another program sends with a device's cookie: no act."""
    if fields.get("token") == "right":
        fields = {**fields, "token": page.token(cookie)}
    assert page.post("/pause", fields, cookie, **headers).status == expected
    assert page.house.acts == []


def test_nothing_is_changed_by_a_get(page: PageHouse, cookie: str):
    """A link in a notice, or in a hostile page, can show and never act."""
    for path in (
        f"/requests/{NUMBER}/deny",
        f"/requests/{NUMBER}/cancel",
        "/pause",
        "/terms/revoke",
        "/devices/forget",
    ):
        assert page.get(path, cookie).status == 405
    assert page.house.acts == []


@pytest.mark.parametrize(
    "host",
    ["evil.test", "127.0.0.1", "127.0.0.1:1", "localhost", "page.home.test.evil.test", "page.home.test:443", ""],
)
def test_foreign_host_is_answered_by_nothing_of_the_house(page: PageHouse, cookie: str, host: str):
    """A name that was bent to this address (DNS rebinding) gets 421 and the mend, whatever the cookie."""
    answer = page.get("/", cookie, Host=host)
    assert answer.status in (400, 421)
    assert "camera" not in answer.text


def test_own_names_and_addresses_are_answered(page: PageHouse, cookie: str):
    """By the name that was added, by the random one, and by address."""
    for name in (*page.settings.names, "127.0.0.1", "PAGE.home.test"):
        assert page.get("/", cookie, Host=f"{name}:{page.port}").status == 200


@pytest.mark.parametrize("path", ["/", "/pair", "/nothing", "/static/page.css"])
def test_every_answer_carries_the_headers(page: PageHouse, cookie: str, path: str):
    """No script but our own, no frame, no cache, no address that leaks; refusals included."""
    for answer in (page.get(path, cookie), page.get(path, cookie, Host="evil.test")):
        policy = answer.headers["Content-Security-Policy"]
        for each in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"):
            assert each in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Server"] is None


def test_hostile_texts_stay_texts(page: PageHouse, cookie: str):
    """Markup, direction controls, NUL and ten kilobytes, wherever a stranger's word is shown."""
    house = page.house
    house.requests = [request(
        iss=HOSTILE, purpose=HOSTILE, contact=HOSTILE, incident=HOSTILE, category=HOSTILE, signers=[HOSTILE],
        cameras=[HOSTILE], reasons=[{"code": HOSTILE, "camera": HOSTILE, "sentence": HOSTILE}],
        releases=[{"camera": HOSTILE, "state": HOSTILE, "reason": HOSTILE, "bytes": 1}],
    )]  # fmt: skip
    house.title = house.sentence = HOSTILE
    house.cameras = {"door.main": {"state": HOSTILE, "reason": HOSTILE, "warning": HOSTILE}}
    house.paused = [HOSTILE]
    house.entries = [{
        "index": 1, "at": "2026-11-28T20:00:00Z", "kind": HOSTILE,
        "entry": {"what": HOSTILE, "jti": HOSTILE, "reasons": [{"code": HOSTILE}], "count": 1, "reason": HOSTILE},
    }]  # fmt: skip
    for path in PATHS:
        text = page.get(path, cookie).text
        assert "<script>alert" not in text, path
        assert "<img" not in text, path
        assert not {"\u202e", "\u2066", "\x00"} & set(text), path
        assert len(text) < 60_000, path


def test_pairing_code_is_good_once(page: PageHouse):
    """The second browser with the same code gets nothing; a new code ends the one before."""
    code = page.code()
    answer = page.post("/pair", {"code": code.lower().replace("-", " "), "name": "one"})
    assert answer.status == 303
    assert page.post("/pair", {"code": code, "name": "two"}).status == 403
    old, _ = page.code(), page.code()
    assert page.post("/pair", {"code": old, "name": "three"}).status == 403
    page.forget("one")


def test_guessing_a_code_meets_growing_pauses(page: PageHouse):
    """After a wrong code even the right one is refused until the pause is over; the page says so."""
    page.code()
    assert page.post("/pair", {"code": "0000-0000-0000", "name": "x"}).status == 403
    answer = page.post("/pair", {"code": "1111-1111-1111", "name": "x"})
    assert "Wait" in answer.text
    page.code()  # the owner asks anew at the gateway: the pauses are over


def test_name_that_cannot_be_one_does_not_use_the_code_up(page: PageHouse):
    """A resident who mistypes tries again; a name that is taken gets a number."""
    code = page.code()
    assert page.post("/pair", {"code": code, "name": " "}).status == 403
    for name in ("twin", "twin"):
        assert page.post("/pair", {"code": code, "name": name}).status == 303
        code = page.code()
    page.forget("twin")
    page.forget("twin 2")


def test_slow_and_many_connections_do_not_hold_the_page(page: PageHouse, cookie: str):
    """Twelve from one address; one that sends half a request is ended, and the next in line is answered."""
    with ExitStack() as stack:
        slow = []
        for _ in range(connections.MAX_OF_ONE_ADDRESS + 3):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=20))
            with suppress(OSError):
                one = stack.enter_context(page.context().wrap_socket(raw, server_hostname="127.0.0.1"))
                one.sendall(b"GET / HTTP/1.1\r\nHost: x")
                slow.append(one)
        for one in slow:
            with suppress(OSError):
                assert one.recv(100) == b""
    assert page.get("/", cookie).status == 200


def test_who_never_begins_tls_is_counted_and_ended(page: PageHouse, cookie: str):
    """A connection without a byte has a place as any other: the next ones are closed at once, it after seconds."""
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=20))
            for _ in range(connections.MAX_OF_ONE_ADDRESS + 3)
        ]
        began = time.monotonic()
        ends = []
        for one in silent:
            with suppress(OSError):
                assert one.recv(1) == b""
            ends.append(time.monotonic() - began)
        assert max(ends) < HANDSHAKE_TIMEOUT_S + 3
    assert page.get("/", cookie).status == 200


def test_a_hundred_silent_connections_take_no_more_places_than_there_are(page: PageHouse, cookie: str):
    """However many connections somebody on the Wi-Fi holds open, the process has few sockets."""
    assert page.process is not None
    folder = Path(f"/proc/{page.process.pid}/fd")
    before = len(list(folder.iterdir()))
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=20))
        wait_until(lambda: len(list(folder.iterdir())) <= before + connections.MAX_OF_ONE_ADDRESS, 3)
    # The page has to notice that they are gone: until then this address has no place left.
    wait_until(lambda: len(list(folder.iterdir())) <= before, 20)
    assert page.get("/", cookie).status == 200


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_page_runs_under_the_filter_of_its_unit():
    """TLS, threads, sockets and the file of devices need no call that the unit forbids."""
    root = Path(__file__).parents[2]
    launcher = (sys.executable, str(root / "tests/peers/seccomp_run.py"), str(root / "systemd/edge-agent-page.service"))
    page = PageHouse(FakeHouse(), launcher=(*launcher, "--"))
    try:
        page.start()
        assert page.get("/", page.pair()).status == 200
        assert page.process is not None
        assert "Seccomp:\t2" in Path(f"/proc/{page.process.pid}/status").read_text()
        assert "not permitted" not in page.log.read_text()
    finally:
        page.stop()


def test_cookie_is_kept_from_scripts_other_hosts_and_plain_http(page: PageHouse):
    """`__Host-`, Secure, HttpOnly, Lax: RFC 6265bis, 4.1.3."""
    answer = page.post("/pair", {"code": page.code(), "name": "other"})
    attributes = {each.strip().lower() for each in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert answer.headers["Set-Cookie"].startswith("__Host-")
    assert not [each for each in attributes if each.startswith("domain")]
    page.forget("other")


def test_device_that_is_taken_off_is_out_at_once(page: PageHouse, cookie: str):
    """By another device, or at the gateway; its cookie opens nothing from the next request on."""
    lost = page.pair("lost phone")
    listed = page.get("/devices", cookie).text
    device = listed.split("lost phone")[1].split('name="device" value="')[1].split('"')[0]
    page.post("/devices/forget", {"token": page.token(cookie), "device": device}, cookie)
    assert page.get("/", lost).status == 303
    assert page.get("/", cookie).status == 200
    mine = page.pair("mine")
    page.forget("mine")
    assert page.get("/", mine).status == 303


def test_refusal_of_a_process_is_shown_in_its_words(page: PageHouse, cookie: str):
    """No traceback, and a status that says whose fault it is."""
    answer = page.get("/requests/99", cookie)
    assert answer.status == 400
    assert "there is no request" in answer.text


def test_secrets_are_hashed_at_rest_and_logged_nowhere(page: PageHouse, cookie: str):
    """A reader of the page's folder or of its log cannot become a device."""
    secret = cookie.partition("=")[2]
    code = page.code()
    page.post("/pair", {"code": code, "name": "logged"})
    page.forget("logged")
    for path in [page.log, *page.state.iterdir()]:
        text = path.read_text(errors="replace")
        assert secret not in text, path
        assert code not in text, path
        assert path == page.log or path.stat().st_mode & 0o077 == 0, path


def test_proof_of_an_entry_is_a_file(page: PageHouse, cookie: str):
    """Asked for by a form, because the gateway signs the ledger's head for it."""
    assert page.get("/ledger/3/proof", cookie).status == 405
    answer = page.post("/ledger/3/proof", {"token": page.token(cookie)}, cookie)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert 'filename="ledger-3-proof.json"' in answer.headers["Content-Disposition"]
    assert json.loads(answer.text) == {"index": 3}


def test_what_is_wrong_stands_on_the_first_page(page: PageHouse, cookie: str):
    """The same lines as in `edge-agent status`: a signature that did not reach its file, a full disk."""
    page.house.faults = ["What you signed at the desk is not in its file. On the gateway: sudo edge-agent adopt."]
    shown = page.get("/", cookie).text
    assert "What you signed at the desk is not in its file" in shown
    assert 'class="look"' in shown


def test_page_that_nobody_answers_looks_again_and_sends_no_form_again(page: PageHouse, cookie: str):
    """While the gateway starts: words for a resident, no path of a socket, and a form that is sent once."""
    token = page.token(cookie)
    path = page.settings.process_socket("releaser")
    path.rename(path.with_name("aside"))
    try:
        shown, sent = page.get("/terms", cookie), page.post("/pause", {"token": token}, cookie)
    finally:
        path.with_name("aside").rename(path)
    assert (shown.status, sent.status) == (503, 503)
    assert "The part of the gateway that answers requests does not answer." in shown.text
    assert str(path.parent) not in shown.text + sent.text
    assert ('http-equiv="refresh" content="3"' in shown.text, 'http-equiv="refresh"' in sent.text) == (True, False)


def test_terms_are_read_in_the_owners_language_first(page: PageHouse, cookie: str):
    """As the signature has them; the two others are a tap away."""
    page.house.language = "fr"
    assert '<ul lang="fr">' in page.get("/terms", cookie).text
    assert '<ul lang="es">' in page.get("/terms?language=es", cookie).text


@pytest.mark.parametrize(("language", "home", "no"), [("es", "Inicio", "Decir que no"), ("fr", "Accueil", "Dire non")])
def test_pages_speak_the_browsers_language(page: PageHouse, cookie: str, language: str, home: str, no: str):
    """Every page, before a device is paired as well; what strangers wrote stays as it is."""
    wanted = {"Accept-Language": f"{language}-XX,{language};q=0.9,en;q=0.5"}
    for path in ("/", "/requests", f"/requests/{NUMBER}", "/recordings", "/ledger", "/terms", "/devices", "/nothing"):
        shown = page.get(path, cookie, **wanted).text
        assert f'<html lang="{language}">' in shown, path
        assert home in shown, path
        for english in (">Home<", "Silence is a no", "Recorded:", "Sat ", " left", "Take off"):
            assert english not in shown, (path, english)
    shown = page.get(f"/requests/{NUMBER}", cookie, **wanted).text
    assert no in shown
    assert "robbery at the corner shop" in shown
    assert f'<html lang="{language}">' in page.get("/pair", **wanted).text
    assert f'<ul lang="{language}">' in page.get(f"/terms?language={language}", cookie, **wanted).text
