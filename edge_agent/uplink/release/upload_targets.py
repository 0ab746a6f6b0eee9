"""Carries payloads to the upload targets of the enrolment, and to nowhere else."""

import ssl
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from edge_agent.errors import DeliveryError, UploadLostError, UploadRefusedError, UploadStoppedError
from edge_agent.host.clock import Clock
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.settings.gateway import Config
from edge_agent.units import SECOND_NS, MonoNs
from edge_agent.uplink.release.staging import Staging
from edge_agent.uplink.release.tus import TusUploader, UploadWatch
from edge_agent.uplink.store.releases import StoredRelease

_ASK_EVERY_NS = SECOND_NS // 20
"""Between two looks into SQLite for a withdrawal, while pieces are sent."""


class UploadTargets:
    """Uploads staged payloads by tus.

    Args:
        enrolment: Names the targets: a request says a name, never a URL.
        make_context: Returns mutual TLS for one connection, with the certificate that counts then.
        staging: Where payloads lie.
        clock: For deadlines.
        rate_bytes_s: Upper limit of bytes per second; None for none.
        is_allowed_now: Tells whether the owner's hours for uploads allow one now.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        make_context: Callable[[], ssl.SSLContext],
        staging: Staging,
        clock: Clock,
        rate_bytes_s: int | None,
        is_allowed_now: Callable[[], bool],
    ) -> None:
        self._enrolment = enrolment
        self._make_context = make_context
        self._staging = staging
        self._clock = clock
        self._rate_bytes_s = rate_bytes_s
        self._is_allowed_now = is_allowed_now

    def upload(
        self,
        release: StoredRelease,
        target: str,
        remember: Callable[[str], None],
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Go on where it stopped; True when the last byte is there, False if ``should_stop`` ended it.

        Raises:
            UploadRefusedError: No such target, or the server will never take it.
            PayloadLostError: The staged payload is not there any more, or not whole.
            DeliveryError: Outside of the hours, or interrupted; trying again may mend it.
        """
        uploader = self._open(target)
        # Before the file is opened, and again while it is sent: the hours may end in between.
        if not self._is_allowed_now():
            raise DeliveryError("uploads wait for the hours that uplink.upload_hours allows")
        metadata = {"filename": release.file, "sha256": release.bundle.sha256}
        try:
            with self._staging.open(release.file, release.bundle.size) as file:
                uploader.upload(
                    file,
                    release.bundle.size,
                    metadata,
                    upload_url=release.upload_url or None,
                    save_url=remember,
                    watch=UploadWatch(
                        on_progress, self._now_and_then(lambda: should_stop() or not self._is_allowed_now())
                    ),
                )
        except UploadStoppedError:
            # Whoever asked for it knows why.
            return False
        except OSError as error:
            raise DeliveryError(f"payload cannot be read: {error.strerror}") from error
        finally:
            uploader.close()
        return True

    def has_whole(self, release: StoredRelease, target: str) -> bool:
        """Tell whether the target has the last byte of an upload; DeliveryError if it does not answer."""
        uploader = self._open(target)
        size = release.bundle.size
        try:
            return uploader.find_offset(release.upload_url, size) == size
        # The server has forgotten it: that is an answer, and no fault of the line.
        except UploadLostError:
            return False
        finally:
            uploader.close()

    def _now_and_then(self, ask: Callable[[], bool]) -> Callable[[], bool]:
        """Ask at most twenty times a second: it costs a look into SQLite, and a piece is gone in a tenth of that."""
        due = MonoNs(0)

        def asked() -> bool:
            nonlocal due
            now = self._clock.boot()
            if now < due:
                return False
            due = MonoNs(now + _ASK_EVERY_NS)
            return ask()

        return asked

    def forget(self, url: str, target: str) -> None:
        """Ask the target to delete an upload; DeliveryError if it does not answer or does not do that."""
        uploader = self._open(target)
        try:
            uploader.delete(url)
        finally:
            uploader.close()

    def _open(self, target: str) -> TusUploader:
        url = self._enrolment.uploads.get(target)
        if url is None:
            raise UploadRefusedError(f"request names an upload target that this gateway does not have: {target}")
        # PROTOCOL 9, step 4: below the target, each gateway has a folder of its own.
        url = f"{url.rstrip('/')}/{self._enrolment.gateway}/"
        return TusUploader(url, self._make_context(), self._clock, rate_bytes_s=self._rate_bytes_s)


def make_targets(
    config: Config, enrolment: Enrolment, make_context: Callable[[], ssl.SSLContext], staging: Staging, clock: Clock
) -> UploadTargets:
    """Make the upload targets as ``edge-agent.yaml`` bounds them: at its hours, and at its bandwidth."""
    rate_bytes_s = config.uplink.bandwidth_bytes_per_s
    return UploadTargets(enrolment, make_context, staging, clock, rate_bytes_s, make_hours(config, clock))


def make_hours(config: Config, clock: Clock) -> Callable[[], bool]:
    """Return a function that tells whether ``uplink.upload_hours`` allow an upload now, by the time of the place."""
    hours, zone = config.uplink.upload_hours, ZoneInfo(config.gateway.time_zone)

    def is_allowed_now() -> bool:
        local = datetime.fromtimestamp(clock.utc() // SECOND_NS, zone)
        return not hours or any(each.contains(local.hour * 60 + local.minute) for each in hours)

    return is_allowed_now
