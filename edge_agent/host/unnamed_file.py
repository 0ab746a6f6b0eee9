"""A large file that gets its name when it is whole: footage that its owner ordered.

Owns its place until then: the target's folder, without a name, so that a kill or a power cut leaves
nothing. If the file system cannot do that (FAT, some network ones), as a hidden draft, which a kill
leaves and the next try takes over.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import IO, Self

from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.regular_file import open_regular

# open(2), O_TMPFILE: the errors of a file system, or a kernel, that does not have it.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BUFFER_BYTES = 1 << 20


class WriteError(EdgeAgentError):
    """A file cannot be written; the message says why in words."""

    exit_code = os.EX_IOERR


def explain(error: OSError) -> WriteError:
    """Say in words why a large file cannot be written."""
    if error.errno in _FULL:
        return WriteError("the disk is full; nothing was kept", "make room there, or choose another place")
    if error.errno == errno.EFBIG:
        return WriteError("the file system takes no file as large; nothing was kept", "choose a shorter span")
    return WriteError(f"it cannot be written: {error.strerror or type(error).__name__}; nothing was kept")


class NewFile:
    """A file of mode 0600 that is there once ``keep`` was called, and else never was.

    Args:
        path: Its name; nothing may be there.

    Raises:
        UsageError: Something is there already, or no file can be made there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if os.path.lexists(path):
            raise _exists(path)
        self._draft: Path | None = None
        try:
            self.file: IO[bytes] = os.fdopen(self._open(), "w+b", buffering=_BUFFER_BYTES)
        except OSError as error:
            raise UsageError(f"{path}: no file can be made there: {error.strerror}") from error

    def _open(self) -> int:
        try:
            return os.open(self._path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
        return self._open_draft()

    def _open_draft(self) -> int:
        draft = self._path.with_name(f".{self._path.name}.part")
        fd = open_regular(draft, os.O_RDWR | os.O_CREAT)
        try:
            # A killed process holds no lock any more: the draft that is there has no owner.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        self._draft = draft
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def keep(self) -> None:
        """Make it durable, and give it its name.

        Raises:
            UsageError: Something took the name meanwhile.
            WriteError: The disk is full, or fails.
        """
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self._name()
            sync_folder(self._path.parent)
        except FileExistsError:
            raise _exists(self._path) from None
        except OSError as error:
            raise explain(error) from error
        self.discard()

    def _name(self) -> None:
        if self._draft is None:
            fd = self.file.fileno()
            # With a descriptor for the folder, though the path is absolute: without one Python would link the link.
            os.link(f"/proc/self/fd/{fd}", self._path, src_dir_fd=fd)
            return
        try:
            os.link(self._draft, self._path)  # unlike rename, refuses where a file is there
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(self._path):
                raise FileExistsError from error
            self._draft.rename(self._path)
            self._draft = None

    def discard(self) -> None:
        """Let go of it: without ``keep`` before, nothing is left. Doing it twice does nothing."""
        if self.file.closed:
            return
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what was buffered does not fit any more, and is not wanted
            self.file.close()


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path}: exists already; choose another name")
