"""The demonstration's object store and the city's upload server over it, one of each for a test run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.large_city.object_store import SeaweedFs, build_uploads

ROOT = Path(__file__).parents[2]
ObjectStore = SeaweedFs


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    """Start SeaweedFS once; each test has a bucket of its own."""
    with SeaweedFs(tmp_path_factory.mktemp("seaweedfs")) as store:
        yield store


@pytest.fixture(scope="session")
def uploads_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the city's upload server."""
    program = tmp_path_factory.mktemp("uploads") / "uploads"
    build_uploads(program)
    return program
