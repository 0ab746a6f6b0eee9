"""The upload servers' questions to the state: in threads of their own, for a bounded time, revocations not too often.

Owns the rule that an event loop never waits for a database. A server without an answer refuses for
now (503): no upload is taken in on a guess.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from edge_agent.errors import ConfigError, UnavailableError

ANSWER_WITHIN_S = 10.0
"""Less than a gateway waits for an answer."""
LATELY_S = 1.0
"""So long a "not revoked" counts while a body arrives: at most one query a second for each
gateway."""
NO_ANSWER = (UnavailableError, ConfigError)
"""The state is away, or refuses us: the gateway has done nothing wrong, and comes again."""
_THREADS = 4
_MOST_KNOWN = 4096
"""Gateways remembered; one more empties the memory, which costs each of them one question."""

P = ParamSpec("P")
T = TypeVar("T")


class StateQuestions:
    """Threads that wait for the state, so that those which write what arrives do not."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "state-questions")

    async def ask(self, question: Callable[P, T], *words: P.args, **names: P.kwargs) -> T:
        """Ask in a thread.

        Raises:
            UnavailableError: No answer within ``ANSWER_WITHIN_S``, or as ``question``.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._pool, lambda: question(*words, **names))
        try:
            return await asyncio.wait_for(asked, ANSWER_WITHIN_S)
        except TimeoutError:
            raise UnavailableError(f"state does not answer: seconds={ANSWER_WITHIN_S:.0f}") from None

    def defer(self, question: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        """Return the same question, asked in a thread."""

        async def ask(*words: P.args, **names: P.kwargs) -> T:
            return await self.ask(question, *words, **names)

        return ask

    def close(self) -> None:
        """End the threads, without waiting for one that still waits for the state."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Revocations:
    """Tells whether a gateway was revoked; one loop uses it.

    Args:
        questions: Where is asked.
        is_revoked: The question.
    """

    def __init__(self, questions: StateQuestions, is_revoked: Callable[[str], bool]) -> None:
        self._questions, self._is_revoked = questions, is_revoked
        self._known: dict[str, tuple[float, bool]] = {}

    async def ask(self, gateway: str) -> bool:
        """Ask the state.

        Raises:
            UnavailableError, ConfigError: It does not say.
        """
        found = await self._questions.ask(self._is_revoked, gateway)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[gateway] = (time.monotonic(), found)
        return found

    async def ask_lately(self, gateway: str) -> bool:
        """Return an answer that is not older than ``LATELY_S``: for every piece of a body.

        Raises:
            UnavailableError, ConfigError: As ``ask``.
        """
        known = self._known.get(gateway)
        if known is not None and time.monotonic() - known[0] < LATELY_S:
            return known[1]
        return await self.ask(gateway)
