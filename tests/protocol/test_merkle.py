"""The Merkle tree against RFC 6962's own definition and the published vectors."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import EvidenceError
from edge_agent.protocol import merkle

# The eight leaves and the roots that the reference implementations of RFC 6962 are tested with.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZE_LIMIT = 70


class Tree:
    """A tree in memory, grown the way that the ledger grows its table."""

    def __init__(self) -> None:
        self.nodes: dict[merkle.Node, bytes] = {}
        self.size = 0

    def read(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def append(self, leaf: bytes) -> None:
        self.nodes.update(merkle.append(self.size, merkle.leaf_hash(leaf), self.read))
        self.size += 1


def grow(size: int) -> Tree:
    tree = Tree()
    for number in range(size):
        tree.append(b"leaf %d" % number)
    return tree


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


TREE = grow(SIZE_LIMIT)
RFC_TREE = Tree()
for _leaf in LEAVES:
    RFC_TREE.append(_leaf)


@pytest.mark.parametrize("size", range(9))
def test_root_agrees_with_the_published_vectors(size: int) -> None:
    """The root of the first n published leaves is the published one."""
    assert merkle.root(size, RFC_TREE.read).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (0, 8, [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]),
        (5, 8, [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)  # fmt: skip
def test_inclusion_proof_agrees_with_the_published_vectors(index: int, size: int, path: list[str]) -> None:
    """Inclusion proofs are those of the published vectors, hash for hash."""
    assert [part.hex() for part in merkle.inclusion_proof(index, size, RFC_TREE.read)] == path


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 1, []),
        (1, 8, [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]),
        (6, 8, [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]),
        (2, 5, [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]),
    ],
)  # fmt: skip
def test_consistency_proof_agrees_with_the_published_vectors(old: int, new: int, proof: list[str]) -> None:
    """Consistency proofs are those of the published vectors, hash for hash."""
    assert [part.hex() for part in merkle.consistency_proof(old, new, RFC_TREE.read)] == proof


@pytest.mark.parametrize("size", range(1, SIZE_LIMIT))
def test_every_leaf_of_every_size_proves_and_verifies(size: int) -> None:
    """The root is the RFC's recursion, and each leaf's proof leads to it."""
    root = merkle.root(size, TREE.read)
    assert root == mth([b"leaf %d" % number for number in range(size)])
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, TREE.read)
        merkle.verify_inclusion(merkle.leaf_hash(b"leaf %d" % index), index, size, proof, root)


@pytest.mark.parametrize("new", range(1, SIZE_LIMIT, 3))
def test_every_older_size_is_consistent(new: int) -> None:
    """Each smaller tree proves to be the beginning of the larger."""
    for old in range(1, new + 1):
        proof = merkle.consistency_proof(old, new, TREE.read)
        merkle.verify_consistency(old, new, merkle.root(old, TREE.read), merkle.root(new, TREE.read), proof)


@given(st.integers(1, SIZE_LIMIT), st.data())
def test_a_changed_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    """A proof with a flipped bit, a hash more or less, another index or size does not verify."""
    index = data.draw(st.integers(0, size - 1))
    root = merkle.root(size, TREE.read)
    proof = merkle.inclusion_proof(index, size, TREE.read)
    leaf = merkle.leaf_hash(b"leaf %d" % index)
    wrong = [
        (leaf, index, [*proof, leaf]),
        (merkle.leaf_hash(b"other"), index, proof),
        (leaf, size, proof),
        (leaf, -1, proof),
    ]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
        wrong += [
            (leaf, index, proof[:-1]),
            (leaf, index, [*proof[:place], flipped, *proof[place + 1 :]]),
            (leaf, index, [*proof[:place], flipped[:-1], *proof[place + 1 :]]),
            (leaf, index ^ 1, proof),
        ]
    for hashed, at, path in wrong:
        with pytest.raises(EvidenceError):
            merkle.verify_inclusion(hashed, at, size, path, root)


@given(st.integers(1, SIZE_LIMIT), st.data())
def test_a_changed_consistency_proof_is_refused(new: int, data: st.DataObject) -> None:
    """Another history of the same length, or a proof a hash longer or shorter, does not verify."""
    old = data.draw(st.integers(1, new))
    old_root, new_root = merkle.root(old, TREE.read), merkle.root(new, TREE.read)
    proof = merkle.consistency_proof(old, new, TREE.read)
    other = merkle.leaf_hash(b"other")
    for before, after, path in [
        (other, new_root, proof),
        (old_root, other, proof),
        (old_root, new_root, [*proof, other]),
        (old_root, new_root, proof[:-1] if proof else [other]),
    ]:
        with pytest.raises(EvidenceError):
            merkle.verify_consistency(old, new, before, after, path)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_sizes_that_make_no_sense_are_refused(old: int, new: int) -> None:
    """Sizes out of order are an error of the caller when proving, of the evidence when verifying."""
    with pytest.raises(ValueError, match="consistency"):
        merkle.consistency_proof(old, new, TREE.read)
    with pytest.raises(EvidenceError):
        merkle.verify_consistency(old, new, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_proof(3, 3, TREE.read)
