"""Moments that the owner keeps beyond the ring's time: excerpts of ciphertext, each with its end.

Owns their folder, its bound, and their names, which say everything: no list beside them can disagree. Never read for a
grant: footage that is kept here was to be gone by the terms, and only the owner's own export opens it.
"""

import logging
import re
import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edge_agent.buffer.read.excerpt import HoldFolder
from edge_agent.buffer.read.reader import RingReader
from edge_agent.errors import RingError, UsageError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.protocol.request import Quality
from edge_agent.units import SECOND_NS, UtcNs, Window

log = logging.getLogger(__name__)

MAX_COUNT = 256
"""Moments: their folder is listed anew at each look."""
_NAME = re.compile(r"([a-z0-9-]{1,32})\.(main|sub)\.([0-9]{1,12})-([0-9]{1,12})\.([0-9]{1,12})-([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class KeptMoment:
    """One excerpt: its camera, its end, and its room on the disk."""

    name: str
    keep_id: str
    camera: str
    quality: Quality
    window: Window
    until: UtcNs
    size_bytes: int


def plan_keep(camera: str, quality: Quality, window: Window, until: UtcNs) -> KeptMoment:
    """Name a moment that is to be kept, in whole seconds, before anything of it is copied."""
    keep_id = secrets.token_hex(4)
    # Outwards, to the whole seconds of the name: never less than the owner named.
    first, last, end = window.start // SECOND_NS, -(-window.end // SECOND_NS), until // SECOND_NS
    name = f"{camera}.{quality.value}.{first}-{last}.{end}-{keep_id}"
    whole = Window(UtcNs(first * SECOND_NS), UtcNs(last * SECOND_NS))
    return KeptMoment(name, keep_id, camera, quality, whole, UtcNs(end * SECOND_NS), 0)


class KeepFolder:
    """All kept moments of this gateway. Any thread.

    Args:
        folder: Made if it is missing.
        max_bytes: All of them together take no more.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = folder, max_bytes
        self._holds = HoldFolder(folder, max_bytes, MAX_COUNT)
        self._lock = threading.Lock()

    def keep(self, reader: RingReader, planned: KeptMoment, window: Window) -> KeptMoment:
        """Copy what a ring has of a window, in whole blocks, under the name of a planned moment.

        Raises:
            UsageError: The ring has nothing of it.
            RingError: The bound is reached.
        """
        with self._lock:
            try:
                info = self._holds.hold(planned.name, reader, [window])
            except RingError as error:
                hint = "edge-agent keep lists them, --drop lets one go; buffer.keeps_size is the bound"
                raise RingError(f"not kept: {error}", hint) from error
        if info is None:
            camera = planned.camera
            raise UsageError(f"nothing is recorded of {camera} in that time", "edge-agent ring ls shows what there is")
        return self.demand(planned.keep_id)

    def list_kept(self) -> list[KeptMoment]:
        """Return all kept moments, the oldest first."""
        found = []
        for path in sorted(self._path.glob("*.ring")) if self._path.is_dir() else []:
            match = _NAME.fullmatch(path.stem)
            if match is not None:
                camera, quality, start, end, until, keep_id = match.groups()
                window = Window(UtcNs(int(start) * SECOND_NS), UtcNs(int(end) * SECOND_NS))
                ends = UtcNs(int(until) * SECOND_NS)
                # Excerpts are sparse (FORMAT 7.9): their room on the disk, not their length.
                size_bytes = path.stat().st_blocks * 512
                found.append(KeptMoment(path.stem, keep_id, camera, Quality(quality), window, ends, size_bytes))
        return sorted(found, key=lambda each: each.window)

    def find(self, camera: str, quality: Quality, window: Window) -> Path | None:
        """Return the file of a kept moment that has all of a window; None if there is none."""
        for each in self.list_kept():
            if (each.camera, each.quality) == (camera, quality) and each.window.contains(window):
                return self._holds.path(each.name)
        return None

    def demand(self, keep_id: str) -> KeptMoment:
        """Return one of them; UsageError if there is no such."""
        for each in self.list_kept():
            if each.keep_id == keep_id:
                return each
        raise UsageError(f"nothing is kept under that id: {keep_id[:16]}", "edge-agent keep lists them")

    def drop(self, keep_id: str) -> KeptMoment:
        """Let one go; UsageError if there is no such."""
        with self._lock:
            found = self.demand(keep_id)
            self._holds.release(found.name)
        return found

    def expire(self, now: UtcNs) -> list[KeptMoment]:
        """Let go of moments that have reached their end, and of those half made by a crash; return the former."""
        with self._lock:
            gone = [each for each in self.list_kept() if each.until <= now]
            for each in gone:
                self._holds.release(each.name)
            # Drafts that a kill left: no excerpt has that name.
            parts = list(self._path.glob("*.part")) if self._path.is_dir() else []
            for path in parts:
                path.unlink(missing_ok=True)
            if parts:
                sync_folder(self._path)
        return gone

    def erase(self, camera: str | None, windows: Collection[Window] | None) -> list[str]:
        """Let go of all that may hold anything of a camera (None: of all) and of windows (None: of any)."""
        with self._lock:
            if windows is None:
                return self._holds.erase(None, camera)
            return [name for window in windows for name in self._holds.erase(window, camera)]
