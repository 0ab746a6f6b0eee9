"""Terms, or an enrolment, that the owner signed at the desk, on their way into a file that root alone writes.

The releaser leaves the text with the owner's order for just that text; root's ``edge-agent adopt`` verifies the order
again, against the pinned key, and believes nobody else. One file, taken once. Whether it came into its place the
releaser sees for itself: a unit that does not start, or a file that is gone, must not pass for a signature that counts.
"""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_agent.consent.owner_order import Adopt, verify_order
from edge_agent.consent.policy import parse_policy
from edge_agent.custody.enrolment_file import find_gateway_name
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, DenialError, UsageError
from edge_agent.host.atomic_file import write_new_file, write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.protocol.enrolment import parse_enrolment
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs

MAX_BYTES = 512 * 1024
_ACT = threading.Lock()
_ACT_TIMEOUT_S = 20.0
"""A disk that hangs lets the next act wait for so long."""
_NOTE = threading.Lock()
"""Of the note in this process: the desk's thread writes it, and the one that looks for faults takes it away."""


def digest_file(path: Path) -> bytes:
    """Return the SHA-256 of a file's text; of nothing if it is not there.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        content = read_regular(path, MAX_BYTES, follow=True)
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return hashlib.sha256(content).digest()


def adoption_path(config: Config) -> Path:
    """Return the path of the text that the releaser leaves for root."""
    return config.store_path.parent / "adopt.json"


def left_path(config: Config) -> Path:
    """Return the path of the note that names the file for which the releaser waits."""
    return config.store_path.parent / "adopt-left.json"


@contextmanager
def alone() -> Iterator[None]:
    """Hold off other acts of this process that leave a text: there is one place for it, and one note.

    Raises:
        UsageError: Another one takes too long.
    """
    if not _ACT.acquire(timeout=_ACT_TIMEOUT_S):
        raise _not_free()
    try:
        yield
    finally:
        _ACT.release()


def demand_free(config: Config) -> None:
    """Refuse while a text that was left before still lies there: it would be lost without a word.

    Raises:
        UsageError: One does.
    """
    if adoption_path(config).exists():
        raise _not_free()


def _not_free() -> UsageError:
    return UsageError(
        "what was signed at the desk before is not in its file yet",
        "wait a minute, and begin anew; if this stays, at the gateway: sudo edge-agent adopt",
    )


def expect(config: Config, path: Path, text: str) -> bytes | None:
    """Note durably that a file is to have a text, before anything of the act counts; nothing if it has that already.

    From then on ``find_missing`` tells, whatever becomes of this process or its disk.

    Returns:
        The note of an earlier act, for ``forget``; None if there was none.
    """
    was = digest_file(path)
    with _NOTE:
        before = _read_note(config)
        if was == hashlib.sha256(text.encode()).digest():
            left_path(config).unlink(missing_ok=True)
        else:
            note = json.dumps({"path": str(path), "was": was.hex()}).encode()
            write_small_file(left_path(config), note, mode=0o600)
    return before


def forget(config: Config, before: bytes | None) -> None:
    """Take back ``expect``, because the act was refused: the note is again what it was."""
    with _NOTE:
        if before is None:
            left_path(config).unlink(missing_ok=True)
        else:
            write_small_file(left_path(config), before, mode=0o600)


def _read_note(config: Config) -> bytes | None:
    try:
        return read_regular(left_path(config), MAX_BYTES)
    except OSError:
        return None


def leave(config: Config, order: bytes, text: str) -> None:
    """Leave a text and its order for root, durably.

    Raises:
        UsageError: Another text lies there.
        OSError: It cannot be written.
    """
    content = json.dumps({"order": order.decode(), "text": base64.b64encode(text.encode()).decode()}).encode()
    try:
        write_new_file(adoption_path(config), content, 0o600)
    except FileExistsError:
        raise _not_free() from None


def find_missing(config: Config) -> Path | None:
    """Return the file that still is as it was before the owner signed at the desk; None if none is.

    A file that was edited since is the owner's own doing, and nothing is waited for any more.
    """
    with _NOTE:
        try:
            note = json.loads(read_regular(left_path(config), MAX_BYTES))
            path, was = Path(str(note["path"])), str(note["was"])
            if digest_file(path).hex() == was:
                return path
        except FileNotFoundError:
            return None
        except (ConfigError, OSError, ValueError, KeyError, TypeError):
            pass  # a file that cannot be read has faults of its own
        left_path(config).unlink(missing_ok=True)
        return None


def demand_order(config: Config, order: bytes, text: str, now: UtcNs) -> Path:
    """Refuse unless the owner has signed, just now and for this gateway, what this text becomes; return which file.

    Raises:
        DenialError: The order is another's, another's text's, too old, or no such order; or the file that it replaces
            is not the one any more from which the text was made.
        ConfigError: The text is no such file.
    """
    keys = KeyStore(config.state_dir, "owner")
    gateway = find_gateway_name(config.uplink.enrolment, keys.load_public("gateway"))
    # Root verifies it anew: the releaser, which left it, talks to the network and is not believed.
    value = verify_order(order, gateway, keys.load_public("owner"), now).value
    if not isinstance(value, Adopt) or value.sha256 != hashlib.sha256(text.encode()).digest():
        raise DenialError("member-invalid", "The order is not for this text.")
    if value.file == "enrolment":
        parse_enrolment(text.encode(), "enrolment of the desk")
        path = config.uplink.enrolment
    else:
        parse_policy(text, "consent.yaml of the desk")
        path = config.consent.file.resolve()
    # The owner signed a change of one text: an edit that came in between must not be undone by it.
    if digest_file(path) != value.was:
        raise DenialError("member-invalid", "The file was changed since this was drafted: look at it again.")
    return path


def parse_left(content: bytes) -> tuple[bytes, str]:
    """Read the note of ``leave``; ConfigError for anything else."""
    try:
        found: Any = json.loads(content)
        return str(found["order"]).encode(), base64.b64decode(found["text"], validate=True).decode()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("what the desk left cannot be read") from error


def put(config: Config, order: bytes, text: str, now: UtcNs) -> Path:
    """Verify, and put the text in the place of its file, with that one's mode and group; return its path.

    Raises:
        DenialError, ConfigError: See ``demand_order``; or the file cannot be written.
    """
    path = demand_order(config, order, text, now)
    try:
        before = path.stat() if path.exists() else None
        write_small_file(path, text.encode(), mode=0o644 if before is None else before.st_mode & 0o777)
        if before is not None and os.geteuid() == 0:
            os.chown(path, before.st_uid, before.st_gid)  # its group is by what the releaser reads it
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}", "run it as root") from error
    return path


def put_or_leave(config: Config, order: bytes, text: str, now: UtcNs) -> bool:
    """Put a text at once if this user may write its folder, as in a trial; else leave it for root, and return False.

    ``expect`` was called before.

    Raises:
        DenialError, ConfigError: See ``put``.
        UsageError, OSError: See ``leave``.
    """
    path = demand_order(config, order, text, now)
    if digest_file(path) == hashlib.sha256(text.encode()).digest():  # signed anew for its time alone
        return True
    if os.access(path.parent, os.W_OK):
        put(config, order, text, now)
        return True
    leave(config, order, text)
    return False


def take(config: Config) -> tuple[bytes, str]:
    """Read the text that was left, and remove it with any outcome: a text that is refused is not read again.

    It is moved away first, so that a text that is left meanwhile stays.
    """
    path = adoption_path(config)
    taken = path.with_name("adopt.taken")
    try:
        # Before it is read: whatever it holds, it is tried once.
        path.replace(taken)
        return parse_left(read_regular(taken, MAX_BYTES))
    except FileNotFoundError:
        raise ConfigError("the desk has left nothing to adopt") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        with suppress(OSError):  # told above, if it is a folder where nothing can be done
            taken.unlink()
