"""A private key under a passphrase, as a standard file: PKCS#8 with PBES2, scrypt and AES-256-CBC (RFC 5958, 7914).

Owns the strength of a passphrase and the writing of the file; reading it is left to ``cryptography``, which
knows the format (``openssl pkey`` does as well). Written by hand because ``cryptography`` can only write PBKDF2
with 20,000 rounds, which a graphics card tries a million times a second. Opens no file.
"""

import os
from base64 import encodebytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.errors import CustodyError

MIN_CHARACTERS = 12
MIN_DISTINCT = 6

# 16 MiB per guess, the most that `openssl pkey` still opens by default; p=8 makes up for it in time: 0.2 s on a
# laptop, about 1 s on a Raspberry Pi 4.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 14, 8, 8

# DER of the object identifiers: PBES2 (RFC 8018, A.4), scrypt (RFC 7914, 7), AES-256-CBC (RFC 8018,
# B.2.5).
_OID_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_OID_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_OID_AES256_CBC = bytes.fromhex("060960864801650304012a")


def check_strength(passphrase: str) -> None:
    """Refuse a passphrase that a thief would guess.

    Raises:
        CustodyError: Shorter than twelve characters, or fewer than six different ones. No rules about digits and
            signs: they make passphrases worse.
    """
    if len(passphrase) < MIN_CHARACTERS or len(set(passphrase)) < MIN_DISTINCT:
        raise CustodyError(
            f"passphrase is too weak: it needs {MIN_CHARACTERS} characters, {MIN_DISTINCT} of them different",
            "five or six words picked by chance are easy to keep and hard to guess",
        )


def encode_encrypted(key: Ed25519PrivateKey, passphrase: str) -> bytes:
    """Encrypt a private key under a passphrase.

    Returns:
        PEM, ``ENCRYPTED PRIVATE KEY``.

    Raises:
        CustodyError: The passphrase is too weak.
    """
    check_strength(passphrase)
    salt, vector = os.urandom(16), os.urandom(16)
    secret = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase.encode())
    padder = PKCS7(128).padder()
    plain = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(secret), modes.CBC(vector)).encryptor()
    body = encryptor.update(plain) + encryptor.finalize()
    limits = _integer(_SCRYPT_N) + _integer(_SCRYPT_R) + _integer(_SCRYPT_P)
    derivation = _sequence(_OID_SCRYPT + _sequence(_octets(salt) + limits))
    scheme = _sequence(_OID_PBES2 + _sequence(derivation + _sequence(_OID_AES256_CBC + _octets(vector))))
    return _pem(_sequence(scheme + _octets(body)))


def _pem(der: bytes) -> bytes:
    label = b"ENCRYPTED PRIVATE KEY"
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, encodebytes(der), label)


def _sequence(body: bytes) -> bytes:
    return b"\x30" + _length(body) + body


def _octets(body: bytes) -> bytes:
    return b"\x04" + _length(body) + body


def _integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1)  # one bit more than needed: DER integers are signed
    return b"\x02" + _length(body) + body


def _length(body: bytes) -> bytes:
    if len(body) < 128:
        return bytes([len(body)])
    return bytes([0x81, len(body)]) if len(body) < 256 else b"\x82" + len(body).to_bytes(2)
