"""Uploads in an S3-compatible store, as ``city/uploads`` leaves them there (docs/adr/0071), for the RTCC to read.

Owns where a payload is in a bucket. ``edge_agent.rtcc.deliveries`` judges its content by its signed digest:
nothing that the store says is believed.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from obstore.store import S3Store

from edge_agent.errors import ConfigError, EvidenceError, UnavailableError

_BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{2,62})/?")
_OBJECT = re.compile(r"uploads/[A-Za-z0-9_-]{1,64}/[0-9a-f]{32}")
_PIECE_BYTES = 8 << 20
_SILENT_S, _WHOLE_S = 30, 3600
"""How long the store may say nothing, and how long one payload may take: obstore's own limit is for all of it."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class ObjectStore:
    """A bucket, opened with the variables of AWS: ``AWS_ENDPOINT_URL``, ``AWS_REGION`` and the two of the key.

    Args:
        url: ``s3://BUCKET``.
        variables: The environment.

    Raises:
        ConfigError: It is no such URL.
    """

    def __init__(self, url: str, variables: Mapping[str, str] = os.environ) -> None:
        match = _BUCKET.fullmatch(url)
        if match is None:
            raise ConfigError(f"not a bucket: {url[:80]!r}", "s3://BUCKET")
        endpoint = variables.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {
            "access_key_id": variables.get("AWS_ACCESS_KEY_ID"),
            "secret_access_key": variables.get("AWS_SECRET_ACCESS_KEY"),
            "region": variables.get("AWS_REGION", "us-east-1"),
            "endpoint": endpoint,
        }
        self._store = S3Store(
            match["bucket"],
            **{name: value for name, value in options.items() if value},
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "connect_timeout": f"{_SILENT_S}s", "read_timeout": f"{_SILENT_S}s", "timeout": f"{_WHOLE_S}s",
            },
        )  # fmt: skip

    def find(self, gateway: str, upload: str) -> str | None:
        """Return the key of a payload that was received whole; None while it is not there.

        Raises:
            UnavailableError: The store does not answer.
            EvidenceError: Its note is not one of ours.
        """
        raw = self.read(f"received/{gateway}/{upload}.json")
        if raw is None:
            return None
        try:
            key = str(json.loads(raw)["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError(f"store has a note that is none: upload={upload}") from error
        # A store that was taken over must not lead us to another gateway's object, or out of its
        # folder.
        if not _OBJECT.fullmatch(key) or not key.startswith(f"uploads/{gateway}/"):
            raise EvidenceError(f"store has a note that leads elsewhere: upload={upload}")
        return key

    def fetch(self, gateway: str, upload: str, into: Path) -> bool:
        """Write a payload to ``into/GATEWAY/UPLOAD``, as the embedded receiver keeps it; False if it is not there.

        Raises:
            UnavailableError: The store does not answer.
            EvidenceError: Its note is not one of ours, or its payload is gone.
            OSError: It cannot be written here.
        """
        key = self.find(gateway, upload)
        if key is None:
            return False
        (into / gateway).mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(into / gateway / upload, _NEW, 0o600), "wb") as file:
            for piece in self._pieces(key):
                file.write(piece)
        return True

    def _pieces(self, key: str) -> Iterator[Any]:
        """Yield a payload. Only the store can fail in here; the caller's own disk fails outside of this generator."""
        try:
            yield from self._store.get(key).stream(min_chunk_size=_PIECE_BYTES)
        except FileNotFoundError as error:
            raise EvidenceError(f"store has a note of a payload that is gone: object={key}") from error
        except Exception as error:
            raise _away(error) from error

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix.

        Raises:
            UnavailableError: The store does not answer.
        """
        try:
            return [each["path"] for page in self._store.list(prefix) for each in page]
        except Exception as error:
            raise _away(error) from error

    def read(self, key: str) -> bytes | None:
        """Return a small object; None if it is not there.

        Raises:
            UnavailableError: The store does not answer.
        """
        try:
            return bytes(self._store.get(key).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _away(error) from error


def _away(error: Exception) -> UnavailableError:
    # obstore's texts name host, bucket and key, and no secret.
    return UnavailableError(f"object store does not answer: {str(error)[:200]}", "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID")
