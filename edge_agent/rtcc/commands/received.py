"""``--received``: the place of the payloads of deliveries, a folder or a bucket, for the commands that open them."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError
from edge_agent.protocol.answer import Delivery
from edge_agent.rtcc.deliveries import find_upload
from edge_agent.rtcc.office.home import RtccHome

if TYPE_CHECKING:
    from edge_agent.rtcc.object_store import ObjectStore

_BUCKETS = "s3://"


def add_received(parser: argparse.ArgumentParser) -> None:
    """Add ``--received``."""
    parser.add_argument(
        "--received",
        metavar="DIR|s3://BUCKET",
        help="where uploads are [received/ in the home]; a bucket by $AWS_ENDPOINT_URL, $AWS_REGION, "
        "$AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY",
    )


@contextmanager
def fetch_payloads(place: str | None, home: RtccHome, wanted: Sequence[Delivery]) -> Iterator[Path | None]:
    """Yield the folder of the received payloads; out of a bucket they are fetched into one that goes at the end.

    Raises:
        ConfigError: No such bucket can be opened here.
        UnavailableError: The store does not answer.
        EvidenceError: The store has a note that leads elsewhere.
    """
    if place is None or not place.startswith(_BUCKETS):
        yield None if place is None else Path(place)
        return
    store = _open(place)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=home.path) as folder:
        for delivery in wanted:
            store.fetch(delivery.gateway, delivery.file.upload, Path(folder))
        yield Path(folder)


def find_received(place: str | None, home: RtccHome, wanted: Sequence[Delivery]) -> list[bool]:
    """Tell of each delivery whether its payload is here.

    Raises:
        ConfigError: No such bucket can be opened here.
        UnavailableError: The store does not answer.
        EvidenceError: The store has a note that leads elsewhere.
    """
    if place is not None and place.startswith(_BUCKETS):
        store = _open(place)
        return [store.find(each.gateway, each.file.upload) is not None for each in wanted]
    folder = None if place is None else Path(place)
    return [find_upload(home, each, folder) is not None for each in wanted]


def _open(url: str) -> "ObjectStore":
    try:
        from edge_agent.rtcc.object_store import ObjectStore
    except ImportError as error:
        raise ConfigError(
            f"the object store's package is not installed: {error}", "in a checkout: pip install '.[city]'"
        ) from error
    return ObjectStore(url)
