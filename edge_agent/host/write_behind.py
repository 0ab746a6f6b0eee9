"""Writes to a file, and hashes, from a thread of its own, while the caller makes the next bytes.

Owns the order of the bytes, their digest, the bound on those that wait, and the error of a write, which the caller
gets.
"""

import hashlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_PART_BYTES = 1 << 20
"""One write's worth: to wake a thread for each 64 KiB of an age chunk costs more than the thread saves."""
_MOST_PARTS = 4


class WriteBehind:
    """Something to write to, used in a ``with`` block; when the block has ended, all is written to ``out``.

    ``write`` blocks as long as ``out`` does, once ``_MOST_PARTS`` wait. The block raises what writing has raised; if
    the block itself fails, what waits may be written or not.

    Args:
        out: Is written to by that thread alone while the block runs. It is neither flushed nor closed.
    """

    def __init__(self, out: "SupportsWrite[bytes]") -> None:
        self._out = out
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(_MOST_PARTS)
        self._error: BaseException | None = None
        self._digest = hashlib.sha256()
        self.size = 0
        """Bytes that are written to ``out``."""
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)

    def __enter__(self) -> "WriteBehind":
        self._thread.start()
        return self

    def write(self, data: bytes) -> int:
        """Take over all of ``data``; raise the error of an earlier write."""
        self._parts.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _PART_BYTES:
            self._hand_over()
        return len(data)

    @property
    def sha256(self) -> bytes:
        """SHA-256 of what is written to ``out``; of all of it once the block has ended."""
        return self._digest.digest()

    def flush(self) -> None:
        """Do nothing: only the end of the block tells that all is written."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._hand_over()
        finally:
            self._queue.put(None)  # the thread takes parts until then, even after an error: this never hangs on it
            self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _hand_over(self) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(b"".join(self._parts))
        self._parts.clear()
        self._held_bytes = 0

    def _run(self) -> None:
        while (part := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._out.write(part)
                    self._digest.update(part)
                    self.size += len(part)
                except BaseException as error:
                    self._error = error
