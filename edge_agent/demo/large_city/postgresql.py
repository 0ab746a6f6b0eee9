"""A real PostgreSQL on a Unix socket, in a temporary folder, as an unprivileged user; it ends with its context."""

import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from edge_agent.demo.large_city.program import CityProgram
from edge_agent.errors import UnavailableError

_LIMIT_S = 60.0
_OLDEST = 15
_HINT = "install PostgreSQL 15 or newer (Debian and Ubuntu: sudo apt-get install postgresql) and try again"


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs that is new enough."""
    found = {}
    for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"):
        version = path.parent.parent.name
        if re.fullmatch("[0-9]+", version) and int(version) >= _OLDEST:
            found[int(version)] = path.parent
    return found[max(found)] if found else None


class PostgreSql:
    """A cluster; each ``make_database`` is empty and its own.

    Args:
        settings: ``name=value`` of the server's configuration.

    Raises:
        UnavailableError: It is not installed.
    """

    def __init__(self, *settings: str) -> None:
        programs = find_programs()
        if programs is None:
            raise UnavailableError("PostgreSQL is not installed", _HINT)
        self._programs, self._settings = programs, settings
        self._numbers = itertools.count()
        self.server: CityProgram | None = None
        # In /tmp itself: elsewhere a folder may be its maker's alone, or too deep for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="rtcc-pg-", dir="/tmp"))
        # PostgreSQL refuses to run as root.
        self._user: int | None = None
        if os.getuid() == 0:
            self._user = pwd.getpwnam("postgres").pw_uid
            os.chown(self.folder, self._user, -1)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), *words]
        try:
            subprocess.run(command, user=self._user, check=True, capture_output=True, timeout=_LIMIT_S, cwd=self.folder)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise UnavailableError(f"{program} fails: {said[-500:]}") from error

    def __enter__(self) -> Self:
        try:
            # Trust and no sync: the socket's folder is its maker's alone, and nothing of it outlives the context.
            self._run(
                "initdb", "-D", f"{self.folder}/data", "-U", "office", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"
            )
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            UnavailableError: It does not; the message holds the end of its log.
        """
        changes = [
            word for each in ("listen_addresses=", "max_connections=60", *self._settings) for word in ("-c", each)
        ]
        words: list[str | Path] = [
            self._programs / "postgres",
            "-D",
            f"{self.folder}/data",
            "-k",
            self.folder,
            *changes,
        ]
        self.server = CityProgram("postgresql", words, self.folder, user=self._user)
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline and self.server.is_running():
            ready = subprocess.run(
                [self._programs / "pg_isready", "-q", "-h", self.folder], check=False, timeout=_LIMIT_S
            )
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise UnavailableError(f"PostgreSQL does not start: {self.server.log_path.read_text(errors='replace')[-2000:]}")

    def url(self, database: str, user: str = "office") -> str:
        """Return the URL of a database, for a user."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"city_{next(self._numbers)}"
        self._run("createdb", "-h", str(self.folder), "-U", "office", name)
        return self.url(name)

    def stop(self) -> None:
        """End the server, as a power cut would."""
        if self.server is not None:
            self.server.stop(signal.SIGQUIT)  # immediate shutdown: no checkpoint

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
