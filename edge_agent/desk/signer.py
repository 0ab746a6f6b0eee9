"""The owner's signature: made in a child that lives for one act.

Owns the child, and the pauses after a wrong passphrase. The passphrase passes through a pipe and is kept nowhere; this
process never sees the owner's key.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.errors import CustodyError, UnavailableError, UsageError
from edge_agent.host.growing_pause import GrowingPause

CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.desk.signer_child")
TIMEOUT_S = 90.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
_ROOT = Path(__file__).resolve().parents[2]


class OwnerSigner:
    """One signature at a time: each takes 128 MiB for a moment.

    Args:
        key: Path of the owner's key, which is encrypted under the passphrase.
        now_s: A clock that no one sets.
    """

    def __init__(self, key: Path, now_s: Callable[[], float]) -> None:
        self._key = key
        self._pause = GrowingPause(FIRST_PAUSE_S, LONGEST_PAUSE_S, now_s)
        self._busy = threading.Lock()

    def sign(self, messages: Sequence[tuple[str, str]], passphrase: str) -> list[str]:
        """Sign payloads, each of its type, and return a JWS of each.

        Raises:
            UsageError: The passphrase is wrong, or a pause after a wrong one is not over.
            CustodyError: The key cannot be read.
            UnavailableError: The child hangs, or another signature is being made.
        """
        if not self._busy.acquire(blocking=False):
            raise UnavailableError("another signature is being made: try again in a moment")
        try:
            if (wait_s := self._pause.wait_s()) > 0:
                raise UsageError(f"After a wrong passphrase no other is taken for a while: wait {int(wait_s) + 1} s.")
            return self._run(messages, passphrase)
        finally:
            self._busy.release()

    def _run(self, messages: Sequence[tuple[str, str]], passphrase: str) -> list[str]:
        job = {"key": str(self._key), "messages": messages, "passphrase": passphrase}
        try:
            done = subprocess.run(
                # Through stdin: arguments and environment are readable in /proc.
                CHILD, input=json.dumps(job).encode(), capture_output=True, timeout=TIMEOUT_S, check=False,
                cwd=_ROOT, env={"HOME": "/nonexistent"},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UnavailableError("the signature took too long") from error
        # Only this code is a wrong passphrase: a broken child must not make the owner wait.
        if done.returncode == os.EX_NOPERM:
            self._pause.grow()
            raise UsageError("The passphrase is wrong.")
        if done.returncode:
            raise CustodyError("the owner's key cannot be read by the desk", "sudo edge-agent page on")
        self._pause.end()
        return done.stdout.decode().splitlines()
