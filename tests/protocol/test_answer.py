"""Answers: what is written is what is read, every size says nothing, and whatever is not an answer is refused."""

import dataclasses
import io
import json

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.age_stream import seal_stream
from edge_agent.protocol.answer import (
    MAX_AGE_HEADER_BYTES,
    MAX_ANSWER_BYTES,
    MAX_CAMERAS,
    STEP_BYTES,
    TYP,
    Answer,
    DeliveredFile,
    Note,
    Status,
    encode_answer,
    verify_answer,
)
from edge_agent.units import UtcNs

KEY = Ed25519PrivateKey.generate()
GATEWAY = "g" * 22
BARE = Answer(GATEWAY, "rtcc.example-city", "j" * 22, 0, UtcNs(1_700_000_000_000_000_000), Status.DECLINED)
FILE = DeliveredFile("door", "AbC_-012", b"\x07" * 32, 12_345_678, b"age-encryption.org/v1\n" * 20)
EXAMPLES = {
    "queued": dataclasses.replace(
        BARE,
        status=Status.QUEUED,
        cameras=("door", "yard"),
        trimmed=(Note("camera-denied", "bedroom"), Note("hours")),
        not_before=UtcNs(1_700_000_600_000_000_000),
    ),
    "uploading": dataclasses.replace(BARE, status=Status.UPLOADING, seq=3, sent_bytes=0, total_bytes=9),
    "delivered": dataclasses.replace(BARE, status=Status.DELIVERED, files=(FILE,), trimmed=()),
    "partial": dataclasses.replace(BARE, status=Status.PARTIAL, files=(FILE,), missing=(Note("no-footage", "yard"),)),
    "no-footage": dataclasses.replace(BARE, status=Status.NO_FOOTAGE, missing=(Note("no-footage", "door"),)),
    "cancelled": dataclasses.replace(BARE, status=Status.CANCELLED),
    "failed": dataclasses.replace(BARE, status=Status.FAILED, reason="upload-deadline"),
    "declined": BARE,
}


def verify(raw):
    return verify_answer(raw, GATEWAY, KEY.public_key())


def signed(**changes):
    """Sign a payload that the encoder would not write."""
    payload = json.loads(jws.parse(encode_answer(EXAMPLES["failed"], KEY), TYP).payload_bytes)
    payload.update(changes)
    return jws.sign(TYP, {name: value for name, value in payload.items() if value is not ...}, [KEY])


@pytest.mark.parametrize("answer", EXAMPLES.values(), ids=EXAMPLES)
def test_an_answer_comes_back_as_it_was_written(answer):
    """Encode and verify are inverse for every status, and the bytes do not depend on when they are made."""
    raw = encode_answer(answer, KEY)
    assert verify(raw) == answer
    assert encode_answer(answer, KEY) == raw
    assert len(jws.parse(raw, TYP).payload_bytes) % STEP_BYTES == 0


@given(
    seq=st.integers(0, 10_000),
    at=st.integers(0, 4_000_000_000_000_000_000),
    requester=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,63}", fullmatch=True),
)
@settings(max_examples=60)
def test_all_refusals_have_one_size(seq, at, requester):
    """Neither the requester's name nor the time nor the number shows in the size of a refusal, nor does queued."""
    declined = dataclasses.replace(BARE, seq=seq, at=UtcNs(at), requester=requester)
    assert len(encode_answer(declined, KEY)) == len(encode_answer(EXAMPLES["queued"], KEY))


def test_the_largest_answer_fits():
    """As many cameras as a request may name, with headers for three recipients, go into one answer."""
    recipients = [pyrage.x25519.Identity.generate().to_public() for _ in range(3)]
    headers = [seal_stream(iter([b"x"]), [str(each) for each in recipients], io.BytesIO()) for _ in range(MAX_CAMERAS)]
    files = tuple(
        dataclasses.replace(FILE, camera=f"{index:0>32}", upload=f"{index:u>32}", age_header=header)
        for index, header in enumerate(headers)
    )
    notes = tuple(Note("hours", "n" * 32) for _ in range(MAX_CAMERAS // 4))
    answer = dataclasses.replace(EXAMPLES["partial"], files=files, trimmed=notes, missing=notes)
    assert verify(encode_answer(answer, KEY)) == answer


def test_an_answer_that_no_broker_would_carry_is_not_signed():
    """Too long is an error where it is made, not where it is lost."""
    large = dataclasses.replace(FILE, age_header=b"h" * MAX_AGE_HEADER_BYTES)
    files = tuple(
        dataclasses.replace(large, camera=f"{index:0>32}", upload=f"{index:u>64}") for index in range(MAX_CAMERAS)
    )
    with pytest.raises(ValueError, match="too long"):
        encode_answer(dataclasses.replace(EXAMPLES["delivered"], files=files), KEY)


MISFITS = {
    "a reason in a refusal": {"reason": "distance"},
    "a camera in a refusal": {"cameras": ("door",)},
    "no time in queued": {"status": Status.QUEUED},
    "a negative number": {"seq": -1},
    "a path as a camera": {"status": Status.NO_FOOTAGE, "missing": (Note("no-footage", "../door"),)},
    "a path as an upload": {
        "status": Status.DELIVERED,
        "files": (dataclasses.replace(FILE, upload="../../etc/passwd"),),
    },
    "a camera queued twice": {"status": Status.QUEUED, "cameras": ("door", "door"), "not_before": BARE.at},
    "a file twice": {"status": Status.DELIVERED, "files": (FILE, FILE)},
    "a camera's files": {
        "status": Status.PARTIAL,
        "files": (FILE, dataclasses.replace(FILE, upload="u" * 32)),
    },
    "an upload of two cameras": {
        "status": Status.DELIVERED,
        "files": (FILE, dataclasses.replace(FILE, camera="yard")),
    },
}


@pytest.mark.parametrize("changes", MISFITS.values(), ids=MISFITS)
def test_an_answer_with_a_member_too_many_is_never_signed(changes):
    """An answer that a verifier would refuse, or that tells more than a refusal may, does not leave the encoder."""
    with pytest.raises((ValueError, TypeError)):
        encode_answer(dataclasses.replace(BARE, **changes), KEY)


def detail_of_twice(status, member):
    """Repeat the one entry of a list, which the encoder would not."""
    detail = json.loads(jws.parse(encode_answer(EXAMPLES[status], KEY), TYP).payload_bytes)["detail"]
    return {**detail, member: detail[member][:1] * 2}


BAD = {
    "a file twice": lambda: signed(status="delivered", detail=detail_of_twice("delivered", "files")),
    "a file twice in part": lambda: signed(status="partial", detail=detail_of_twice("partial", "files")),
    "a camera queued twice": lambda: signed(status="queued", detail=detail_of_twice("queued", "cameras")),
    "not JSON": lambda: b"hello",
    "too long": lambda: b" " * (MAX_ANSWER_BYTES + 1),
    "another type": lambda: jws.sign("clip-manifest+jws", {}, [KEY]),
    "another signer": lambda: encode_answer(BARE, Ed25519PrivateKey.generate()),
    "another gateway": lambda: encode_answer(dataclasses.replace(BARE, gateway="h" * 22), KEY),
    "an unknown member": lambda: signed(extra=1),
    "a missing member": lambda: signed(seq=...),
    "an unknown status": lambda: signed(status="granted"),
    "a detail of another status": lambda: signed(detail={"missing": []}),
    "detail is a list": lambda: signed(detail=[]),
    "a number as a text": lambda: signed(seq="1"),
    "a truth as a number": lambda: signed(seq=True),
    "a time with an offset": lambda: signed(at="2026-01-01T00:00:00+00:00"),
    "a time as a number": lambda: signed(at=5),
    "words in the padding": lambda: signed(padding="000 because"),
    "a long code": lambda: signed(detail={"reason": "x" * 49}),
    "too many files": lambda: signed(status="delivered", detail={"files": [{}] * (MAX_CAMERAS + 1), "trimmed": []}),
    "a file without a digest": lambda: signed(status="delivered", detail={"files": [{}], "trimmed": []}),
    "a digest in capitals": lambda: signed_file(sha256="AB" * 32),
    "a header that is not base64": lambda: signed_file(age_header="!"),
    "a header in two spellings": lambda: signed_file(age_header="YR=="),
    "a header too long": lambda: signed_file(age_header="A" * 4 * MAX_AGE_HEADER_BYTES),
}


def signed_file(**changes):
    file = {"camera": "door", "upload": "u" * 8, "sha256": "0" * 64, "size": 1, "age_header": "", **changes}
    return signed(status="delivered", detail={"files": [file], "trimmed": []})


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_whatever_is_not_an_answer_is_refused(make):
    """Form, size, signer and gateway: each wrong one is an error in words, never a traceback."""
    with pytest.raises(EvidenceError):
        verify(make())


def test_any_altered_byte_is_caught():
    """Each byte of a signed answer, turned, dropped or doubled, leaves nothing that verifies."""
    raw = encode_answer(EXAMPLES["delivered"], KEY)
    for at in range(len(raw)):
        for altered in (raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], raw[:at] + raw[at + 1 :]):
            with pytest.raises(EvidenceError):
                verify(altered)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_noise_is_refused_in_words(noise):
    """Nothing that arrives ends in a traceback."""
    for raw in (noise, jws.sign_with(TYP, noise, [KEY])):
        with pytest.raises(EvidenceError):
            verify(raw)
