"""The desk's process: TLS under its own name, and the one socket of the releaser that is made for it.

Wires only. Its user reads its own TLS key and the owner's key as it is encrypted under the passphrase, and no ring, no
state and no configuration.
"""

import logging
import os
import time
from pathlib import Path

from edge_agent.desk.acts import Acts
from edge_agent.desk.app import DeskPages, build_app
from edge_agent.desk.films import Films
from edge_agent.desk.signer import OwnerSigner
from edge_agent.errors import ConfigError
from edge_agent.host.hardening import harden, lock_folder
from edge_agent.page.listening import make_server, serve
from edge_agent.page.processes import Processes
from edge_agent.page.settings import PageSettings, load_settings, tls_path

CREDENTIAL = "owner.pem"


def main(folder: Path) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(folder)
    if not settings.is_desk:
        raise ConfigError(f"{folder}: these are not the desk's settings", "sudo edge-agent page on")
    harden()
    os.umask(0o077)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    with lock_folder(folder, "desk"):
        _serve(folder, settings)
    return os.EX_OK


def _serve(folder: Path, settings: PageSettings) -> None:
    films = Films(time.monotonic)
    signer = OwnerSigner(find_owner_key(settings), time.monotonic)
    pages = DeskPages(Processes(settings), settings, Acts(time.monotonic), signer, films)

    def is_well() -> bool:
        films.sweep()
        return True

    serve(make_server(build_app(pages, settings), tls_path(folder)), settings, is_well)


def find_owner_key(settings: PageSettings) -> Path:
    """Return where the owner's key can be read: systemd hands it over as a credential, for its folder is root's."""
    named = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(named) / CREDENTIAL if named else None
    return credential if credential is not None and credential.is_file() else Path(settings.owner_key)
