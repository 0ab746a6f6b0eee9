"""Programs in Go that read what we write: built once for a run, from ``tests/peers/go``."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parent / "go"
_BUILD_TIMEOUT_S = 600
_TIMEOUT_S = 300

GoProgram = Callable[..., str]
"""Runs a program: its words, and ``stdin``; returns what it printed."""


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GoProgram]:
    """Return a program by its name: ``zip``, ``age``, ``jose`` or ``checkpoint``."""
    folder = tmp_path_factory.mktemp("go")
    subprocess.run(
        ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", f"{folder}/", "./..."],
        cwd=MODULE, check=True, timeout=_BUILD_TIMEOUT_S,
    )  # fmt: skip

    def find(name: str) -> GoProgram:
        def run(*words: object, stdin: Any = None) -> str:
            done = subprocess.run(
                [folder / name, *map(str, words)],
                input=None if stdin is None else json.dumps(stdin),
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                check=True,
                timeout=_TIMEOUT_S,
            )
            return done.stdout

        return run

    return find
