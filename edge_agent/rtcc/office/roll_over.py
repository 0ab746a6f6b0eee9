"""One certificate authority follows another, and both are believed in between.

Owns the order of ``tls/ca.pem``: the first authority in it issues. Each step replaces that one file, so that a step is
done or not.
"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.home import AUTHORITIES, CLIENT_NAME, RtccHome
from edge_agent.rtcc.office.keys import generate_tls_key, replace, write_private_key
from edge_agent.units import UtcNs


def add_authority(home: RtccHome, now: UtcNs) -> None:
    """Make a second authority that is believed and does not issue yet.

    Raises:
        CustodyError: There are two already.
    """
    present = home.load_authorities()
    if len(present) > 1:
        raise CustodyError(
            "two authorities are believed already", "`rtcc authority drop` ends the one that does not issue"
        )
    name = next(name for name in AUTHORITIES if not _has_key_of(home, name, present[0][0]))
    path = home.tls_paths(name)[1]
    path.unlink(missing_ok=True)  # Of an authority that was dropped.
    key = generate_tls_key()
    # Another name than the first: a verifier looks for an issuer, and for its list, by name.
    number = len(list((home.path / "tls" / "former").glob("*.pem"))) + 2
    certificate = authority.make_ca(key, f"authority {number} of {home.settings.iss}", now)
    write_private_key(path, key, home.passphrase)
    _believe(home, [present[0][0], certificate], now)


def switch_authority(home: RtccHome, now: UtcNs) -> None:
    """Issue by the other authority from now on; our own client certificate at once.

    Raises:
        CustodyError: There is one alone.
    """
    present = [each for each, _ in home.load_authorities()]
    if len(present) < 2:
        raise CustodyError("one authority is believed", "`rtcc authority add` makes a second one")
    _believe(home, present[::-1], now)
    ca, ca_key = home.load_ca()
    key = home.load_tls_key(CLIENT_NAME).public_key()
    certificate = authority.issue_client(ca, ca_key, key, CLIENT_NAME, now)
    replace(home.tls_paths(CLIENT_NAME)[0], certificate.public_bytes(Encoding.PEM))


def drop_authority(home: RtccHome, now: UtcNs) -> None:
    """Believe the authority alone that issues: certificates of the other one count nowhere from now on.

    Raises:
        CustodyError: There is one alone.
    """
    present = [each for each, _ in home.load_authorities()]
    if len(present) < 2:
        raise CustodyError("one authority is believed: it cannot be dropped")
    former = home.path / "tls" / "former" / f"{present[1].serial_number:040x}.pem"
    replace(former, present[1].public_bytes(Encoding.PEM))
    _believe(home, present[:1], now)


def _believe(home: RtccHome, authorities: list[x509.Certificate], now: UtcNs) -> None:
    replace(home.ca_path, b"".join(each.public_bytes(Encoding.PEM) for each in authorities))
    home.certificates.write_list(now)


def _has_key_of(home: RtccHome, name: str, certificate: x509.Certificate) -> bool:
    if not home.tls_paths(name)[1].exists():
        return False
    ours = thumbprint(home.load_tls_key(name).public_key())
    return ours == thumbprint(certificate.public_key())  # type: ignore[arg-type]
