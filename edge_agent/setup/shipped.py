"""Files that travel with the program: the commented configuration and the systemd units.

They lie in ``config/`` and ``systemd/`` of a checkout, and in ``share/edge-agent/`` of an installation.
"""

import sys
import sysconfig
from pathlib import Path

from edge_agent.errors import ConfigError


def find_shipped(name: str) -> Path | None:
    """Return the path of a shipped file, such as ``config/edge-agent.yaml``, or None."""
    checkout = Path(__file__).resolve().parents[2]
    roots = [checkout] if (checkout / "setup.cfg").is_file() else []
    data = (sysconfig.get_path("data"), sysconfig.get_path("data", "posix_user"), sys.prefix)
    roots += [Path(folder) / "share" / "edge-agent" for folder in data]
    return next((root / name for root in roots if (root / name).is_file()), None)


def read_shipped(name: str) -> str:
    """Return the text of a shipped file; ConfigError if the installation lacks it."""
    path = find_shipped(name)
    if path is None:
        raise ConfigError(f"the installation lacks share/edge-agent/{name}", "install the package again")
    return path.read_text(encoding="utf-8")
