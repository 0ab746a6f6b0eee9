"""Which streams needed FFmpeg, over a restart of the recorder: each start would lose them three sessions otherwise.

Owns ``readers.json`` in the recorder's state folder: of the streams with ``reader: auto``, those that FFmpeg records
though our own reader might. Not those over UDP, which FFmpeg records anyway: nothing was found out about our own.
A memory holds for a week, for the same address and the same version of this program; then our own reader is
tried anew. A file that cannot be read is as good as none.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.capture.session.reader_choice import AUTO, FFMPEG, OWN
from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.regular_file import read_regular
from edge_agent.settings.gateway import Config
from edge_agent.units import DAY_NS, UtcNs

log = logging.getLogger(__name__)

HOLDS_NS = 7 * DAY_NS


@dataclass(frozen=True, slots=True)
class _Need:
    """That a stream needed FFmpeg: since when it is known, at which address, and found by which version."""

    since_ns: int
    address: str
    version: str


class ReaderMemory:
    """The needs of all streams, by ``<camera>.<quality>``. Safe from any thread.

    Args:
        path: The file.
        now: Returns the time.
        version: Of this program.
    """

    def __init__(self, path: Path, now: Callable[[], UtcNs], version: str = __version__) -> None:
        self._path, self._now, self._version = path, now, version
        self._lock = threading.Lock()
        self._needs = self._read()

    def _read(self) -> dict[str, _Need]:
        try:
            found = json.loads(read_regular(self._path))
            return {
                str(name): _Need(int(need["since_ns"]), str(need["address"]), str(need["version"]))
                for name, need in found.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            log.warning("memory of readers cannot be read; our own is tried again path=%s", self._path)
            return {}

    def recall(self, name: str, address: str) -> str:
        """Return the reader to begin a stream's next session with, ``own`` or ``ffmpeg``; empty if nothing is known.

        ``own`` is returned once, when what is remembered does not hold any more.
        """
        with self._lock:
            need = self._needs.get(name)
            if need is None:
                return ""
            # A time in the future was noted under a wrong clock, and would hold for longer than a week.
            is_young = 0 <= self._now() - need.since_ns < HOLDS_NS
            if is_young and (need.address, need.version) == (address, self._version):
                return FFMPEG
            del self._needs[name]
            self._save()
            return OWN

    def take(self, config: Config, status: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in the status of all streams, by name; those for which settings decide the reader do not count."""
        for camera, quality in config.rings():
            name, address = f"{camera.id}.{quality}", camera.address(quality)
            is_over_tcp = camera.transport == "tcp" or address.startswith("rtsps://")
            if camera.reader == AUTO and is_over_tcp and name in status:
                self.note(name, address, status[name])

    def note(self, name: str, address: str, status: Mapping[str, Any]) -> None:
        """Take in a stream's status: the reader that records it now."""
        reader = status.get("reader") if status.get("state") == "recording" else None
        with self._lock:
            if reader == FFMPEG and name not in self._needs:
                self._needs[name] = _Need(self._now(), address, self._version)
                self._save()
            elif reader == OWN and self._needs.pop(name, None) is not None:
                self._save()

    def _save(self) -> None:
        needs = {name: asdict(need) for name, need in self._needs.items()}
        try:
            write_small_file(self._path, json.dumps(needs, indent=1).encode())
        except OSError as error:
            log.warning("memory of readers cannot be saved path=%s: %s", self._path, error.strerror)
