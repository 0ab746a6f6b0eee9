"""The store of the large city, on disks that are not empty."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.large_city.object_store import SeaweedFs
from edge_agent.rtcc.object_store import ObjectStore

pytestmark = [pytest.mark.city, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]

_DISK_BYTES, _LEFT_BYTES = 100 << 30, 600 << 20
"""Six of a thousand are free."""


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[Path]:
    """A large disk (a sparse file) with little left, mounted."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True, timeout=60)
    try:
        free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize
        with (mount / "others").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - _LEFT_BYTES)
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=False, timeout=60)


def test_a_share_of_a_large_disk_is_not_too_little(nearly_full: Path) -> None:
    """What is free is counted in bytes: where hundreds of MiB are left, the store takes what it is given."""
    with SeaweedFs(nearly_full / "store") as store:
        bucket = ObjectStore(f"s3://{store.make_bucket()}", store.variables)
        bucket._store.put("received/one", b"a payload")
        assert bucket.read("received/one") == b"a payload"
