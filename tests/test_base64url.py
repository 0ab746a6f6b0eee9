"""base64: one text per value, in both alphabets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.base64url import encode_b64, encode_b64url, parse_b64, parse_b64url


@given(st.binary(max_size=40))
def test_what_is_written_is_read(raw: bytes) -> None:
    """Any bytes come back, from either alphabet."""
    assert parse_b64(encode_b64(raw)) == raw
    assert parse_b64url(encode_b64url(raw)) == raw


OTHERS = {
    "spare bits": ("AB==", "AB"),
    "padding": ("AA=", "AA=="),
    "no padding": ("AA", "AA="),
    "the other alphabet": ("__8=", "//8"),
    "a blank": ("AA A", "AA A"),
    "a line's end": ("AAAA\n", "AAAA\n"),
    "a letter too many": ("AAAAA", "AAAAA"),
    "a letter of another script": ("ÄAAA", "ÄAAA"),
    "bytes": (b"AAAA", b"AAAA"),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("plain", "url"), OTHERS.values(), ids=OTHERS)
def test_every_other_text_is_refused(plain: object, url: object) -> None:
    """Whoever changes a text changes a value, or is found out."""
    with pytest.raises(ValueError):
        parse_b64(plain)
    with pytest.raises(ValueError):
        parse_b64url(url)


@given(st.text(max_size=12))
def test_no_two_texts_are_one_value(text: str) -> None:
    """What is taken is what would be written."""
    for parse, encode in ((parse_b64, encode_b64), (parse_b64url, encode_b64url)):
        try:
            raw = parse(text)
        except ValueError:
            continue
        assert encode(raw) == text
