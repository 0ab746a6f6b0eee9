"""Pictures of own footage, for commands that show some. No command of its own."""

import os
from pathlib import Path
from typing import Any

from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.control_socket import stream
from edge_agent.settings.gateway import Config

_TIMEOUT_S = 120.0


def fetch_pictures(config: Config, signed: str, **wish: Any) -> list[tuple[str, bytes]]:
    """Have the releaser make pictures under a signed order; they come through memory, and each has its time."""
    # A file without a name: no picture lies on a disk unless the owner writes it there.
    with os.fdopen(os.memfd_create("look", os.MFD_CLOEXEC), "r+b") as file:
        path = config.control_path("releaser")
        *_, answer = stream(path, "look", timeout_s=_TIMEOUT_S, fd=file.fileno(), jws=signed, **wish)
        file.seek(0)
        pictures = [(str(each["at"]), file.read(each["size"])) for each in answer["pictures"]]
        if any(len(image) != each["size"] for (_, image), each in zip(pictures, answer["pictures"], strict=True)):
            raise UnavailableError("a picture is cut")
        return pictures


def write_picture(path: Path, image: bytes) -> None:
    """Write a picture for its owner alone (mode 0600); UsageError if there is such a file or it cannot be made."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(image)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
