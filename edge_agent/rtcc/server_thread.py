"""An HTTP server of the RTCC on a socket of its own, in a thread of this process or in the foreground."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from edge_agent.errors import UnavailableError

START_TIMEOUT_S = 15.0


def make_server(app: Any, **more: Any) -> uvicorn.Server:
    """Return a server of requests alone: no WebSocket, no word of its software, no log of who asked.

    It believes no proxy's headers: nothing stands between it and its peer.

    Args:
        app: The ASGI application.
        more: Further settings of ``uvicorn.Config``.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        **more,
    )
    return uvicorn.Server(config)


class ServerThread:
    """One server from its start to its end.

    Args:
        name: Of the thread, and in the words of an error.
        server: Ready to serve.
        listener: Bound already; closed at the end.
        loop_factory: Makes the event loop; asyncio's own without it.
    """

    def __init__(
        self,
        name: str,
        server: uvicorn.Server,
        listener: socket.socket,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self._name, self._server, self._listener, self._loop_factory = name, server, listener, loop_factory
        self._thread = threading.Thread(target=self.serve, name=name, daemon=True)

    def serve(self) -> None:
        """Serve until ``stop``, or until SIGINT or SIGTERM in the main thread."""
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._server.serve(sockets=[self._listener]))

    def start(self) -> None:
        """Serve in a thread; returns when it answers.

        Raises:
            UnavailableError: It did not start.
        """
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise UnavailableError(f"{self._name} does not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._server.should_exit = True
        # Longer than `timeout_graceful_shutdown`: the server ends the requests that it has begun, and then itself.
        if self._thread.is_alive():
            self._thread.join(10)
        self._listener.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
