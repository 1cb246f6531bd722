"""Recognise devices by their keys, rotate keys, remove devices.

- A key is taken until its grace period ends, whichever is newest: an answer with a new key may be lost.
- The newest key is taken after its time as well, and its device told to rotate: nobody is locked out by age.
- Whoever revokes keys (`revoke_keys`) leaves the device none: it comes back by proof of its private key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
from pydantic import Field

from iotistic.control.audit.port import NO_TRAIL, Actor, Severity, Trail
from iotistic.control.devices import removal, repository
from iotistic.control.devices.keys import digest_of, is_key, make_api_key
from iotistic.control.devices.model import (
    ApiKey,
    Device,
    DeviceInactive,
    DeviceKeyUnknown,
    DeviceUnknown,
    RotatedTooOften,
)
from iotistic.control.devices.repository import Database
from iotistic.control.why.port import NO_DECISIONS, About, Decisions
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.settings import Settings

log = structlog.get_logger()

_HISTORY = timedelta(days=365)
_HOUR = timedelta(hours=1)


class DeviceKeySettings(Settings):
    """How long API keys of devices live."""

    device_key_life_days: float = Field(default=90.0, gt=0)
    """Days after which a device should have another key; agents ask a week before."""
    device_key_grace_days: float = Field(default=7.0, ge=0)
    """Days that a key is still taken after it was replaced: the answer with the new one may have been lost."""
    device_rotations_per_hour: int = Field(default=5, ge=1)
    """Most new keys for one device within an hour: one that has gone wild fills no table."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made for a device, in plain for its eyes only; and when those before it end."""

    api_key: str
    expires_at: datetime
    old_valid_until: datetime


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class DeviceService:
    """The use cases around devices that stand already."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: DeviceKeySettings,
        *,
        trail: Trail = NO_TRAIL,
        decisions: Decisions = NO_DECISIONS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._settings, self._clock = pool, settings, clock
        self._trail, self._decisions = trail, decisions

    async def recognise(self, uuid: str, api_key: str) -> ApiKey:
        """Return the key that a device shows, when it is good. Raises DeviceKeyUnknown, DeviceUnknown, DeviceInactive."""
        presented = digest_of(api_key)
        with database_errors():
            found = await repository.key_of(self._pool, uuid, presented)
            if found is None or not is_key(found[0].digest, presented) or not found[0].is_good(self._clock()):
                await self.explain(uuid)
                refusal = DeviceKeyUnknown(hint="rotate, or register again with a proof of the private key")
                await self._decisions.refused(self._pool, refusal, device=uuid, source="devices")
                raise refusal
        if not found[1]:
            raise DeviceInactive(uuid=uuid)
        return found[0]

    async def owner(self, api_key: str) -> str | None:
        """Return the device that a key is of, None when it is of none, not good, or its device is switched off."""
        presented, now = digest_of(api_key), self._clock()
        with database_errors():
            found = await repository.owner_of(self._pool, presented)
        good = [
            uuid
            for uuid, key, is_active in found
            if is_key(key.digest, presented) and key.is_good(now) and is_active
        ]
        return good[0] if len(good) == 1 else None

    async def explain(self, uuid: str) -> None:
        """Tell a refused caller when there is no such device at all. Raises DeviceUnknown."""
        if await repository.find(self._pool, uuid) is None:
            raise DeviceUnknown(hint="it was removed, or never registered here", uuid=uuid)

    async def device(self, uuid: str) -> Device:
        """Return a device. Raises DeviceUnknown."""
        with database_errors():
            found = await repository.find(self._pool, uuid)
        if found is None:
            raise DeviceUnknown(uuid=uuid)
        return found

    async def register_key(self, db: Database, uuid: str, api_key: str) -> None:
        """Give a device the key that it made itself, in the place of all others; the caller's transaction."""
        now = self._clock()
        await repository.forget_keys(db, uuid)
        await repository.add_key(db, uuid, self._fresh(api_key, "device", now))

    async def rotate(self, uuid: str) -> NewKey:
        """Make a new key; those before are good until the grace period ends. Raises RotatedTooOften, DeviceUnknown."""
        now, api_key = self._clock(), make_api_key()
        old_valid_until = now + timedelta(days=self._settings.device_key_grace_days)
        key = self._fresh(api_key, "rotation", now)
        with database_errors():
            try:
                async with self._pool.acquire() as db, db.transaction():
                    await self._replace(db, uuid, key, old_valid_until)
            except RotatedTooOften as exc:
                await self._decisions.refused(self._pool, exc, device=uuid, source="devices")
                raise
        log.info("device.key_rotated", device_uuid=uuid, old_valid_until=old_valid_until.isoformat())
        return NewKey(api_key, key.due_at or now, old_valid_until)

    async def _replace(self, db: Database, uuid: str, key: ApiKey, old_valid_until: datetime) -> None:
        await repository.lock(db, uuid)
        if await repository.find(db, uuid) is None:
            raise DeviceUnknown(uuid=uuid)
        self._brake(await repository.keys_of(db, uuid), key.created_at)
        await repository.end_keys(db, uuid, old_valid_until)
        await repository.forget_keys(db, uuid, key.created_at - _HISTORY)
        await repository.add_key(db, uuid, key)
        ends = {"old_valid_until": old_valid_until}
        await self._trail.record(db, f"device:{uuid}", "device.key_rotated", ("device", uuid), details=ends)

    async def keys(self, uuid: str, *, limit: int = 20) -> list[ApiKey]:
        """Return the keys that a device has and had, the newest first."""
        with database_errors():
            return await repository.keys_of(self._pool, uuid, limit=limit)

    async def revoke_keys(self, uuid: str, *, by: Actor | str = "service") -> None:
        """Take every key from a device at once. Raises DeviceUnknown."""
        with database_errors():
            await self.explain(uuid)
            async with self._pool.acquire() as db, db.transaction():
                await repository.end_keys(db, uuid, self._clock())
                await self._note(db, uuid, "device.keys_revoked", by)
        log.warning("device.keys_revoked", device_uuid=uuid)

    async def remove(self, uuid: str, *, by: Actor | str | None = None) -> None:
        """Remove a device with everything that it owns. Raises DeviceUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await removal.hold(db, [uuid])
                if not await removal.remove(db, [uuid]):
                    raise DeviceUnknown(uuid=uuid)
                await self._note(db, uuid, "device.removed", by or f"device:{uuid}")
        log.info("device.removed", device_uuid=uuid)

    async def _note(self, db: Database, uuid: str, code: str, by: Actor | str) -> None:
        """Write down, in the transaction of the change, what keeps a device away from now on."""
        await self._trail.record(db, by, code, ("device", uuid), severity=Severity.WARNING)
        facts = {"by": by if isinstance(by, str) else by.name}
        await self._decisions.decided(db, About.OFFLINE, code, device=uuid, facts=facts, source="devices")

    def _fresh(self, api_key: str, origin: str, now: datetime) -> ApiKey:
        due_at = now + timedelta(days=self._settings.device_key_life_days)
        return ApiKey(digest=digest_of(api_key), origin=origin, created_at=now, due_at=due_at, ends_at=None)

    def _brake(self, keys: list[ApiKey], now: datetime) -> None:
        recent = [key.created_at for key in keys if key.origin == "rotation" and key.created_at > now - _HOUR]
        if len(recent) >= self._settings.device_rotations_per_hour:
            wait_s = (min(recent) + _HOUR - now).total_seconds()
            raise RotatedTooOften(
                retry_after_s=wait_s,
                hint=f"wait {wait_s:.0f} s",
                limit=self._settings.device_rotations_per_hour,
                window_s=_HOUR.total_seconds(),
            )
