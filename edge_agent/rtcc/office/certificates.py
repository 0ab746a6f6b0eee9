"""Certificates of gateways that the authority issued, and those that it revoked.

Owns ``tls/issued/GATEWAY/SERIAL.pem``, ``tls/revoked.json`` and ``tls/crl.pem``: the list (RFC 5280, section 5) that
the broker reads. ``enrol`` and ``renewal`` decide which certificate is issued to whom.
"""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import CustodyError
from edge_agent.host.lock_file import hold_lock
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.keys import encode_json, replace
from edge_agent.units import DAY_NS, SECOND_NS, UtcNs

_PATIENCE_S = 10.0
_SERIAL = re.compile(r"[0-9a-f]{40}")

log = logging.getLogger(__name__)

AuthorityPair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


@dataclass(frozen=True, slots=True)
class _RevokedList:
    """The content of ``revoked.json``."""

    number: int
    """Of the last list that was signed."""
    made_at: int
    entries: dict[str, tuple[int, int]]
    """Serial number (hexadecimal) → revoked at, ended at; ns of UTC."""


class Certificates:
    """The certificates that were issued, and those that were revoked.

    Args:
        folder: ``tls/`` of a home.
        load_authorities: Returns every authority that is believed, with its key: each signs a list of its own.
    """

    def __init__(self, folder: Path, load_authorities: Callable[[], Sequence[AuthorityPair]]) -> None:
        self._folder, self._load_authorities = folder, load_authorities

    @property
    def list_path(self) -> Path:
        """The lists of revoked certificates, PEM, one for each authority."""
        return self._folder / "crl.pem"

    def record(self, gateway: str, certificate: x509.Certificate) -> None:
        """Keep a certificate that was issued to a gateway: only what is known can be revoked."""
        path = self._folder / "issued" / gateway / f"{certificate.serial_number:040x}.pem"
        replace(path, certificate.public_bytes(Encoding.PEM))

    def issued(self, gateway: str) -> tuple[x509.Certificate, ...]:
        """Return the certificates of a gateway, the newest first.

        Raises:
            CustodyError: A file of them is damaged: it costs this gateway alone.
        """
        found = [_load(path) for path in (self._folder / "issued" / gateway).glob("*.pem")]
        return tuple(sorted(found, key=lambda each: each.not_valid_after_utc, reverse=True))

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Tell whether a certificate is on the list."""
        return f"{certificate.serial_number:040x}" in self._read().entries

    def revoke_gateway(self, gateway: str, others: Sequence[x509.Certificate], now: UtcNs) -> int:
        """Put all certificates of a gateway on the list, and some others; return how many are of the gateway.

        Of a damaged file the name is enough, which is the serial number: it stays on the list for as long as any
        certificate may last.
        """
        added: dict[str, tuple[int, int]] = {}
        for path in (self._folder / "issued" / gateway).glob("*.pem"):
            try:
                added |= _list([_load(path)], now)
            except CustodyError as error:
                log.error("revoked by its name: %s", error)
                if _SERIAL.fullmatch(path.stem):
                    added[path.stem] = (int(now), now + authority.CERTIFICATE_DAYS * DAY_NS)
        self._revoke(added | _list(others, now), now)
        return len(added)

    def revoke(self, certificates: Sequence[x509.Certificate], now: UtcNs) -> None:
        """Put certificates on the list and sign it anew; a server that reads it refuses them."""
        self._revoke(_list(certificates, now), now)

    def _revoke(self, added: dict[str, tuple[int, int]], now: UtcNs) -> None:
        with self._alone():
            known = self._read()
            self._write(_RevokedList(known.number, known.made_at, known.entries | added), now)

    def write_list(self, now: UtcNs, authorities: Sequence[AuthorityPair] | None = None) -> None:
        """Sign the list anew: by these authorities, or by all that are believed; also for a home that has none yet."""
        with self._alone():
            self._write(self._read(), now, authorities)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from the list: an older one written over a newer one would let somebody in again.

        Raises:
            CustodyError: Another one has had it for ``_PATIENCE_S``.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        busy = CustodyError(f"another process changes what was revoked: {self._folder}")
        with hold_lock(self._folder / ".lock", _PATIENCE_S, busy):
            yield

    def _read(self) -> _RevokedList:
        path = self._folder / "revoked.json"
        try:
            raw = json.loads(path.read_text())
            entries = {name: (at, end) for name, (at, end) in raw["entries"].items()}
            return _RevokedList(raw["number"], raw["made_at"], entries)
        except FileNotFoundError:
            return _RevokedList(0, 0, {})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CustodyError(f"not a list of revoked certificates: {path}", "bring it back from a copy") from error

    def _write(self, known: _RevokedList, now: UtcNs, authorities: Sequence[AuthorityPair] | None = None) -> None:
        # A certificate that has ended by itself needs no entry; a day more for clocks that are behind.
        entries = {name: times for name, times in known.entries.items() if times[1] > now - 86_400 * SECOND_NS}
        # A broker that reads the list again keeps the older of two that say the same second (OpenSSL 3.0).
        made_at = max(int(now), known.made_at + SECOND_NS)
        new = _RevokedList(known.number + 1, made_at, entries)
        serials = [(int(name, 16), UtcNs(at)) for name, (at, _) in entries.items()]
        lists = [
            authority.make_list(ca, key, serials, new.number, UtcNs(new.made_at)).public_bytes(Encoding.PEM)
            for ca, key in authorities or self._load_authorities()
        ]
        # The record first: a list that was cut off is signed again from it.
        content = {"number": new.number, "made_at": new.made_at, "entries": {k: list(v) for k, v in entries.items()}}
        replace(self._folder / "revoked.json", encode_json(content))
        replace(self.list_path, b"".join(lists))


def _list(certificates: Sequence[x509.Certificate], now: UtcNs) -> dict[str, tuple[int, int]]:
    return {f"{each.serial_number:040x}": (int(now), authority.end_of(each)) for each in certificates}


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CustodyError(f"not a certificate: {path}", "bring the file back from a copy") from error
