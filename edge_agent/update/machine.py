"""The effects of an update on this machine: dpkg, apt and systemd, each with a time-out."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from edge_agent.errors import UpdateError
from edge_agent.setup.machine import is_systemd_running

UNITS = ("edge-agent-recorder.service", "edge-agent-releaser.service")
PROGRAM = "/opt/edge-agent/bin/edge-agent"
MARKER = Path("/run/edge-agent-update")
"""While it is there, the package's own script leaves the restart to us."""
_INSTALL_TIMEOUT_S = 1800
_RESTART_TIMEOUT_S = 300
_ASK_TIMEOUT_S = 60
_APT = ("apt-get", "install", "--yes", "--quiet", "--reinstall", "--allow-downgrades", "--no-install-recommends")


class Machine(Protocol):
    """The functions of a machine that an update needs."""

    def installed_version(self) -> str:
        """Return the version that is wholly installed; empty if none is."""

    def running_services(self) -> tuple[str, ...]:
        """Return our units that run."""

    def install(self, package: Path) -> None:
        """Install a package file, an older one too; UpdateError if that fails."""

    def accepts_configuration(self) -> bool:
        """Tell whether the installed program accepts this machine's configuration."""

    def restart(self, services: Sequence[str]) -> bool:
        """Restart units and wait until each has said READY; False if one did not."""


class DebianMachine:
    """This machine."""

    def installed_version(self) -> str:
        """Ask dpkg; the suite behind ``~`` is left out."""
        words = ("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}|${Version}", "edge-agent")
        try:
            said = _run(words, _ASK_TIMEOUT_S).stdout
        except (OSError, subprocess.SubprocessError):
            return ""
        status, _, version = said.partition("|")
        # ``ii`` alone: a package that is unpacked and not configured (``iU``, ``iF``) is between
        # two versions.
        return version.partition("~")[0] if status.strip() == "ii" else ""

    def running_services(self) -> tuple[str, ...]:
        """Ask systemd; none if it does not run."""
        return tuple(unit for unit in UNITS if is_systemd_running() and _succeeds("systemctl", "is-active", "-q", unit))

    def install(self, package: Path) -> None:
        """Install by path, with its dependencies."""
        # ``_apt``, apt's own user, cannot read the package in root's folder. For five minutes
        # another apt may hold dpkg's lock, as unattended-upgrades does.
        words = (*_APT, "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root", str(package))
        try:
            with _marked():
                _run(words, _INSTALL_TIMEOUT_S, DEBIAN_FRONTEND="noninteractive")
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
            raise UpdateError(f"{package.name} could not be installed: {''.join(said)[:200]}") from error

    def accepts_configuration(self) -> bool:
        """Ask the program that is installed now, not the one that runs here."""
        words = (PROGRAM, "check", "--offline")
        try:
            done = _run(words, _ASK_TIMEOUT_S, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        # 1 is a finding about the machine, which the version before has as well; the
        # configuration's own is 78 (EX_CONFIG).
        return done.returncode in (0, 1)

    def restart(self, services: Sequence[str]) -> bool:
        """Restart; the units are ``Type=notify``, so that systemctl returns once each said READY or failed."""
        return not services or _succeeds("systemctl", "restart", *services, timeout_s=_RESTART_TIMEOUT_S)


def _run(
    words: Sequence[str], timeout_s: float, *, check: bool = True, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        check=check,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )


def _succeeds(*words: str, timeout_s: float = _ASK_TIMEOUT_S) -> bool:
    try:
        _run(words, timeout_s)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@contextmanager
def _marked() -> Iterator[None]:
    MARKER.touch(mode=0o600)
    try:
        yield
    finally:
        MARKER.unlink(missing_ok=True)
