"""The control socket: the way of a person's command to a running process.

A Unix stream socket of mode 0660 in a folder that its process alone may write. The file's group decides which users may
connect; the kernel names the user at either end (``SO_PEERCRED``). One request a connection: one line of JSON, with at
most one file descriptor beside it; then one or more lines of JSON back, the last of them with ``"done": true``. Owns
the transport only: a command's work is its handler's business.
"""

import array
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError, UsageError

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 512 * 1024
"""Of a request: bounded before it is parsed."""
ANSWER_TIMEOUT_S = 2.0
"""How long either side waits for the other's next line, if a handler does not stream."""
_WORKERS = 4
"""Commands at once; twice as many may wait, and one more is closed unread."""
_POLL_S = 1.0
"""So often it is asked whether to end, if nobody joins."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The caller, by the kernel's word; ``fd`` is a descriptor that came with the request, or None."""

    pid: int
    uid: int
    gid: int
    fd: int | None = None


Reply = Mapping[str, Any]


class Members(dict[str, Any]):
    """The peer of a command; a member that is missing, or of another type, is the caller's error and no other."""

    def __missing__(self, name: str) -> Any:
        raise UsageError(f"the command needs the member {name!r}")


def read_int(members: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a member that is a whole number of SQLite's size; ``default`` if it is not there. Raises UsageError."""
    value = members[name] if default is None else members.get(name, default)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise UsageError(f"{name} is not a whole number")
    return value


def read_texts(members: Mapping[str, Any], name: str) -> list[str]:
    """Return a member that is a list of texts; empty if it is not there. Raises UsageError."""
    value = members.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"{name} is not a list of texts")
    return value


Handler = Callable[[Mapping[str, Any], Peer], "Reply | Iterator[Reply]"]


class ControlServer:
    """Answers commands on a Unix socket, in threads of its own, until ``stop`` is set.

    Args:
        path: Of the socket; a stale one is replaced.
        handlers: Command name → function of the request's members and the peer. An error of the error tree becomes an
            answer; anything else is logged and answered as an internal error.
        stop: Ends the server.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler], stop: threading.Event) -> None:
        self._path = path
        self._handlers = handlers
        self._stop = stop
        self._thread = threading.Thread(target=self._serve, name="control")

    def start(self) -> None:
        """Bind the socket, in a folder that is made if it is missing, and start to answer.

        Raises:
            ConfigError: Somebody else may write the folder, or a socket cannot be bound there.
        """
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            # Before the unlink: in a folder of another user it would delete that user's file.
            demand_own_folder(self._path.parent)
            self._path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # `bind` makes the file: a `chmod` after it would leave a moment in which everybody may
            # connect.
            old_mask = os.umask(0o117)
            try:
                self._socket.bind(str(self._path))
            finally:
                os.umask(old_mask)
        except OSError as error:
            raise ConfigError(f"no control socket can be made: {self._path}: {error.strerror or error}") from error
        self._socket.listen(_WORKERS)
        self._socket.settimeout(_POLL_S)
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether commands are answered."""
        return self._thread.is_alive()

    def join(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Wait until the server has ended after ``stop``, which it is told of by a knock."""
        if self._thread.ident is not None:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                knock.setblocking(False)
                knock.connect(str(self._path))
            self._thread.join(timeout_s)

    def _serve(self) -> None:
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="control")
        busy = threading.BoundedSemaphore(2 * _WORKERS)
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:  # such as no descriptor left: the owner's stops must work again once there is one
                log.error("control socket failed error=%s", error.strerror)
                self._stop.wait(_POLL_S)
                continue
            if busy.acquire(blocking=False):
                pool.submit(self._answer, connection).add_done_callback(lambda _: busy.release())
            else:
                connection.close()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(ANSWER_TIMEOUT_S)
            fd: int | None = None
            try:
                line, fd = _receive_line(connection)
                for answer in self._handle(line, connection, fd):
                    connection.sendall(json.dumps(answer).encode() + b"\n")
            finally:
                if fd is not None:
                    os.close(fd)

    def _handle(self, line: bytes, connection: socket.socket, fd: int | None) -> Iterator[Reply]:
        pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            request = _parse_request(line)
            handler = self._handlers.get(request["command"])
            if handler is None:
                raise EdgeAgentError(f"unknown command: {request['command'][:40]!r}")
            result = handler(request, Peer(pid, uid, gid, fd))
            if isinstance(result, Mapping):
                yield {**result, "done": True}
                return
            yield from result
            yield {"done": True}
        except EdgeAgentError as error:
            yield {"done": True, "error": str(error), "hint": error.hint, "exit_code": error.exit_code}
        except Exception:
            log.exception("control command failed uid=%d", uid)
            yield {"done": True, "error": "internal error, see the log of the process", "exit_code": os.EX_SOFTWARE}


def call(path: Path, command: str, *, timeout_s: float = ANSWER_TIMEOUT_S + 1, **members: Any) -> dict[str, Any]:
    """Send one command and return its one answer.

    Raises:
        UnavailableError: No process answers on the socket.
        EdgeAgentError: The process refused; message, hint and exit code are its own.
    """
    return list(stream(path, command, timeout_s=timeout_s, **members))[-1]


def stream(
    path: Path, command: str, *, timeout_s: float = 30.0, fd: int | None = None, **members: Any
) -> Iterator[dict[str, Any]]:
    """Send one command, with a file descriptor if given, and yield its answers, the last one included.

    Raises:
        UnavailableError: No process answers on the socket, another user does than the owner of its folder, or no line
            came for ``timeout_s``.
        EdgeAgentError: The process refused.
    """
    line = json.dumps({"command": command, **members}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            # Before the first byte: a command may carry a signed order or a descriptor.
            _demand_its_process(connection, path)
            if fd is None:
                connection.sendall(line)
            else:
                sent = socket.send_fds(connection, [line], [fd])
                if sent < len(line):  # Sending nothing fails where the server has answered and closed already.
                    connection.sendall(line[sent:])
            with connection.makefile("rb") as lines:
                for answer_line in lines:
                    answer = cast("dict[str, Any]", json.loads(answer_line))
                    if "error" in answer:
                        raise _refusal(answer)
                    yield answer
                    if answer.get("done"):
                        return
    except OSError as error:
        raise UnavailableError(
            f"no answer on {path}: {error.strerror or 'time-out'}",
            "is it running (sudo edge-agent check finds what prevents it), and are you in the group edge-agent?",
        ) from error
    raise UnavailableError(f"no answer on {path}: the connection was closed")


def demand_own_folder(folder: Path) -> None:
    """Refuse to serve from a folder in which another user could put a socket of its own.

    Raises:
        ConfigError: It is another user's, a link, or others may write it.
    """
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        hint = "it must belong to the process's user alone; `gateway.run_dir` names where it lies"
        raise ConfigError(f"others may write the folder of the control socket: {folder}", hint)


def _demand_its_process(connection: socket.socket, path: Path) -> None:
    """Make sure that the user who listens is the one to whom the folder was given, by root or by ourselves.

    Nothing is sent before. A caller in a user namespace of its own (``PrivateUsers=``) would see other numbers; none
    of the services calls another.
    """
    folder, above = os.lstat(path.parent), os.stat(path.parent.parent)
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    trusted = (0, os.geteuid())
    is_given = folder.st_uid in trusted or (above.st_uid in trusted and not above.st_mode & 0o022)
    if not stat.S_ISDIR(folder.st_mode) or folder.st_mode & 0o022 or not is_given or uid != folder.st_uid:
        raise UnavailableError(
            f"somebody else than the {path.parent.name} answers on {path}: uid={uid}",
            "another user of this machine listens there: look who it is before you do anything else",
        )


def _refusal(answer: Mapping[str, Any]) -> EdgeAgentError:
    error = EdgeAgentError(answer["error"], answer.get("hint", ""))
    error.exit_code = int(answer.get("exit_code", os.EX_SOFTWARE))  # type: ignore[misc]
    return error


def _receive_line(connection: socket.socket) -> tuple[bytes, int | None]:
    data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(array.array("i").itemsize))
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    # The kernel has put them into this process already: unclosed, a caller could use all of its
    # descriptors up.
    for extra in fds[1:]:
        os.close(extra)
    fd = fds[0] if fds else None
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while not data.endswith(b"\n"):
            # For the whole line: a caller who sends byte by byte must not keep a worker from the owner.
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
            more = connection.recv(65536)
            if not more or len(data) > MAX_LINE_BYTES:
                raise ConnectionError("request is cut or too long")
            data += more
        connection.settimeout(ANSWER_TIMEOUT_S)
    except OSError:
        if fd is not None:
            os.close(fd)
        raise
    return data, fd


def _parse_request(line: bytes) -> Members:
    try:
        request: Any = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise EdgeAgentError("a request is one line of JSON that names a command")
    return Members(request)
