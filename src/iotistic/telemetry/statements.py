"""The one way to run a package's named queries: driver errors become ours, patience is bounded."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.postgres.queries import load_queries

_ACQUIRE_S = 5.0

Record = Any
"""A row: columns by name or position (the driver's type is not generic)."""


class QueryTooSlow(Unavailable):
    """The query took longer than the time limit for one statement."""

    code = "query.too_slow"


class Statements:
    """The named statements of one package, run on a pool. Raises DatabaseUnavailable and QueryTooSlow."""

    def __init__(self, pool: asyncpg.Pool, package: str) -> None:
        self._pool = pool
        self._texts = dict(load_queries(package))

    def derive(self, make: Callable[[str], dict[str, str]], *, of: str) -> None:
        """Replace the template `of` by the statements that `make` makes of its text."""
        self._texts |= make(self._texts.pop(of))

    async def fetch(self, name: str, *arguments: object) -> Sequence[Record]:
        """Return all rows."""
        with _errors():
            async with self._pool.acquire(timeout=_ACQUIRE_S) as connection:
                return await connection.fetch(self._texts[name], *arguments)

    async def fetchrow(self, name: str, *arguments: object) -> Record | None:
        """Return the first row, or None."""
        with _errors():
            async with self._pool.acquire(timeout=_ACQUIRE_S) as connection:
                return await connection.fetchrow(self._texts[name], *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator["Transaction"]:
        """Run statements in one transaction: all of them, or none when the block raises."""
        with _errors():
            async with self._pool.acquire(timeout=_ACQUIRE_S) as connection, connection.transaction():
                yield Transaction(connection, self._texts)


class Transaction:
    """Statements that take effect together."""

    def __init__(self, connection: Any, texts: Mapping[str, str]) -> None:
        self._connection = connection
        self._texts = texts

    async def fetch(self, name: str, *arguments: object) -> Sequence[Record]:
        """Return all rows."""
        return await self._connection.fetch(self._texts[name], *arguments)

    async def fetchrow(self, name: str, *arguments: object) -> Record | None:
        """Return the first row, or None."""
        return await self._connection.fetchrow(self._texts[name], *arguments)


@contextmanager
def _errors() -> Generator[None]:
    try:
        with database_errors():
            yield
    except asyncpg.QueryCanceledError as exc:
        raise QueryTooSlow(
            retry_after_s=5, hint="ask for a shorter range, fewer points or fewer rows"
        ) from exc
