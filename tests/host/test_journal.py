"""The journal: priorities and fields by its native protocol, read back as journald reads them."""

import io
import logging
import os
import socket
import struct
import sys

import pytest

from edge_agent.host.journal import JournalHandler, is_journal


def parse(datagram: bytes) -> dict[str, str]:
    """Read a datagram of the native protocol, both forms of fields."""
    fields, rest = {}, datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            name, value = line, rest[8 : 8 + length]
            assert rest[8 + length : 9 + length] == b"\n"
            rest = rest[9 + length :]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "socket"))
        line.settimeout(5)
        log = logging.Logger("edge_agent.capture.camera")
        handler = JournalHandler(str(tmp_path / "socket"))
        log.addHandler(handler)
        yield log, lambda: parse(line.recv(1 << 20))
        handler.close()


LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


@pytest.mark.parametrize(("level", "priority"), LEVELS.items(), ids=LEVELS)
def test_priority_is_that_of_the_level(journal, level, priority):
    """``journalctl -p warning`` shows warnings and what is worse, and nothing else."""
    log, receive = journal
    getattr(log, level)("camera is down")
    assert receive()["PRIORITY"] == str(priority)


def test_every_pair_of_a_message_is_a_field(journal):
    """``journalctl EDGE_AGENT_STREAM=door.main`` finds all of one camera."""
    log, receive = journal
    log.warning("camera is down stream=%s reason=%s: %s", "door.main", "unreachable", "no connection")
    fields = receive()
    assert fields["EDGE_AGENT_STREAM"] == "door.main"
    assert fields["EDGE_AGENT_REASON"] == "unreachable"
    assert fields["MESSAGE"] == "camera is down stream=door.main reason=unreachable: no connection"
    assert fields["LOGGER"] == "edge_agent.capture.camera"


HOSTILE = {
    "lines": "x\nPRIORITY=0\nMESSAGE=all is well",
    "controls": "\x00\x1b[31m",
    "half a letter": "\udc80",
    "much": "a=b " * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_message_makes_a_field_of_its_own(journal, text):
    """A camera's words are a value, and only that."""
    log, receive = journal
    log.error("camera says %s", text)
    fields = receive()
    assert fields["PRIORITY"] == "3"
    assert fields["MESSAGE"].startswith("camera says ")


def test_without_a_journal_lines_carry_their_priority(tmp_path):
    """The journal reads the number in front of each line of stderr, and of each line of a traceback."""
    stream = io.StringIO()
    handler = JournalHandler(str(tmp_path / "nobody"), stream)
    handler.emit(logging.LogRecord("x", logging.WARNING, "", 0, "two\nlines", (), None))
    assert stream.getvalue() == "<4>two\n<4>lines\n"


def test_stderr_is_the_journal_only_if_it_is_that_very_stream(tmp_path):
    """A shell that a service started inherits the variable, and its output goes elsewhere."""
    with (tmp_path / "log").open("w") as file:
        status = os.fstat(file.fileno())
        assert is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, file)
        assert not is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}, file)
        assert not is_journal({}, file)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, io.StringIO())
    assert not is_journal({"JOURNAL_STREAM": ":"}, sys.stdin)


TOKENS = {
    "a field of the message": "x stream=yard.main",
    "a field before it": "stream=yard.main",
    "one that no message has": "x camera=yard",
    "many": "x " + " ".join(f"a{chr(97 + n)}=1" for n in range(20)),
    "directives": "%s stream=%s",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("text", ["found profile=%s count=%d stream=%s", "found %s: 100%% of stream=%s count=%d, %s"])
def test_a_pair_in_what_a_camera_says_is_no_field(journal, text, token):
    """A hostile ONVIF profile token leads nobody who searches the journal for another camera's messages."""
    log, receive = journal
    log.warning(text, *((token, 3, "door.main") if "profile" in text else (token, "door.main", 3, token)))
    fields = receive()
    assert fields["EDGE_AGENT_STREAM"] == "door.main"
    assert fields["EDGE_AGENT_COUNT"] == "3"
    names = {name for name in fields if name.startswith("EDGE_AGENT_")}
    assert names <= {"EDGE_AGENT_STREAM", "EDGE_AGENT_COUNT", "EDGE_AGENT_PROFILE"}


def test_a_journal_that_hangs_costs_records_and_no_time(tmp_path):
    """Nothing goes to stderr, which the same journal reads; when it answers it is told how many are missing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "socket"))
        line.settimeout(5)
        stream = io.StringIO()
        handler = JournalHandler(str(tmp_path / "socket"), stream)
        handler._socket.settimeout(0.01)
        record = logging.LogRecord("x", logging.WARNING, "", 0, "words", (), None)
        while handler.dropped < 2:
            handler.emit(record)
        assert stream.getvalue() == ""
        while True:
            line.setblocking(False)
            try:
                line.recv(1 << 20)
            except BlockingIOError:
                break
        handler.emit(record)
        assert parse(line.recv(1 << 20))["MESSAGE"] == "words"
        told = parse(line.recv(1 << 20))
        assert (told["EDGE_AGENT_DROPPED"], told["PRIORITY"]) == ("2", "4")
        assert handler.dropped == 0
        handler.close()
