"""The enrolment file at the gateway."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import generate
from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol.enrolment import parse_enrolment, renew_enrolment
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.rtcc.office.authority import issue_client, make_ca
from edge_agent.units import UtcNs, parse_rfc3339

NOW = parse_rfc3339("2026-03-01T00:00:00Z")
GATEWAY = "A" * 22
TLS = generate("tls")
CA_KEY, OTHER_CA_KEY = generate("tls"), generate("tls")
ROOTS = [generate("owner").public_key() for _ in range(3)]


def pem(certificate: Any) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def make_file(ca_key: Any = CA_KEY) -> dict[str, Any]:
    ca = make_ca(CA_KEY, "RTCC", UtcNs(NOW))
    return {
        "edge_agent_enrolment": 1,
        "gateway": GATEWAY,
        "iss": "rtcc.example-city",
        "broker": {"host": "127.0.0.1", "port": 8883},
        "ca": pem(ca),
        "certificate": pem(issue_client(ca, ca_key, TLS.public_key(), GATEWAY, UtcNs(NOW))),
        "uploads": {"evidence": {"url": "https://127.0.0.1:8443/files/"}},
        "roots": [public_jwk(root) for root in ROOTS],
        "threshold": 2,
    }


def parse(members: Any) -> Any:
    return parse_enrolment(json.dumps(members).encode(), "enrolment.json")


def test_parse_enrolment() -> None:
    """Everything that the RTCC said, typed."""
    enrolment = parse(make_file())
    assert enrolment.gateway == GATEWAY
    assert enrolment.uploads == {"evidence": "https://127.0.0.1:8443/files/"}
    assert enrolment.root_thumbprints == tuple(sorted(thumbprint(root) for root in ROOTS))
    assert enrolment.threshold == 2
    assert enrolment.tls_thumbprint == thumbprint(TLS.public_key())
    assert enrolment.not_after_s > NOW // 10**9


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown member": (lambda f: f | {"x": 1}, "x"),
    "missing member": (lambda f: {k: v for k, v in f.items() if k != "roots"}, "roots"),
    "newer version": (lambda f: f | {"edge_agent_enrolment": 2}, "version 2 is not supported"),
    "gateway id": (lambda f: f | {"gateway": "door"}, "gateway"),
    "topic letters": (lambda f: f | {"gateway": "+" * 22}, "gateway"),
    "another's certificate": (lambda f: f | {"gateway": "B" * 22}, "its CN is not the gateway's id"),
    "another's ca": (lambda f: f | {"certificate": make_file(OTHER_CA_KEY)["certificate"]}, "not issued by"),
    "no certificate": (lambda f: f | {"certificate": "x"}, "certificate: is no certificate"),
    "three authorities": (lambda f: f | {"ca": f["ca"] * 3}, "ca: holds 3"),
    "two certificates": (lambda f: f | {"certificate": f["certificate"] * 2}, "certificate: holds 2"),
    "too many brokers": (lambda f: f | {"more_brokers": [f["broker"]] * 9}, "more_brokers"),
    "http upload": (lambda f: f | {"uploads": {"evidence": {"url": "http://h/"}}}, "uploads.evidence.url: should be"),
    **{
        f"upload that could pass for more of a sentence: {each}": (
            lambda f, each=each: f | {"uploads": {"e": {"url": f"https://h/{each}"}}},  # type: ignore[misc]
            "uploads.e.url: should be",
        )
        for each in ("a b", "a,b", "a;b", 'a"b', "a(b", "a\u00a0b", "a\u2028b", "a\u202eb", "a<b", "a\\b")
    },
    "upload with password": (lambda f: f | {"uploads": {"e": {"url": "https://a:b@h/"}}}, "without credentials"),
    "port": (lambda f: f | {"broker": {"host": "h", "port": 0}}, "port"),
    "a root twice": (lambda f: f | {"roots": f["roots"][:2] + f["roots"][:1]}, "the same key twice"),
    "no roots": (lambda f: f | {"roots": []}, "should be 2 to 16"),
    "an encryption key": (
        lambda f: f | {"roots": [*f["roots"], public_jwk(generate("vault").public_key())]},
        "signing keys",
    ),
    "one root is enough": (lambda f: f | {"threshold": 1}, "outside 2 to 3"),
    "threshold too high": (lambda f: f | {"threshold": 4}, "outside 2 to 3"),
    "a list": (lambda _: [], ""),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_parse_enrolment_refuses(case: tuple[Callable[[dict[str, Any]], Any], str]) -> None:
    """A file that is not exactly as PROTOCOL says is refused, and the member is named."""
    with pytest.raises(ConfigError, match=r"^enrolment.json: ") as refused:
        parse(case[0](make_file()))
    assert case[1] in str(refused.value)


def test_an_enrolment_may_name_two_authorities_and_several_brokers() -> None:
    """While an RTCC rolls over, a certificate of either counts; brokers are tried in the order of the file."""
    file = make_file()
    both = pem(make_ca(CA_KEY, "RTCC", UtcNs(NOW))) + pem(make_ca(OTHER_CA_KEY, "RTCC 2", UtcNs(NOW)))
    by_other = issue_client(make_ca(OTHER_CA_KEY, "RTCC 2", NOW), OTHER_CA_KEY, TLS.public_key(), GATEWAY, NOW)
    for certificate in (file["certificate"], pem(by_other)):
        assert parse(file | {"ca": both, "certificate": certificate}).certificate_pem == certificate
    more = [{"host": "b.example", "port": 8883}, {"host": "c.example", "port": 443}]
    assert parse(file | {"more_brokers": more}).more_brokers == (("b.example", 8883), ("c.example", 443))
    assert parse(file).more_brokers == ()


def renewed(days: float = 400, name: str = GATEWAY, key: Any = TLS, ca_key: Any = CA_KEY) -> str:
    ca = make_ca(ca_key, "RTCC", NOW)
    return pem(issue_client(ca, ca_key, key.public_key(), name, NOW, days=days))


def test_a_renewed_certificate_changes_nothing_else() -> None:
    """It must be this gateway's, for its key, of its authority, and end later; PROTOCOL 7.5."""
    enrolment = parse(make_file())
    later = renew_enrolment(enrolment, renewed(), "answer")
    assert later.not_after_s > enrolment.not_after_s
    assert (
        replace(
            later,
            certificate_pem=enrolment.certificate_pem,
            not_after_s=enrolment.not_after_s,
            not_before_s=enrolment.not_before_s,
        )
        == enrolment
    )
    wrong = {
        "another's name": renewed(name="B" * 22),
        "another's key": renewed(key=generate("tls")),
        "another authority's": renewed(ca_key=OTHER_CA_KEY),
        "an earlier end": renewed(days=300),
        "two of them": renewed() * 2,
        "none": "",
        "HTML": "<html>",
    }
    for case, text in wrong.items():
        with pytest.raises(ConfigError, match="answer: certificate"):
            pytest.fail(f"{case}: {renew_enrolment(enrolment, text, 'answer')}")


def test_the_renewed_certificate_is_read_with_the_file(tmp_path: Path) -> None:
    """Until a file with a later one is installed; one that does not fit is passed over."""
    path, beside = tmp_path / "enrolment.json", tmp_path / "certificate.pem"
    path.write_text(json.dumps(make_file()))
    path.chmod(0o644)
    beside.write_text(renewed())
    beside.chmod(0o640)
    assert load_enrolment(path, beside).certificate_pem == beside.read_text()
    assert load_enrolment(path).certificate_pem == make_file_certificate(path)
    for text in (renewed(name="B" * 22), "x", renewed(days=1)):
        beside.write_text(text)
        assert load_enrolment(path, beside).certificate_pem == make_file_certificate(path)


def make_file_certificate(path: Path) -> str:
    return str(json.loads(path.read_text())["certificate"])


def test_parse_enrolment_refuses_what_is_not_json() -> None:
    """Neither a page of HTML nor a duplicate member passes."""
    for raw in (b"<html>", b"", b"\xff", b'{"gateway": 1, "gateway": 2}', b" " * 70_000):
        with pytest.raises(ConfigError, match=r"^enrolment.json: "):
            parse_enrolment(raw, "enrolment.json")


def test_load_enrolment_guards_the_file(tmp_path: Path) -> None:
    """A writer of the file can choose another RTCC."""
    path = tmp_path / "enrolment.json"
    with pytest.raises(ConfigError, match="missing"):
        load_enrolment(path)
    path.write_text(json.dumps(make_file()))
    path.chmod(0o644)
    assert load_enrolment(path).iss == "rtcc.example-city"
    path.chmod(0o666)
    with pytest.raises(CustodyError, match="open to others"):
        load_enrolment(path)
