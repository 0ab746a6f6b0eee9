"""A gateway's certificate is renewed on the wire, by both of its keys, and nothing but a certificate comes back."""

from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.custody.enrolment_file import renewed_path
from edge_agent.errors import DeliveryError, EvidenceError, UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.enrolment import parse_enrolment
from edge_agent.protocol.renewal import PATH, sign_renewal
from edge_agent.rtcc.office.enrol import enrol, enrol_server
from edge_agent.rtcc.office.renewal import renew
from edge_agent.rtcc.office.roll_over import add_authority, drop_authority, switch_authority
from edge_agent.rtcc.receiver import Receiver, ReceiverSettings
from edge_agent.units import DAY_NS, ClockState, UtcNs
from edge_agent.uplink.release.certificate_renewal import CertificateRenewal
from edge_agent.uplink.release.pinned_http import post_small
from tests.rtcc.conftest import Applicant

OLD_NS = 300 * DAY_NS
"""So long ago the gateway of these tests was enrolled: two thirds of its certificate's life are over."""


def enrol_before(home, applicant, now, before_ns=OLD_NS):
    enrolled = enrol(home, applicant.csr, UtcNs(now - before_ns))
    return parse_enrolment(enrolled.content, "test")


def message(enrolment, applicant, **changes):
    values = {"iss": enrolment.iss, "gateway": enrolment.gateway, "csr": applicant.csr, "key": applicant.gateway}
    return sign_renewal(**(values | changes))


def certificate_of(enrolment):
    return x509.load_pem_x509_certificate(enrolment.certificate_pem.encode())


def test_a_gateway_near_its_end_gets_one_further_certificate(home, applicant, now):
    """For the same key and id, and the same again if it asks again; so nobody makes the authority issue many."""
    enrolment = enrol_before(home, applicant, now)
    raw = message(enrolment, applicant)
    pem = renew(home, enrolment.gateway, certificate_of(enrolment), raw, now)
    assert pem.count(b"BEGIN") == 1
    further = x509.load_pem_x509_certificate(pem)
    assert further.subject.rfc4514_string() == f"CN={enrolment.gateway}"
    assert further.public_key() == applicant.tls.public_key()
    later = UtcNs(now + DAY_NS)
    assert renew(home, enrolment.gateway, certificate_of(enrolment), raw, later) == pem
    assert len(home.certificates.issued(enrolment.gateway)) == 2
    # And from two thirds of that one's life on, another.
    much_later = UtcNs(now + OLD_NS)
    assert renew(home, enrolment.gateway, further, raw, much_later) != pem


def other_keys(applicant):
    thief = Applicant()
    thief.gateway, thief.recorder, thief.owner = applicant.gateway, applicant.recorder, applicant.owner
    return thief.csr


REFUSED = {
    "signed by another key": lambda e, a: message(e, a, key=Ed25519PrivateKey.generate()),
    "for another TLS key": lambda e, a: message(e, a, csr=other_keys(a)),
    "with another owner's key": lambda e, a: message(e, a, csr=Applicant().csr),
    "for another RTCC": lambda e, a: message(e, a, iss="rtcc.elsewhere"),
    "of another gateway": lambda e, a: message(e, a, gateway="x" * 22),
    "no application": lambda e, a: message(e, a, csr=b"x"),
    "the application alone": lambda e, a: a.csr,
    "nothing": lambda e, a: b"",
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_a_further_certificate_needs_both_keys(home, applicant, now, make):
    """A thief of the TLS key alone, or of the gateway's key alone, gets none."""
    enrolment = enrol_before(home, applicant, now)
    with pytest.raises(EvidenceError):
        renew(home, enrolment.gateway, certificate_of(enrolment), make(enrolment, applicant), now)
    assert len(home.certificates.issued(enrolment.gateway)) == 1


def test_nobody_is_renewed_too_early_or_after_a_revocation(home, applicant, now):
    """Nor is who was never enrolled, or shows a certificate that was revoked alone."""
    enrolment = enrol_before(home, applicant, now, 10 * DAY_NS)
    presented, raw = certificate_of(enrolment), message(enrolment, applicant)
    with pytest.raises(EvidenceError, match="not near its end"):
        renew(home, enrolment.gateway, presented, raw, now)
    later = UtcNs(now + OLD_NS)
    with pytest.raises(EvidenceError, match="no such gateway"):
        renew(home, "x" * 22, presented, raw, later)
    home.certificates.revoke([presented], now)
    with pytest.raises(EvidenceError, match="revoked"):
        renew(home, enrolment.gateway, presented, raw, later)
    home.revoke_gateway(enrolment.gateway, "now")
    with pytest.raises(EvidenceError, match="revoked"):
        renew(home, enrolment.gateway, presented, raw, later)


class RightClock(SystemClock):
    def state(self):
        return ClockState.SYNCHRONISED


class Keys:
    """The key store of a gateway, in memory."""

    def __init__(self, applicant):
        self._applicant = applicant

    def load_private(self, name):
        return getattr(self._applicant, name)

    def load_public(self, name):
        return getattr(self._applicant, name).public_key()


class Place:
    def __init__(self, folder):
        self.store_path = folder / "store.sqlite"


@pytest.fixture
def city(home, now, tmp_path):
    """A receiver that renews, over the home."""
    certificate, key = enrol_server(home, ("127.0.0.1",), now)
    settings = ReceiverSettings(
        "127.0.0.1", 0, home.ca_path, certificate, key, tmp_path / "uploads", tmp_path / "received", keep_free_bytes=0
    )

    def further(gateway, shown, raw):
        return renew(home, gateway, x509.load_der_x509_certificate(shown), raw, UtcNs(SystemClock().utc()))

    with Receiver(settings, lambda *_: True, is_revoked=home.is_gateway_revoked, renew=further) as receiver:
        home.write_settings(replace(home.settings, uploads={"evidence": receiver.url}))
        yield receiver


@pytest.mark.peer
def test_the_gateway_renews_itself_over_the_network(home, city, applicant, now, tmp_path):
    """It is kept before it is shown; nothing happens before two thirds of its life, or by a clock in doubt."""
    enrolment = enrol_before(home, applicant, now)
    shown = []
    renewal = CertificateRenewal(Place(tmp_path), enrolment, Keys(applicant), RightClock(), shown.append)
    renewal.look()
    assert [each.certificate_pem for each in shown] == [renewal.enrolment.certificate_pem]
    assert renewed_path(tmp_path / "store.sqlite").read_text() == renewal.enrolment.certificate_pem
    assert renewal.enrolment.not_after_s > enrolment.not_after_s
    renewal.look()
    assert len(shown) == 1
    young = enrol_before(home, Applicant(), now, 10 * DAY_NS)
    idle = CertificateRenewal(Place(tmp_path), young, Keys(applicant), RightClock(), shown.append)
    doubtful = CertificateRenewal(Place(tmp_path), enrolment, Keys(applicant), DoubtfulClock(), shown.append)
    for each in (idle, doubtful):
        each.look()
    assert len(shown) == 1


class DoubtfulClock(SystemClock):
    def state(self):
        return ClockState.FLOOR_ONLY


@pytest.mark.peer
@pytest.mark.timeout(25)  # a refusal that reads on behind the body waits for 30 s, each time
def test_the_server_answers_at_ones_own_path_alone(home, city, applicant, now, tmp_path):
    """Another gateway's path is none; who was revoked gets 403, and what is no message as well."""
    enrolment, other = enrol_before(home, applicant, now), enrol_before(home, Applicant(), now)
    renewal = CertificateRenewal(Place(tmp_path), enrolment, Keys(applicant), RightClock(), lambda _: None)
    origin = city.url.removesuffix("/files/")

    def ask(gateway, raw):
        url = f"{origin}{PATH}{gateway}"
        return post_small(url, renewal.context(), raw, "application/jose+json", 8192, SystemClock())

    cases = {
        "another's path": (other.gateway, message(enrolment, applicant), "404"),
        "no message": (enrolment.gateway, b"{}", "403"),
        "too long": (enrolment.gateway, b"x" * 40_000, "413"),
    }
    for gateway, raw, status in cases.values():
        with pytest.raises(DeliveryError, match=status):
            ask(gateway, raw)
    home.revoke_gateway(enrolment.gateway, "now")
    with pytest.raises(DeliveryError, match="403"):
        ask(enrolment.gateway, message(enrolment, applicant))
    assert len(home.certificates.issued(enrolment.gateway)) == 1


@pytest.mark.peer
def test_a_state_that_is_away_refuses_nobody_a_certificate(home, city, applicant, now, tmp_path, monkeypatch):
    """503 and when to come again, not 403: the gateway has done nothing wrong."""
    enrolment = enrol_before(home, applicant, now)
    renewal = CertificateRenewal(Place(tmp_path), enrolment, Keys(applicant), RightClock(), lambda _: None)

    def be_away(_gateway):
        raise UnavailableError("state cannot be read or written: the server is away")

    with monkeypatch.context() as away:
        away.setattr(home.state.gateways, "find", be_away)
        with pytest.raises(DeliveryError, match="503"):
            url = f"{city.url.removesuffix('/files/')}{PATH}{enrolment.gateway}"
            raw = message(enrolment, applicant)
            post_small(url, renewal.context(), raw, "application/jose+json", 8192, SystemClock())
    renewal.look()
    assert len(home.certificates.issued(enrolment.gateway)) == 2


def test_two_authorities_are_believed_in_between(home, applicant, now):
    """Added, switched, dropped: at each step servers and gateways of the one believed before still come together."""
    old = enrol_before(home, applicant, now)
    add_authority(home, now)
    both = parse_enrolment(enrol(home, applicant.csr, now, renew=True).content, "test")
    assert both.ca_pem.count("BEGIN") == 2
    assert issuer_of(both.certificate_pem) == issuer_of(old.certificate_pem)
    switch_authority(home, now)
    new = renew(home, both.gateway, certificate_of(old), message(both, applicant), UtcNs(now + 2 * OLD_NS))
    assert issuer_of(new.decode()) != issuer_of(old.certificate_pem)
    believed = home.ca_path.read_text()
    for pem in (old.certificate_pem, new.decode(), home.tls_paths("rtcc")[0].read_text()):
        assert is_issued_by_any(pem, believed)
    assert home.certificates.list_path.read_text().count("BEGIN X509 CRL") == 2
    drop_authority(home, now)
    assert not is_issued_by_any(old.certificate_pem, home.ca_path.read_text())
    assert is_issued_by_any(new.decode(), home.ca_path.read_text())
    add_authority(home, now)
    names = {each.subject for each in x509.load_pem_x509_certificates(home.ca_path.read_bytes())}
    assert len(names) == 2


def issuer_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).issuer


def is_issued_by_any(pem, believed):
    certificate = x509.load_pem_x509_certificate(pem.encode())
    for each in x509.load_pem_x509_certificates(believed.encode()):
        with suppress(Exception):
            certificate.verify_directly_issued_by(each)
            return True
    return False
