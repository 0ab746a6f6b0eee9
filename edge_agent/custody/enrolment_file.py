"""The installed enrolment file: which RTCC this gateway belongs to, or its own name if it belongs to none.

Owns the reading of the file, which only root may write; its form is ``protocol.enrolment``.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.custody.keys import read_guarded
from edge_agent.errors import ConfigError
from edge_agent.protocol.enrolment import Enrolment, name_unenrolled, parse_enrolment


def find_gateway_name(path: Path, gateway: Ed25519PublicKey) -> str:
    """Return the gateway's id of the installed enrolment file, or its own name where none is installed.

    Raises:
        ConfigError, CustodyError: There is a file, and it is wrong (see ``load_enrolment``).
    """
    return load_enrolment(path).gateway if path.exists() else name_unenrolled(gateway)


def load_enrolment(path: Path) -> Enrolment:
    """Read the installed enrolment file.

    Raises:
        ConfigError: Missing or wrong.
        CustodyError: Others can write it.
    """
    if not path.exists():
        raise ConfigError(f"{path}: file is missing", "`edge-agent enrol FILE` installs what the RTCC sent you")
    return parse_enrolment(read_guarded(path, forbidden=0o022), str(path))
