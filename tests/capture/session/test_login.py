"""Login challenges: which offer is taken, and what is answered, by the examples of RFC 7616."""

import pytest

from edge_agent.capture.session.login import LoginOffer, answer, choose, read_offers

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CLIENT_NONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
REALM = "http-auth@example.org"
FIELDS = f'realm="{REALM}", qop="auth, auth-int", nonce="{NONCE}", opaque="5c"'


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_answer_is_that_of_the_standard(algorithm: str, response: str) -> None:
    """RFC 7616, section 3.9.1."""
    (offer,) = read_offers([f"WWW-Authenticate: Digest {FIELDS}, algorithm={algorithm}"])
    told = answer(offer, "GET", "/dir/index.html", ("Mufasa", "Circle of Life"), CLIENT_NONCE)
    assert f'response="{response}"' in told


OFFERS = {
    "MD5 first": (['Digest realm="a", nonce="1", algorithm=MD5', 'Digest realm="a", nonce="1", algorithm=SHA-256'], 3),
    "MD5 last": (['Digest realm="a", nonce="1", algorithm=SHA-256', 'Digest realm="a", nonce="1"'], 3),
    "Basic beside it": (['Basic realm="a"', 'Digest realm="a", nonce="1"'], 2),
    "in one line": (['Digest realm="a, b", nonce="1", Basic realm="a"'], 2),
    "an unknown one beside it": (['Digest realm="a", nonce="1", algorithm=SHA-512-256', 'Digest nonce="1"'], 2),
    "Basic alone": (['Basic realm="a"'], 0),
    "none": ([], 0),
}


@pytest.mark.parametrize(("lines", "strength"), OFFERS.values(), ids=OFFERS.keys())
def test_best_offer_is_taken_and_no_password_sent(lines: list[str], strength: int) -> None:
    """Whatever their order, the strongest that can be answered counts; Basic only if the password may be sent."""
    taken = choose(read_offers([f"WWW-Authenticate: {line}" for line in lines]), may_send_password=False)
    assert (taken.strength if taken else 0) == strength


def test_basic_is_taken_if_the_password_may_be_sent() -> None:
    """Over a connection that was verified, Basic is better than none."""
    assert choose([LoginOffer("basic", "MD5")], may_send_password=True) == LoginOffer("basic", "MD5")


def test_a_camera_cannot_have_us_read_its_offer_for_long() -> None:
    """A name that could begin at each of its letters takes minutes here, which ends the test; one border, no time."""
    assert read_offers(["WWW-Authenticate: Digest " + "a" * 200_000])[0].realm == ""
