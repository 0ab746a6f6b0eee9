"""Debian's chromium, as the tests of the page and the desk drive it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, sync_playwright


@contextmanager
def launch_chromium(names: str = "MAP *.test 127.0.0.1") -> Iterator[Browser]:
    """Start it, and close it; ``names`` lead to a machine of the test, and no other name is looked up."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", f"--host-resolver-rules={names}"],
        )
        try:
            yield browser
        finally:
            browser.close()


def press(what: Locator) -> None:
    """Press what leads to another page, and wait until that page is there: a click alone does not."""
    with what.page.expect_navigation():
        what.click()
