"""A second reader of ring files, written from docs/FORMAT.md alone: it imports nothing of the program.

python tests/support/plain_reader.py RING VAULT_PRIVATE_HEX OUT_DIR      writes every record's payload into a file
"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u(raw, at, size):
    return int.from_bytes(raw[at : at + size], "little")


def whole(raw, magic):  # FORMAT 2, 3: magic, checksum, version
    return raw.startswith(magic) and sha(raw[:4064]) == raw[4064:] and u(raw, len(magic), 2) == 1


def read_ring(ring, vault):
    """Yield (seq, index, kind, start_ns, payload) of every record that a ring file holds, oldest first."""
    superblock = next(raw for raw in (ring[:4096], ring[4096:8192]) if whole(raw, b"EDGERING"))
    blocks, block_bytes, ring_id = u(superblock, 12, 4), u(superblock, 16, 8), superblock[32:48]
    recorder = Ed25519PublicKey.from_public_bytes(superblock[88:120])
    recorder.verify(superblock[256:320], b"edge-agent/v1 superblock" + superblock[:256])
    pages = {}
    for slot in range(blocks):
        page = ring[(2 + slot) * 4096 : (3 + slot) * 4096]
        if whole(page, b"EPAG") and page[8:24] == ring_id:
            recorder.verify(page[384:448], b"edge-agent/v1 page" + page[:384])
            pages[u(page, 24, 8)] = page
    for seq, page in sorted(pages.items()):
        if u(page, 6, 2) & 1:  # FORMAT 3.3, tombstone
            continue
        info = b"edge-agent/v1 block key" + ring_id + seq.to_bytes(8, "little")
        key = ChaCha20Poly1305(SUITE.decrypt(page[176:256], vault, info=info))
        base = (2 + blocks) * 4096 + seq % blocks * block_bytes
        chain, at, index = sha(b"edge-agent/v1 block", page[:384]), 0, 0
        following = pages.get(seq + 1)
        limit = u(following, 96, 8) if following else block_bytes
        while at < limit:
            header = ring[base + at : base + at + 128]
            if header[:5] != b"EREC\1" or zlib.crc32(header[:124]) != u(header, 124, 4):
                break
            if (u(header, 8, 8), u(header, 16, 4), header[48:80]) != (seq, index, chain):
                break
            length = u(header, 20, 4)
            body = ring[base + at + 128 : base + at + 144 + length]
            if ring[base + at + 144 + length : base + at + 176 + length] != sha(body):
                break
            aad = b"edge-agent/v1 record" + ring_id + header
            payload = key.decrypt(index.to_bytes(12, "little"), body, aad)
            yield seq, index, header[5], struct.unpack_from("<q", header, 24)[0], payload
            chain = sha(chain, sha(header, sha(body)))
            at += -(-(176 + length) // 4096) * 4096
            index += 1
        if following and chain != following[128:160]:
            raise ValueError(f"block {seq} does not end as block {seq + 1} says")


if __name__ == "__main__":
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[2]))
    for number, index, kind, start, data in read_ring(Path(sys.argv[1]).read_bytes(), private):
        Path(sys.argv[3], f"{number}-{index}-{kind}").write_bytes(data)
        print(number, index, kind, start, len(data))
