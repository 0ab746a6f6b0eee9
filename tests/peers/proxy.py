"""A TCP proxy on loopback that stands for a bad home uplink: it drops, delays, throttles and goes silent."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pytest

_CHUNK = 16 << 10


class Proxy:
    """Forwards every connection to one target, in a state that a test turns; ``port`` is where to connect.

    Attributes:
        rate_bytes_s: Upper limit of bytes per second and direction; None for none.
        delay_s: Added to each piece that is passed on.
        silent: Connections stay open and nothing passes.
        refuse: New connections are closed at once.
        cut_after: All connections are reset when so many more bytes have gone to the target; None for never.
        passed: Bytes that went to the target.
        watch: Sees each piece before it is passed on: whether it goes to the target, and how many bytes it has.
    """

    def __init__(self, target_port: int) -> None:
        self.rate_bytes_s: float | None = None
        self.delay_s = 0.0
        self.silent = False
        self.refuse = False
        self.cut_after: int | None = None
        self.passed = 0
        self.connections = 0
        self.watch: Callable[[bool, int], None] = lambda _to_target, _size: None
        self._target_port = target_port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def cut(self) -> None:
        """Reset every connection, as a router does that forgets its tables."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                inner, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                inner.close()
                continue
            try:
                outer = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
            except OSError:
                inner.close()
                continue
            with self._lock:
                self._sockets |= {inner, outer}
            for source, sink, counts in ((inner, outer, True), (outer, inner, False)):
                thread = threading.Thread(target=self._pump, args=(source, sink, counts), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        sink.settimeout(5)
        try:
            for data in self._read(source):
                while self.silent and not self._stop.is_set():
                    time.sleep(0.01)
                self.watch(counts, len(data))
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.rate_bytes_s:
                    time.sleep(len(data) / self.rate_bytes_s)
                if counts and self.cut_after is not None and len(data) >= self.cut_after:
                    sink.sendall(data[: self.cut_after])
                    self.cut_after = None
                    self.cut()
                    return
                sink.sendall(data)
                if counts:
                    self.passed += len(data)
                    if self.cut_after is not None:
                        self.cut_after -= len(data)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {source, sink}
            for one in (source, sink):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            source.close()

    def _read(self, source: socket.socket) -> Iterator[bytes]:
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            while not self._stop.is_set():
                if selector.select(0.1):
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    yield data


@pytest.fixture
def make_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Make proxies that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(Proxy(port))
