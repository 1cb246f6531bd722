"""Connections to PostgreSQL: settings, pool, patience, and one table from driver errors to ours."""

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import asyncpg
import stamina
from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.errors import Denied, Invalid, IotisticError, NotFound, Unavailable
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.settings import Settings

_OPEN_WITHIN_S = 2.0
_IDLE_S = 300.0  # after which a connection that nobody used is closed


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; try again."""

    code = "database.unavailable"


class DatabaseContended(DatabaseUnavailable):
    """Two changes waited for each other, and this one was given up; try again."""

    code = "database.contended"


class DatabaseSlow(DatabaseUnavailable):
    """The database did not finish this within the time that a request has; try again."""

    code = "database.slow"


class DatabaseDenied(Denied):
    """The database refuses this user or password."""

    code = "database.denied"


class ValueUnstorable(Invalid):
    """A value cannot be stored."""

    code = "database.value_unstorable"


class DatabaseMissing(NotFound):
    """The server has no database of this name."""

    code = "database.missing"


class DatabaseNotConfigured(Invalid):
    """No database is given."""

    code = "database.not_configured"


class DatabaseSettings(Settings):
    """Which PostgreSQL is used, and with how many connections."""

    database_url: str | None = None
    """Address as postgresql://USER@HOST:PORT/DATABASE; unset means the embedded server."""
    database_password: SecretStr | None = None
    """Password of the user in the address; DATABASE_PASSWORD_FILE keeps it out of the environment."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Most connections one process opens; the embedded server allows 100 in all."""
    database_connect_timeout_s: float = Field(default=10.0, gt=0)
    """Seconds to wait for one connection attempt."""
    database_command_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds after which a statement is given up, so that a stuck server cannot hold a caller for ever."""

    @field_validator("database_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Dsn.parse(value)
            except Invalid as exc:
                raise ValueError(exc.message) from exc
        return value

    @property
    def dsn(self) -> Dsn:
        """The address of the database. Raises DatabaseNotConfigured."""
        if self.database_url is None:
            raise DatabaseNotConfigured(hint="set DATABASE_URL and DATABASE_PASSWORD_FILE")
        return Dsn.parse(self.database_url, self.database_password)


async def create_pool(
    settings: DatabaseSettings,
    *,
    application_name: str,
    min_size: int = 1,
    is_kept_open: bool = False,
    is_lean: bool = False,
) -> asyncpg.Pool:
    """Open a pool; `application_name` tells our processes apart in pg_stat_activity.

    With `is_kept_open` a connection that was opened stays, however long nobody uses it. With `is_lean` it comes back
    as its user left it, but for an open transaction: a round trip less each time, for those who leave no settings,
    locks or listeners of a session behind.

    Raises DatabaseUnavailable, DatabaseDenied, DatabaseMissing, DatabaseNotConfigured.
    """
    with database_errors():
        return await asyncpg.create_pool(
            reset=_as_it_is if is_lean else None,
            **settings.dsn.options(),
            min_size=min(min_size, settings.database_pool_size),
            max_size=settings.database_pool_size,
            timeout=settings.database_connect_timeout_s,
            command_timeout=settings.database_command_timeout_s,
            server_settings={"application_name": application_name},
            max_inactive_connection_lifetime=0 if is_kept_open else _IDLE_S,
        )


async def _as_it_is(_connection: asyncpg.Connection) -> None:
    """Leave a connection's session alone."""


async def open_all(pool: asyncpg.Pool) -> None:
    """Open every connection of a pool, if the database lets us: a burst of requests then need not wait for that.

    One takes some 10 ms of the event loop, for its password is derived there.
    """
    opened: list[Any] = []
    try:
        with contextlib.suppress(IotisticError, TimeoutError), database_errors():
            # Others may hold some for good: what is open counts, not what we have.
            while pool.get_size() < pool.get_max_size():
                opened.append(await pool.acquire(timeout=_OPEN_WITHIN_S))
    finally:
        for connection in opened:
            await pool.release(connection)


async def open_connection(dsn: Dsn, *, application_name: str, timeout_s: float = 10) -> asyncpg.Connection:
    """Open one connection without a limit on how long a statement takes; the caller closes it.

    Raises DatabaseUnavailable, DatabaseDenied, DatabaseMissing.
    """
    with database_errors():
        return await asyncpg.connect(
            **dsn.options(), timeout=timeout_s, server_settings={"application_name": application_name}
        )


async def wait_for_database(dsn: Dsn, *, within_s: float = 60) -> None:
    """Return when the database answers; tries again with growing, jittered pauses for `within_s` seconds.

    Raises DatabaseUnavailable after that, and DatabaseDenied or DatabaseMissing at once.
    """
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable,
        attempts=None,
        timeout=within_s,
        wait_initial=0.05,
        wait_max=2.0,
        wait_jitter=0.2,
    ):
        with attempt:
            connection = await open_connection(dsn, application_name="waiting", timeout_s=min(within_s, 10))
            await connection.close()


_AWAY = (
    OSError,  # refused, reset, timed out
    asyncpg.PostgresConnectionError,
    # Between a server's last words and the end of its connection the driver is in a state of its own.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.ReadOnlySQLTransactionError,  # after a failover, until we reach the new primary
)

# Nothing of it was done, and the next try meets the others where they are then.
_CONTENDED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)

# What no column takes, whatever it is for: NUL, half a surrogate, a number or a time out of all bounds.
# Other errors of data (a division by zero) are mistakes of ours. The driver's own are of the class itself.
_UNSTORABLE = frozenset(
    {
        asyncpg.DataError,
        asyncpg.CharacterNotInRepertoireError,
        asyncpg.UntranslatableCharacterError,
        asyncpg.DatetimeFieldOverflowError,
    }
)


@contextmanager
def database_errors() -> Generator[None]:
    """Turn errors of the connection, of rows that others hold, and of values that no column takes into ours.

    Other errors of a statement pass unchanged.

    Wrap the database calls only: any OSError inside counts as an unreachable database.
    """
    try:
        yield
    except _AWAY as exc:
        raise DatabaseUnavailable(f"the database cannot be reached: {_reason(exc)}") from exc
    except _CONTENDED as exc:
        raise DatabaseContended from exc
    except asyncpg.InvalidAuthorizationSpecificationError as exc:
        raise DatabaseDenied(hint="check the user in DATABASE_URL and DATABASE_PASSWORD_FILE") from exc
    except asyncpg.InvalidCatalogNameError as exc:
        raise DatabaseMissing(_reason(exc), hint="create it, or correct DATABASE_URL") from exc
    except asyncpg.DataError as exc:
        if type(exc) not in _UNSTORABLE:
            raise
        raise ValueUnstorable(f"a value cannot be stored: {_reason(exc)}") from exc
    except asyncpg.InterfaceError as exc:
        if "clos" not in str(exc):  # a closed connection and a closed pool; the rest are our own mistakes
            raise
        raise DatabaseUnavailable(f"the database cannot be reached: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
