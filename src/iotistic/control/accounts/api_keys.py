"""API keys: for programs that speak for a person, with a part of what that person may do."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog
from pydantic import SecretStr

from iotistic.control.access.model import (
    KEY_SCOPES,
    ROLE_PERMISSIONS,
    ApiKeyPrincipal,
    Permission,
    Role,
    UserPrincipal,
)
from iotistic.control.accounts.model import ApiKey, KeyUnknown, ScopeTooWide
from iotistic.control.accounts.tokens import API_KEY
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.auth import digest

log = structlog.get_logger()

_COLUMNS = "id, name, user_id, scopes, created_at, expires_at, last_used_at, revoked_at"
# To the minute is enough to see which keys are in use, and spares a write on nearly every request.
_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class NewApiKey:
    """A key that was just made; the only time that its secret is shown."""

    key: ApiKey
    secret: SecretStr


class ApiKeyService:
    """Makes, lists, revokes and recognises keys."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime], trail: Trail = NO_TRAIL) -> None:
        self._pool = pool
        self._clock = clock
        self._trail = trail

    async def create(
        self, name: str, scopes: frozenset[Permission], expires_in: timedelta | None, *, by: UserPrincipal
    ) -> NewApiKey:
        """Make a key. Raises ScopeTooWide."""
        if too_wide := scopes - (by.permissions & KEY_SCOPES):
            raise ScopeTooWide(scopes=sorted(too_wide))
        now = self._clock()
        secret = API_KEY.make()
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(
                    "INSERT INTO api_keys (id, digest, name, user_id, scopes, created_at, expires_at) "  # noqa: S608  constant
                    f"VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}",
                    secret.id,
                    secret.digest,
                    name,
                    by.user_id,
                    sorted(scopes),
                    now,
                    now + expires_in if expires_in else None,
                )
                key = _key(row)
                await self._trail.record(connection, by, "api_key.created", ("api-key", key.id), after=key)
        log.info("api_key.created", key_id=secret.id, by=by.name)
        return NewApiKey(key, secret.shown)

    async def list_all(self) -> list[ApiKey]:
        """Return every key, newest first; a thousand at most."""
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at DESC, id LIMIT 1000"  # noqa: S608  constant
            )
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str, *, by: UserPrincipal) -> ApiKey:
        """End a key now. Raises KeyUnknown."""
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(
                    "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) "  # noqa: S608  constant
                    f"WHERE id = $1 RETURNING {_COLUMNS}",
                    key_id,
                    self._clock(),
                )
                if row is None:
                    raise KeyUnknown(id=key_id)
                key = _key(row)
                await self._trail.record(
                    connection,
                    by,
                    "api_key.revoked",
                    ("api-key", key_id),
                    after=key,
                    severity=Severity.WARNING,
                )
        log.info("api_key.revoked", key_id=key_id, by=by.name)
        return key

    async def find(self, presented: str) -> ApiKeyPrincipal | None:
        """Return whose key this is; None when it is not valid now, or its maker's account is closed."""
        key_id = API_KEY.id_of(presented)
        if key_id is None:
            return None
        now = self._clock()
        with database_errors():
            row: Any = await self._pool.fetchrow(
                "SELECT k.digest, k.scopes, k.user_id, k.last_used_at, u.role "
                "FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = $1 AND u.is_active "
                "AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)",
                key_id,
                now,
            )
            if row is None or not hmac.compare_digest(row["digest"], digest(presented)):
                return None
            if row["last_used_at"] is None or now - row["last_used_at"] > _NOTED_EVERY:
                await self._pool.execute("UPDATE api_keys SET last_used_at = $2 WHERE id = $1", key_id, now)
        allowed = _permissions(row["scopes"]) & KEY_SCOPES & ROLE_PERMISSIONS[Role(row["role"])]
        return ApiKeyPrincipal(key_id=key_id, user_id=row["user_id"], permissions=allowed)


def _permissions(names: list[str]) -> frozenset[Permission]:
    """Return the scopes that we know; one of a later release allows nothing here."""
    return frozenset(Permission(name) for name in names if name in Permission.__members__.values())


def _key(row: Any) -> ApiKey:
    values: dict[str, Any] = dict(row)
    scopes = _permissions(values.pop("scopes"))
    return ApiKey(**values, scopes=scopes)
