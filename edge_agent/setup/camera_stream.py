"""The address of a configured camera's stream, for a command that opens a session of its own beside the recorder's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.status import StreamStatus
from edge_agent.custody.credentials import load_logins
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.recording.stream_addresses import Sources
from edge_agent.settings.gateway import Config, QualityName


@contextmanager
def find_endpoint(config: Config, name: str) -> Iterator[Endpoint]:
    """Give a stream's endpoint for the time of the block; a pinned certificate is fetched, and kept for as long.

    Args:
        config: Of the gateway.
        name: ``door``, or ``door.sub`` for its substream.

    Raises:
        CaptureError: The camera does not say where its stream is, or shows another certificate.
        ConfigError: The credentials cannot be read.
        UsageError: There is no such camera, or it has no substream.
    """
    camera_id, _, given = name.partition(".")
    camera = config.demand_camera(camera_id)
    quality: QualityName = "sub" if given == "sub" else "main"
    if given not in ("", "main", "sub") or (quality == "sub" and camera.sub is None):
        raise UsageError(f"no such stream: {name[:64]}", "a camera (door), or its substream (door.sub)")
    with TemporaryDirectory() as folder:
        sources = Sources(load_logins(config.credentials_file), Path(folder), threading.Event())
        status = StreamStatus(SystemClock())
        yield sources.resolver(camera, quality, lambda: status)()
