"""Turning the resident's page on and off: its certificate, its settings, its service.

Owns what root does for it. The authority's key stays in a folder of root's; the files that the page's process reads
belong to its user, in a folder that is that user's, and so written with that user's rights.
"""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import ifaddr

from edge_agent.custody.keys import locate_private
from edge_agent.errors import ConfigError, UnavailableError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.host.service_user import acting_as_owner
from edge_agent.page.pairing import FIRST_LIFE_S, make_code
from edge_agent.page.settings import (
    DEFAULT_PORT,
    DESK_PORT,
    MAX_NAMES,
    PageSettings,
    ca_path,
    devices_path,
    encode_settings,
    first_code_path,
    is_home_address,
    load_settings,
    settings_path,
    tls_path,
)
from edge_agent.settings.gateway import Config
from edge_agent.setup.machine import UNIT_DIR, is_systemd_running
from edge_agent.setup.page_authority import Authority, covers, issue, load_authority, make_authority
from edge_agent.units import SECOND_NS, UtcNs
from edge_agent.uplink.owner.page_links import FILE

UNIT, DESK_UNIT = "edge-agent-page.service", "edge-agent-desk.service"
ADOPT_UNIT = "edge-agent-adopt.path"
"""Has root write the terms that are signed at the desk."""
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_TIMEOUT_S = 60.0
"""For one call of systemctl, which waits until the service says READY."""


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """The outcome of ``page on``."""

    settings: PageSettings
    desk: PageSettings
    thumbprint: str
    is_new_authority: bool
    code: str
    """For the first device; empty if there are devices."""
    is_started: bool
    """False on a machine without systemd: somebody must start it."""


def page_dir(config: Config) -> Path:
    """Return the folder of the page's process."""
    return config.state_dir / "page"


def desk_dir(config: Config) -> Path:
    """Return the folder of the desk's process."""
    return config.state_dir / "desk"


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


def choose_settings(
    config: Config, addresses: Sequence[str], names: Sequence[str], port: int | None, desk_name: str | None = None
) -> PageSettings:
    """Return where the page will listen, and the desk's address: as asked, as before, or as this machine is.

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
    # One below the last: the desk takes the next port.
    if not 1024 <= port <= 65534:
        raise UsageError("the port is 1024 to 65534: the page's user may not take a lower one")
    desk = _choose_desk(before, desk_name, port)
    return PageSettings(port, tuple(chosen), tuple(called), str(config.gateway.run_dir), desk)


def _choose_desk(before: PageSettings | None, name: str | None, page_port: int) -> str:
    """Return the desk's address: a name of its own, for browsers keep cookies and certificates apart by it."""
    port = DESK_PORT if page_port == DEFAULT_PORT else page_port + 1
    if name is None and before is not None and before.desk:
        name = urlsplit(before.desk).hostname
    name = (name or f"desk-{secrets.token_hex(3)}.local").lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise UsageError(f"not a host name: {name[:60]}")
    return f"https://{name}:{port}/"


def settle_desk(config: Config, page: PageSettings) -> PageSettings:
    """Return the desk's settings beside the page's."""
    at = urlsplit(page.desk)
    assert at.hostname is not None
    assert at.port is not None
    key = str(locate_private(config.state_dir, "owner"))
    return PageSettings(at.port, page.addresses, (at.hostname,), page.run_dir, owner_key=key)


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
    desk = settle_desk(config, settings)
    try:
        authority, is_new = _find_authority(config, settings, desk, now)
        for folder, chain in (
            (page_dir(config), issue(authority, settings.names, settings.addresses, now)),
            (desk_dir(config), issue(authority, desk.names, (), now)),
        ):
            folder.mkdir(mode=0o700, exist_ok=True)
            with acting_as_owner(folder):
                write_small_file(tls_path(folder), chain, mode=0o600)
                write_small_file(ca_path(folder), authority.pem, mode=0o600)
        code = _leave_first_code(page_dir(config), now)
        for folder, mine in ((page_dir(config), settings), (desk_dir(config), desk)):
            with acting_as_owner(folder):  # last: `edge-agent run` starts a process as soon as these are there
                write_small_file(settings_path(folder), encode_settings(mine), mode=0o600)
        write_small_file(config.state_dir / FILE, encode_links(settings), mode=0o644)
    except OSError as error:
        raise ConfigError(
            f"the page cannot be set up: {error.filename}: {error.strerror}", "sudo edge-agent init"
        ) from error
    return TurnedOn(settings, desk, authority.thumbprint, is_new, code, _start(settings, desk))


def _leave_first_code(folder: Path, now: UtcNs) -> str:
    """Leave a code for the first device to the page, which takes it as it starts; empty if there are devices."""
    with acting_as_owner(folder):
        if devices_path(folder).exists():
            return ""
        code = make_code()
        content = json.dumps({"code": code, "until_s": now // SECOND_NS + FIRST_LIFE_S}).encode()
        write_small_file(first_code_path(folder), content, mode=0o600)
    return code


def encode_links(settings: PageSettings) -> bytes:
    """Write where the page is, for the links of notices: the first address, and the first name."""
    shown = {urlsplit(each).hostname: each for each in settings.urls}
    first = [each for host, each in shown.items() if host in (settings.addresses[0].lower(), settings.names[0])]
    return json.dumps({"urls": first or settings.urls[:1]}).encode()


def demand_packages() -> None:
    """Refuse if what serves the page is not installed."""
    missing = [each for each in ("starlette", "uvicorn", "jinja2", "segno") if find_spec(each) is None]
    if missing:
        raise ConfigError(
            f"the page needs packages that are missing: {', '.join(missing)}", "in a checkout: pip install '.[page]'"
        )


def _find_authority(
    config: Config, settings: PageSettings, desk: PageSettings, now: UtcNs
) -> tuple[Authority, bool]:  # fmt: skip
    """Return the authority of before if it may vouch for all of it, or a new one: each device must trust that anew."""
    path, names = authority_path(config), (*settings.names, *desk.names)
    try:
        authority = load_authority(read_regular(path))
        if covers(authority, names, settings.addresses):
            return authority, False
    except (FileNotFoundError, ValueError):
        pass
    # Its constraints cannot be widened afterwards: another name needs another authority.
    authority = make_authority(names, settings.addresses, now)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_small_file(path, authority.key_pem, mode=0o600)
    return authority, True


def _start(settings: PageSettings, desk: PageSettings) -> bool:
    if not is_systemd_running() or not shutil.which("systemctl"):
        return False
    _write_port(UNIT, settings.port, DEFAULT_PORT)
    _write_port(DESK_UNIT, desk.port, DESK_PORT)
    _run("daemon-reload")
    _run("enable", UNIT, DESK_UNIT, ADOPT_UNIT)
    _run("restart", UNIT, DESK_UNIT, ADOPT_UNIT)
    return True


def _write_port(unit: str, port: int, usual: int, unit_dir: Path = UNIT_DIR) -> None:
    """Allow the service the port that was asked for, and no other."""
    path = unit_dir / f"{unit}.d" / "port.conf"
    if port == usual:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    allowed = [f"tcp:{port}", *(["udp:5353"] if unit == UNIT else [])]  # multicast DNS is the page's
    lines = "".join(f"SocketBindAllow={each}\n" for each in ["", *allowed])
    write_small_file(path, f"[Service]\n{lines}".encode(), mode=0o644)


def turn_off(config: Config) -> None:
    """Stop page and desk and keep them off; devices, names and certificates stay for the next time."""
    if is_systemd_running() and shutil.which("systemctl"):
        _run("disable", "--now", UNIT, DESK_UNIT, ADOPT_UNIT)
    try:
        for folder in filter(Path.exists, (page_dir(config), desk_dir(config))):
            with acting_as_owner(folder):
                settings_path(folder).unlink(missing_ok=True)
                first_code_path(folder).unlink(missing_ok=True)
        (config.state_dir / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"the page cannot be turned off: {error.filename}: {error.strerror}") from error


def _run(*words: str) -> None:
    try:
        subprocess.run(("systemctl", *words), check=True, capture_output=True, timeout=_TIMEOUT_S, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        hint = f"journalctl -u {UNIT}"
        raise UnavailableError(f"systemctl {words[0]}: {said[-1][:200] if said else 'failed'}", hint) from error
