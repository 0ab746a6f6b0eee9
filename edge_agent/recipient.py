"""The owner's own age identity: opens every bundle that leaves, as the RTCC's key does.

Owns ``keys/owner.age``, an age file under the owner's passphrase with an identity in it as ``age-keygen`` writes one:
``age -d -i owner.age`` opens a bundle without this program. And its public half, to which every bundle is sealed.
The releaser reads the public half only. The file is written by hand, because ``pyrage`` takes as much memory for the
passphrase as this machine's speed suggests: 1 GiB where it is fast.
"""

import os
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edge_agent import age
from edge_agent.errors import CustodyError, UsageError
from edge_agent.keys import read_guarded

IDENTITY_NAME = "owner.age"

# 128 MiB per guess, and as much work as for `owner.pem`, which the same passphrase opens; `age` takes up to 22.
_LOG_N = 17
_SCRYPT_LABEL = b"age-encryption.org/v1/scrypt"


def identity_path(state_dir: Path) -> Path:
    """Return where the owner's identity lies, encrypted."""
    return state_dir / "keys" / IDENTITY_NAME


def recipient_path(state_dir: Path) -> Path:
    """Return where its public half lies: one line, ``age1…``."""
    return state_dir / "keys" / "public" / f"{IDENTITY_NAME}.pub"


def make_identity(passphrase: str) -> tuple[bytes, str]:
    """Make an identity; return the encrypted file's content and the public half."""
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# public key: {recipient}\n{identity}\n"
    return _encrypt(text.encode(), passphrase), recipient


def _encrypt(text: bytes, passphrase: str) -> bytes:
    """Write an age file with one ``scrypt`` stanza and one chunk."""
    file_key, salt = age.generate_file_key(), os.urandom(16)
    key = Scrypt(salt=_SCRYPT_LABEL + salt, length=32, n=1 << _LOG_N, r=8, p=1).derive(passphrase.encode())
    stanza = age.encode_stanza(("scrypt", age.encode(salt), str(_LOG_N)), age.wrap(key, file_key))
    cipher, sealed = age.PayloadCipher(file_key), bytearray(len(text) + age.TAG_BYTES)
    cipher.encrypt_into(text, memoryview(sealed), is_last=True)
    return age.encode_header(file_key, [stanza]) + cipher.nonce + sealed


def open_identity(state_dir: Path, passphrase: str) -> str:
    """Decrypt the owner's identity and return its public half.

    Raises:
        CustodyError: Missing, open to others, no such file, or the passphrase is wrong.
    """
    path = identity_path(state_dir)
    try:
        text = pyrage.passphrase.decrypt(read_guarded(path, forbidden=0o077), passphrase).decode()
        (secret,) = [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-1")]
        return str(pyrage.x25519.Identity.from_str(secret).to_public())
    except (pyrage.DecryptError, pyrage.IdentityError, ValueError) as error:
        raise CustodyError(f"passphrase does not open the owner's age identity: {path}") from error


def load_recipient(state_dir: Path) -> str:
    """Return the public half of the owner's identity: a pin, which nobody else may write.

    Raises:
        CustodyError: Missing, writable by others, or no age public key.
    """
    path = recipient_path(state_dir)
    text = read_guarded(path, forbidden=0o022).decode(errors="replace").strip()
    try:
        return str(pyrage.x25519.Recipient.from_str(text))
    except pyrage.RecipientError as error:
        raise CustodyError(f"not an age public key: {path}") from error


def parse_recipients(text: str, where: str) -> list[str]:
    """Return the age keys in a text: one a line, ``#`` begins a remark, as ``age -R`` reads it.

    Args:
        text: The lines.
        where: What to call it in an error: the option, or the file.

    Raises:
        UsageError: A line is no X25519 key of age.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        try:
            found.append(str(pyrage.x25519.Recipient.from_str(key)))
        except pyrage.RecipientError as error:
            hint = "one that begins with age1, as `age-keygen` prints it; SSH keys and plugins are not taken"
            raise UsageError(f"{where}:{number}: not an age public key: {key[:32]!r}", hint) from error
    return found
