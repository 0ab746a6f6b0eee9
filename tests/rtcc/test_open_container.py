"""What the RTCC finds where a ZIP holds more than its entries: two programs must not see two bundles."""

import io
import struct
import zipfile

import pyrage
import pytest

from edge_agent.rtcc.open import open_bundle
from tests.footage import encode, records, window
from tests.opened import Opened, open_release
from tests.release import House


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(folder, House(folder), window(0, 2), records(encode(30)))


def open_plain(opened: Opened, plain: bytes):
    path = opened.folder / "plain.zip"
    path.write_bytes(plain)
    path.with_suffix(".age").write_bytes(pyrage.encrypt(plain, [opened.house.evidence.to_public()]))
    keys = str(opened.house.evidence), opened.house.known(), opened.folder / "plain"
    return open_bundle(path.with_suffix(".age"), b"", *keys)


def entry(name: str, data: bytes) -> bytes:
    """One entry without a directory: what a program that reads from the beginning sees first."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr(name, data)
    return out.getvalue()[: out.getvalue().index(b"PK\x01\x02")]


def set_date(plain: bytes, magic: bytes, at: int) -> bytes:
    at += plain.index(magic)
    return plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]


def put_between(plain: bytes) -> bytes:
    """Bytes before the directory, whose place the end names anew."""
    at = plain.index(b"PK\x01\x02")
    end = plain[:-6] + struct.pack("<I", at + 9) + plain[-2:]
    return end[:at] + b"unspoken." + end[at:]


ZIPS = {
    "a comment": lambda plain: plain[:-2] + struct.pack("<H", 11) + b"hello clerk",
    "an entry in front": lambda plain: entry("clips/001.mp4", b"forged") + plain,
    "bytes in front": lambda plain: b"#!/bin/sh\n" + plain,
    "bytes before the directory": put_between,
    "another date in the directory": lambda plain: set_date(plain, b"PK\x01\x02", 12),
    "another date before the entry": lambda plain: set_date(plain, b"PK\x03\x04", 10),
    "another name before the entry": lambda plain: plain.replace(b"request.jws", b"request.jwz", 1),
    "another length behind the entry": lambda plain: set_date(plain, b"PK\x07\x08", 9),
}


@pytest.mark.parametrize("alter", ZIPS.values(), ids=ZIPS.keys())
def test_a_container_has_nothing_beside_its_entries(opened, alter):
    """Before, between and behind the entries there is no byte, and both places that describe one agree."""
    plain = pyrage.decrypt(opened.header + opened.payload, [opened.house.evidence])
    assert open_plain(opened, plain).ok
    assert open_plain(opened, alter(plain)).failed_parts() == {"container"}
