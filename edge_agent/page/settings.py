"""The settings of ``edge-agent page on``, for the page and the desk: addresses, port and names.

Owns ``settings.json`` and the paths beside it. The process must not read ``edge-agent.yaml``, which
holds the addresses of the cameras and of the house.
"""

import ipaddress
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import ConfigError
from edge_agent.host.regular_file import read_regular

DEFAULT_PORT, DESK_PORT = 8443, 8444
MAX_NAMES = 16
_HOME = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")
)
"""RFC 1918, RFC 6598 (carrier-grade NAT, which VPNs use as well), RFC 4193, and loopback."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The addresses at which the page listens, and the names that browsers may call it."""

    port: int
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    run_dir: str
    """The folder of the processes' sockets."""
    desk: str = ""
    """The desk's address, for the page's links; empty in the desk's own settings."""
    owner_key: str = ""
    """The desk's alone: path of the owner's key, which is encrypted under the passphrase."""

    @property
    def is_desk(self) -> bool:
        """Whether these are the desk's: it answers to its own name and to no address."""
        return bool(self.owner_key)

    @property
    def _shown(self) -> list[str]:
        """By address first, because not every phone resolves the names of a home."""
        addresses = [] if self.is_desk else [f"[{each}]" if ":" in each else each for each in self.addresses]
        return [*addresses, *self.names]

    @property
    def hosts(self) -> frozenset[str]:
        """Every value of ``Host`` that is answered (RFC 9110, 7.2)."""
        shown = self._shown
        return frozenset(f"{each}:{self.port}" for each in shown) | (
            frozenset(shown) if self.port == 443 else frozenset()
        )

    @property
    def urls(self) -> list[str]:
        """The addresses to type into a browser."""
        return [f"https://{each}:{self.port}/" for each in self._shown]

    def process_socket(self, process: Literal["recorder", "releaser"]) -> Path:
        """Return the socket at which the page, or the desk, reaches a process."""
        return Path(self.run_dir) / f"{process}-{'desk' if self.is_desk else 'page'}" / "sock"

    @property
    def own_socket(self) -> Path:
        """The socket at which root asks for a pairing code."""
        return Path(self.run_dir) / "page" / "sock"


def is_home_address(text: str) -> bool:
    """Tell whether an address is one of a home, a VPN or this machine: the only ones that the page listens at."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in _HOME if network.version == address.version)


def settings_path(folder: Path) -> Path:
    """Return the path of the settings."""
    return folder / "settings.json"


def tls_path(folder: Path) -> Path:
    """Return the path of the page's TLS key and certificate chain, one PEM file."""
    return folder / "tls.pem"


def ca_path(folder: Path) -> Path:
    """Return the path of the authority's certificate."""
    return folder / "ca.pem"


def devices_path(folder: Path) -> Path:
    """Return the path of the page's list of devices."""
    return folder / "devices.json"


def first_code_path(folder: Path) -> Path:
    """Return the path of the first device's code: ``page on`` writes it, and the page takes it away."""
    return folder / "first-code.json"


def encode_settings(settings: PageSettings) -> bytes:
    """Write settings as the process reads them."""
    return json.dumps(asdict(settings), indent=1).encode() + b"\n"


def load_settings(folder: Path) -> PageSettings:
    """Read the settings.

    Raises:
        ConfigError: The page was not turned on, or they are wrong; a public address is refused here as well.
    """
    path = settings_path(folder)
    hint = "`sudo edge-agent page on` writes them anew"
    try:
        found: Any = json.loads(read_regular(path))
        settings = PageSettings(
            int(found["port"]), tuple(map(str, found["addresses"])), tuple(map(str, found["names"])),
            str(found["run_dir"]), str(found.get("desk", "")), str(found.get("owner_key", "")),
        )  # fmt: skip
    except FileNotFoundError:
        raise ConfigError(f"the page is off: {path} is missing", "sudo edge-agent page on") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: settings cannot be read: {error}", hint) from error
    # Checked again at each start: a file that was edited by hand must not put the page on the
    # internet.
    public = [each for each in settings.addresses if not is_home_address(each)]
    if public or not settings.addresses or not 1 <= settings.port <= 65535:
        raise ConfigError(f"{path}: the page listens at addresses of a home only: {', '.join(public) or 'none'}", hint)
    return settings
