"""The control socket through real Unix sockets."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError
from edge_agent.host import control_socket
from edge_agent.host.control_socket import ANSWER_TIMEOUT_S, ControlServer, call, stream


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


@pytest.mark.timeout(20)
def test_server_that_is_joined_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However seldom it looks for its end: whoever stops a gateway does not wait for that."""
    monkeypatch.setattr(control_socket, "_POLL_S", 60.0)
    stop = threading.Event()
    server = ControlServer(tmp_path / "x.sock", {}, stop)
    server.start()
    stop.set()
    server.join(15)
    assert not server.is_alive()
    assert not (tmp_path / "x.sock").exists()
    server.join()


def test_socket_is_closed_to_other_users(server_path: Path):
    """Only the owner and the group may connect."""
    assert server_path.stat().st_mode & 0o777 == 0o660


def test_error_travels_with_hint_and_exit_code(server_path: Path):
    """An error of the tree that a handler raises reaches the person unchanged."""
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


NOBODY = 61237
"""A user's number that nobody has."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture
def run_dir():
    # Not pytest's own, which lets nobody but us in.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def listening_as(uid: int, path: Path):
    """Listen on a path in a process of another user; what it hears first lies in the list."""
    heard, (ours, theirs) = [], os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
                server.listen()
                os.write(theirs, b".")
                connection, _ = server.accept()
                os.write(theirs, connection.recv(100) or b"nothing")
                connection.sendall(b'{"state": "approved", "done": true}\n')
        except OSError as error:
            os.write(theirs, f"error {error}".encode())
        finally:
            os._exit(0)
    try:
        assert os.read(ours, 100) == b"."
        yield heard
        heard.append(os.read(ours, 100))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ours)
        os.close(theirs)


def _shared(run_dir: Path) -> None:
    """Lay it out as it was: one sticky folder of the group of both services."""
    run_dir.chmod(0o3777)
    (run_dir / "releaser").mkdir()
    os.chown(run_dir / "releaser", NOBODY, NOBODY)


def _open(run_dir: Path) -> None:
    (run_dir / "releaser").mkdir()
    (run_dir / "releaser").chmod(0o777)


def _given(run_dir: Path) -> None:
    (run_dir / "releaser").mkdir()
    os.chown(run_dir / "releaser", NOBODY, NOBODY)


@needs_root
@pytest.mark.parametrize("layout", [_shared, _open], ids=["folder of its own making", "folder of somebody else"])
def test_nobody_answers_in_the_name_of_another(run_dir: Path, layout):
    """A process of another user that binds the socket hears nothing, and its answer is believed by nobody."""
    layout(run_dir)
    path = run_dir / "releaser/sock"
    with listening_as(NOBODY, path) as heard, pytest.raises(UnavailableError, match="somebody else than the releaser"):
        call(path, "approve")
    # Its answer may meet a closed socket: that is its own trouble.
    assert [each.removesuffix(b"error [Errno 32] Broken pipe") for each in heard] == [b"nothing"]


@needs_root
def test_the_user_to_whom_root_gave_the_folder_answers(run_dir: Path):
    """So it is under systemd: root made the folder and gave it to the service."""
    _given(run_dir)
    path = run_dir / "releaser/sock"
    with listening_as(NOBODY, path) as heard:
        assert call(path, "approve")["state"] == "approved"
    assert heard[0].startswith(b'{"command"')


@needs_root
def test_a_link_to_another_process_is_not_its_process(run_dir: Path):
    """A service that puts a link in its socket's place does not make root talk to somebody else's."""
    _given(run_dir)
    stop = threading.Event()
    server = ControlServer(run_dir / "roots/sock", {"status": lambda *_: {}}, stop)
    server.start()
    try:
        (run_dir / "releaser/sock").symlink_to(run_dir / "roots/sock")
        with pytest.raises(UnavailableError, match="somebody else"):
            call(run_dir / "releaser/sock", "status")
    finally:
        stop.set()
        server.join()


@pytest.mark.parametrize("mode", [0o770, 0o757, 0o1777], ids=oct)
def test_no_socket_is_served_where_others_may_put_theirs(run_dir: Path, mode: int):
    """A process does not start rather than answer from such a folder."""
    (run_dir / "releaser").mkdir()
    (run_dir / "releaser").chmod(mode)
    with pytest.raises(ConfigError, match="others may write"):
        ControlServer(run_dir / "releaser/sock", {}, threading.Event()).start()


@pytest.mark.parametrize(
    "plant",
    [os.mkfifo, Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")],
    ids=["fifo", "folder", "file", "link"],
)
def test_what_lies_in_a_sockets_place_holds_nobody_up(run_dir: Path, plant):
    """A caller is told at once; a process replaces it, or says what is in its way."""
    (run_dir / "releaser").mkdir(mode=0o750)
    path = run_dir / "releaser/sock"
    plant(path)
    with pytest.raises(UnavailableError, match="no answer"):
        call(path, "status")
    stop = threading.Event()
    server = ControlServer(path, {"status": lambda *_: {}}, stop)
    try:
        if path.is_dir():
            with pytest.raises(ConfigError, match="no control socket"):
                server.start()
        else:
            server.start()
            assert call(path, "status") == {"done": True}
    finally:
        stop.set()
        server.join()
