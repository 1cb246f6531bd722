"""Registries that need credentials, a CA of their own, or no TLS; passwords are sealed, and never shown again."""

from collections.abc import Callable
from datetime import datetime

import asyncpg
from pydantic import SecretStr

from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.broker.brokers import check_ca
from iotistic.control.devices.service import utc_now
from iotistic.control.images.model import (
    RegistriesTooMany,
    Registry,
    RegistryRow,
    RegistryUnknown,
    check_host,
)
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.sealing import Seal

_COLUMNS = (
    "host, username, password_sealed IS NOT NULL AS has_password, ca_pem, is_plain, created_at, updated_at"
)
_MOST = 100
_PUT = (
    "INSERT INTO image_registries (host, username, password_sealed, ca_pem, is_plain, created_at, updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (host) DO UPDATE SET username = EXCLUDED.username, "
    "password_sealed = EXCLUDED.password_sealed, ca_pem = EXCLUDED.ca_pem, is_plain = EXCLUDED.is_plain, "
    "updated_at = EXCLUDED.updated_at"
)


class Registries:
    """The use cases."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        seal: Seal,
        *,
        trail: Trail = NO_TRAIL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._seal, self._trail, self._clock = pool, seal, trail, clock

    async def list_all(self) -> list[RegistryRow]:
        """Return what is known, by host."""
        with database_errors():
            rows = await self._pool.fetch(f"SELECT {_COLUMNS} FROM image_registries ORDER BY host")  # noqa: S608  constant
        return [RegistryRow(**dict(row)) for row in rows]

    async def put(
        self, host: str, *, username: str, password: SecretStr | None, ca_pem: str, is_plain: bool, by: str
    ) -> RegistryRow:
        """Keep how a registry is spoken to, in the place of what was kept.

        Raises HostInvalid, CaInvalid, SealMissing, RegistriesTooMany.
        """
        host, ca_pem = check_host(host), check_ca(ca_pem)
        sealed = self._seal.close(host, password) if password is not None else None
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await db.execute("LOCK TABLE image_registries IN SHARE ROW EXCLUSIVE MODE")
                await db.execute(_PUT, host, username, sealed, ca_pem, is_plain, self._clock())
                if await db.fetchval("SELECT count(*) FROM image_registries") > _MOST:
                    raise RegistriesTooMany(limit=_MOST)
                rows = await db.fetch(f"SELECT {_COLUMNS} FROM image_registries WHERE host = $1", host)  # noqa: S608  constant
                kept = RegistryRow(**dict(rows[0]))
                await self._trail.record(db, by, "registry.set", ("registry", host), after=kept)
        return kept

    async def remove(self, host: str, *, by: str) -> None:
        """Forget a registry. Raises RegistryUnknown, HostInvalid."""
        host = check_host(host)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await db.fetchval("DELETE FROM image_registries WHERE host = $1 RETURNING host", host)
                if found is None:
                    raise RegistryUnknown(host=host)
                await self._trail.record(db, by, "registry.removed", ("registry", host))

    async def find(self, host: str) -> Registry:
        """Return how a registry is spoken to. Raises SealMissing, SealBroken."""
        with database_errors():
            row = await self._pool.fetchrow(
                "SELECT username, password_sealed, ca_pem, is_plain FROM image_registries WHERE host = $1",
                host,
            )
        if row is None:
            return Registry(host=host)
        sealed = row["password_sealed"]
        return Registry(
            host=host,
            username=row["username"],
            password=None if sealed is None else self._seal.open(host, sealed),
            ca_pem=row["ca_pem"],
            is_plain=row["is_plain"],
        )
