"""Draws the pictures of docs/page.md: page and desk on a phone, over a house that is made up, at a time that stands.

``python -m tests.support.page_pictures FOLDER``; ``scripts/page-pictures`` calls it.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page

from tests.support.browser import launch_chromium, press
from tests.support.page_house import NUMBER, PASSPHRASE, FakeHouse, PageHouse, request

NOW = "2026-11-28T20:05:00Z"
SIZE = {"width": 390, "height": 700}
CODE = "816171"
"""As in docs/page.md; it is typed, and not sent."""
MOST_BYTES = 60_000
QUALITY = 75


def draw(folder: Path) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = request(due="2026-11-28T20:30:00Z", release_by="2026-11-28T23:00:00Z")
    page = PageHouse(FakeHouse(requests=[asked]))
    try:
        page.start()
        page.serve_desk()
        with launch_chromium() as browser:
            tab = browser.new_context(ignore_https_errors=True, viewport=SIZE, device_scale_factor=2).new_page()
            tab.clock.set_fixed_time(NOW)
            draw_page(page, tab, folder)
            draw_desk(page, tab, folder)
    finally:
        page.stop()


def draw_page(page: PageHouse, tab: Page, folder: Path) -> None:
    """Draw what a paired phone sees."""
    tab.goto(f"{page.origin}/pair#{page.code()}")
    tab.keyboard.type("phone")
    press(tab.get_by_role("button", name="Pair"))
    for name, path in {"home": "/", "request": f"/requests/{NUMBER}", "recordings": "/recordings"}.items():
        tab.goto(page.origin + path)
        keep(tab, folder / f"{name}.webp")


def draw_desk(page: PageHouse, tab: Page, folder: Path) -> None:
    """Draw a yes, and terms."""
    tab.goto(f"{page.origin}/desk/approve/{NUMBER}")
    keep(tab, folder / "approve.webp")
    press(tab.get_by_role("button", name="Go on"))
    tab.get_by_label("Code of the message").fill(CODE)
    tab.get_by_label("Your passphrase").fill(PASSPHRASE)
    keep(tab, folder / "sign.webp")
    tab.goto(f"{page.origin}/desk/terms?camera=door")
    tab.locator("#preview li").first.wait_for()
    keep(tab, folder / "terms.webp")


def keep(tab: Page, path: Path) -> None:
    """Keep one picture as WebP; an error if it is not small."""
    shot = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    coded = cv2.imencode(".webp", shot, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
    assert len(coded) <= MOST_BYTES, (path, len(coded))
    path.write_bytes(coded)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
