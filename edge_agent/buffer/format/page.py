"""FORMAT 3: a block's header page. Pure; sealing and signatures are ``crypt``'s."""

import hashlib
import struct
from dataclasses import dataclass, field, replace

from edge_agent.buffer.format.constants import (
    MAX_BLOCK_BYTES,
    PAGE_BYTES,
    PAGE_PREVIOUS_LOST,
    PAGE_TOMBSTONE,
    SEALED_KEY_BYTES,
    SIGNATURE_BYTES,
    VERSION,
    ZERO_DIGEST,
    ZERO_ID,
    Erased,
    check_page,
)
from edge_agent.errors import IntegrityError
from edge_agent.units import ClockState, MonoNs, UtcNs

_LABEL_BLOCK = b"edge-agent/v1 block"
_NEVER = UtcNs(0)

# FORMAT 3, header page: 4096 bytes, little-endian.
#    0   4  magic              b"EPAG"     104   8  previous_oldest_ns
#    4   2  version            1           112   8  previous_newest_ns
#    6   2  flags              FORMAT 3.2  120   8  previous_footage_ns
#    8  16  ring_id                        128  32  previous_chain
#   24   8  seq                            160  16  vault_key_id
#   32  16  boot_id                        176  80  sealed_key      HPKE enc(32) ‖ ciphertext(32) ‖ tag(16)
#   48  16  run_id                         256  16  recorder_key_id
#   64   8  opened_utc_ns                  272   8  final_accepted_bytes   tombstone only
#   72   8  opened_boot_ns                 280   4  final_records          tombstone only
#   80   8  first_start_ns                 284   4  zero
#   88   1  clock_state                    288  32  final_chain            tombstone only
#   89   1  erased             FORMAT 3.3  320   8  erased_utc_ns          tombstone only
#   90   2  zero                           328  32  source                 FORMAT 3.5
#   92   4  previous_records               360  24  zero
#   96   8  previous_accepted_bytes        384  64  signature over label ‖ 0..383
#                                         4064  32  SHA-256 of 0..4063; the rest is zero
_PAGE = struct.Struct("<4sHH16sQ16s16sqqqBB2xIQqqq32s16s80s16sQI4x32sq32s24x")
_PAGE_MAGIC = b"EPAG"
PAGE_SIGNED_BYTES = _PAGE.size
_KEY_AT, _KEY_END = 160, 256
"""Of ``vault_key_id`` and ``sealed_key``."""
_CLOCK_STATES = (ClockState.FLOOR_ONLY, ClockState.SYNCHRONISED)


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """How a block ended: the next header page says and signs this."""

    accepted_bytes: int
    """Length of the block to the end of its last record's padding."""
    records: int
    """Number of its records."""
    oldest_ns: int
    """Smallest start of a record; 0 if there is none."""
    newest_ns: int
    """Largest end of a record; 0 if there is none."""
    footage_ns: int
    """Sum of the durations of its GOP records."""
    chain: bytes
    """The chain's value after its last record (5)."""


@dataclass(frozen=True, slots=True)
class Page:
    """A block's header page, or the tombstone that took its place."""

    ring_id: bytes
    """Of the superblock: a page of another ring is none of this one's."""
    seq: int
    """Number of the block, from 1; its slot is ``seq`` modulo the number of blocks."""
    boot_id: bytes
    """The kernel's id of the boot in which the block was opened: 16 bytes."""
    run_id: bytes
    """The run in force when the block was opened; a RUN record inside begins another (``run_id_of``)."""
    opened_utc_ns: UtcNs
    """Wall clock at opening."""
    opened_boot_ns: MonoNs
    """CLOCK_BOOTTIME at opening."""
    first_start_ns: UtcNs
    """Start of the block's first record."""
    clock_state: ClockState
    """Of the wall clock at opening."""
    vault_key_id: bytes
    """First 16 bytes of SHA-256 of the vault's public key; zero in a tombstone."""
    sealed_key: bytes
    """The block's key under the vault's (3.4): 80 bytes, zero in a tombstone."""
    recorder_key_id: bytes
    """As ``vault_key_id``, of the recorder's key."""
    previous: BlockEnd
    """The end of the block before, signed hereby (3.1)."""
    source: bytes
    """Digest of the configured source of every record of the block (``digest_source``); zero if it is not known."""
    previous_lost: bool = False
    """Records of a block with a damaged page were skipped (3.2)."""
    erased: Erased = Erased.NOT
    """The cause, in a tombstone (3.3)."""
    erased_utc_ns: UtcNs = _NEVER
    final_accepted_bytes: int = 0
    """As in ``BlockEnd``; in a tombstone of the newest block only, like the next two."""
    final_records: int = 0
    final_chain: bytes = ZERO_DIGEST
    version: int = VERSION
    signature: bytes = field(default=bytes(SIGNATURE_BYTES), compare=False)

    @property
    def tombstone(self) -> bool:
        """Tell whether the key, and with it the footage, is gone."""
        return self.erased is not Erased.NOT


def tombstone_of(page: Page, why: Erased, now: UtcNs, recorder_key_id: bytes, end: BlockEnd | None) -> Page:
    """Return the page that takes an erased block's place, without its key (FORMAT 3.3); unsigned.

    Args:
        page: The block's page as it is.
        why: The cause of its erasure.
        now: When.
        recorder_key_id: Of the key that will sign.
        end: How the block ended, if no later page says it.
    """
    return replace(
        page,
        vault_key_id=ZERO_ID,
        sealed_key=bytes(SEALED_KEY_BYTES),
        recorder_key_id=recorder_key_id,
        erased=why,
        erased_utc_ns=now,
        final_accepted_bytes=end.accepted_bytes if end else 0,
        final_records=end.records if end else 0,
        final_chain=end.chain if end else ZERO_DIGEST,
    )


def encode_page_signed(page: Page) -> bytes:
    """Write the part of a header page that its signature covers."""
    # FORMAT 3: bit 0 tombstone (3.3), bit 1 previous lost (3.2).
    flags = PAGE_TOMBSTONE * page.tombstone | PAGE_PREVIOUS_LOST * page.previous_lost
    previous = page.previous
    return _PAGE.pack(
        _PAGE_MAGIC,
        page.version,
        flags,
        page.ring_id,
        page.seq,
        page.boot_id,
        page.run_id,
        page.opened_utc_ns,
        page.opened_boot_ns,
        page.first_start_ns,
        _CLOCK_STATES.index(page.clock_state),
        page.erased,
        previous.records,
        previous.accepted_bytes,
        previous.oldest_ns,
        previous.newest_ns,
        previous.footage_ns,
        previous.chain,
        page.vault_key_id,
        page.sealed_key,
        page.recorder_key_id,
        page.final_accepted_bytes,
        page.final_records,
        page.final_chain,
        page.erased_utc_ns,
        page.source,
    )


def destroy_key(raw: bytes) -> bytes:
    """Return a page, whatever is damaged in it, with zeros for the sealed key and the vault's id."""
    return raw[:_KEY_AT] + bytes(_KEY_END - _KEY_AT) + raw[_KEY_END:]


def is_blank(raw: bytes) -> bool:
    """Tell whether a page was never written."""
    return not raw.strip(b"\0")


def parse_page(raw: bytes) -> Page:
    """Parse one header page (FORMAT 3); its signature is not checked here.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        IntegrityError: It is torn, damaged, or has a field out of its range.
    """
    check_page(raw, _PAGE_MAGIC, "header page")
    # fmt: off
    (_, version, flags, ring_id, seq, boot_id, run_id, opened_utc, opened_boot, first_start, clock_state, erased,
     records, accepted, oldest, newest, footage, chain, vault_key_id, sealed_key, recorder_key_id,
     final_accepted, final_records, final_chain, erased_utc, source) = _PAGE.unpack_from(raw)
    # fmt: on
    # FORMAT 2.1: bounds before any field is used. Numbers begin at 1; two flags are known.
    if seq == 0 or flags > (PAGE_TOMBSTONE | PAGE_PREVIOUS_LOST) or clock_state >= len(_CLOCK_STATES):
        raise IntegrityError(f"header page has a field out of its range: block={seq}")
    # FORMAT 3.3: the flag and the cause say the same, or the page is none of ours.
    if erased > Erased.OWNER or bool(erased) != bool(flags & PAGE_TOMBSTONE):
        raise IntegrityError(f"header page has a tombstone that contradicts itself: block={seq}")
    # Lengths end at padding (FORMAT 4), and inside the largest block: a reader seeks by them.
    if max(accepted, final_accepted) > MAX_BLOCK_BYTES or (accepted | final_accepted) % PAGE_BYTES:
        raise IntegrityError(f"header page has an impossible length: block={seq}")
    return Page(
        ring_id=ring_id,
        seq=seq,
        boot_id=boot_id,
        run_id=run_id,
        opened_utc_ns=UtcNs(opened_utc),
        opened_boot_ns=MonoNs(opened_boot),
        first_start_ns=UtcNs(first_start),
        clock_state=_CLOCK_STATES[clock_state],
        vault_key_id=vault_key_id,
        sealed_key=sealed_key,
        recorder_key_id=recorder_key_id,
        previous=BlockEnd(accepted, records, oldest, newest, footage, chain),
        source=source,
        previous_lost=bool(flags & PAGE_PREVIOUS_LOST),
        erased=Erased(erased),
        erased_utc_ns=UtcNs(erased_utc),
        final_accepted_bytes=final_accepted,
        final_records=final_records,
        final_chain=final_chain,
        version=version,
        signature=raw[PAGE_SIGNED_BYTES : PAGE_SIGNED_BYTES + SIGNATURE_BYTES],
    )


def chain_start(page_bytes: bytes) -> bytes:
    """Return the chain value before the first record of a block: it binds the page, and so the page before it."""
    # FORMAT 5, "start": the signed part alone, so that a checksum or a signature changes no chain.
    return hashlib.sha256(_LABEL_BLOCK + page_bytes[:PAGE_SIGNED_BYTES]).digest()
