"""A changed size or place: the newest footage that fits goes along, through any interruption.

Owns the move. No key of footage is needed; the recorder's key signs the new superblock. Must never leave a moment in
which a block is in neither file (FORMAT 7.10).
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.buffer.block_copy import copy_block
from edge_agent.buffer.crypt import sign_superblock
from edge_agent.buffer.disk import FileDisk, hint_for
from edge_agent.buffer.format.constants import MAX_BLOCKS, MIN_BLOCKS, PAGE_BYTES, SUPERBLOCK_COPIES, State
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.preallocate import allocate, punch_hole
from edge_agent.buffer.ring import (
    choose_block_bytes,
    load_superblock,
    make_file,
    read_superblock,
    rewrite_superblock,
)
from edge_agent.errors import IntegrityError, RingError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.regular_file import open_regular

log = logging.getLogger(__name__)

_SUFFIX = ".moving"
_STAT_BLOCK_BYTES = 512
"""Of ``st_blocks`` (stat(2))."""


@dataclass(frozen=True, slots=True)
class MoveInfo:
    """The outcome of a move."""

    superblock: Superblock
    blocks_kept: int
    blocks_left_behind: int


def needs_move(path: Path, size_bytes: int, block_bytes: int | None = None) -> bool:
    """Tell whether a ring has another size than is wanted, or a move of it was interrupted."""
    if _making(path).exists():
        return True
    superblock = load_superblock(path)
    if superblock.state is State.EXCERPT:
        return False  # No ring to record to: the writer says so.
    return superblock.state is State.MOVING or _plan(superblock, size_bytes, block_bytes).blocks != superblock.blocks


def _plan(superblock: Superblock, size_bytes: int, wanted_block_bytes: int | None) -> Superblock:
    """Lay the same ring out anew: blocks never smaller than before, because they are copied whole."""
    block_bytes = superblock.block_bytes
    if wanted_block_bytes is not None:
        block_bytes = max(block_bytes, wanted_block_bytes)
    elif block_bytes >= choose_block_bytes(0):
        block_bytes = max(block_bytes, choose_block_bytes(size_bytes))
    blocks = min((size_bytes - SUPERBLOCK_COPIES * PAGE_BYTES) // (block_bytes + PAGE_BYTES), MAX_BLOCKS)
    if blocks < MIN_BLOCKS:
        raise RingError(f"ring cannot be so small: ring={superblock.camera} size={size_bytes} block={block_bytes}")
    return replace(
        superblock,
        blocks=blocks,
        block_bytes=block_bytes,
        state=State.MOVING,
        generation=superblock.generation + 1,
    )


def move_ring(
    source: Path,
    target: Path,
    *,
    size_bytes: int,
    recorder_key: Ed25519PrivateKey,
    block_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_begin: Callable[[], None] = lambda: None,
) -> MoveInfo:
    """Move a ring to another place, another size, or both; call it again after a kill and it goes on.

    The recorder must not have it open. Space is given back in the source as it is taken in the target, if the file
    system can. Holes in it are no loss: the copy is durable in the target first.

    Args:
        source: The ring as it is; gone afterwards, unless it is ``target``.
        target: Path of the new ring; may be ``source``.
        size_bytes: Upper bound of the new file's length.
        recorder_key: Signs the new superblock.
        block_bytes: Size of a block if the configuration names one; None lets the ring choose.
        progress: Called with blocks done and blocks in all.
        on_begin: Called once the new file is there, before the old one gives anything back: the time to note where it
            goes, for ``undo_move``.

    Raises:
        RingBusyError: A recorder has it open.
        RingError: It cannot be done; the message says why. Moved footage stays readable in one of the two files.
    """
    making = _making(target)
    if not source.exists() and making.exists():
        raise RingError(f"ring to be moved is gone: path={source}", hint=f"Its newest blocks are in {making}.")
    with FileDisk.open(source, writable=True) as old:
        _begin(old, source, making, (size_bytes, block_bytes), recorder_key)
        on_begin()
        info = _fill(old, source, making, recorder_key, progress)
        _empty(old)
    _take_name(source, making, target)
    log.info("ring moved ring=%s blocks=%d left_behind=%d", target.name, info.blocks_kept, info.blocks_left_behind)
    return info


def undo_move(
    source: Path,
    target: Path,
    on_end: Callable[[Path], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Bring a ring whose move broke off back into one file, because it is wanted elsewhere now.

    Call it again after a kill and it goes on. What was copied is copied back, unless the copy is complete: then the
    move is ended.

    Args:
        source: The ring as it was.
        target: Where the move was to bring it.
        on_end: Called with the path at which the ring is whole: the time to note that. What is left of the other file
            goes after that, and nothing of the ring is in it by then. What it raises ends this.
        progress: Called with blocks done and blocks in all.

    Raises:
        RingBusyError: A recorder has it open.
        RingError: It cannot be done; the footage stays readable in the two files.
    """
    making = _making(target)
    if not making.exists():
        if not target.exists():
            raise RingError(
                f"a part of the ring is not there: path={making}",
                hint="Its move broke off, and the newest footage is in that file. Is its disk mounted? "
                "If it is gone for good, take what is left: edge-agent ring accept",
            )
        on_end(target)  # a kill came behind the last step
        return
    with FileDisk.open(source, writable=True) as old, FileDisk.open(making, writable=True) as new:
        ring, begun = read_superblock(old).superblock, read_superblock(new).superblock
        if begun.ring_id != ring.ring_id:
            raise RingError(f"another ring is being moved there: path={making}", hint="Move that file away first.")
        is_complete = begun.state is State.READY
        if not is_complete:
            _copy_back(RingIndex(old, ring), RingIndex(new, begun), making, progress)
        _empty(old if is_complete else new)
    if is_complete:
        _take_name(source, making, target)
        on_end(target)
    else:
        on_end(source)
        # No page is left in it. Its superblock stays to the end: a kill leaves a file that a later move can go on with.
        try:
            making.unlink()
            sync_folder(making.parent)
        except OSError as error:
            raise RingError(f"cannot remove: path={making}: {error.strerror}", hint_for(error)) from error
        log.warning("ring's move was taken back path=%s", source)


def _making(target: Path) -> Path:
    return target.with_name(target.name + _SUFFIX)


def _empty(disk: FileDisk) -> None:
    """FORMAT 7.10, step 4: the keys of the blocks left behind go with these pages.

    The superblocks stay: a kill from here on finds an empty ring here, and the whole ring in the other file.
    """
    superblock = read_superblock(disk).superblock
    disk.pwrite(bytes(superblock.blocks * PAGE_BYTES), SUPERBLOCK_COPIES * PAGE_BYTES)
    disk.fdatasync()


def _take_name(source: Path, making: Path, target: Path) -> None:
    # Step 5. The new superblock says `ready` already (step 3): whichever name a crash leaves, the
    # ring is whole.
    making.rename(target)
    sync_folder(target.parent)
    # The new name is durable by now: a crash leaves one ring or both, never none.
    if source != target:
        source.unlink()
        sync_folder(source.parent)


def _copy_back(old: RingIndex, new: RingIndex, making: Path, progress: Callable[[int, int], None] | None) -> None:
    """Copy every block to where it was; its page is there still or damaged, and one that is another by now stays.

    Space is given back as it is taken: the two files may be on one disk that is full.
    """
    old.load()
    new.load()
    entries = new.entries()
    with os.fdopen(open_regular(making, os.O_RDWR), "rb+") as file:
        for done, entry in enumerate(entries):
            if progress is not None:
                progress(done, len(entries))
            is_other = old.find(entry.seq) is None or old.read_page(entry.seq) != new.read_page(entry.seq)
            # An erasure leaves a page that is whole; in a damaged one's place the block has no other home.
            if is_other and old.superblock.slot(entry.seq) not in old.bad_slots:
                continue
            copy_block(new, old.disk, old.superblock, entry.seq)
            # Only now: the block is durable where it was. Its page goes first: no page may tell of a hole.
            new.disk.pwrite(bytes(PAGE_BYTES), new.superblock.page_offset(entry.seq))
            new.disk.fdatasync()
            punch_hole(file.fileno(), new.superblock.block_offset(entry.seq), new.superblock.block_bytes)


def _begin(
    old: FileDisk, source: Path, making: Path, sizes: tuple[int, int | None], recorder_key: Ed25519PrivateKey
) -> None:
    """Make the new file, empty, if it is not there from an earlier start."""
    superblock = read_superblock(old).superblock
    if superblock.recorder_public != recorder_key.public_key().public_bytes_raw():
        raise RingError(f"ring was made with another recorder key: ring={old.name}")
    planned = _plan(superblock, *sizes)
    if not making.exists():
        _demand_room(source, making, planned.file_bytes)
        make_file(making, planned, sign_superblock(planned, recorder_key), None, reserve=False)
    elif load_superblock(making).ring_id != superblock.ring_id:
        raise RingError(f"another ring is being moved here: path={making}", hint="Move that file away first.")


def _fill(
    old: FileDisk,
    source: Path,
    making: Path,
    recorder_key: Ed25519PrivateKey,
    progress: Callable[[int, int], None] | None,
) -> MoveInfo:
    superblock = read_superblock(old).superblock
    with FileDisk.open(making, writable=True) as new:
        # A move that an earlier start began is finished first, in its size; the size asked for now comes after it.
        begun = read_superblock(new).superblock
        kept, left = _copy_newest(RingIndex(old, superblock), source, RingIndex(new, begun), progress)
        _finish(new, making, begun, recorder_key)
    return MoveInfo(replace(begun, state=State.READY), kept, left)


def _demand_room(source: Path, making: Path, size_bytes: int) -> None:
    """Raise RingError if the new file has no room: once blocks were given back, another size could not be asked for."""
    try:
        there, here = os.statvfs(making.parent), source.stat()
        room_bytes = there.f_bavail * there.f_frsize
        if making.parent.stat().st_dev == here.st_dev:
            room_bytes += here.st_blocks * _STAT_BLOCK_BYTES
    except OSError as error:
        raise RingError(f"cannot move ring: path={making}: {error.strerror}", hint_for(error)) from error
    if size_bytes > room_bytes:
        raise RingError(
            f"no space for the ring: path={making} size={size_bytes} room={room_bytes}",
            hint="Nothing was moved. Give the ring a size for which there is room.",
        )


def _copy_newest(
    old: RingIndex, source: Path, new: RingIndex, progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    """Copy block by block, newest first, and give back what was copied; return how many went along and how many not."""
    old.load()
    new.load()
    newest = max(old.newest_seq, new.newest_seq)
    seqs = [entry.seq for entry in reversed(old.entries())]
    # By number, not by count: numbers that were skipped after damage have slots too.
    wanted = [seq for seq in seqs if seq > newest - new.superblock.blocks]
    with os.fdopen(open_regular(source, os.O_RDWR), "rb+") as file:
        for done, seq in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted))
            if new.find(seq) is None:
                try:
                    copy_block(old, new.disk, new.superblock, seq)
                except IntegrityError as error:
                    log.error("block not moved ring=%s block=%d: %s", old.disk.name, seq, error)
                    continue
            # Only now: `copy_block` has synced records and page in the target (step 2).
            punch_hole(file.fileno(), old.superblock.block_offset(seq), old.superblock.block_bytes)
    return len(wanted), len(seqs) - len(wanted)


def _finish(new: FileDisk, making: Path, superblock: Superblock, recorder_key: Ed25519PrivateKey) -> None:
    """Reserve what is still a hole, then say that the ring is ready, one copy and one sync at a time."""
    try:
        with os.fdopen(open_regular(making, os.O_RDWR), "rb+") as file:
            allocate(file.fileno(), superblock.file_bytes, fill=_fill_holes)
            os.fsync(file.fileno())
    except OSError as error:
        raise RingError(f"no space for the ring: path={making}: {error.strerror}", hint_for(error)) from error
    ready = replace(superblock, state=State.READY, generation=superblock.generation + 1)
    rewrite_superblock(new, ready, recorder_key)


def _fill_holes(_fd: int, _size_bytes: int, _progress: Callable[[int, int], None] | None) -> None:
    """Where space cannot be reserved, the file was written whole by its copies, or takes its space as it is used."""
