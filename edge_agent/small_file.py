"""A small file that is replaced as a whole: a reader, or the next start, finds the old one or the new one."""

import os
from pathlib import Path


def write_small_file(path: Path, content: bytes, *, mode: int = 0o640, durable: bool = False) -> None:
    """Replace a file.

    Args:
        path: Of the file; its folder is there.
        content: All of it.
        mode: Its permissions.
        durable: Return only when it would survive a power loss.
    """
    draft = path.with_name(path.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(fd)
    draft.rename(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
