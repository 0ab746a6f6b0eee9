"""The installed enrolment file: which RTCC this gateway belongs to, or its own name if it belongs to none.

Owns the reading of the file, which only root may write, and of the certificate that was renewed since, which the
releaser writes; their form is ``protocol.enrolment``.
"""

import logging
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.custody.keys import read_guarded
from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol.enrolment import Enrolment, name_unenrolled, parse_enrolment, renew_enrolment

log = logging.getLogger(__name__)


def renewed_path(store_path: Path) -> Path:
    """Return where the releaser keeps the certificate that the RTCC renewed on the wire."""
    return store_path.with_name("certificate.pem")


def find_gateway_name(path: Path, gateway: Ed25519PublicKey) -> str:
    """Return the gateway's id of the installed enrolment file, or its own name if none is installed.

    Raises:
        ConfigError, CustodyError: There is a file, and it is wrong (see ``load_enrolment``).
    """
    return load_enrolment(path).gateway if path.exists() else name_unenrolled(gateway)


def load_enrolment(path: Path, renewed: Path | None = None) -> Enrolment:
    """Read the installed enrolment file, with the renewed certificate in the place of the file's own if that fits.

    Args:
        path: ``uplink.enrolment``.
        renewed: See ``renewed_path``. One of an earlier enrolment, or older than the file's, is passed over.

    Raises:
        ConfigError: Missing or wrong.
        CustodyError: Others can write it.
    """
    if not path.exists():
        raise ConfigError(f"{path}: file is missing", "`edge-agent enrol FILE` installs what the RTCC sent you")
    enrolment = parse_enrolment(read_guarded(path, forbidden=0o022), str(path))
    if renewed is None:
        return enrolment
    try:
        if not renewed.exists():
            return enrolment
        return renew_enrolment(enrolment, read_guarded(renewed, forbidden=0o022).decode(), str(renewed))
    except (ConfigError, CustodyError, OSError, UnicodeDecodeError) as error:
        log.info("renewed certificate is passed over: %s", error)
        return enrolment
