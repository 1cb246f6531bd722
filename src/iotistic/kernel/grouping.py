"""What comes while others are served is served together, with the next turn.

    first asks --act--> answered
       others wait ......^ all of them --act--> answered

A statement or a commit costs about the same for one and for a hundred, and nobody waits for longer than two turns. At
rest nothing is gathered and nothing waits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from iotistic.kernel.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class TooManyWaiting(Unavailable):
    """More comes than can be served; ask again in a moment."""

    code = "service.too_many_waiting"


class Grouped(Generic[T, R]):
    """`act` gets up to `most` items and returns an answer for each, in order; what it raises, all of them get."""

    def __init__(
        self,
        act: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        name: str,
        most: int = 500,
        most_waiting: int = 20_000,
    ) -> None:
        self._act, self._name, self._most, self._most_waiting = act, name, most, most_waiting
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: T) -> R:
        """Return the answer for one. Raises TooManyWaiting, and what `act` raises."""
        if len(self._waiting) >= self._most_waiting:
            raise TooManyWaiting(retry_after_s=5, limit=self._most_waiting)
        answered: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answered))
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name=self._name)
        return await answered

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(self._most, len(self._waiting))
                await self._serve([self._waiting.popleft() for _ in range(count)])
        finally:
            self._working = None
            self._abandon()

    async def _serve(self, taken: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._act([item for item, _ in taken])
            answered_all = list(zip((one for _, one in taken), answers, strict=True))
        except Exception as exc:  # noqa: BLE001  told to everybody who asked
            for _, answered in taken:
                if not answered.done():
                    answered.set_exception(exc)
        except BaseException:
            for _, answered in taken:
                answered.cancel()
            raise
        else:
            for answered, answer in answered_all:
                if not answered.done():
                    answered.set_result(answer)

    def _abandon(self) -> None:
        """Let nobody wait for a turn that does not come: the loop ends."""
        while self._waiting:
            self._waiting.popleft()[1].cancel()
