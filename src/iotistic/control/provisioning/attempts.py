"""Who tries to become known is written down, and braked: before anything is judged, so that a race is braked too.

Of one address: so many registrations within a quarter of an hour, and so many refusals within an hour. What was
answered a second time, because the first answer was lost, counts for nothing.
"""

import ipaddress
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
from pydantic import Field

from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.provisioning.model import (
    ChallengeLive,
    DeviceExists,
    DeviceLimit,
    NoChallenge,
    TooManyAttempts,
)
from iotistic.control.why.port import NO_DECISIONS, Decisions
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.settings import Settings

REGISTER, CHALLENGE, KEY_EXCHANGE = "register", "challenge", "key-exchange"
PENDING, REGISTERED, RETOLD, OK = "pending", "registered", "retold", "ok"

_NO_GUESSES = frozenset(kind.code for kind in (DeviceExists, DeviceLimit, ChallengeLive, NoChallenge))
"""Refusals that only whoever has a good key meets, or that tell nothing: a hall of devices comes back by them."""

_WINDOW, _HOUR = timedelta(minutes=15), timedelta(hours=1)
_KEPT = timedelta(days=30)
_CUSTOMER_BITS = 64

# The nth newest attempt decides; reading all of an hour, under the lock of the address, made a hall of 2,000
# devices behind one address wait for minutes.
_NTH_FAILED = (
    "SELECT at FROM provisioning_attempts WHERE address = $1 AND at > $2 AND NOT outcome = ANY($3::text[]) "
    "ORDER BY at DESC OFFSET $4 LIMIT 1"
)
_NTH = (
    "SELECT at FROM provisioning_attempts WHERE address = $1 AND at > $2 AND outcome <> $3 AND route = $4 "
    "ORDER BY at DESC OFFSET $5 LIMIT 1"
)
_NTH_OF_DEVICE = (
    "SELECT at FROM provisioning_attempts WHERE address = $1 AND at > $2 AND outcome <> $3 AND route = $4 "
    "AND device_uuid IS NOT DISTINCT FROM $6::text::uuid ORDER BY at DESC OFFSET $5 LIMIT 1"
)


class AttemptSettings(Settings):
    """How many attempts an address has."""

    provisioning_attempts_per_window: int = Field(default=5, ge=1)
    """Registrations of one address within 15 minutes. Raise it where many devices share one address."""
    provisioning_failures_per_hour: int = Field(default=10, ge=1)
    """Refused attempts of one address within an hour, whatever was tried."""
    provisioning_exchanges_per_hour: int = Field(default=10, ge=1)
    """Key exchanges, and challenges, of one device from one address within an hour."""


class Attempts:
    """Counts in the database, so that several processes brake as one."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: AttemptSettings,
        *,
        decisions: Decisions = NO_DECISIONS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._settings, self._clock = pool, settings, clock
        self._decisions = decisions

    async def begin(self, route: str, address: str, uuid: str | None = None) -> int:
        """Note an attempt and return its number. Raises TooManyAttempts."""
        with database_errors():
            try:
                return await self._begin(route, address, uuid)
            except TooManyAttempts as exc:
                await self._decisions.refused(self._pool, exc, device=uuid, source="provisioning")
                raise

    async def _begin(self, route: str, address: str, uuid: str | None) -> int:
        source, now = _source(address), self._clock()
        async with self._pool.acquire() as db, db.transaction():
            # All of an address wait for this commit, one after the other: not for the disk too. What a power cut
            # takes is the count of the last half second.
            await db.execute("SET LOCAL synchronous_commit = off")
            await db.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('provisioning:' || $1, 0))", source
            )
            await self._brake(db, source, route, uuid, now)
            return int(
                await db.fetchval(
                    "INSERT INTO provisioning_attempts (at, route, address, device_uuid) "
                    "VALUES ($1, $2, $3, $4::text::uuid) RETURNING id",
                    now,
                    route,
                    source,
                    uuid,
                )
            )

    async def end(self, attempt: int, outcome: str, uuid: str | None = None) -> None:
        """Note how it went: one of the words above, or the code of the refusal."""
        with database_errors():
            await self._pool.execute(
                "UPDATE provisioning_attempts SET outcome = $2, "
                "device_uuid = coalesce($3::text::uuid, device_uuid) WHERE id = $1",
                attempt,
                outcome[:200],
                uuid,
            )

    async def forget_old(self) -> int:
        """Remove what is older than 30 days; return how many."""
        with database_errors():
            done = await self._pool.execute(
                "DELETE FROM provisioning_attempts WHERE at < $1", self._clock() - _KEPT
            )
        return int(done.rpartition(" ")[2])

    async def _brake(self, db: Database, source: str, route: str, uuid: str | None, now: datetime) -> None:
        settings = self._settings
        passed = [PENDING, REGISTERED, RETOLD, OK, *_NO_GUESSES]
        most = settings.provisioning_failures_per_hour
        _refuse(await db.fetchval(_NTH_FAILED, source, now - _HOUR, passed, most - 1), most, _HOUR, now)
        if route == REGISTER:
            most, since = settings.provisioning_attempts_per_window, now - _WINDOW
            _refuse(await db.fetchval(_NTH, source, since, RETOLD, route, most - 1), most, _WINDOW, now)
        else:
            most, since = settings.provisioning_exchanges_per_hour, now - _HOUR
            nth = await db.fetchval(_NTH_OF_DEVICE, source, since, RETOLD, route, most - 1, uuid)
            _refuse(nth, most, _HOUR, now)


def _refuse(nth: datetime | None, most: int, window: timedelta, now: datetime) -> None:
    """Refuse when there is an nth attempt, the oldest of the most that an address may have."""
    if nth is None:
        return
    wait_s = max(1.0, (nth + window - now).total_seconds())
    raise TooManyAttempts(
        retry_after_s=wait_s, hint=f"wait {wait_s:.0f} s", limit=most, window_s=window.total_seconds()
    )


def _source(address: str) -> str:
    """Return whom an address stands for: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed, _CUSTOMER_BITS), strict=False))
    return str(parsed)
