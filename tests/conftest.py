"""Fixtures that every test may ask for: the real peers, each in its own module under ``tests/peers``."""

import os
import shutil
from collections.abc import Generator

import pytest

pytest_plugins = [
    "tests.peers.go2rtc_server",
    "tests.peers.go_programs",
    "tests.peers.hivemq",
    "tests.peers.mosquitto",
    "tests.peers.object_store",
    "tests.peers.proxy",
    "tests.peers.uploads",
]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are not here."""
    for mark in item.iter_markers("needs"):
        missing = [program for program in mark.args if not shutil.which(program)]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test be skipped only where a person's machine lacks a peer: in CI nothing may be left out."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"left out in CI: {reason}"
    return report
