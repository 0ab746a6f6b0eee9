"""The address of each camera's streams: from its URL, or asked of it by ONVIF; with login and trusted certificate.

Part of the recorder process. Holds the cameras' passwords.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.capture.camera_tls import Trust, pin_trust
from edge_agent.capture.onvif.query import OnvifDevice, OnvifStream, StreamFinder, find_stream
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import OPEN_TIMEOUT_S, Endpoint
from edge_agent.capture.session.reader_choice import AUTO
from edge_agent.capture.status import StreamStatus
from edge_agent.custody.credentials import Login, find_login
from edge_agent.errors import ConfigError
from edge_agent.recording.reader_memory import ReaderMemory
from edge_agent.settings.gateway import Camera, QualityName
from edge_agent.units import MINUTE_NS, SECOND_NS


def make_device(camera: Camera, login: Login | None) -> OnvifDevice:
    """Return the ONVIF service of a camera that has one, with its login and the trust in its certificate."""
    assert camera.onvif is not None
    ca_file = camera.tls.ca_file if camera.tls is not None else None
    pin = camera.tls.pin if camera.tls is not None else None
    username, password = (login.username, login.password) if login is not None else ("", "")
    return OnvifDevice(camera.onvif, username, password, str(ca_file or ""), pin or "")


class Sources:
    """Finds streams.

    Args:
        logins: The cameras' credentials by name.
        folder: Where pinned certificates are kept.
        stop: Ends a question to a camera.
        readers: Which streams needed FFmpeg before; None if that does not matter.
    """

    def __init__(
        self, logins: Mapping[str, Login], folder: Path, stop: threading.Event, readers: ReaderMemory | None = None
    ) -> None:
        self._logins, self._folder, self._stop, self._readers = logins, folder, stop, readers

    def change(self, logins: Mapping[str, Login]) -> None:
        """Take over changed credentials; each counts from the next session on."""
        self._logins = logins

    def resolver(
        self, camera: Camera, quality: QualityName, status: Callable[[], StreamStatus]
    ) -> Callable[[], Endpoint]:
        """Return a function that finds a stream before each attempt to open it; it raises ``CaptureError``.

        Args:
            camera: The stream's camera.
            quality: Its main stream or its substream.
            status: Returns the stream's status, once its thread runs.
        """
        url = camera.url if quality == "main" or camera.sub is None else camera.sub.url
        find_url = self._make_finder(camera, quality, status).url if url is None else lambda: url
        return lambda: self._endpoint(camera, quality, find_url())

    def onvif_device(self, camera: Camera) -> OnvifDevice:
        """Return a camera's ONVIF service and login; CaptureError if the login is missing."""
        return make_device(camera, self._login_of(camera))

    def _make_finder(self, camera: Camera, quality: QualityName, status: Callable[[], StreamStatus]) -> StreamFinder:
        profile = camera.profile if quality == "main" or camera.sub is None else camera.sub.profile or "sub"

        def find() -> OnvifStream:
            return find_stream(self.onvif_device(camera), profile, camera.transport, self._stop)

        return StreamFinder(
            f"{camera.id}.{quality}",
            find,
            progress=lambda: status().snapshot().get("last_record_ns"),
            told=lambda facts: status().note(**facts),
        )

    def _login_of(self, camera: Camera) -> Login | None:
        try:
            return find_login(self._logins, camera.credentials)
        except ConfigError as error:
            raise CaptureError("no-credentials", f"name={camera.credentials}") from error

    def _endpoint(self, camera: Camera, quality: QualityName, url: str) -> Endpoint:
        login = self._login_of(camera)
        return Endpoint(
            url=url,
            username=login.username if login else "",
            password=login.password if login else "",
            transport=camera.transport,
            reader=camera.reader,
            known_reader=self._recall_reader(camera, quality),
            audio=camera.audio,
            trust=self._trust_of(camera, url),
            open_timeout_s=open_timeout_ns(camera) / SECOND_NS,
            is_patient=sleeps_between_events(camera),  # an attempt may wake the camera
        )

    def _recall_reader(self, camera: Camera, quality: QualityName) -> str:
        if camera.reader != AUTO or self._readers is None:
            return ""
        return self._readers.recall(f"{camera.id}.{quality}", camera.address(quality))

    def _trust_of(self, camera: Camera, url: str) -> Trust | None:
        # The `tls` of an ONVIF camera is for its service as well: the stream that it names may be plain RTSP.
        if camera.tls is None or not url.startswith("rtsps://"):
            return None
        if camera.tls.pin is not None:
            return pin_trust(url, camera.tls.pin, self._folder)
        assert camera.tls.ca_file is not None
        return Trust(camera.tls.ca_file)


def open_timeout_ns(camera: Camera) -> int:
    """Return how long a session may take to open: an event has to wake most bridges first."""
    usual_ns = MINUTE_NS if camera.record == "on_event" else int(OPEN_TIMEOUT_S * SECOND_NS)
    return usual_ns if camera.open_timeout_ns is None else camera.open_timeout_ns


def sleeps_between_events(camera: Camera) -> bool:
    """Tell whether no session stays open between events: a motion trigger has to see the pictures."""
    return camera.record == "on_event" and not any(each.kind == "motion" for each in camera.triggers)
