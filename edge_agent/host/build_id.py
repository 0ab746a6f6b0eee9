"""Which software this is: a digest over its own source files."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def digest_sources() -> bytes:
    """Return SHA-256 over names and contents of all Python files of the package, in the order of their names.

    A statement of the gateway about itself: an attacker who replaced the software can make it say anything.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        content = hashlib.sha256(path.read_bytes()).digest()
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + content)
    return digest.digest()
