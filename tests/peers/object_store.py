"""An S3-compatible store on loopback, SeaweedFS, and the city's upload server over it, built from ``city/uploads``."""

import json
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from edge_agent.demo.broker import find_free_port, is_listening
from tests.peers.wait import wait_until

ROOT = Path(__file__).parents[2]
_KEYS = {"accessKey": "only-on-loopback", "secretKey": "only-on-loopback"}
_BUILD_TIMEOUT_S = 900


@dataclass(frozen=True)
class ObjectStore:
    """One store for a test run; each test has a bucket of its own."""

    filer: str
    variables: dict[str, str] = field(default_factory=dict)

    def make_bucket(self) -> str:
        """Make a bucket of a name that was not there before; SeaweedFS takes it from a folder of its filer."""
        name = f"test-{uuid.uuid4().hex}"
        requests.post(f"{self.filer}/buckets/{name}/", timeout=10).raise_for_status()
        return name


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Start SeaweedFS once."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    identity = {"name": "city", "credentials": [_KEYS], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: find_free_port() for name in ("master", "volume", "filer", "s3")}
    # gRPC's port is each one's plus 10,000 unless it is named.
    words = [f"-{name}.port={port}" for name, port in ports.items()]
    words += [f"-{name}.port.grpc={find_free_port()}" for name in ports]
    program = shutil.which("weed")
    assert program, "scripts/test-city installs SeaweedFS"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", *words,
             f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64",
             "-volume.max=5000", "-master.telemetry=false"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: is_listening(ports["s3"]), 60)
        yield ObjectStore(
            f"http://127.0.0.1:{ports['filer']}",
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": _KEYS["accessKey"],
                "AWS_SECRET_ACCESS_KEY": _KEYS["secretKey"],
            },
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


@pytest.fixture(scope="session")
def uploads_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the city's upload server."""
    program = tmp_path_factory.mktemp("uploads") / "uploads"
    subprocess.run(
        ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", program, "."],
        cwd=ROOT / "city" / "uploads", check=True, timeout=_BUILD_TIMEOUT_S,
    )  # fmt: skip
    return program
