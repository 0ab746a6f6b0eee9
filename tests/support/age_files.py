"""age files made by hand, right and wrong ones: the cases of age's own test kit, from a generator of ours."""

import base64
import hmac
import os
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 64 << 10
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def b64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt or None, info).derive(secret)


def identity_of(key: X25519PrivateKey) -> str:
    """Write ``AGE-SECRET-KEY-1…`` (Bech32, BIP 173)."""
    bits = int.from_bytes(key.private_bytes_raw(), "big") << 4
    data = [bits >> 5 * at & 31 for at in reversed(range(52))]
    human = "age-secret-key-"
    expanded = [ord(each) >> 5 for each in human] + [0] + [ord(each) & 31 for each in human]
    check = _polymod(expanded + data + [0] * 6) ^ 1
    data += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return (human + "1" + "".join(_CHARSET[each] for each in data)).upper()


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> at & 1 else 0
    return check


@dataclass(frozen=True)
class Draft:
    """An age file before its MAC is made: what a case changes."""

    key: X25519PrivateKey
    lines: tuple[bytes, ...]
    """Between the first line and the MAC."""
    file_key: bytes
    plain: bytes
    intro: bytes = b"age-encryption.org/v1"
    end: bytes = b"\n"
    mac_flip: int = 0
    spare: int = 0
    """Spare bits of the MAC's base64."""

    def encode(self) -> bytes:
        head = b"\n".join((self.intro, *self.lines, b"---"))
        mac = bytearray(hmac.digest(derive(self.file_key, b"", b"header"), head, "sha256"))
        mac[0] ^= self.mac_flip
        return head + b" " + _spare(b64(bytes(mac)), self.spare) + self.end + self.payload()

    def payload(self) -> bytes:
        nonce = os.urandom(16)
        cipher = ChaCha20Poly1305(derive(self.file_key, nonce, b"payload"))
        chunks = [self.plain[at : at + CHUNK] for at in range(0, len(self.plain), CHUNK)] or [b""]
        sealed = [
            cipher.encrypt(number.to_bytes(11, "big") + bytes([number == len(chunks) - 1]), chunk, None)
            for number, chunk in enumerate(chunks)
        ]
        return nonce + b"".join(sealed)


def _spare(text: bytes, bits: int) -> bytes:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | bits :][:1]


def draft(key: X25519PrivateKey | None = None, plain: bytes = b"age\n", extra: tuple[bytes, ...] = ()) -> Draft:
    """Seal to one X25519 key; ``extra`` are lines of stanzas behind its own."""
    key = key or X25519PrivateKey.generate()
    ephemeral, file_key = X25519PrivateKey.generate(), os.urandom(16)
    share, public = ephemeral.public_key().public_bytes_raw(), key.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    wrap = derive(shared, share + public, b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
    return Draft(key, (b"-> X25519 " + b64(share), b64(body), *extra), file_key, plain)


FULL = b64(bytes(48))
"""A full line of a body: 64 letters."""

GOOD = {
    "one recipient": draft,
    "an unknown stanza behind it": lambda: draft(extra=(b"-> grease arg two", b64(b"some body"))),
    "an unknown stanza with an empty body": lambda: draft(extra=(b"-> empty", b"")),
    "a body of one full line and an empty one": lambda: draft(extra=(b"-> stanza", FULL, b"")),
    "a body of a full and a short line": lambda: draft(extra=(b"-> stanza", FULL, b64(b"rest"))),
    "nothing inside": lambda: draft(plain=b""),
    "exactly one chunk": lambda: draft(plain=bytes(CHUNK)),
    "a chunk and a byte": lambda: draft(plain=bytes(CHUNK + 1)),
}


def _edit(change):
    def make() -> Draft:
        made = draft()
        return replace(made, **change(made))

    return make


def _alter_payload(change):
    return lambda: change(draft(plain=bytes(CHUNK + 10)).encode())


BAD = {
    "stanza_missing_body": lambda: draft(extra=(b"-> stanza",)),
    "stanza_missing_final_line": lambda: draft(extra=(b"-> stanza", FULL)),
    "stanza_long_line": lambda: draft(extra=(b"-> stanza", FULL + b"AA", b"")),
    "stanza_multiple_short_lines": lambda: draft(extra=(b"-> stanza", b"AAAA", b"AAAA")),
    "stanza_no_arguments": lambda: draft(extra=(b"->", b"")),
    "stanza_empty_argument": lambda: draft(extra=(b"-> ", b"")),
    "stanza_two_blanks": lambda: draft(extra=(b"-> a  b", b"")),
    "stanza_spurious_cr": lambda: draft(extra=(b"-> stanza\r", b"")),
    "stanza_invalid_character": lambda: draft(extra=(b"-> stanza \x00", b"")),
    "stanza_not_canonical": lambda: draft(extra=(b"-> stanza", b"AAB")),
    "stanza_padding": lambda: draft(extra=(b"-> stanza", b"AAA=")),
    "stanza_bad_start": lambda: draft(extra=(b"=> stanza", b"")),
    "no_stanzas": _edit(lambda made: {"lines": ()}),
    "version_unsupported": _edit(lambda made: {"intro": b"age-encryption.org/v2"}),
    "header_crlf": _edit(lambda made: {"intro": b"age-encryption.org/v1\r"}),
    "hmac_bad": _edit(lambda made: {"mac_flip": 1}),
    "hmac_not_canonical": _edit(lambda made: {"spare": 1}),
    "hmac_extra_space": _edit(lambda made: {"end": b" \n"}),
    "x25519_extra_argument": _edit(lambda made: {"lines": (made.lines[0] + b" more", made.lines[1])}),
    "x25519_short_share": _edit(lambda made: {"lines": (made.lines[0][:-2], made.lines[1])}),
    "x25519_not_canonical_body": _edit(lambda made: {"lines": (made.lines[0], _spare(made.lines[1], 1))}),
    "x25519_low_order": _edit(lambda made: {"lines": (b"-> X25519 " + b64(bytes(32)), made.lines[1])}),
    "x25519_identity_other": lambda: replace(draft(), key=X25519PrivateKey.generate()),
    "payload_no_nonce": _alter_payload(lambda raw: raw[: raw.index(b"\n", raw.index(b"\n---") + 1) + 1]),
    "payload_cut_in_chunk": _alter_payload(lambda raw: raw[:-5]),
    "payload_cut_at_chunk": _alter_payload(lambda raw: raw[: -26]),
    "payload_trailing": _alter_payload(lambda raw: raw + b"x"),
    "payload_altered": _alter_payload(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    "empty": lambda: b"",
}  # fmt: skip
"""By the names that the kit has for them, and more of their kind."""
