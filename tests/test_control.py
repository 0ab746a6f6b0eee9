"""The control socket through real Unix sockets."""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from edge_agent.control import ANSWER_TIMEOUT_S, ControlServer, call, stream
from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError


@pytest.fixture
def server_path(tmp_path):
    stop = threading.Event()

    def write_to_fd(_request, peer):
        yield {"progress": 1}
        os.write(peer.fd, b"from the server")
        yield {"progress": 2}

    def fail(_request, _peer):
        raise ConfigError("config.yaml:3: cameras: wrong", "mend line 3")

    def crash(_request, _peer):
        raise ZeroDivisionError

    handlers = {
        "echo": lambda request, peer: {"said": request["text"], "uid": peer.uid},
        "write": write_to_fd,
        "fail": fail,
        "crash": crash,
    }
    server = ControlServer(tmp_path / "x.sock", handlers, stop)
    server.start()
    yield tmp_path / "x.sock"
    stop.set()
    server.join()


def test_call_returns_the_answer_and_the_kernel_says_who_asked(server_path: Path):
    """A handler gets the members of the request and the uid that the kernel vouches for."""
    assert call(server_path, "echo", text="hello") == {"said": "hello", "uid": os.getuid(), "done": True}


def test_socket_is_closed_to_other_users(server_path: Path):
    """Only the owner and the group may connect."""
    assert server_path.stat().st_mode & 0o777 == 0o660


def test_error_travels_with_hint_and_exit_code(server_path: Path):
    """What a handler raises from the error tree reaches the person unchanged."""
    with pytest.raises(EdgeAgentError, match=r"config\.yaml:3") as caught:
        call(server_path, "fail")
    assert (caught.value.hint, caught.value.exit_code) == ("mend line 3", os.EX_CONFIG)


def test_crash_of_a_handler_is_an_answer_and_the_server_lives(server_path: Path):
    """An unforeseen exception is told without its text, and the next command is answered."""
    with pytest.raises(EdgeAgentError, match="internal error"):
        call(server_path, "crash")
    assert call(server_path, "echo", text="again")["said"] == "again"


@pytest.mark.parametrize(
    "line",
    [b"{not json}\n", b'{"command": "no-such"}\n', b"[]\n", b"{}\n", b'{"command": []}\n', b"[" * 9999 + b"\n"],
    ids=str,
)
def test_malformed_request_is_answered_with_an_error(server_path: Path, line: bytes):
    """Nothing that a caller writes stops the server."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(server_path))
        connection.sendall(line)
        assert b'"error"' in connection.recv(4096)


def test_caller_who_dawdles_keeps_nobody_from_a_worker(server_path: Path):
    """Callers who send byte by byte, more of them than workers: the owner's command is answered all the same."""
    slow = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for connection in slow:
        connection.connect(str(server_path))
        connection.sendall(b"{")
    ends = time.monotonic() + 3 * ANSWER_TIMEOUT_S
    answered = threading.Event()
    ask = threading.Thread(target=lambda: call(server_path, "echo", text="now", timeout_s=10) and answered.set())
    ask.start()
    while time.monotonic() < ends and not answered.is_set():
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.send(b" ")
        answered.wait(0.2)
    ask.join(10)
    for connection in slow:
        connection.close()
    assert answered.is_set()


def test_stream_passes_a_descriptor_and_every_line(server_path: Path, tmp_path: Path):
    """A long command writes into the caller's own file and tells its progress."""
    with (tmp_path / "out").open("wb") as out:
        answers = list(stream(server_path, "write", fd=out.fileno()))
    assert answers == [{"progress": 1}, {"progress": 2}, {"done": True}]
    assert (tmp_path / "out").read_bytes() == b"from the server"


def test_missing_process_is_named(tmp_path: Path):
    """A command to a process that does not run says so."""
    with pytest.raises(UnavailableError, match="no answer"):
        call(tmp_path / "none.sock", "echo")
