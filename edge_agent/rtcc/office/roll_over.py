"""One certificate authority follows another, and both are believed in between.

Owns the order of ``tls/ca.pem``: the first authority in it issues. Each step replaces that one file, so that a step is
done or not. The other files of a step come first, if they do no harm without it: lists and certificates of an authority
that is not believed yet, or that was believed before. After a kill the same step is taken again.
"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.certificates import AuthorityPair
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
    # The list first: a verifier that believes an authority without a list refuses everybody.
    home.certificates.write_list(now, [present[0], (certificate, key)])
    _believe(home, [present[0][0], certificate])


def switch_authority(home: RtccHome, now: UtcNs) -> None:
    """Issue by the other authority from now on; our own client certificate at once.

    Raises:
        CustodyError: There is one alone.
    """
    present = home.load_authorities()
    if len(present) < 2:
        raise CustodyError("one authority is believed", "`rtcc authority add` makes a second one")
    _certify_ourselves(home, present[1], now)
    _believe(home, [present[1][0], present[0][0]])


def drop_authority(home: RtccHome, now: UtcNs) -> None:
    """Believe the authority alone that issues: certificates of the other one count nowhere from now on.

    Raises:
        CustodyError: There is one alone.
    """
    present = home.load_authorities()
    if len(present) < 2:
        raise CustodyError("one authority is believed: it cannot be dropped")
    dropped = present[1][0]
    replace(home.path / "tls" / "former" / f"{dropped.serial_number:040x}.pem", dropped.public_bytes(Encoding.PEM))
    # Of a home that an earlier version left in the middle of a switch.
    _certify_ourselves(home, present[0], now)
    _believe(home, [present[0][0]])
    home.certificates.write_list(now)  # After it: a list of an authority that nobody believes harms nobody.


def _certify_ourselves(home: RtccHome, pair: AuthorityPair, now: UtcNs) -> None:
    key = home.load_tls_key(CLIENT_NAME).public_key()
    certificate = authority.issue_client(*pair, key, CLIENT_NAME, now)
    replace(home.tls_paths(CLIENT_NAME)[0], certificate.public_bytes(Encoding.PEM))


def _believe(home: RtccHome, authorities: list[x509.Certificate]) -> None:
    replace(home.ca_path, b"".join(each.public_bytes(Encoding.PEM) for each in authorities))


def _has_key_of(home: RtccHome, name: str, certificate: x509.Certificate) -> bool:
    if not home.tls_paths(name)[1].exists():
        return False
    ours = thumbprint(home.load_tls_key(name).public_key())
    return ours == thumbprint(certificate.public_key())  # type: ignore[arg-type]
