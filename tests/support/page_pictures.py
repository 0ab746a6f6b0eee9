"""Draws the pictures of docs/page.md: the resident's page in a browser, over a house that is made up.

``python -m tests.support.page_pictures FOLDER``; ``scripts/page-pictures`` calls it.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.support.page_house import NUMBER, PASSPHRASE, FakeHouse, PageHouse

VIEWS = {
    "home": "/",
    "request": f"/requests/{NUMBER}",
    "recordings": "/recordings",
    "ledger": "/ledger",
    "devices": "/devices",
}
DESK_VIEWS = {"approve": f"/approve/{NUMBER}", "terms": "/terms?camera=door", "show": "/show?camera=door"}
SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": "dark"},
    "desk": {"viewport": {"width": 1280, "height": 800}},
}


def draw(folder: Path) -> None:
    """Write one picture for each view and size."""
    folder.mkdir(parents=True, exist_ok=True)
    page = PageHouse(FakeHouse())
    try:
        page.start()
        page.serve_desk()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"],
            )
            for size, words in SIZES.items():
                context = browser.new_context(ignore_https_errors=True, **words)
                tab = context.new_page()
                tab.goto(f"{page.origin}/pair#{page.code()}")
                tab.screenshot(path=folder / f"pair-{size}.png")
                tab.keyboard.type("phone" if "phone" in size else "computer")
                tab.get_by_role("button", name="Pair").click()
                for view, path in VIEWS.items():
                    tab.goto(page.origin + path)
                    tab.screenshot(path=folder / f"{view}-{size}.png")
                draw_desk(page, tab, folder, size)
                context.close()
                page.forget("phone" if "phone" in size else "computer")
            browser.close()
    finally:
        page.stop()


def draw_desk(page: PageHouse, tab: Page, folder: Path, size: str) -> None:
    """Write the pictures of the desk: the choice, the comparison, and what is shown."""
    for view, path in DESK_VIEWS.items():
        tab.goto(f"{page.desk_origin}{path}{'&' if '?' in path else '?'}ticket={page.ticket}")
        tab.wait_for_timeout(300)
        tab.screenshot(path=folder / f"desk-{view}-{size}.png")
        if view in ("approve", "show"):
            tab.get_by_role("button", name="Go on").click()
            tab.screenshot(path=folder / f"desk-{view}-sign-{size}.png")
    tab.get_by_label("Code of the message").fill(page.house.phone[-1][1]) if page.house else None
    tab.get_by_label("Your passphrase").fill(PASSPHRASE)
    tab.get_by_role("button", name="Sign").click()
    tab.screenshot(path=folder / f"desk-look-{size}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
