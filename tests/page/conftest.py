"""The page's process on loopback, with TLS that is verified; what it shows comes from dictionaries."""

from collections.abc import Iterator

import pytest

from tests.support.page_house import FakeHouse, PageHouse


@pytest.fixture(scope="module")
def page() -> Iterator[PageHouse]:
    """One process for the tests of a module; its house is put back before each."""
    page = PageHouse(FakeHouse())
    try:
        page.start("page.home.test")
        yield page
    finally:
        page.stop()


@pytest.fixture(autouse=True)
def fresh_house(request: pytest.FixtureRequest) -> None:
    """Put the house back as it was, where a test has one."""
    if "page" in request.fixturenames:
        house = request.getfixturevalue("page").house
        vars(house).update(vars(FakeHouse()))


@pytest.fixture
def cookie(page: PageHouse) -> Iterator[str]:
    """A paired device's cookie; the device is taken off afterwards."""
    cookie = page.pair("kitchen tablet")
    yield cookie
    page.forget("kitchen tablet")
