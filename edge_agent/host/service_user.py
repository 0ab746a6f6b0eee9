"""The work of root in a folder that a service may write: with the service's own rights, and following no link.

Owns the change of user for the time of a block, and the removal of everything that lies in a folder. A link or a hard
link that a taken-over service planted then leads to nothing that the service could not reach by itself.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.host.hardening import unlock_for_user

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def acting_as_owner(folder: Path) -> Iterator[None]:
    """Run the block as the user and group that own a folder; as oneself if one is not root or root owns it.

    For commands of one thread. The kernel takes root's capabilities away for the time, and gives them back.

    Args:
        folder: One whose own place only root can change; if it is missing, nothing changes.

    Raises:
        OSError: The change is refused.
    """
    try:
        owner = os.lstat(folder)
    except FileNotFoundError:
        owner = None
    if owner is None or owner.st_uid == 0 or os.geteuid() != 0:
        yield
        return
    unlock_for_user()
    groups, group = os.getgroups(), os.getegid()
    # The groups first: without root's user id they could not be changed any more. Back in the
    # opposite order.
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def open_folder(base: Path, *names: str, make: bool = False) -> int:
    """Open a folder below another one, through no link.

    Args:
        base: One that only root can exchange; a link in its place is followed.
        names: From there down.
        make: Make those that are missing, mode 0700.

    Raises:
        OSError: One of them is missing, or is no folder.
    """
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=descriptor)
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def remove_entry(folder: Path, name: str) -> None:
    """Remove whatever lies in a folder under a name, a tree of any depth included; a link goes, not what it names.

    Raises:
        OSError: The folder cannot be opened, or something in it cannot be removed.
    """
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _is_folder(parent, name):
            _remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)
        # Durable: what was erased must not come back with the power.
        os.fsync(parent)
    finally:
        os.close(parent)


def _is_folder(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _remove_tree(parent: int, name: str) -> None:
    """Bring every inner folder up to the top before it is emptied: no depth uses up the stack or the descriptors."""
    top = _open_own(parent, name)
    try:
        while entries := os.listdir(top):
            for entry in entries:
                if _is_folder(top, entry):
                    _empty_into(top, entry)
                    os.rmdir(entry, dir_fd=top)
                else:
                    os.unlink(entry, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty_into(top: int, name: str) -> None:
    inner = _open_own(top, name)
    try:
        for entry in os.listdir(inner):
            if _is_folder(inner, entry):
                # For its mode alone: a folder is renamed only by one who may write it, for its
                # entry ``..`` changes.
                os.close(_open_own(inner, entry))
                os.rename(entry, f".{secrets.token_hex(16)}", src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=inner)
    finally:
        os.close(inner)


def _open_own(parent: int, name: str) -> int:
    """Open a folder that its maker may have closed to its own owner."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)  # the folder that the descriptor names, whatever has its name now
        return os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(handle)
