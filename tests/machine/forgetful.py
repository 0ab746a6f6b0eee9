"""A disk with a volatile write cache, as NBD: what the machine wrote and never flushed may be lost by a power cut.

Speaks the fixed newstyle handshake and simple replies of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md), to
one client at a time. Holds writes in memory until FLUSH; a session that ends with writes held is a power cut.
"""

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES, _BLOCK_BYTES = 512, 4096
_MAGIC, _OPTION, _OPTION_REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_REQUEST, _REPLY = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)
_EXPORT_NAME, _ABORT, _GO = 1, 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_FIXED_NEWSTYLE_NO_ZEROES, _HAS_FLAGS_SEND_FLUSH = 3, 1 | 4
_EINVAL = 22
_FATES = ("all lost", "the first ones kept", "some kept", "some kept", "torn", "torn", "all kept")


@dataclass(frozen=True, slots=True)
class Cut:
    """What became of the writes that a power cut found unflushed."""

    fate: str
    held: int
    kept: int
    torn: int
    flushes: int
    """FLUSH commands of the session: none would mean that the machine believes in a cache that it has not."""

    def __str__(self) -> str:
        return (
            f"{self.held} writes were not flushed ({self.fate}): {self.kept} kept, {self.torn} torn, "
            f"{self.held - self.kept - self.torn} lost; {self.flushes} flushes before"
        )


class ForgetfulDisk:
    """An image behind a cache that a power cut empties, wholly or in part, in any order, torn at sectors.

    Args:
        image: The disk's file.
        chance: Decides what a cut loses.
    """

    def __init__(self, image: Path, chance: random.Random) -> None:
        self._image, self._chance = image, chance
        self._held: list[tuple[int, bytes]] = []
        self._view: dict[int, bytes] = {}
        self._flushes = 0
        self._least = 0
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._cuts: list[Cut] = []

    @contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Take clients at a Unix socket, one after the other."""
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, self._image.open("r+b", buffering=0) as file:
            listener.bind(str(path))
            listener.listen(4)
            thread = threading.Thread(target=self._accept, args=(listener, file.fileno()), name="disk", daemon=True)
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(5)

    def arm(self, least: int) -> None:
        """Let the power fail here, not in the machine: at the write with which that many are not flushed.

        A process that is killed from outside at such a moment still sends its flush: nothing was held any more.
        """
        self._stopped.clear()
        self._least = least

    def wait_stopped(self, timeout_s: float = 60) -> None:
        """Wait until an armed disk has stopped answering; after half of the time one write is enough.

        Raises:
            TimeoutError: Nothing was written at all.
        """
        if not self._stopped.wait(timeout_s / 2):
            self._least = 1
            if not self._stopped.wait(timeout_s / 2):
                raise TimeoutError("nothing is written")

    def stop_with_held(self) -> None:
        """Arm, and wait."""
        self.arm(self._chance.choice((2, 4, 8)))
        self.wait_stopped()

    def wait_cut(self, timeout_s: float = 60) -> Cut:
        """Wait until the session has ended, and return what its end cost."""
        if not self._ended.wait(timeout_s):
            raise TimeoutError("the disk's client is still there")
        return self._cuts[-1]

    def _accept(self, listener: socket.socket, file: int) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._ended.clear()
            with client:
                try:
                    if _shake_hands(client, os.fstat(file).st_size):
                        self._transmit(client, file)
                except (ConnectionError, EOFError):
                    pass
            self._cut(file)
            self._ended.set()

    def _transmit(self, client: socket.socket, file: int) -> None:
        size = os.fstat(file).st_size
        while True:
            magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", _read(client, 28))
            if magic != _REQUEST:
                raise EOFError("not an NBD request")
            data = _read(client, length) if kind == _WRITE else b""
            answer, error = b"", 0
            if kind == _DISCONNECT:
                return
            if kind == _FLUSH:
                self._flush(file)
            elif kind == _WRITE and offset + length <= size:
                self._write(file, offset, data)
                if 0 < self._least <= len(self._held):
                    self._least = 0
                    self._stopped.set()
                    while client.recv(1 << 20):  # without power nobody answers
                        pass
                    return
            elif kind == _READ and offset + length <= size:
                answer = self._read(file, offset, length)
            else:
                error = _EINVAL
            client.sendall(struct.pack(">IIQ", _REPLY, error, handle) + answer)

    def _read(self, file: int, offset: int, length: int) -> bytes:
        first, last = offset // _BLOCK_BYTES, (offset + length - 1) // _BLOCK_BYTES
        data = bytearray(os.pread(file, (last - first + 1) * _BLOCK_BYTES, first * _BLOCK_BYTES))
        for number in self._view.keys() & range(first, last + 1) if self._view else ():
            data[(number - first) * _BLOCK_BYTES : (number - first + 1) * _BLOCK_BYTES] = self._view[number]
        begin = offset - first * _BLOCK_BYTES
        return bytes(data[begin : begin + length])

    def _write(self, file: int, offset: int, data: bytes) -> None:
        first, last = offset // _BLOCK_BYTES, (offset + len(data) - 1) // _BLOCK_BYTES
        whole = bytearray(self._read(file, first * _BLOCK_BYTES, (last - first + 1) * _BLOCK_BYTES))
        begin = offset - first * _BLOCK_BYTES
        whole[begin : begin + len(data)] = data
        for number in range(first, last + 1):
            place = (number - first) * _BLOCK_BYTES
            self._view[number] = bytes(whole[place : place + _BLOCK_BYTES])
        self._held.append((offset, data))

    def _flush(self, file: int) -> None:
        for offset, data in self._held:
            os.pwrite(file, data, offset)
        self._forget()
        self._flushes += 1

    def _cut(self, file: int) -> None:
        """Let chance decide, write by write, what had reached the medium without a flush."""
        fate = self._chance.choice(_FATES)
        until, share = self._chance.randrange(len(self._held) + 1), self._chance.choice((0.1, 0.5, 0.9))
        kept = torn = 0
        for number, (offset, data) in enumerate(self._held):
            sectors = len(data) // SECTOR_BYTES
            if fate == "torn" and sectors > 1 and self._chance.random() < share:
                begin = self._chance.randrange(sectors)
                end = self._chance.randrange(begin + 1, sectors + (begin > 0))
                os.pwrite(file, data[begin * SECTOR_BYTES : end * SECTOR_BYTES], offset + begin * SECTOR_BYTES)
                torn += 1
            elif {"all lost": False, "all kept": True, "the first ones kept": number < until}.get(
                fate, self._chance.random() < share
            ):
                os.pwrite(file, data, offset)
                kept += 1
        self._cuts.append(Cut(fate, len(self._held), kept, torn, self._flushes))
        self._forget()
        self._flushes = 0

    def _forget(self) -> None:
        self._held.clear()
        self._view.clear()


def _shake_hands(client: socket.socket, size: int) -> bool:
    """Agree on the one disk that there is; False if the client goes away."""
    client.sendall(_MAGIC + _OPTION + struct.pack(">H", _FIXED_NEWSTYLE_NO_ZEROES))
    _read(client, 4)
    while True:
        magic, option, length = struct.unpack(">8sII", _read(client, 16))
        if magic != _OPTION or length > 1 << 16:
            raise EOFError("not an NBD option")
        _read(client, length)
        if option == _EXPORT_NAME:
            client.sendall(struct.pack(">QH", size, _HAS_FLAGS_SEND_FLUSH))
            return True
        if option == _GO:
            _reply(client, option, _INFO, struct.pack(">HQH", 0, size, _HAS_FLAGS_SEND_FLUSH))
        _reply(client, option, _ACK if option in (_GO, _ABORT) else _UNSUPPORTED)
        if option in (_GO, _ABORT):
            return option == _GO


def _reply(client: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    client.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(data)) + data)


def _read(client: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = client.recv(min(length - len(data), 1 << 20))
        if not part:
            raise EOFError("the client is gone")
        data += part
    return bytes(data)
