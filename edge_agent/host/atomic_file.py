"""Small files that are written as a whole: a reader, or the next start, finds the old one or the new one, never a part.

Owns the order of writing: all of a draft beside the file, its sync, its name, the folder's sync.
"""

import os
from pathlib import Path


def write_small_file(path: Path, content: bytes, *, mode: int = 0o640, durable: bool = True) -> None:
    """Write a file, or put it in the place of another.

    Args:
        path: Of the file; its folder is there.
        content: All of it.
        mode: Its permissions, whatever the umask.
        durable: Return only when it would survive a power loss.
    """
    _write_draft(path, content, mode, durable).rename(path)
    if durable:
        # The rename is on the disk only with its folder.
        sync_folder(path.parent)


def write_new_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file, durably; FileExistsError if there is one already."""
    draft = _write_draft(path, content, mode, durable=True)
    try:
        os.link(draft, path)  # unlike rename, refuses if the file is there
    finally:
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_draft(path: Path, content: bytes, mode: int, durable: bool) -> Path:
    draft = path.with_name(f"{path.name}.new")
    # Of a write that a kill cut off; O_EXCL below refuses anything that comes after this.
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        # The umask does not narrow this one.
        os.fchmod(fd, mode)
        file.write(content)
        if durable:
            file.flush()
            os.fsync(fd)
    return draft
