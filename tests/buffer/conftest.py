"""Rings, keys and clocks for the tests of the buffer."""

from pathlib import Path

import pytest

from tests.buffer.rig import Keys, Rig


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def rig(tmp_path: Path, keys: Keys) -> Rig:
    return Rig(tmp_path, keys)
