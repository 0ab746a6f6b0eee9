"""The Merkle tree of RFC 6962, section 2.1: hashes, roots, inclusion and consistency proofs.

Pure: it reads the tree through a function that returns the hash of a *full node* and opens nothing itself. A full
node ``(level, index)`` is the root of the ``2**level`` leaves from ``index << level`` on; its hash never changes once
all of them are there, so a log stores each once and appends in O(log n).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from edge_agent.errors import EvidenceError

HASH_BYTES = 32
MAX_LEVEL = 62
"""A tree of 2**62 leaves is more than any ledger holds; proofs longer than this are refused unread."""

Node = tuple[int, int]
"""Level and index of a full node; level 0 are the leaves."""
ReadNode = Callable[[int, int], bytes]
"""Returns the stored hash of the full node at (level, index)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf: SHA-256(0x00 ‖ leaf)."""
    # RFC 6962, 2.1: the prefix keeps a leaf from passing for an inner node (second preimage).
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def full_nodes(start: int, end: int) -> Iterator[Node]:
    """Yield the largest full nodes that make up the leaves ``[start, end)``, from left to right.

    ``start`` must be a multiple of every power of two that the split of RFC 6962 uses on the way; 0 always is.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def append(index: int, hashed_leaf: bytes, read: ReadNode) -> list[tuple[Node, bytes]]:
    """Return the full nodes, hashes included, that leaf ``index`` completes; the leaf's own comes first."""
    nodes = [((0, index), hashed_leaf)]
    level, position, current = 0, index, hashed_leaf
    while position & 1:
        current = node_hash(read(level, position - 1), current)
        level, position = level + 1, position >> 1
        nodes.append(((level, position), current))
    return nodes


def root(size: int, read: ReadNode) -> bytes:
    """Return the tree head over the first ``size`` leaves, MTH(D[0:size])."""
    return _subtree(0, size, read) if size else EMPTY_ROOT


def _subtree(start: int, end: int, read: ReadNode) -> bytes:
    """MTH(D[start:end]), folded from its full nodes; the smallest stands at the right and is hashed first."""
    hashes = [read(level, index) for level, index in full_nodes(start, end)]
    current = hashes.pop()
    while hashes:
        current = node_hash(hashes.pop(), current)
    return current


def inclusion_proof(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Return PATH(index, D[0:size]): the sibling hashes from the leaf up to the root.

    Raises:
        ValueError: There is no such leaf in a tree of this size.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf in the tree: index={index} size={size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, read))
            end = middle
        else:
            path.append(_subtree(start, middle, read))
            start = middle
    return path[::-1]


def consistency_proof(old_size: int, new_size: int, read: ReadNode) -> list[bytes]:
    """Return PROOF(old_size, D[0:new_size]): that the smaller tree is the beginning of the larger.

    Raises:
        ValueError: The old size is 0 or larger than the new one.
    """
    if not 0 < old_size <= new_size:
        raise ValueError(f"no consistency proof between these sizes: old={old_size} new={new_size}")
    proof: list[bytes] = []
    start, end, whole = 0, new_size, True
    # SUBPROOF of section 2.1.2: go down to the part where the old tree ends; the hashes beside the way are the proof.
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_subtree(middle, end, read))
            end = middle
        else:
            proof.append(_subtree(start, middle, read))
            start, whole = middle, False
    if not whole:
        proof.append(_subtree(start, end, read))
    return proof[::-1]


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``, which is at least 2."""
    # RFC 6962, 2.1: k < n <= 2k.
    return 1 << (count - 1).bit_length() - 1


def verify_inclusion(hashed_leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Verify that a leaf stands at ``index`` in the tree of ``size`` leaves with that root (RFC 9162, 2.1.3.2).

    Raises:
        EvidenceError: The path leads to another root, or has the wrong length or shape.
    """
    _check_shape(proof)
    if not 0 <= index < size:
        raise EvidenceError(f"inclusion proof is for no leaf of the tree: index={index} size={size}")
    # RFC 9162, 2.1.3.2: fn and sn; LSB(fn) or fn = sn takes the sibling from the left.
    position, last, current = index, size - 1, hashed_leaf
    for sibling in proof:
        if last == 0:
            raise EvidenceError(f"inclusion proof is too long: index={index} size={size}")
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise EvidenceError(f"inclusion proof is too short: index={index} size={size}")
    if current != expected_root:
        raise EvidenceError(f"inclusion proof leads to another root: index={index} size={size}")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the tree of ``old_size`` leaves is the beginning of the other (RFC 9162, 2.1.4.2).

    Raises:
        EvidenceError: One of the roots does not follow from the proof, or it has the wrong length or shape.
    """
    _check_shape(proof)
    where = f"old={old_size} new={new_size}"
    if not 0 < old_size <= new_size:
        raise EvidenceError(f"no consistency proof between these sizes: {where}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise EvidenceError(f"two trees of one size differ: {where}")
        return
    hashes = list(proof)
    # RFC 9162, 2.1.4.2, step 2: a full old tree is a node; the proof does not repeat it.
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise EvidenceError(f"consistency proof is too short: {where}")
    # Steps 3 and 4: the levels at which the old tree's last node is a right one are skipped.
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise EvidenceError(f"consistency proof is too long: {where}")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise EvidenceError(f"consistency proof is too short: {where}")
    if old != old_root or new != new_root:
        raise EvidenceError(f"consistency proof leads to other roots: {where}")


def _check_shape(proof: Sequence[bytes]) -> None:
    # A path has a hash for each level, a consistency proof at most two.
    if len(proof) > 2 * MAX_LEVEL or any(len(sibling) != HASH_BYTES for sibling in proof):
        raise EvidenceError(f"proof is not a short list of SHA-256 hashes: length={len(proof)}")
