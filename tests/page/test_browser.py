"""The resident's page in Debian's Chromium: phone and desk, light and dark, keyboard, no script, hostile pages."""

import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.support.browser import launch_chromium, press
from tests.support.page_house import HOSTILE, JTI, NUMBER, PageHouse, free_port, read_pss_mb, request

AXE = Path(__file__).parents[1] / "peers" / "chromium" / "node_modules" / "axe-core" / "axe.min.js"
PATHS = ("/", "/requests", f"/requests/{NUMBER}", "/recordings", "/ledger", "/terms", "/devices")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None or not AXE.is_file(),
        reason="needs Debian's chromium, and `npm ci` in tests/peers/chromium",
    ),
]
Open = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's own; the names of the tests lead to this machine, and no other is looked up."""
    with launch_chromium() as browser:
        yield browser


@pytest.fixture
def paired(browser: Browser, page: PageHouse, cookie: str) -> Iterator[Open]:
    """Open a window of a paired device, past the certificate's warning."""
    contexts = []

    def open_window(**words: Any) -> BrowserContext:
        context = browser.new_context(ignore_https_errors=True, **{"viewport": PHONE, **words})
        name, _, value = cookie.partition("=")
        for host in ("127.0.0.1", "page.home.test"):
            context.add_cookies(
                [{"name": name, "value": value, "url": f"https://{host}:{page.port}/", "secure": True,
                  "httpOnly": True, "sameSite": "Lax"}]
            )  # fmt: skip
        contexts.append(context)
        return context

    yield open_window
    for context in contexts:
        context.close()


def listen_to(tab: Page) -> list[str]:
    """Collect what the browser complains of: refused scripts, styles, and faults of our own."""
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    return said


def fill_ledger(page: PageHouse) -> None:
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("request", {"jti": JTI, "category": "robbery", "incident": "E-1"}),
        ("decision", {"jti": JTI, "outcome": "ask"}),
        ("page", {"what": "pause", "camera": "door", "by": "page/phone"}),
        ("unverified", {"count": 12, "reason": "signature-invalid"}),
    ]
    page.house.entries = [
        {
            "index": index,
            "at": "2026-11-28T20:00:00Z",
            "kind": kind,
            "entry": entry,
            "request": NUMBER if "jti" in entry else None,
        }
        for index, (kind, entry) in enumerate(kinds)
    ]


LOOKS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": PHONE},
    "phone, dark": {"viewport": PHONE, "color_scheme": "dark"},
    "desk": {"viewport": DESK},
    "desk, dark": {"viewport": DESK, "color_scheme": "dark"},
    # Twice the size on a desk is half of its points (WCAG 1.4.4, 1.4.10).
    "desk at 200 %": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "narrowest": {"viewport": {"width": 320, "height": 568}},
}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_without_fault_for_axe(page: PageHouse, paired: Open, look: str):
    """Contrast, names, order, landmarks: axe-core finds nothing; nothing is wider than the window."""
    fill_ledger(page)
    page.house.requests = [request(reasons=[{"code": "hours", "camera": "yard", "sentence": "Not in these hours."}])]
    page.house.paused = ["yard"]
    tab = paired(**LOOKS[look]).new_page()
    said = listen_to(tab)
    for path in (*PATHS, "/pair", "/nothing"):
        tab.goto(page.origin + path)
        tab.evaluate(AXE.read_text())
        found = tab.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.target)]))")
        assert found == [], (path, found)
        wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path
    assert [each for each in said if "404" not in each] == []


def test_phone_is_paired_by_the_picture_and_says_no(page: PageHouse, browser: Browser):
    """From the QR's address to a refused request: one name, four taps; the code leaves the address bar."""
    context = browser.new_context(ignore_https_errors=True, viewport=PHONE)
    tab = context.new_page()
    said = listen_to(tab)
    tab.goto(f"{page.origin}/pair#{page.code()}")
    expect(tab).to_have_url(f"{page.origin}/pair")
    tab.keyboard.type("phone")
    press(tab.get_by_role("button", name="Pair"))
    expect(tab.get_by_role("status")).to_have_text("This device is paired.")
    press(tab.get_by_role("link", name="rtcc.example-city"))
    press(tab.get_by_role("button", name="Say no"))
    expect(tab.get_by_role("status")).to_contain_text("Refused. Nothing of it leaves.")
    assert [(each["command"], each["by"]) for each in page.house.acts] == [("deny", "phone")]
    assert said == []
    context.close()
    page.forget("phone")


def test_all_of_it_works_by_keyboard(page: PageHouse, paired: Open):
    """Tab and Enter reach the big pause, and what has the focus is seen."""
    tab = paired(viewport=DESK).new_page()
    tab.goto(page.origin + "/")
    reached = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.textContent.trim().slice(0, 30)"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1].startswith("Pause"):
            break
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("status")).to_contain_text("Paused.")
    assert reached[0] == "To the content"
    assert page.house.acts[0]["command"] == "pause"


def test_reads_and_stops_without_scripts(page: PageHouse, paired: Open):
    """Every page and every form is plain HTML."""
    context = paired(java_script_enabled=False)
    tab = context.new_page()
    for path in PATHS:
        tab.goto(page.origin + path)
        assert tab.locator("h1").count() == 1
    tab.goto(f"{page.origin}/requests/{NUMBER}")
    press(tab.get_by_role("button", name="Say no"))
    assert "Refused" in tab.inner_text("[role=status]")
    tab.goto(page.origin + "/terms")
    tab.get_by_role("checkbox").check()
    press(tab.get_by_role("button", name="Withdraw"))
    assert [each["command"] for each in page.house.acts] == ["deny", "revoke"]


def test_page_shows_a_new_request_by_itself(page: PageHouse, paired: Open):
    """A resident who leaves the page open sees new requests, and sees them counted down."""
    page.house.requests = []
    tab = paired().new_page()
    tab.goto(page.origin + "/")
    expect(tab.get_by_role("heading", level=1)).to_contain_text("Nothing waits for you.")
    page.house.requests = [request()]
    expect(tab.get_by_role("heading", level=1)).to_contain_text("One request waits for you.", timeout=15_000)
    expect(tab.locator("time[data-until]").first).to_contain_text("left)")


def test_page_asks_once_at_a_time(page: PageHouse, paired: Open):
    """A gateway that answers slowly is not asked again before it has, however often the time comes."""
    tab = paired().new_page()
    asked: list[Route] = []

    def keep(route: Route) -> None:
        asked.append(route)

    tab.route("**/live", keep)
    tab.clock.install()
    tab.goto(f"{page.origin}/")
    with tab.expect_request("**/live"):
        tab.clock.run_for(6_000)
    tab.clock.run_for(21_000)
    assert len(asked) == 1
    with tab.expect_event("requestfailed"):
        asked[0].abort()
    with tab.expect_request("**/live"):
        tab.clock.run_for(6_000)


def test_hostile_texts_run_nothing_and_turn_no_line_around(page: PageHouse, paired: Open):
    """Markup in every field of a request: no script, no request to anywhere, no wider page."""
    house = page.house
    house.requests = [request(iss=HOSTILE, purpose=HOSTILE, contact=HOSTILE, incident=HOSTILE, signers=[HOSTILE])]
    house.title = house.sentence = HOSTILE
    tab = paired().new_page()
    said = listen_to(tab)
    asked: list[str] = []
    tab.on("request", lambda each: asked.append(each.url))
    for path in PATHS:
        tab.goto(page.origin + path)
        assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, path
        assert tab.locator("img, iframe, object, script:not([src])").count() == 0
    assert said == []
    assert [each for each in asked if not each.startswith(page.origin + "/")] == []


@pytest.fixture
def evil_site() -> Iterator[str]:
    """A page of somebody else, on another name of this machine, that tries each way to use the resident's cookie."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self.path.partition("?")[2]
            body = f"""<!doctype html><meta charset=utf-8><title>evil</title>
                <iframe id=frame src="{target}/"></iframe>
                <form id=form method=post action="{target}/pause"><input name=for value=until-resumed></form>
                <script>
                window.read = fetch("{target}/", {{credentials: "include"}}).then(r => r.text()).catch(e => "refused");
                window.sent = fetch("{target}/pause", {{method: "POST", credentials: "include", mode: "no-cors",
                    headers: {{"Content-Type": "application/x-www-form-urlencoded"}}, body: "for=until-resumed"}});
                window.read.then(text => document.title = text);
                </script>"""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://evil.test:{port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_another_page_in_the_same_browser_can_do_nothing(page: PageHouse, paired: Open, evil_site: str):
    """No frame of it, no reading, no form, by fetch or by a click: the owner's cookie is of no use to a stranger."""
    tab = paired().new_page()
    tab.goto(f"{evil_site}?{page.origin}")
    expect(tab).to_have_title("refused")
    frame = next(each for each in tab.frames if each != tab.main_frame)
    assert "camera" not in frame.content()
    tab.evaluate("document.getElementById('form').submit()")
    tab.wait_for_url(f"{page.origin}/pause")
    assert "This form did not come from this page" in tab.content() or "/pair" in tab.url
    assert page.house.acts == []


def test_rebound_name_shows_nothing(page: PageHouse, paired: Open):
    """A stranger's name that suddenly means this gateway: 421, whatever the browser would send."""
    tab = paired().new_page()
    answer = tab.goto(f"https://rebound.test:{page.port}/")
    assert answer is not None
    assert answer.status == 421
    assert "camera" not in tab.content()


def test_link_in_a_notice_opens_the_page_and_changes_nothing(page: PageHouse, paired: Open, evil_site: str):
    """The cookie is Lax: from a mail or another page the request is shown, after which it still waits."""
    tab = paired().new_page()
    tab.goto(evil_site + "?about:blank")
    tab.evaluate(f"location.href = '{page.origin}/requests/{NUMBER}'")
    expect(tab.get_by_role("button", name="Say no")).to_be_visible()
    assert page.house.acts == []


def test_page_stays_small_and_quick(page: PageHouse, cookie: str):
    """After all of the above at most 40 MB, and the home page at best within 100 ms, TLS included."""
    assert page.process is not None
    assert read_pss_mb(page.process.pid) <= 40
    times = []
    for _ in range(10):
        began = time.monotonic()
        assert page.get("/", cookie).status == 200
        times.append(time.monotonic() - began)
    assert min(times) <= 0.1, times
