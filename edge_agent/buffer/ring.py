"""A ring file as a whole: its making, its superblock, its end.

Owns geometry, and the conditions under which a file is a ring. Must never open footage.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.buffer.crypt import sign_superblock
from edge_agent.buffer.disk import Disk, FileDisk, hint_for
from edge_agent.buffer.format.constants import (
    ID_BYTES,
    MAX_BLOCKS,
    MIN_BLOCKS,
    PAGE_BYTES,
    QUALITIES,
    SUPERBLOCK_COPIES,
)
from edge_agent.buffer.format.superblock import Superblock, is_camera_id, parse_superblock
from edge_agent.buffer.preallocate import allocate, ask_no_copy_on_write
from edge_agent.errors import IntegrityError, RingError, UnsupportedVersionError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.regular_file import open_regular
from edge_agent.units import UtcNs

log = logging.getLogger(__name__)

MIN_AUTO_BLOCK_BYTES = 2 << 20
"""FORMAT 1: the smallest block that a ring chooses by itself."""
MOST_AUTO_BLOCKS = 4096
"""Header pages are read at every open: 4096 of them are 16 MiB, whatever the size of the ring (docs/performance.md)."""
_CHUNK_PAGES = 256
_UNKNOWN_TIME = UtcNs(0)


def choose_block_bytes(size_bytes: int) -> int:
    """Return the block size for a ring: the smallest power of two from 2 MiB that needs at most 4096 blocks."""
    block_bytes = MIN_AUTO_BLOCK_BYTES
    while size_bytes // (block_bytes + PAGE_BYTES) > MOST_AUTO_BLOCKS:
        block_bytes *= 2
    return block_bytes


def plan_superblock(
    *, camera: str, quality: str, size_bytes: int, block_size: int | None, recorder_public: bytes, now: UtcNs
) -> Superblock:
    """Lay out a new ring of at most ``size_bytes``, with a fresh ring id.

    Raises:
        RingError: The size is too small for two blocks, or the block size is impossible.
    """
    block_bytes = block_size or choose_block_bytes(size_bytes)
    blocks = min((size_bytes - SUPERBLOCK_COPIES * PAGE_BYTES) // (block_bytes + PAGE_BYTES), MAX_BLOCKS)
    if blocks < MIN_BLOCKS or block_bytes % PAGE_BYTES or quality not in QUALITIES or not is_camera_id(camera):
        raise RingError(
            f"ring cannot be laid out: camera={camera} quality={quality} size={size_bytes} block_size={block_bytes}",
            hint="A ring has at least two blocks; a useful one is at least 1GiB.",
        )
    return Superblock(os.urandom(ID_BYTES), camera, quality, blocks, block_bytes, now, recorder_public)


def create_ring(
    path: Path,
    *,
    camera: str,
    quality: str,
    size_bytes: int,
    recorder_key: Ed25519PrivateKey,
    block_size: int | None = None,
    now: UtcNs = _UNKNOWN_TIME,
    progress: Callable[[int, int], None] | None = None,
) -> Superblock:
    """Make a ring file with all its space reserved; it appears under its name only when it is complete.

    Args:
        path: Where; must not exist yet.
        camera: The camera's id.
        quality: ``main`` or ``sub``.
        size_bytes: Upper bound of the file's length.
        recorder_key: Signs the superblock, and later every header page.
        block_size: In bytes; None lets the ring choose.
        now: Time of creation.
        progress: Called with bytes done and bytes in all if the file system makes it slow.

    Raises:
        RingError: The file exists, or the space cannot be had; the hint names the remedy.
    """
    superblock = plan_superblock(
        camera=camera,
        quality=quality,
        size_bytes=size_bytes,
        block_size=block_size,
        recorder_public=recorder_key.public_key().public_bytes_raw(),
        now=now,
    )
    if path.exists():
        raise RingError(f"ring exists already: path={path}")
    make_file(path, superblock, sign_superblock(superblock, recorder_key), progress, reserve=True)
    log.info("ring created ring=%s path=%s bytes=%d", camera, path, superblock.file_bytes)
    return superblock


def make_file(
    path: Path,
    superblock: Superblock,
    raw: bytes,
    progress: Callable[[int, int], None] | None,
    *,
    reserve: bool,
    mode: int = 0o640,
) -> None:
    """Write both superblocks of an empty ring file and give it its name, or leave nothing behind.

    Independent of the umask: the releaser's group reads a ring, nobody else does, and an excerpt (``mode``) only its
    maker.
    """
    making = path.with_name(path.name + ".new")
    try:
        making.unlink(missing_ok=True)
        fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            # `os.open` applies the umask to its mode; this call does not.
            os.fchmod(fd, mode)
            ask_no_copy_on_write(fd)
            if reserve:
                allocate(fd, superblock.file_bytes, progress)
            else:
                os.ftruncate(fd, superblock.file_bytes)
            os.pwrite(fd, raw * SUPERBLOCK_COPIES, 0)
            # FORMAT 7.1, steps 3 to 5: bytes, then the name, then the folder. A crash leaves a ring or none.
            os.fsync(fd)
        finally:
            os.close(fd)
        making.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        making.unlink(missing_ok=True)
        raise RingError(f"cannot create ring: path={path}: {error.strerror}", hint_for(error)) from error


def wipe_ring(path: Path) -> None:
    """Destroy a ring: every header page, and so every sealed key, is overwritten before the file goes."""
    try:
        fd = open_regular(path, os.O_RDWR)
        try:
            pages = os.pread(fd, PAGE_BYTES, 0)
            try:
                end = parse_superblock(pages).data_offset
            except RingError:
                # Without a superblock the number of pages is unknown: as many as a ring can have at
                # most.
                end = min(os.fstat(fd).st_size, (SUPERBLOCK_COPIES + MAX_BLOCKS) * PAGE_BYTES)
            # The sealed keys lie here and nowhere else. Durable before the name goes: whatever a crash
            # leaves, nobody opens it.
            for offset in range(0, end, _CHUNK_PAGES * PAGE_BYTES):
                os.pwrite(fd, bytes(min(_CHUNK_PAGES * PAGE_BYTES, end - offset)), offset)
            os.fsync(fd)
        finally:
            os.close(fd)
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise RingError(f"cannot destroy ring: path={path}: {error.strerror}", hint_for(error)) from error


def load_superblock(path: Path) -> Superblock:
    """Open a ring file for a moment and read its identity; errors as of ``read_superblock``."""
    with FileDisk.open(path) as disk:
        return read_superblock(disk).superblock


def rewrite_superblock(disk: Disk, superblock: Superblock, recorder_key: Ed25519PrivateKey) -> None:
    """Sign a superblock and write its copies, one at a time with a sync: a crash spares one of them."""
    raw = sign_superblock(superblock, recorder_key)
    for copy in range(SUPERBLOCK_COPIES):
        disk.pwrite(raw, copy * PAGE_BYTES)
        disk.fdatasync()


@dataclass(frozen=True, slots=True)
class LoadedSuperblock:
    """The superblock in force, its bytes, and which copies are damaged."""

    superblock: Superblock
    raw: bytes
    damaged_copies: tuple[int, ...]


def read_superblock(disk: Disk) -> LoadedSuperblock:
    """Read the superblock: the good copy, or of two good ones the newer (FORMAT 2.2).

    Raises:
        UnsupportedVersionError: A newer program wrote the ring.
        IntegrityError: Both copies are damaged, or the file is shorter than they say.
    """
    good: list[tuple[Superblock, bytes]] = []
    damaged: list[int] = []
    for copy in range(SUPERBLOCK_COPIES):
        raw = disk.pread(PAGE_BYTES, copy * PAGE_BYTES)
        try:
            good.append((parse_superblock(raw), raw))
        except UnsupportedVersionError as error:
            raise UnsupportedVersionError(
                f"{error}: ring={disk.name}", hint="Upgrade edge-agent; the ring is left as it is."
            ) from None
        except IntegrityError:
            damaged.append(copy)
    if not good:
        raise IntegrityError(
            f"no superblock is readable: ring={disk.name}",
            hint="Is this a ring file, and the right disk? `edge-agent ring dump` shows what is there.",
        )
    # FORMAT 2.2: a crash between the two writes leaves two good copies of different age.
    superblock, raw = max(good, key=lambda pair: pair[0].generation)
    # I6: a file never changes its length, so a short one is another fault than damage: the cure
    # differs.
    if disk.size() < superblock.file_bytes:
        raise IntegrityError(
            f"ring is truncated: ring={disk.name} bytes={disk.size()} expected={superblock.file_bytes}",
            hint="Copy what is left with `edge-agent ring check`, then let the recorder make a new ring.",
        )
    return LoadedSuperblock(superblock, raw, tuple(damaged))
