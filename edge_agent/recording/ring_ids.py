"""Which ring belongs to which stream: the recorder's memory of ring ids, so that ids decide and not paths.

Owns ``rings.json`` in the recorder's state folder. A disk that is not mounted, or another disk at the same path, is
noticed by it; an owner who means another ring says so with ``edge-agent ring accept``.
"""

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import RingError
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pin:
    """The ring of one stream: its id, and where it was opened last."""

    ring_id: bytes
    path: Path
    moves_to: Path | None = None
    """Where a move of it that has begun brings it; a part of it may be there."""


class KnownRingIds:
    """The pins of all streams, by ``<camera>.<quality>``. Safe from any thread.

    Args:
        path: The file; if it is missing or unreadable, the rings that are found now are pinned.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pins: dict[str, Pin] = {}
        try:
            found = json.loads(read_regular(path))
            self._pins = {
                str(name): Pin(
                    bytes.fromhex(pin["ring_id"]),
                    Path(pin["path"]),
                    Path(pin["moves_to"]) if "moves_to" in pin else None,
                )
                for name, pin in found.items()
            }
        except FileNotFoundError:
            # No ring was ever opened here: the first one of each name is believed.
            return
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            log.error("memory of rings cannot be read; the rings that are there now are remembered path=%s", path)

    def find(self, name: str) -> Pin | None:
        """Return the pin of a stream, or None if none was opened yet."""
        with self._lock:
            return self._pins.get(name)

    def remember(self, name: str, pin: Pin) -> None:
        """Pin a stream's ring; durable on return. RingError if it cannot be saved."""
        with self._lock:
            if self._pins.get(name) != pin:
                self._save(self._pins | {name: pin})

    def forget(self, name: str) -> None:
        """Take whatever ring is at the stream's path from now on, or make one. RingError if it cannot be saved."""
        with self._lock:
            if name in self._pins:
                self._save({other: pin for other, pin in self._pins.items() if other != name})

    def _save(self, pins: dict[str, Pin]) -> None:
        kept = {
            name: {"ring_id": pin.ring_id.hex(), "path": str(pin.path)}
            | ({"moves_to": str(pin.moves_to)} if pin.moves_to is not None else {})
            for name, pin in pins.items()
        }
        try:
            write_small_file(self._path, json.dumps(kept, indent=1).encode())
        except OSError as error:
            raise RingError(f"ring ids cannot be saved: {self._path}: {error.strerror}") from error
        # Only once it is durable: otherwise the next call would find nothing to save.
        self._pins = pins
