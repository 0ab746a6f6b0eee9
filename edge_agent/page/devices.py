"""The devices that may use the page: paired once by a code from the gateway, listed, taken off at once.

Owns the list and its file. A device holds 32 random bytes in a cookie; the file holds only their SHA-256, so that its
reader cannot become a device. Safe from any thread.
"""

import hashlib
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.printable_text import check_line
from edge_agent.units import UtcNs, encode_rfc3339

log = logging.getLogger(__name__)

MAX_DEVICES = 32
"""More than a household has; the search for a secret compares with each of them."""
MAX_NAME_LETTERS = 50


@dataclass(frozen=True, slots=True)
class PairedDevice:
    """One browser: ``id`` is public, ``seen_on`` is a day, so that the file is written once a day at most."""

    id: str
    name: str
    secret_sha256: str
    paired_at: str
    seen_on: str


class Devices:
    """The list.

    Args:
        path: Its file; written anew, durably, at each change.
        utc: The wall clock.
        end: Ends the desk tickets of a device (its id) that is taken off.

    Raises:
        EdgeAgentError: The file is there and cannot be read: no device is let in by a list that is not whole.
    """

    def __init__(self, path: Path, utc: Callable[[], UtcNs], end: Callable[[str], None]) -> None:
        self._path, self._utc, self._end = path, utc, end
        self._lock = threading.Lock()
        self._devices: dict[str, PairedDevice] = {}
        try:
            for each in json.loads(read_regular(path))["devices"]:
                device = PairedDevice(**{name: str(each[name]) for name in PairedDevice.__slots__})
                self._devices[device.id] = device
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EdgeAgentError(
                f"{path}: devices cannot be read: {error}", "remove the file and pair again: edge-agent page pair"
            ) from error

    def list(self) -> tuple[PairedDevice, ...]:
        """Return every device, in the order in which they were paired."""
        with self._lock:
            return tuple(self._devices.values())

    def note_visit(self, secret: str) -> PairedDevice | None:
        """Note today as the day on which the device with this secret was seen; return it, or None if there is none.

        Writes the file once a day and device at most.
        """
        digest = _digest(secret)
        today = encode_rfc3339(self._utc())[:10]
        with self._lock:
            # All are compared, each in constant time: the time taken does not tell which one nearly
            # fits.
            found = [each for each in self._devices.values() if hmac.compare_digest(each.secret_sha256, digest)]
            if not found:
                return None
            device = found[0]
            if device.seen_on != today:
                device = self._devices[device.id] = replace(device, seen_on=today)
                self._write()
            return device

    def add(self, name: str) -> tuple[PairedDevice, str]:
        """Add a device; return it and the secret for its cookie, which is kept nowhere else.

        A name that another device has gets a number behind it: the ledger must tell them apart, and a phone that lost
        its cookie comes back under the name that it had.

        Raises:
            UsageError: The name cannot be one, or there are too many devices.
        """
        name = parse_name(name)
        secret, now = secrets.token_urlsafe(32), encode_rfc3339(self._utc())
        with self._lock:
            if len(self._devices) >= MAX_DEVICES:
                raise UsageError(f"at most {MAX_DEVICES} devices; take one off first")
            taken = {each.name for each in self._devices.values()}
            names = (name, *(f"{name} {number}" for number in range(2, MAX_DEVICES + 2)))
            device = PairedDevice(
                secrets.token_hex(4), next(each for each in names if each not in taken), _digest(secret), now, now[:10]
            )
            self._devices[device.id] = device
            self._write()
        log.info("device paired id=%s", device.id)
        return device, secret

    def remove(self, device_id: str) -> bool:
        """Take a device off, at once; False if there is no such.

        Raises:
            EdgeAgentError: It is off, and ``end`` failed.
        """
        with self._lock:
            if self._devices.pop(device_id, None) is None:
                return False
            self._write()
        log.info("device taken off id=%s", device_id)
        # After the list is durable: if the releaser does not answer, the device is off the page all
        # the same.
        self._end(device_id)
        return True

    def _write(self) -> None:
        content = json.dumps({"devices": [asdict(each) for each in self._devices.values()]}, indent=1).encode()
        write_small_file(self._path, content, mode=0o600)


def parse_name(text: str) -> str:
    """Return a device's name: one line of visible letters, at most ``MAX_NAME_LETTERS``; UsageError otherwise."""
    try:
        name = check_line(" ".join(text.split()))
    except ValueError as error:
        raise UsageError(f"the name {error}") from error
    if len(name) > MAX_NAME_LETTERS:
        raise UsageError(f"the name has at most {MAX_NAME_LETTERS} letters")
    return name


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def form_token(secret: str) -> str:
    """Return the token of a device's forms: only a page that was served to this device holds it."""
    return hmac.new(secret.encode(errors="replace"), b"edge-agent page form v1", hashlib.sha256).hexdigest()
