"""A disk in memory that knows its synced bytes, and fails on demand."""

from edge_agent.errors import DurabilityError, RingError


class FakeDisk:
    """Passes the contract suite of ``FileDisk`` (test_disk.py); keeps a log of what was written between syncs.

    ``log`` holds ``(offset, bytes)`` for a write and ``None`` for a sync, in order.
    """

    def __init__(self, content: bytes | bytearray, name: str = "fake") -> None:
        self.name = name
        self.content = bytearray(content)
        self.log: list[tuple[int, bytes] | None] = []
        self.read_fault = lambda offset, length: None
        self.write_fault = lambda offset, length: None
        self.sync_fault = lambda: None

    def pread(self, length: int, offset: int) -> bytes:
        error = self.read_fault(offset, length)
        if error:
            raise RingError(f"read failed: {error}")
        return bytes(self.content[offset : offset + length])

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        error = self.write_fault(offset, len(data))
        if error:
            raise DurabilityError(f"write failed: {error}")
        self.content[offset : offset + len(data)] = data
        self.log.append((offset, bytes(data)))

    def fdatasync(self) -> None:
        error = self.sync_fault()
        if error:
            raise DurabilityError(f"sync failed: {error}")
        self.log.append(None)

    def size(self) -> int:
        return len(self.content)

    def close(self) -> None:
        return None
