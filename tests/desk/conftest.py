"""The page's and the desk's processes on loopback, over a house that is made up."""

from collections.abc import Iterator

import pytest

from tests.support.page_house import FakeHouse, PageHouse


@pytest.fixture(scope="module")
def page() -> Iterator[PageHouse]:
    """Both processes for the tests of a module."""
    page = PageHouse(FakeHouse())
    try:
        page.start("page.home.test")
        page.serve_desk()
        yield page
    finally:
        page.stop()


@pytest.fixture(autouse=True)
def fresh_house(request: pytest.FixtureRequest) -> None:
    """Put the house back as it was, where a test has one."""
    if "page" in request.fixturenames:
        house = request.getfixturevalue("page").house
        vars(house).update(vars(FakeHouse()))
