"""A hold: the blocks that a pending request needs, copied as ciphertext to a small ring file of the same format.

Owns the folder of holds and its bounds. There is no key here, and none is needed.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.buffer.block_copy import accepted_bytes, copy_block
from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.constants import PAGE_BYTES, SIGNATURE_BYTES, SUPERBLOCK_COPIES, State, seal_page
from edge_agent.buffer.format.page import parse_page
from edge_agent.buffer.format.superblock import Superblock, encode_superblock_signed
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.ring import make_file
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.service_user import remove_entry
from edge_agent.units import ClockState, Window

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}(\.[A-Za-z0-9_-]{1,40}){0,3}")


@dataclass(frozen=True, slots=True)
class ExcerptInfo:
    """The content of an excerpt."""

    path: Path
    blocks: tuple[int, ...]
    size_bytes: int
    """Its room on the disk: pages and records; the rest of the file is a hole."""


def excerpt(reader: RingReader, windows: Sequence[Window], target: Path, max_bytes: int) -> ExcerptInfo | None:
    """Copy the blocks that may hold anything of ``windows``; durable and whole under its name, or not there.

    Args:
        reader: The ring; the vault's key is not used.
        windows: The windows that the request asks for.
        target: The excerpt's file; must not exist.
        max_bytes: The most that it may take.

    Returns:
        The copy, or None if the ring holds nothing of the windows.

    Raises:
        RingError: It would be larger than ``max_bytes``; nothing is left behind.
    """
    found = reader.find_blocks(windows)
    if not found:
        return None
    seqs = sorted({*found, *reader.find_witnesses(found), *reader.find_notes(windows)})
    superblock = reader.superblock
    need = sum(_need_bytes(reader, seq) for seq in seqs)
    if need > max_bytes:
        raise RingError(f"hold refused: ring={superblock.camera} bytes={need} most={max_bytes}")
    small = replace(superblock, blocks=max(seqs[-1] - seqs[0] + 2, 2), state=State.EXCERPT)
    making = target.with_name(target.name + ".part")
    making.unlink(missing_ok=True)
    # Only the recorder could sign the superblock; the pages inside are signed, and they count.
    raw = seal_page(encode_superblock_signed(small), bytes(SIGNATURE_BYTES))
    make_file(making, small, raw, None, reserve=False, mode=0o600)
    try:
        copied, size_bytes = [], SUPERBLOCK_COPIES * PAGE_BYTES
        with FileDisk.open(making, writable=True) as disk:
            for seq in seqs:
                try:
                    size_bytes += copy_block(reader.index, disk, small, seq) + PAGE_BYTES
                    copied.append(seq)
                except (OverwrittenError, IntegrityError):
                    # FORMAT 7.9: left out; a release later declares the gap.
                    continue
            for seq in seqs:
                if seq + 1 not in seqs:
                    _copy_next_page(reader, disk, small, seq)
        # `copy_block` has synced every block: under its name an excerpt is whole.
        making.rename(target)
        sync_folder(target.parent)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    return ExcerptInfo(target, tuple(copied), size_bytes)


def _need_bytes(reader: RingReader, seq: int) -> int:
    raw = reader.index.read_page(seq)
    try:
        page = parse_page(raw)
    except IntegrityError:
        # Without its page, which has the key, nothing of a block can be opened.
        return 0
    return PAGE_BYTES + accepted_bytes(reader.index, page, raw)


def _copy_next_page(reader: RingReader, disk: FileDisk, small: Superblock, last: int) -> None:
    """Copy the page after a block, if it is there: it signs that block's end."""
    raw = reader.index.read_page(last + 1)
    try:
        if parse_page(raw).seq != last + 1:
            return
    except IntegrityError:
        return
    disk.pwrite(raw, small.page_offset(last + 1))
    disk.fdatasync()


class HoldFolder:
    """All holds of this gateway, bounded in number and bytes. One thread at a time."""

    def __init__(self, folder: Path, max_bytes: int, max_count: int = 64) -> None:
        self._folder, self._max_bytes, self._max_count = folder, max_bytes, max_count

    def hold(self, name: str, reader: RingReader, windows: Sequence[Window]) -> ExcerptInfo | None:
        """Hold the blocks that a request needs of one ring, under a name made from the request's id and the camera.

        Doing it twice does it once.

        Raises:
            RingError: A bound is reached; the message says which.
            ValueError: The name could leave the folder.
        """
        target = self.path(name)
        if target.exists():
            return ExcerptInfo(target, (), _taken_bytes(target))
        taken = [_taken_bytes(path) for path in self._files()]
        if len(taken) >= self._max_count:
            raise RingError(f"hold refused: {len(taken)} are held already", hint="Old requests must end first.")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return excerpt(reader, windows, target, self._max_bytes - sum(taken))

    def path(self, name: str) -> Path:
        """Return the file of a hold."""
        # The name comes from a request's id: no dot-dot and no slash may lead out of the folder.
        if not _NAME.fullmatch(name):
            raise ValueError("a hold is named by letters, digits, _ and -, in parts joined by single dots")
        return self._folder / f"{name}.ring"

    def release(self, name: str) -> bool:
        """Let one hold go; tell whether it was there."""
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            return False
        # No power cut brings back what was let go.
        sync_folder(self._folder)
        return True

    def keep_only(self, names: Sequence[str]) -> list[str]:
        """Let go of every hold that no pending request names, and of those half made by a crash; at every start."""
        wanted = {self.path(name) for name in names}
        gone = []
        for path in sorted(self._folder.glob("*.ring*")) if self._folder.is_dir() else []:
            if path not in wanted:
                remove_entry(self._folder, path.name)
                gone.append(path.name)
        if gone:
            log.info("holds let go count=%d", len(gone))
        return gone

    def erase(self, window: Window | None, camera: str | None = None) -> list[str]:
        """Let go of every hold of a camera (None: of all) that may hold anything of a window (None: of any)."""
        gone = []
        for path in self._files():
            if self._touches(path, window, camera):
                path.unlink(missing_ok=True)
                gone.append(path.name)
        if gone:
            # Durable before anybody says that it is erased.
            sync_folder(self._folder)
        return gone

    def _touches(self, path: Path, window: Window | None, camera: str | None) -> bool:
        try:
            with RingReader.open(path, None) as reader:
                if camera is not None and reader.superblock.camera != camera:
                    return False
                # Footage without a believable time may be of any time.
                untimed = any(entry.clock_state is not ClockState.SYNCHRONISED for entry in reader.index.entries())
                return window is None or untimed or any(span.kind == "footage" for span in reader.coverage(window))
        except RingError:
            return True  # What cannot be read is not worth keeping when the owner erases.

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.ring")) if self._folder.is_dir() else []


def _taken_bytes(path: Path) -> int:
    try:
        # Blocks of 512 bytes (stat(2)): the file is sparse, and its length says nothing of its
        # room.
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
