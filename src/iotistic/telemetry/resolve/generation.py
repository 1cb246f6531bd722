"""The name of the state that the metadata is in, kept until somebody says that it may have changed."""

import asyncpg

from iotistic.kernel.postgres.faults import database_faults
from iotistic.kernel.postgres.queries import load_queries

_SQL = load_queries("iotistic.telemetry.resolve")
_FOLD_FROM = 1_000  # rows; a sum over as many takes about 0.1 ms


class Generation:
    """Reads the generation from the database when it is needed and not known."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: str | None = None
        self._changes = 0

    def forget(self) -> None:
        """Read it again the next time."""
        self._changes += 1
        self._known = None

    async def current(self) -> str:
        """Return the generation that the metadata had at some time since the last change heard of.

        What is read from the metadata afterwards is of this generation or a later one. Raises Unavailable.
        """
        if self._known is not None:
            return self._known
        changes = self._changes
        with database_faults():
            row = await self._pool.fetchrow(_SQL["generation"])
            if row is None:
                raise AssertionError("an aggregate has one row")
            if row["marks"] > _FOLD_FROM:
                await self._pool.execute(_SQL["fold_marks"])
        generation = str(row["generation"])
        if changes == self._changes:
            self._known = generation
        return generation
