"""Enrolment: an application in, a certificate and an enrolment file out, and nothing in them says whose."""

import json
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_agent.errors import ConfigError, CustodyError, EvidenceError
from edge_agent.protocol.enrolment import parse_enrolment
from edge_agent.protocol.trust_bundle import make_roots, verify_trust
from edge_agent.rtcc.office.enrol import enrol, enrol_server, gateway_key
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.trust import sign_trust
from tests.rtcc.conftest import Applicant


def test_an_enrolment_file_has_all_that_a_gateway_needs(home, applicant, now):
    """Its members are those of PROTOCOL 7, and with its roots the newest trust bundle verifies."""
    raw = sign_trust(home, now)
    enrolment = json.loads(enrol(home, applicant.csr, now).content)
    assert set(enrolment) == {
        "edge_agent_enrolment", "gateway", "iss", "broker", "ca", "certificate", "uploads", "roots", "threshold",
    }  # fmt: skip
    assert parse_enrolment(json.dumps(enrolment).encode(), "test").gateway == enrolment["gateway"]
    roots = make_roots(enrolment["threshold"], enrolment["roots"])
    assert verify_trust(raw, roots, None, now).iss == enrolment["iss"]


def test_the_certificate_says_the_random_id_and_no_more(home, applicant, now):
    """CN is the id; no address, no name, no other key of the gateway."""
    enrolment = json.loads(enrol(home, applicant.csr, now).content)
    certificate = x509.load_pem_x509_certificate(enrolment["certificate"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={enrolment['gateway']}"
    assert certificate.public_key() == applicant.tls.public_key()
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_the_rtcc_keeps_the_keys_that_the_gateway_named(home, applicant, now):
    """Answers, consents and pages are verified by what was pinned at enrolment."""
    gateway = enrol(home, applicant.csr, now).gateway
    for name in ("gateway", "recorder", "owner"):
        assert gateway_key(home, gateway, name) == getattr(applicant, name).public_key()
    with pytest.raises(ConfigError, match="no such gateway"):
        home.load_gateway("x" * 22)


def test_a_gateway_is_enrolled_once_and_renewed_under_its_id(home, applicant, now):
    """A second application with the same key is refused; a renewal needs exactly the same keys."""
    gateway = enrol(home, applicant.csr, now).gateway
    with pytest.raises(EvidenceError, match=gateway):
        enrol(home, applicant.csr, now)
    assert enrol(home, applicant.csr, now, renew=True).gateway == gateway
    thief = Applicant()
    thief.gateway, thief.recorder, thief.owner = applicant.gateway, applicant.recorder, applicant.owner
    for other in (thief, Applicant()):
        with pytest.raises(EvidenceError, match="exactly these keys"):
            enrol(home, other.csr, now, renew=True)


def test_an_id_is_safe_wherever_it_is_used():
    """No id begins with a hyphen, holds a topic's special letters, or comes twice."""
    ids = {make_id() for _ in range(300)}
    assert len(ids) == 300
    assert all(len(each) == 22 and each[0].isalnum() and not set(each) & set("/+#. ") for each in ids)


def test_both_ends_accept_each_others_certificates(home, applicant, now, tmp_path):
    """A TLS handshake between an enrolled server and an enrolled gateway succeeds under strict verification."""
    certificate, key = enrol_server(home, ("localhost", "127.0.0.1"), now)
    enrolment = json.loads(enrol(home, applicant.csr, now).content)
    (tmp_path / "gateway.pem").write_text(enrolment["certificate"])
    (tmp_path / "gateway.key").write_bytes(
        applicant.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(home.ca_path))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cadata=enrolment["ca"])
    client.load_cert_chain(tmp_path / "gateway.pem", tmp_path / "gateway.key")
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("localhost", "127.0.0.1"):
        peer = shake_hands(client, server, host)
        assert peer == ((("commonName", enrolment["gateway"]),),)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, server, "elsewhere.example")


def shake_hands(client, server, host):
    """Run a handshake in memory; return the subject that the server saw."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(a, b, server_hostname=host), server.wrap_bio(b, a, server_side=True)]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[1].getpeercert()["subject"]


@pytest.mark.parametrize("names", [(), ("ca",), ("rtcc",), ("../x",), ("",)])
def test_a_server_is_not_called_like_our_own_files(home, now, names):
    """The authority's and our own certificate cannot be replaced by a server's."""
    with pytest.raises(CustodyError):
        enrol_server(home, names, now)
