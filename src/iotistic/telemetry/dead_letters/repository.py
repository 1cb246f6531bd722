"""Rows of dead letters."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from iotistic.telemetry.statements import Record, Statements


@dataclass(frozen=True)
class Chosen:
    """A selection: these ids, this reason, or (both None) every letter."""

    ids: list[int] | None = None
    reason: str | None = None


class DeadLetterRepository:
    """Reads, marks and deletes dead letters. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._statements = Statements(pool, "iotistic.telemetry.dead_letters")

    async def page(
        self, *, reason: str | None, since: datetime | None, replayed: bool | None, before: int, limit: int
    ) -> Sequence[Record]:
        """Return up to `limit` letters with an id below `before`, newest first."""
        return await self._statements.fetch("page", reason, since, replayed, before, limit)

    async def one(self, letter_id: int) -> Record | None:
        """Return one letter with its payload."""
        return await self._statements.fetchrow("one", letter_id)

    async def summary(self) -> Sequence[Record]:
        """Return counts per reason."""
        return await self._statements.fetch("summary")

    async def newest_id(self) -> int:
        """Return the newest letter's id, 0 when there is none."""
        return (await self._statements.fetch("newest"))[0]["id"]

    async def replay(
        self,
        chosen: Chosen,
        *,
        after: int,
        up_to: int,
        limit: int,
        publish: Callable[[Sequence[Record]], Awaitable[list[int]]],
    ) -> tuple[int, int, list[int]]:
        """Give up to `limit` open letters to `publish` and mark those whose ids it returns.

        Returns (letters taken, the last one's id, ids marked). Nobody else replays them meanwhile; when the
        process dies here they stay open, and may be published once more.
        """
        async with self._statements.transaction() as transaction:
            letters = await transaction.fetch("take_open", chosen.ids, chosen.reason, after, up_to, limit)
            published = await publish(letters) if letters else []
            if published:
                await transaction.fetch("mark_replayed", published)
        return len(letters), letters[-1]["id"] if letters else up_to, published

    async def delete(self, chosen: Chosen, *, up_to: int, limit: int) -> int:
        """Delete up to `limit` letters; return how many there were."""
        return len(await self._statements.fetch("delete", chosen.ids, chosen.reason, up_to, limit))
