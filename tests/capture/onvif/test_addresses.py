"""Addresses as cameras write them."""

import pytest

from edge_agent.capture.onvif.addresses import split_address

MENDED = {
    "a port twice": ("http://192.0.2.7:80:80/onvif", "192.0.2.7:80"),
    "three times": (" rtsp://192.0.2.7:554:554:554/a ", "192.0.2.7:554"),
    "IPv6": ("http://[2001:db8::7]:80:80/", "[2001:db8::7]:80"),
    "as it should be": ("http://192.0.2.7/onvif", "192.0.2.7"),
    "a long name": (f"http://{'n' * 253}:8080:8080/", f"{'n' * 253}:8080"),
}
REFUSED = {
    "two ports of which one is none": "http://192.0.2.7:80:x/",
    "a port that is too high": "http://192.0.2.7:99999/",
    "longer than any name": f"http://{'n' * 301}/",
    "ports without end": f"http://192.0.2.7{':80' * 30_000}/",
    "ports without end, and none behind them": f"http://192.0.2.7{':80' * 30_000}:/",
}


@pytest.mark.parametrize(("url", "netloc"), MENDED.values(), ids=MENDED.keys())
def test_address_is_split(url: str, netloc: str) -> None:
    """The first port counts."""
    assert split_address(url).netloc == netloc


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_address_is_refused(url: str) -> None:
    """Before time is spent on it: some 90 KB of ports would take half a minute otherwise."""
    with pytest.raises(ValueError, match=r"."):
        split_address(url)
