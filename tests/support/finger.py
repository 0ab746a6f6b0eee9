"""A person at a phone: what is tapped in a browser, on the page and at the desk, counted; nothing calls into either."""

import contextlib
import http.client
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page

from edge_agent.demo.city import City
from tests.support.browser import launch_chromium
from tests.support.phone import Phone

MOST_TYPED, MOST_TAPS = 3, 25
PASSPHRASE = "correct horse battery staple"
LIMIT_S = 60.0


class Finger:
    """A person at a phone."""

    def __init__(self, tab: Page, pictures: Path | None) -> None:
        self.tab, self.taps, self._pictures = tab, 0, pictures

    def tap(self, what: Locator, said: str) -> None:
        """Tap on something that is there."""
        self._count(said)
        what.click()

    def fill(self, what: Locator, text: str, said: str) -> None:
        """Tap into a field, and type."""
        self._count(said)
        what.fill(text)

    def open(self, link: str, said: str) -> None:
        """Tap on a link that another program shows."""
        self._count(said)
        self.tab.goto(link)

    def keep(self, name: str) -> None:
        """Take a picture."""
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            self.tab.screenshot(path=self._pictures / f"{name}.png", full_page=True)

    def _count(self, said: str) -> None:
        self.taps += 1
        print(f"   {self.taps:2}  {said}", flush=True)


def _sign(finger: Finger, phone: Phone, before: int) -> None:
    """Compare the sentence with the one in the message, and sign."""
    sentence, code = phone.wait_code(before)
    shown = finger.tab.locator(".sentence").inner_text()
    assert shown == sentence, (shown, sentence)
    finger.fill(finger.tab.get_by_label("Code of the message"), code, "the code, out of the message")
    finger.fill(finger.tab.get_by_label("Your passphrase"), PASSPHRASE, "the passphrase")
    finger.keep("sign")
    finger.tap(finger.tab.get_by_role("button", name="Sign"), "Sign")
    finger.tab.get_by_role("heading", name="Signed").wait_for(timeout=60_000)
    finger.keep("signed")


def _join(finger: Finger, phone: Phone, city: City, link: str) -> str:
    """Pair the phone, and join the city's crime center; return the gateway's id there."""
    tab = finger.tab
    _wait_for_page(tab, link)
    finger.fill(tab.get_by_label("A name for this device"), "phone", "a name for the phone")
    finger.tap(tab.get_by_role("button", name="Pair"), "Pair")
    finger.keep("home")
    finger.tap(tab.get_by_role("link", name="Join one"), "Join one, at your desk")
    enrolment = city.enrol(tab.locator("pre").inner_text().encode())  # what is sent, and what comes back
    finger.fill(tab.get_by_label("The text of their file"), enrolment.content.decode(), "the crime center's answer")
    finger.keep("join")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    _sign(finger, phone, before)
    return enrolment.gateway


def _give_terms(finger: Finger, phone: Phone, home: str) -> None:
    """Change the camera's terms, and sign them."""
    tab = finger.tab
    finger.open(f"{home}terms", "the page's Terms")
    finger.tap(tab.get_by_role("link", name="Change and sign them"), "Change and sign them, at your desk")
    finger.tap(tab.get_by_label("rtcc.example-city"), "who may ask")
    finger.tap(tab.get_by_label("robbery"), "robbery")
    tab.get_by_label("How long a clip waits").select_option("0s")
    finger.taps += 1
    print(f"   {finger.taps:2}  waits 0 s, so that this script ends", flush=True)
    tab.wait_for_timeout(1500)
    finger.keep("terms")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    _sign(finger, phone, before)


def _say_yes(finger: Finger, phone: Phone, home: str) -> None:
    """Follow the notice, and say yes."""
    tab = finger.tab
    links = [link for _, body in phone.got for link in re.findall(rf"{re.escape(home)}requests/\d+", body)]
    finger.open(links[-1], "the link in the notice")
    finger.keep("request")
    finger.tap(tab.get_by_role("link", name="Say yes"), "Say yes, or to less, at your desk")
    finger.keep("approve")
    before = len(phone.got)
    finger.tap(tab.get_by_role("button", name="Go on"), "Go on: send me the code")
    _sign(finger, phone, before)


def _wait_for_page(tab: Page, link: str) -> None:
    """Open an address once it answers."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            tab.goto(link)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _wait_unsigned(tab: Page, home: str) -> None:
    """Wait until the page knows the camera's terms and says that nobody signed them."""
    deadline = time.monotonic() + LIMIT_S
    while "not signed" not in tab.content():
        assert time.monotonic() < deadline, tab.content()
        time.sleep(0.5)
        tab.goto(f"{home}terms")


def tell_first_byte(home: str) -> str:
    """Measure how soon the first byte of a page comes, and say it."""
    at, times = urlsplit(home), []
    for _ in range(10):
        began = time.monotonic()
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(str(at.hostname), at.port, timeout=20, context=context)
        connection.request("GET", "/pair")
        connection.getresponse().read(1)
        times.append(1000 * (time.monotonic() - began))
        connection.close()
    return f"{sorted(times)[5]:.0f} ms in the middle, {min(times):.0f} ms at best, TLS included (goal 100)"


def _wait_for_notice(phone: Phone, before: int) -> None:
    """Wait until a request's link came."""
    deadline = time.monotonic() + LIMIT_S
    while not any("/requests/" in body for _, body in phone.got[before:]):
        assert time.monotonic() < deadline, phone.got
        time.sleep(0.1)


def find_pairing_link(shown: str, host: str) -> str:
    """Return the address, with the code in it, that the terminal drew and printed."""
    link = re.search(rf"https://{re.escape(host)}:\d+/pair#[0-9A-Z-]+", shown)
    assert link is not None, shown
    return link[0]


@contextlib.contextmanager
def open_browser(host: str, pictures: Path | None) -> Iterator[Finger]:
    """Open Chromium on a phone's screen; names under ``.local`` lead to the host, as in a home."""
    with launch_chromium(f"MAP *.local {host}") as browser:
        words = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "ignore_https_errors": True}
        finger = Finger(browser.new_context(**words).new_page(), pictures)  # type: ignore[arg-type]
        try:
            yield finger
        except BaseException:
            finger.keep("failed")
            raise


def go_to_yes(
    finger: Finger, phone: Phone, city: City, link: str, sign_first: Callable[[], object], ask: Callable[[str], str]
) -> str:
    """Pair, join, sign the terms, and say yes to a request; return the request's id.

    Args:
        finger: It taps.
        phone: It gets the messages.
        city: The crime center that is joined.
        link: The pairing address.
        sign_first: Signs the first terms at the terminal, where ring, sources and crime center are shown.
        ask: Sends a request to the gateway of this id, and returns the request's.
    """
    home = link.partition("pair")[0]
    gateway = _join(finger, phone, city, link)
    _wait_unsigned(finger.tab, home)
    sign_first()
    _give_terms(finger, phone, home)
    before = len(phone.got)
    jti = ask(gateway)
    _wait_for_notice(phone, before)
    _say_yes(finger, phone, home)
    return jti
