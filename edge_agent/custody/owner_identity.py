"""The owner's own age identity: opens every bundle that leaves, as the RTCC's key does.

Owns ``keys/owner.age``, an age file under the owner's passphrase with an identity in it as ``age-keygen`` writes one:
``age -d -i owner.age`` opens a bundle without this program. And its public half, to which every bundle is sealed.
The releaser reads the public half only. The file is written by hand, because ``pyrage`` takes as much memory for the
passphrase as this machine's speed suggests: 1 GiB where it is fast.
"""

import base64
import os
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edge_agent.custody.keys import read_guarded
from edge_agent.errors import CustodyError, UsageError

IDENTITY_NAME = "owner.age"

# 128 MiB per guess, and as much work as for `owner.pem`, which the same passphrase opens; `age` takes up to 22.
_LOG_N = 17
_CHUNK_BYTES = 64 * 1024


def identity_path(state_dir: Path) -> Path:
    """Return the path of the owner's identity, which is encrypted."""
    return state_dir / "keys" / IDENTITY_NAME


def recipient_path(state_dir: Path) -> Path:
    """Return the path of its public half: one line, ``age1…``."""
    return state_dir / "keys" / "public" / f"{IDENTITY_NAME}.pub"


def make_identity(passphrase: str) -> tuple[bytes, str]:
    """Make an identity; return the encrypted file's content and the public half."""
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# public key: {recipient}\n{identity}\n"
    return encrypt_under_passphrase(text.encode(), passphrase), recipient


def encrypt_under_passphrase(content: bytes, passphrase: str) -> bytes:
    """Write an age file with one ``scrypt`` stanza (C2SP ``age``)."""
    file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    label = b"age-encryption.org/v1/scrypt"
    wrapping = Scrypt(salt=label + salt, length=32, n=1 << _LOG_N, r=8, p=1).derive(passphrase.encode())
    # C2SP age: a zero nonce is safe, for the wrapping key of a fresh salt is used once.
    wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    header = b"age-encryption.org/v1\n-> scrypt %s %d\n%s\n---" % (_encode(salt), _LOG_N, _encode(wrapped))
    mac = HMAC(_derive(file_key, None, b"header"), SHA256())
    mac.update(header)
    sealer = ChaCha20Poly1305(_derive(file_key, nonce, b"payload"))
    # The nonce of STREAM: the chunk's number, and the mark of the last chunk. Only an empty file has an empty chunk.
    starts = range(0, len(content) or 1, _CHUNK_BYTES)
    last = starts[-1]
    chunks = [
        sealer.encrypt(number.to_bytes(11) + bytes([start == last]), content[start : start + _CHUNK_BYTES], None)
        for number, start in enumerate(starts)
    ]
    return b"".join([header, b" ", _encode(mac.finalize()), b"\n", nonce, *chunks])


def _derive(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=info).derive(secret)


def _encode(raw: bytes) -> bytes:
    return base64.b64encode(raw).rstrip(b"=")


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
        where: Its name in an error: the option, or the file.

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
