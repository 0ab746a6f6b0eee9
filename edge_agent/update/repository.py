"""The Update Framework's client: metadata that was verified, and files by their digest.

Owns the metadata of the last visit, in a folder of root alone; a rollback or a freeze is seen by it. Every rule
of the TUF specification, section 5.3 to 5.7, is kept by python-tuf; this module gives it limits and says its errors.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from edge_agent import __version__
from edge_agent.errors import UnavailableError, UpdateError
from edge_agent.update import release_list
from edge_agent.update.release_list import ReleaseList, parse_list

log = logging.getLogger(__name__)

SOCKET_TIMEOUT_S = 30
MAX_PACKAGE_BYTES = 1 << 30
# The first that fits is said, so that the base class stands last.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ExpiredMetadataError, "has expired: it is an old copy, or nobody keeps it up"),
    (UnsignedMetadataError, "does not carry the signatures that it needs"),
    (BadVersionNumberError, "is older than what this gateway has seen, or parts of two states are mixed"),
    (LengthOrHashMismatchError, "is not the file that was signed"),
    (DownloadLengthMismatchError, "is longer than the file that was signed"),
    (RepositoryError, "is not valid"),
)


class Repository:
    """The offer of a web folder, as far as the keys in ``root`` vouch for it.

    Args:
        folder: Root's own; made where it is missing. Holds metadata between visits, and downloads.
        url: Of the web folder with ``metadata/`` and ``targets/`` in it.
        root: The content of the root metadata that came with this program.
    """

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self._folder = folder
        metadata, downloads = folder / "metadata", folder / "downloads"
        for each in (folder, metadata, downloads):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = url.rstrip("/")
        agent = f"edge-agent/{__version__}"
        with _told("the root of trust"):
            self._updater = Updater(
                str(metadata),
                f"{base}/metadata/",
                str(downloads),
                f"{base}/targets/",
                fetcher=Urllib3Fetcher(socket_timeout=SOCKET_TIMEOUT_S, app_user_agent=agent),
                config=UpdaterConfig(max_root_rotations=64, app_user_agent=agent),
                # The packaged root at each visit, and not the one on disk: a changed cache is no
                # anchor of trust.
                bootstrap=root,
            )

    def read_list(self) -> ReleaseList:
        """Visit the web folder: verify root, timestamp, snapshot and targets, then read the list of releases.

        Raises:
            UpdateError: Something is not signed, too old, or not what was signed.
            UnavailableError: The web folder does not answer.
        """
        with _told("the update server's metadata"):
            self._updater.refresh()
        path = self.fetch(release_list.NAME, release_list.MAX_BYTES)
        return parse_list(path.read_bytes())

    def fetch(self, name: str, max_bytes: int = MAX_PACKAGE_BYTES) -> Path:
        """Return a file whose length and digest are those that were signed; from the last download if that has them.

        Raises:
            UpdateError, UnavailableError: As for ``read_list``; or no file of that name was signed.
        """
        with _told(name):
            target = self._updater.get_targetinfo(name)
            if target is None:
                raise UpdateError(f"{name} is not among the files that were signed")
            # The signed length, before the first byte is asked for.
            if target.length > max_bytes:
                raise UpdateError(f"{name} is larger than it may be: {target.length} bytes")
            path = self._updater.find_cached_target(target)
            if path is None:
                free = shutil.disk_usage(self._folder).free
                # The download and the journal's copy of it are on the disk together.
                if free < 2 * target.length:
                    raise UpdateError(f"no room for {name} in {self._folder}: {free} bytes are free")
                path = self._updater.download_target(target)
        return Path(path)

    def forget_downloads(self) -> None:
        """Delete what was downloaded; metadata stays."""
        for path in (self._folder / "downloads").iterdir():
            path.unlink()


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except RepositoryError as error:
        raise UpdateError(f"{what}: {_say(error)}", "nothing was changed; what runs goes on") from error
    # Before its base class: it is the server's fault and no outage.
    except DownloadLengthMismatchError as error:
        raise UpdateError(f"{what} {_say(error)}", "nothing was changed; what runs goes on") from error
    except (DownloadError, urllib3.exceptions.HTTPError) as error:
        raise UnavailableError(f"{what}: the update server does not give it: {type(error).__name__}") from error
    except OSError as error:
        raise UpdateError(f"{what}: cannot be kept: {error.strerror}") from error


def _say(error: Exception) -> str:
    log.debug("update refused error=%s", error)
    return next(text for kind, text in _REASONS if isinstance(error, kind))
