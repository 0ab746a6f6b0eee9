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
    """What a camera says is a value, and only that."""
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
