"""Whose fault a failed statement is: the rows', which never work, or the database's, which may work later.

What is not plainly the rows' fault counts as the database's: data that waits is safe, and the reason
stands in the log and in the health report, while data that was set apart by mistake must be brought back.
"""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from iotistic.kernel.postgres.pool import (
    DatabaseDenied,
    DatabaseMissing,
    DatabaseUnavailable,
    database_errors,
)

ROW_FAULTS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What PostgreSQL says of the rows themselves."""


@contextmanager
def database_faults() -> Generator[None]:
    """Let ROW_FAULTS pass; turn all other errors of the database into DatabaseUnavailable."""
    try:
        with database_errors():
            yield
    except ROW_FAULTS:
        raise
    except (DatabaseDenied, DatabaseMissing) as exc:
        raise DatabaseUnavailable(f"the database does not let us in: {exc.message}") from exc
    except asyncpg.PostgresError as exc:  # a cancelled statement, a schema that is not there yet
        raise DatabaseUnavailable(f"the database cannot do this now: {exc}") from exc
