"""An S3-compatible store on loopback, SeaweedFS, and the city's upload server, built from ``city/uploads``."""

import http.client
import json
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.demo.broker import find_free_port, is_listening
from edge_agent.demo.large_city.program import CityProgram
from edge_agent.errors import UnavailableError

SOURCES = Path(__file__).resolve().parents[3] / "city" / "uploads"
_KEYS = {"accessKey": "only-on-loopback", "secretKey": "only-on-loopback"}
_START_S, _ANSWER_S, _BUILD_S = 60.0, 10.0, 900.0
_KEEP_FREE = "200MiB"
"""SeaweedFS takes nothing on a disk with less. Its own bound, 1 % of the disk, is gigabytes on a large one."""
_HINT = "scripts/test-city and scripts/demo --city install it into .venv"


class SeaweedFs:
    """The store, for as long as the context lasts.

    Args:
        folder: Its own; made if it is missing.

    Raises:
        UnavailableError: It is not installed.
    """

    def __init__(self, folder: Path) -> None:
        found = shutil.which("weed")
        if found is None:
            raise UnavailableError("SeaweedFS is not installed", _HINT)
        folder.mkdir(parents=True, exist_ok=True)
        identity = {"name": "city", "credentials": [_KEYS], "actions": ["Admin", "Read", "Write", "List"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._ports = {name: find_free_port() for name in ("master", "volume", "filer", "s3")}
        # gRPC's port is each one's plus 10,000 unless it is named.
        words = [f"-{name}.port={port}" for name, port in self._ports.items()]
        words += [f"-{name}.port.grpc={find_free_port()}" for name in self._ports]
        self._server = CityProgram(
            "seaweedfs",
            [found, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", *words,
             f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64",
             "-volume.max=5000", f"-volume.minFreeSpace={_KEEP_FREE}", "-master.telemetry=false"],
            folder,
        )  # fmt: skip
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports['s3']}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": _KEYS["secretKey"],
        }

    def make_bucket(self) -> str:
        """Make a bucket of a name that was not there before; SeaweedFS takes it from a folder of its filer."""
        name = f"city-{uuid.uuid4().hex}"
        filer = http.client.HTTPConnection("127.0.0.1", self._ports["filer"], timeout=_ANSWER_S)
        try:
            filer.request("POST", f"/buckets/{name}/")
            status = filer.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"SeaweedFS makes no bucket: {error}") from error
        finally:
            filer.close()
        if not 200 <= status < 300:
            raise UnavailableError(f"SeaweedFS makes no bucket: status={status}")
        return name

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_S
        while not is_listening(self._ports["s3"]):
            if time.monotonic() > deadline or not self._server.is_running():
                self._server.kill()
                raise UnavailableError(f"SeaweedFS does not start: {self._server.log_path}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()


def build_uploads(program: Path) -> None:
    """Build the city's upload server.

    Raises:
        UnavailableError: Go is not installed, or a module cannot be had.
    """
    try:
        subprocess.run(
            ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", program, "."],
            cwd=SOURCES, check=True, timeout=_BUILD_S, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UnavailableError("Go or city/uploads is not here", _HINT) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise UnavailableError(f"city/uploads cannot be built: {said[-500:]}") from error
