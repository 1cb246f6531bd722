"""Provisioning keys: random 256-bit secrets in hex, shown once; kept as a prefix and one SHA-256."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from iotistic.contracts.provisioning.fields import parse_uuid
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.control.devices.keys import digest_of, is_key
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.provisioning import key_rows
from iotistic.control.provisioning.model import (
    KeyUnknown,
    KeyUsedUp,
    ProvisioningKey,
    ProvisioningKeyMissing,
)
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_PREFIX = 12
_BYTES = 32


class ProvisioningKeys:
    """The use cases around provisioning keys."""

    def __init__(
        self, pool: asyncpg.Pool, *, trail: Trail = NO_TRAIL, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._trail, self._clock = pool, trail, clock

    async def create(
        self,
        *,
        fleet_id: str,
        max_uses: int = 100,
        lives: timedelta = timedelta(days=365),
        description: str = "",
        created_by: str,
    ) -> tuple[str, ProvisioningKey]:
        """Make a key; return it in plain, which nobody can a second time, and what is kept of it."""
        plain = secrets.token_hex(_BYTES)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                key = await key_rows.add(
                    db,
                    prefix=plain[:_PREFIX],
                    digest=digest_of(plain),
                    fleet_id=fleet_id,
                    description=description,
                    max_uses=max_uses,
                    created_by=created_by,
                    now=self._clock(),
                    lives=lives,
                )
                await self._trail.record(
                    db, created_by, "provisioning_key.created", ("provisioning-key", key.id), after=key
                )
        log.info("provisioning_key.created", key_id=key.id, fleet_id=fleet_id, created_by=created_by)
        return plain, key

    async def list(self, fleet_id: str | None = None, *, limit: int = 1000) -> list[ProvisioningKey]:
        """Return keys, the newest first."""
        with database_errors():
            return await key_rows.list_of(self._pool, fleet_id, limit)

    async def revoke(self, key_id: str, reason: str | None, *, revoked_by: str) -> ProvisioningKey:
        """Let a key be good no more; revoking again changes nothing. Raises ProvisioningKeyMissing."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                key = await key_rows.revoke(db, parse_uuid(key_id), reason, self._clock())
                if key is None:
                    raise ProvisioningKeyMissing(keyId=key_id)
                await self._trail.record(
                    db,
                    revoked_by,
                    "provisioning_key.revoked",
                    ("provisioning-key", key.id),
                    after=key,
                    severity=Severity.WARNING,
                )
        log.info("provisioning_key.revoked", key_id=key.id, revoked_by=revoked_by)
        return key

    async def recognise(self, db: Database, plain: str) -> ProvisioningKey:
        """Return the key that a device shows, whether it is good or not. Raises KeyUnknown."""
        presented = digest_of(plain)
        prefix = plain[:_PREFIX]
        key = await key_rows.find(db, prefix) if len(prefix) == _PREFIX and prefix.isascii() else None
        if key is None or not is_key(key.digest, presented):
            raise KeyUnknown(hint="make a new one: POST /provisioning-keys")
        return key

    async def take_use(self, db: Database, key: ProvisioningKey) -> None:
        """Take one use in the caller's transaction. Raises KeyRevoked, KeyExpired, KeyUsedUp."""
        now = self._clock()
        if await key_rows.take_use(db, key.id, now):
            return
        key.require_valid(now)
        raise KeyUsedUp(max_uses=key.max_uses)
