"""Debian's ``age``, as a person would use it: it asks for the passphrase at a terminal."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


def decrypt(path: Path, *, passphrase: str, identity: Path | None = None) -> bytes:
    """Return what ``age --decrypt`` makes of a file; the passphrase opens the identity, or the file itself."""
    if shutil.which("age") is None or shutil.which("script") is None:
        pytest.skip("age or script is not installed")
    out = path.with_name(f"{path.name}.plain")
    words = ["age", "--decrypt", "--output", str(out), *(["--identity", str(identity)] if identity else []), str(path)]
    # age reads a passphrase from a terminal alone, and `script` makes one.
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", shlex.join(words), "/dev/null"],
        input=f"{passphrase}\n".encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return out.read_bytes()
