"""A real PostgreSQL on a Unix socket, in a temporary folder, as an unprivileged user; it ends with its context."""

import itertools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

_LIMIT_S = 60
_OLDEST = 15


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs that is new enough."""
    found = {}
    for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"):
        version = path.parent.parent.name
        if re.fullmatch("[0-9]+", version) and int(version) >= _OLDEST:
            found[int(version)] = path.parent
    return found[max(found)] if found else None


class PostgreSql:
    """A cluster; each ``make_database`` is empty and its own."""

    def __init__(self, *settings: str) -> None:
        programs = find_programs()
        if programs is None:
            if os.environ.get("CI"):
                pytest.fail("PostgreSQL is not installed")
            pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
        self._programs, self._settings = programs, settings
        self._numbers = itertools.count()
        self.process: subprocess.Popen[bytes] | None = None
        # Not in pytest's folder: that is root's alone, and too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="rtcc-pg-", dir="/tmp"))
        self._user: int | None = None
        if os.getuid() == 0:
            self._user = pwd.getpwnam("postgres").pw_uid
            os.chown(self.folder, self._user, -1)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), *words]
        subprocess.run(command, user=self._user, check=True, capture_output=True, timeout=_LIMIT_S, cwd=self.folder)

    def __enter__(self) -> Self:
        self._run(
            "initdb", "-D", f"{self.folder}/data", "-U", "office", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"
        )
        self.start()
        return self

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        changes = [
            word for each in ("listen_addresses=", "max_connections=60", *self._settings) for word in ("-c", each)
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", f"{self.folder}/data", "-k", self.folder, *changes],
                user=self._user, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            ready = subprocess.run(
                [self._programs / "pg_isready", "-q", "-h", self.folder], check=False, timeout=_LIMIT_S
            )
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

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
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(3)  # immediate shutdown: no checkpoint
            self.process.wait(_LIMIT_S)

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
