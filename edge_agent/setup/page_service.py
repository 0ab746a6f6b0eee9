"""Turning the resident's page on and off: its certificate, its settings, its service.

Owns what root does for it. The authority's key stays in a folder of root's; the files that the page's process reads
belong to its user, in a folder that is that user's, and so written with that user's rights.
"""

import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import ifaddr

from edge_agent.errors import ConfigError, UnavailableError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.host.service_user import acting_as_owner
from edge_agent.page.settings import (
    DEFAULT_PORT,
    MAX_NAMES,
    PageSettings,
    ca_path,
    encode_settings,
    is_home_address,
    load_settings,
    settings_path,
    tls_path,
)
from edge_agent.settings.gateway import Config
from edge_agent.setup.machine import UNIT_DIR, is_systemd_running
from edge_agent.setup.page_authority import Authority, covers, issue, load_authority, make_authority
from edge_agent.units import UtcNs

UNIT = "edge-agent-page.service"
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """The outcome of ``page on``."""

    settings: PageSettings
    thumbprint: str
    is_new_authority: bool
    is_started: bool
    """False on a machine without systemd: somebody must start it."""


def page_dir(config: Config) -> Path:
    """Return the folder of the page's process."""
    return config.state_dir / "page"


def authority_path(config: Config) -> Path:
    """Return where the authority's key lies."""
    return config.state_dir / "keys" / "page" / "ca.pem"


def find_home_addresses() -> list[str]:
    """Return this machine's addresses at home and in VPNs, IPv4 first; none of loopback."""
    found = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = str(each.ip if each.is_IPv4 else each.ip[0])
            if is_home_address(address) and not address.startswith("127.") and address != "::1":
                found.append(address)
    return sorted(set(found), key=lambda each: (":" in each, each))


def choose_settings(config: Config, addresses: Sequence[str], names: Sequence[str], port: int | None) -> PageSettings:
    """Return where the page will listen: as asked, as before, or as this machine is.

    Raises:
        UsageError: An address that is not of a home, a malformed name, or none of either.
    """
    before = _find_settings(config)
    chosen = list(addresses) or find_home_addresses() or (list(before.addresses) if before else [])
    for address in chosen:
        if not is_home_address(address):
            raise UsageError(f"not an address of a home: {address}", "the page is not for the internet: use a VPN")
    if not chosen:
        raise UsageError("this machine has no address of a home yet", "name one: edge-agent page on --address ADDRESS")
    called = [*(before.names if before else [f"edge-agent-{secrets.token_hex(3)}.local"])]
    called += [each for each in (name.lower().rstrip(".") for name in names) if each not in called]
    for name in called:
        if not _NAME.fullmatch(name):
            raise UsageError(f"not a host name: {name[:60]}")
    if len(called) > MAX_NAMES:
        raise UsageError(f"at most {MAX_NAMES} names")
    port = port or (before.port if before else DEFAULT_PORT)
    if not 1024 <= port <= 65535:
        raise UsageError("the port is 1024 to 65535: the page's user may not take a lower one")
    return PageSettings(port, tuple(chosen), tuple(called), str(config.gateway.run_dir))


def _find_settings(config: Config) -> PageSettings | None:
    try:
        return load_settings(page_dir(config))
    except ConfigError:
        return None


def turn_on(config: Config, settings: PageSettings, now: UtcNs) -> TurnedOn:
    """Make the certificate, write what the process reads, and start it.

    Raises:
        ConfigError: The packages of the page are not installed, or a file cannot be written.
        UnavailableError: It does not start.
    """
    demand_packages()
    folder = page_dir(config)
    try:
        authority, is_new = _find_authority(config, settings, now)
        chain = issue(authority, settings.names, settings.addresses, now)
        folder.mkdir(mode=0o700, exist_ok=True)
        with acting_as_owner(folder):
            write_small_file(tls_path(folder), chain, mode=0o600)
            write_small_file(ca_path(folder), authority.pem, mode=0o600)
            write_small_file(settings_path(folder), encode_settings(settings), mode=0o600)
    except OSError as error:
        raise ConfigError(
            f"the page cannot be set up: {error.filename}: {error.strerror}", "sudo edge-agent init"
        ) from error
    return TurnedOn(settings, authority.thumbprint, is_new, _start(settings))


def demand_packages() -> None:
    """Refuse if what serves the page is not installed."""
    missing = [each for each in ("starlette", "uvicorn", "jinja2", "segno") if find_spec(each) is None]
    if missing:
        raise ConfigError(
            f"the page needs packages that are missing: {', '.join(missing)}", "in a checkout: pip install '.[page]'"
        )


def _find_authority(config: Config, settings: PageSettings, now: UtcNs) -> tuple[Authority, bool]:
    """Return the authority of before if it may vouch for all of it, or a new one: each device must trust that anew."""
    path = authority_path(config)
    try:
        authority = load_authority(read_regular(path))
        if covers(authority, settings.names, settings.addresses):
            return authority, False
    except (FileNotFoundError, ValueError):
        pass
    authority = make_authority(settings.names, settings.addresses, now)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_small_file(path, authority.key_pem, mode=0o600)
    return authority, True


def _start(settings: PageSettings) -> bool:
    if not is_systemd_running() or not shutil.which("systemctl"):
        return False
    _write_port(settings.port)
    _run("daemon-reload")
    _run("enable", UNIT)
    _run("restart", UNIT)
    return True


def _write_port(port: int, unit_dir: Path = UNIT_DIR) -> None:
    """Allow the service the port that was asked for, and no other."""
    path = unit_dir / f"{UNIT}.d" / "port.conf"
    if port == DEFAULT_PORT:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_small_file(path, f"[Service]\nSocketBindAllow=\nSocketBindAllow=tcp:{port}\n".encode(), mode=0o644)


def turn_off(config: Config) -> None:
    """Stop the page and keep it off; its devices and its certificate stay for the next time."""
    folder = page_dir(config)
    if is_systemd_running() and shutil.which("systemctl"):
        _run("disable", "--now", UNIT)
    try:
        with acting_as_owner(folder):
            settings_path(folder).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"the page cannot be turned off: {error.filename}: {error.strerror}") from error


def _run(*words: str) -> None:
    try:
        subprocess.run(("systemctl", *words), check=True, capture_output=True, timeout=_TIMEOUT_S, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        hint = f"journalctl -u {UNIT}"
        raise UnavailableError(f"systemctl {words[0]}: {said[-1][:200] if said else 'failed'}", hint) from error
