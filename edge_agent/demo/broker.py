"""A real mosquitto on loopback, for trials and tests: found or unpacked, configured, started.

Owns the broker's configuration, which is also the model for an RTCC's own: mutual TLS, the certificate's CN as user
name, topics by ACL, sessions kept on disk. Gateways and the RTCC have a listener each: at the gateways' one the CN
is the client id as well, so that no gateway takes over another's session; the RTCC runs several programs under one CN.
"""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.errors import UnavailableError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
DOWNLOAD_TIMEOUT_S = 300.0
RTCC_USER = "rtcc"
"""CN of the RTCC's client certificate."""
_HINT = "install mosquitto (Debian and Ubuntu: sudo apt-get install mosquitto) and try again"
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


@dataclass(frozen=True, slots=True)
class Program:
    """Where mosquitto is, and the environment that it needs to start from there."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """The broker's certificate and key, the authorities whose clients it lets in, and whom they revoked."""

    ca: Path
    certificate: Path
    key: Path
    revoked: Path


def find_mosquitto(unpack_dir: Path | None = None, search_path: str | None = None) -> Program:
    """Find mosquitto in the PATH or in the system's folders; else unpack the distribution's packages, without root.

    Args:
        unpack_dir: Where to unpack; found again there next time. In the Python environment by default: its files may be
            executed, and it goes when the environment goes.
        search_path: Where to look first, in the form of a PATH; the PATH and the system's folders by default.

    Raises:
        UnavailableError: It is not there and cannot be had; the hint names the package to install.
    """
    if search_path is None:
        search_path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}"
    found = shutil.which("mosquitto", path=search_path)
    if found:
        return Program(Path(found))
    if unpack_dir is None:
        if sys.prefix == sys.base_prefix:  # The system's own folders are not ours to fill.
            raise UnavailableError("mosquitto is not installed", _HINT)
        unpack_dir = Path(sys.prefix) / "mosquitto"
    unpacked = unpack_dir / "usr/sbin/mosquitto"
    if not unpacked.exists():
        _unpack_packages(unpack_dir)
    folders = sorted({str(library.parent) for library in (unpack_dir / "usr/lib").rglob("*.so*")})
    return Program(unpacked, {"LD_LIBRARY_PATH": ":".join(folders)})


def _unpack_packages(folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise UnavailableError("mosquitto is not installed", _HINT)
    try:
        with tempfile.TemporaryDirectory(prefix="mosquitto-", dir=folder.parent) as name:
            work = Path(name)
            try:
                _download_packages(work, ())
            except subprocess.CalledProcessError:
                # No package lists, as in images of containers, or old ones: fetch our own.
                _download_packages(work, _fetch_lists(work))
            for package in sorted(work.glob("*.deb")):
                _run(["dpkg", "-x", package.name, "unpacked"], work)
            try:  # Whole or not at all.
                (work / "unpacked").rename(folder)
            except OSError:
                if not folder.exists():  # else another process was first
                    raise
    except subprocess.CalledProcessError as error:
        words = next(iter(reversed(error.stderr.splitlines())), f"exit code {error.returncode}")
        raise UnavailableError(f"mosquitto is not installed, and {error.cmd[0]} says: {words}", _HINT) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise UnavailableError(f"mosquitto is not installed and cannot be unpacked: {error}", _HINT) from error


def _fetch_lists(work: Path) -> tuple[str, ...]:
    """Fetch the distribution's package lists into a folder of our own; return the options that make apt use them."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    options = ("-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache")
    _run(["apt-get", *options, "-o", "Acquire::Languages=none", "-q", "update"], work)
    return options


def _download_packages(work: Path, options: tuple[str, ...]) -> None:
    missing = [name for name in _dependencies(options) if not _is_installed(name)]
    _run(["apt-get", *options, "-q", "download", "mosquitto", *missing], work)


def _dependencies(options: tuple[str, ...]) -> list[str]:
    """Names of the packages that mosquitto needs, as this release of the distribution has them."""
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    words = (*options, "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), "mosquitto")
    output = _run(["apt-cache", *words], Path("/"))
    # Lines that begin with a blank name a relation, "<…>" a virtual package, "|" an alternative.
    names = {line for line in output.splitlines() if line and not line.startswith((" ", "<", "|"))}
    return sorted(names - {"mosquitto"})


def _is_installed(name: str) -> bool:
    result = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        check=False,
    )
    return result.returncode == 0 and result.stdout.startswith("installed")


def _run(command: list[str], folder: Path) -> str:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        check=True,
    ).stdout


def find_free_port() -> int:
    """Return a TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def write_config(folder: Path, files: BrokerFiles, *, port: int, rtcc_port: int) -> Path:
    """Write ``mosquitto.conf`` and its ACL into ``folder``, which also takes the sessions.

    Args:
        folder: Its own folder; made if it is missing.
        files: As absolute paths.
        port: For gateways.
        rtcc_port: For the RTCC's own programs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    acl = folder / "acl"
    acl.write_text(_ACL)
    config = folder / "mosquitto.conf"
    listeners = "".join(
        _LISTENER.format(port=number, host=HOST, files=files, forced=forced)
        for number, forced in ((port, "true"), (rtcc_port, "false"))
    )
    # The user's own name: started by root, mosquitto would become `mosquitto`, which may not read these files.
    config.write_text(_CONFIG.format(folder=folder, acl=acl, user=getpass.getuser()) + listeners)
    config.chmod(0o600)
    return config


def start_mosquitto(program: Program, config: Path, ports: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    """Start the broker and wait until it listens; its log goes to ``mosquitto.log`` beside the configuration.

    Raises:
        UnavailableError: It ended, or did not listen in time; the message holds the first error of its log.
    """
    log_path = config.with_name("mosquitto.log")
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [program.path, "-c", config],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
    listens = False
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            listens = all(is_listening(port) for port in ports)
    finally:  # A Ctrl-C meanwhile leaves no broker either.
        if not listens:
            process.kill()
            process.wait()
    if listens:
        return process
    lines = log_path.read_text(errors="replace").splitlines() or ["no log"]
    telling = next((line for line in lines if "Error:" in line), lines[-1])
    raise UnavailableError(f"mosquitto does not start: {telling}")


def is_listening(port: int) -> bool:
    """Tell whether something on loopback accepts connections at this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


_CONFIG = """\
# A trial broker. An RTCC's own wants the same lines, other paths and a real address.
user {user}
log_dest stderr
log_type error
log_type warning
log_type notice
# One ACL for all listeners. Never `per_listener_settings true`: from 2.0.12 on mosquitto then drops what is
# published for a gateway that is away (https://github.com/eclipse-mosquitto/mosquitto/issues/2618).
allow_anonymous false
acl_file {acl}
# Sessions outlive the broker's process: at most so many seconds of queued messages are lost with it.
persistence true
persistence_location {folder}/
autosave_interval 5
persistent_client_expiration 14d
# The messages that wait for a gateway that is away, or slow; beyond it the newest are dropped.
max_queued_messages 20000
max_queued_bytes 67108864
max_packet_size 131072
"""

_LISTENER = """
listener {port} {host}
cafile {files.ca}
certfile {files.certificate}
keyfile {files.key}
crlfile {files.revoked}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid {forced}
allow_zero_length_clientid false
"""

# %u is the CN of the client's certificate. mosquitto grants a subscription that this forbids, and delivers nothing.
_ACL = f"""\
pattern read rtcc/1/req/g/%u
pattern read rtcc/1/req/a/+
pattern read rtcc/1/trust
pattern write rtcc/1/gw/%u/+

user {RTCC_USER}
topic write rtcc/1/req/#
topic readwrite rtcc/1/trust
topic read rtcc/1/gw/#
"""
