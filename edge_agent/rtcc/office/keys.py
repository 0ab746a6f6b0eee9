"""The RTCC's keys: how each is made, written, read and named.

Owns the form of the files of an RTCC's home (JSON, PKCS#8 PEM, age identities; mode 0600, with or without a
passphrase). ``home``, ``roots`` and ``people`` name the keys and their uses. Must never print or log
a private key.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edge_agent.custody.keys import read_guarded
from edge_agent.errors import CustodyError
from edge_agent.host.atomic_file import write_new_file, write_small_file
from edge_agent.protocol.public_keys import thumbprint

SigningKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_PRIVATE = 0o077
"""Bits of a file's mode that must be off: group and others."""
MIN_PASSPHRASE_BYTES = 12


def make_id() -> str:
    """Return 22 random letters of base64url (128 bits): safe in a topic, in a file name and on a command line."""
    while True:
        text = secrets.token_urlsafe(16)
        # A word that begins with a hyphen would be taken for an option.
        if text[0].isalnum():
            return text


def generate_signing_key() -> Ed25519PrivateKey:
    """Make a key for a person or an offline root, with a thumbprint that a person can type: see ``make_id``."""
    while True:
        key = Ed25519PrivateKey.generate()
        if thumbprint(key.public_key())[0].isalnum():
            return key


def generate_tls_key() -> ec.EllipticCurvePrivateKey:
    """Make a key for a certificate: P-256, which every TLS stack knows."""
    return ec.generate_private_key(ec.SECP256R1())


def write_private_key(path: Path, key: SigningKey, passphrase: bytes | None) -> None:
    """Write a new key file of mode 0600; CustodyError if one is there already."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def load_signing_key(path: Path, passphrase: bytes | None) -> SigningKey:
    """Read an Ed25519 or P-256 key.

    Raises:
        CustodyError: Missing, readable by others, of another kind, or the passphrase is missing or wrong.
    """
    pem = read_guarded(path, _PRIVATE)
    # RFC 7468, 11: the label of an encrypted PKCS#8 key.
    encrypted = b"ENCRYPTED" in pem
    if encrypted and passphrase is None:
        raise CustodyError(f"key is encrypted: {path}", "give --passphrase-file")
    try:
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError) as error:
        raise CustodyError(f"key cannot be read, or the passphrase is wrong: {path}") from error
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise CustodyError(f"key is of the wrong kind: {path}")
    return key


def kid_of(key: SigningKey) -> str:
    """Return the RFC 7638 thumbprint of the public half."""
    return thumbprint(key.public_key())


def write_age_identity(path: Path, passphrase: bytes | None) -> str:
    """Make an age identity, write it in the form of ``age-keygen``, and return its recipient (``age1…``).

    With a passphrase the file is itself an age file, which ``age --decrypt --identity`` opens as well.
    """
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# public key: {recipient}\n{identity}\n".encode()
    write_new(path, pyrage.passphrase.encrypt(text, passphrase.decode()) if passphrase else text)
    return recipient


def load_age_identity(path: Path, passphrase: bytes | None) -> str:
    """Read an age identity (``AGE-SECRET-KEY-1…``).

    Raises:
        CustodyError: Missing, readable by others, without an identity, or the passphrase is missing or wrong.
    """
    text = read_guarded(path, _PRIVATE)
    if text.startswith(b"age-encryption.org/"):
        if passphrase is None:
            raise CustodyError(f"age identity is encrypted: {path}", "give --passphrase-file")
        try:
            text = pyrage.passphrase.decrypt(text, passphrase.decode())
        except pyrage.DecryptError as error:
            raise CustodyError(f"passphrase does not open the age identity: {path}") from error
    for line in text.decode(errors="replace").splitlines():
        if line.startswith("AGE-SECRET-KEY-1"):
            return line.strip()
    raise CustodyError(f"no age identity in the file: {path}")


def read_passphrase(path: Path | None) -> bytes | None:
    """Read the first line of a passphrase file; None if there is no file.

    Raises:
        CustodyError: The file is readable by others, or its first line is too short.
    """
    if path is None:
        return None
    lines = read_guarded(path, _PRIVATE).splitlines()
    if not lines or len(lines[0]) < MIN_PASSPHRASE_BYTES:
        raise CustodyError(f"passphrase is shorter than {MIN_PASSPHRASE_BYTES} bytes: {path}")
    return lines[0]


def write_new(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that was not there before, durably.

    Raises:
        CustodyError: It is there: a key is never overwritten.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new_file(path, content, 0o600)
    except FileExistsError:
        raise CustodyError(f"file is there already and is not overwritten: {path}") from None


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_small_file(path, content, mode=0o600)


def encode_json(value: Any) -> bytes:
    """Write a value as the JSON of our own files: indented, sorted, one line's end at the end."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
