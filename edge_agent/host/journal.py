"""Log records to systemd's journal: with their priority, and with a field for each ``key=value`` of a format.

Owns the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry. If the journal's
socket does not take it, the line goes to stderr with its priority in front (``sd-daemon(3)``), which the journal reads.
One that hangs costs a record, which is counted.
"""

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "edge-agent"
FIELD_PREFIX = "EDGE_AGENT_"
MAX_MESSAGE_BYTES = 48 << 10
"""Below the kernel's usual bound of a datagram, with room for the fields."""
_MAX_FIELDS = 16
_PAIR = re.compile(r"(?<!\S)([a-z][a-z_]{0,30})=(\S+)", re.ASCII)
_DROPPED = "journal did not answer in time, messages are missing dropped=%d"
_DIRECTIVE = re.compile(r"%%|%")


def is_journal(environment: Mapping[str, str], stream: TextIO) -> bool:
    """Tell whether a stream leads to the journal: ``$JOURNAL_STREAM`` names its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def priority_of(level: int) -> int:
    """Return the syslog priority of a level of ``logging``: 2 (critical) to 7 (debug)."""
    for least, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return priority
    return 7


class JournalHandler(logging.Handler):
    """Sends records to the journal.

    Args:
        path: The journal's socket.
        otherwise: Takes the lines that the journal does not take.
    """

    def __init__(self, path: str = SOCKET, otherwise: TextIO | None = None) -> None:
        super().__init__()
        self.dropped = 0
        """Records that the journal did not take in time, since it was last told."""
        self._path, self._otherwise = path, otherwise or sys.stderr
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(1.0)  # a journal that hangs must not hold up recording for longer

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; never raises."""
        try:
            message = self.format(record)
            try:
                self._send(record, message)
            except TimeoutError:
                # The journal reads stderr too: writing there would wait for it without an end.
                self.dropped += 1
            except OSError:
                lines = "".join(f"<{priority_of(record.levelno)}>{line}\n" for line in message.splitlines())
                self._otherwise.write(lines)
                self._otherwise.flush()
        except Exception:
            self.handleError(record)

    def _send(self, record: logging.LogRecord, message: str) -> None:
        self._socket.sendto(b"".join(_encode(record, message)), self._path)
        if self.dropped:
            told = logging.LogRecord(record.name, logging.WARNING, "", 0, _DROPPED, (self.dropped,), None)
            self._socket.sendto(b"".join(_encode(told, told.getMessage())), self._path)
            self.dropped = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _encode(record: logging.LogRecord, message: str) -> Iterator[bytes]:
    yield _field("MESSAGE", message.encode(errors="replace")[:MAX_MESSAGE_BYTES])
    yield _field("PRIORITY", str(priority_of(record.levelno)).encode())
    yield _field("SYSLOG_IDENTIFIER", IDENTIFIER.encode())
    yield _field("LOGGER", record.name.encode(errors="replace"))
    yield _field("CODE_FUNC", (record.funcName or "").encode(errors="replace"))
    for name, value in find_pairs(record).items():
        yield _field(f"{FIELD_PREFIX}{name.upper()}", value.encode(errors="replace"))


def find_pairs(record: logging.LogRecord) -> dict[str, str]:
    """Return the pairs that the format of a message names, each with its own argument's first word.

    Text inside an argument makes no pair: a camera's own words may be in it.
    """
    text, values = str(record.msg), record.args if isinstance(record.args, tuple) else ()
    pairs: dict[str, str] = {}
    for found in _PAIR.finditer(text):
        before, count = _count_directives(text[: found.start(2)]), _count_directives(found[2])
        value = found[2] % values[before : before + count] if values else found[2]
        words = value.split()
        if words and len(pairs) < _MAX_FIELDS:
            pairs.setdefault(found[1], words[0].rstrip(":,;"))
    return pairs


def _count_directives(text: str) -> int:
    return sum(found != "%%" for found in _DIRECTIVE.findall(text))


def _field(name: str, value: bytes) -> bytes:
    """Write a field; every one with its length, so that no value can begin another field."""
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
