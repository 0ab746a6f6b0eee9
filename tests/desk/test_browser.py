"""The desk in Debian's Chromium: each step without a fault for axe, on a phone and on a desk, light and dark."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.page.test_browser import AXE, DESK, PHONE, listen_to
from tests.support.browser import launch_chromium, press
from tests.support.page_house import HOSTILE, NUMBER, PASSPHRASE, PageHouse, read_pss_mb, request

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None or not AXE.is_file(),
        reason="needs Debian's chromium, and `npm ci` in tests/peers/chromium",
    ),
]
LOOKS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": PHONE},
    "desk, dark": {"viewport": DESK, "color_scheme": "dark"},
    "desk at 200 %": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "narrowest, dark": {"viewport": {"width": 320, "height": 568}, "color_scheme": "dark"},
    "narrowest": {"viewport": {"width": 320, "height": 568}},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The names of the tests lead to this machine, and no other is looked up."""
    with launch_chromium() as browser:
        yield browser


def open_window(browser: Browser, **words: Any) -> BrowserContext:
    return browser.new_context(ignore_https_errors=True, **{"viewport": PHONE, **words})


def demand_no_fault(tab: Page) -> None:
    tab.evaluate(AXE.read_text())
    found = tab.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.target)]))")
    assert found == [], (tab.url, found)
    wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, tab.url


def sign(page: PageHouse, tab: Page) -> None:
    sentence, code = page.house.phone[-1]
    assert tab.locator(".sentence").inner_text() == sentence
    tab.get_by_label("Code of the message").fill(code)
    tab.get_by_label("Your passphrase").fill(PASSPHRASE)
    press(tab.get_by_role("button", name="Sign"))


@pytest.mark.parametrize("look", LOOKS)
def test_every_step_is_without_fault_for_axe(page: PageHouse, browser: Browser, look: str):
    """From the choice to what is shown; nothing is wider than the window, and the browser complains of nothing."""
    context = open_window(browser, **LOOKS[look])
    tab = context.new_page()
    said = listen_to(tab)
    page.house.paused = ["*"]
    for path in ("/", f"/approve/{NUMBER}?t=1", "/resume?t=1", "/show?camera=door", "/terms?camera=door", "/film/x"):
        tab.goto(f"{page.desk_origin}{path}{'&' if '?' in path else '?'}ticket={page.ticket}")
        assert tab.locator("h1").count() == 1
        demand_no_fault(tab)
    tab.goto(f"{page.desk_origin}/show?camera=door&ticket={page.ticket}")
    press(tab.get_by_role("button", name="Go on"))
    demand_no_fault(tab)
    sign(page, tab)
    expect(tab.locator("img")).to_have_count(2)
    demand_no_fault(tab)
    tab.goto(f"{page.desk_origin}/terms?camera=door&ticket={page.ticket}")
    press(tab.get_by_role("button", name="Go on"))
    expect(tab.get_by_text("without giving a reason")).to_be_visible()
    demand_no_fault(tab)
    page.house.outcome = {"state": "left"}
    sign(page, tab)
    expect(tab.get_by_role("heading", name="Signed")).to_be_visible()
    demand_no_fault(tab)
    tab.goto(f"{page.desk_origin}/show?camera=door&ticket={page.ticket}")
    tab.get_by_label("What").select_option("play")
    press(tab.get_by_role("button", name="Go on"))
    sign(page, tab)
    expect(tab.locator("video")).to_have_count(1)
    demand_no_fault(tab)
    assert [each for each in said if "404" not in each] == []
    context.close()


def test_yes_works_without_scripts_and_to_less(page: PageHouse, browser: Browser):
    """Plain HTML: a minute is taken away, the sentence is compared, the code typed."""
    context = open_window(browser, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{page.desk_origin}/approve/{NUMBER}?ticket={page.ticket}")
    tab.get_by_label("To").select_option(index=2)
    press(tab.get_by_role("button", name="Go on"))
    sign(page, tab)
    assert tab.get_by_role("heading", level=1).inner_text() == "Signed"
    (signed,) = page.house.signed
    assert (signed["start"], signed["end"]) == ("2026-11-28T19:12:00Z", "2026-11-28T19:15:00Z")
    context.close()


def test_a_yes_is_signed_by_keyboard_alone(page: PageHouse, browser: Browser):
    """Tab, Space and Enter reach every control, and what has the focus is seen."""
    context = open_window(browser, viewport=DESK)
    tab = context.new_page()
    tab.goto(f"{page.desk_origin}/approve/{NUMBER}?ticket={page.ticket}")

    def go_to(name: str) -> None:
        for _ in range(20):
            tab.keyboard.press("Tab")
            assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            shown = "(e => (e.labels?.[0] ?? e).textContent)(document.activeElement)"
            if name in str(tab.evaluate(shown)):
                return
        raise AssertionError(name)

    go_to("Go on")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    go_to("Code of the message")
    tab.keyboard.type(page.house.phone[-1][1])
    go_to("Your passphrase")
    tab.keyboard.type(PASSPHRASE)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Signed")).to_be_visible()
    assert len(page.house.signed) == 1
    context.close()


def test_a_look_begins_with_what_is_asked_for(page: PageHouse, browser: Browser):
    """From the question to its pictures: camera, beginning and length are filled in."""
    context = open_window(browser)
    tab = context.new_page()
    tab.goto(f"{page.desk_origin}/approve/{NUMBER}?ticket={page.ticket}")
    press(tab.get_by_role("link", name="See pictures of it first"))
    press(tab.get_by_role("button", name="Go on"))
    sign(page, tab)
    expect(tab.locator("img")).to_have_count(2)
    (signed,) = page.house.signed
    assert (signed["camera"], signed["start"], signed["end"]) == (
        "door", "2026-11-28T19:12:00Z", "2026-11-28T19:22:00Z",
    )  # fmt: skip
    assert signed["number"] == NUMBER
    context.close()


def test_terms_are_read_aloud_while_they_are_chosen(page: PageHouse, browser: Browser):
    """Each change asks the releaser what it says, in the language that is chosen."""
    context = open_window(browser)
    tab = context.new_page()
    said = listen_to(tab)
    tab.goto(f"{page.desk_origin}/terms?camera=door&ticket={page.ticket}")
    expect(tab.locator("#preview li").first).to_have_text("en: ask")
    tab.get_by_label("Never").check()
    expect(tab.locator("#preview li").first).to_have_text("en: deny")
    tab.get_by_label("Language").select_option("fr")
    expect(tab.locator("#preview li").first).to_have_text("fr: deny")
    assert said == []
    context.close()


def test_hostile_texts_run_nothing_at_the_desk(page: PageHouse, browser: Browser):
    """A stranger's words are text there too."""
    page.house.requests = [request(iss=HOSTILE, purpose=HOSTILE, incident=HOSTILE)]
    page.house.title = HOSTILE
    context = open_window(browser)
    tab = context.new_page()
    said = listen_to(tab)
    tab.goto(f"{page.desk_origin}/approve/{NUMBER}?ticket={page.ticket}")
    assert tab.locator("img, iframe, object, script:not([src])").count() == 0
    assert said == []
    context.close()


def test_by_address_the_desk_is_not_there(page: PageHouse, browser: Browser):
    """421, with the name that it has; so is the page's name on the desk's port."""
    context = open_window(browser)
    tab = context.new_page()
    for host in ("127.0.0.1", "page.home.test", "relay.test"):
        answer = tab.goto(f"https://{host}:{page.desk_settings.port}/")
        assert answer is not None
        assert answer.status == 421
        assert page.desk_origin in tab.content()
    context.close()


def test_desk_stays_small_after_all_of_that(page: PageHouse):
    """At most 60 MB: each key's derivation was a child's, and what was looked at is gone."""
    assert page.desk_process is not None
    assert read_pss_mb(page.desk_process.pid) <= 60
