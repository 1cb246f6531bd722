"""Which licence is in force: the token is read, verified and judged anew whenever somebody asks.

Verifying costs 50 microseconds; what is kept for a few seconds is the token, never what was read out of it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import jwt
import structlog

from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.control.devices.service import utc_now
from iotistic.control.licences.model import (
    OPEN,
    Claims,
    Feature,
    FeatureMissing,
    Licence,
    LicenceEnded,
    LicenceInvalid,
    Limit,
    PlanLimit,
    document_of,
    explain,
    judge,
)
from iotistic.control.licences.settings import LicenceSettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_KEPT_S = 5.0
_LONGEST = 16_384
_COUNTED = {
    Limit.JOB_TEMPLATES: "SELECT count(*) FROM job_templates",
    Limit.ALERT_RULES: "SELECT count(*) FROM alert_rules",
    Limit.USERS: "SELECT count(*) FROM users WHERE is_active",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A token as the database has it."""

    token: str
    confirmed_at: datetime | None


class LicenceService:
    """The use cases."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: LicenceSettings,
        *,
        trail: Trail = NO_TRAIL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._settings, self._trail, self._clock = pool, settings, trail, clock
        self._kept: tuple[float, Kept | None] | None = None
        self._reading = asyncio.Lock()
        self._told = ""

    @property
    def upgrade_url(self) -> str:
        """Where more can be had."""
        return self._settings.billing_upgrade_url

    def now(self) -> datetime:
        """Return the time that licences are judged by."""
        return self._clock()

    async def current(self) -> Licence:
        """Return what is allowed now."""
        if not self._settings.license_public_key:
            return OPEN
        kept = await self._token()
        claims = None
        if kept is not None:
            try:
                claims = self._verified(kept.token, is_ended_fine=True)
            except LicenceInvalid as exc:
                log.warning("licence.refused", reason=exc.message)
        offline = (
            timedelta(days=self._settings.license_offline_days) if self._settings.billing_api_url else None
        )
        licence = judge(
            claims, self._clock(), confirmed_at=kept.confirmed_at if kept else None, offline=offline
        )
        if licence.standing.value != self._told:
            self._told = licence.standing.value
            log.info("licence.stands", standing=self._told, plan=licence.plan)
        return licence

    async def device_limit(self) -> int:
        """Return the most devices; negative means any number."""
        return (await self.current()).max_devices

    async def check_jobs(self, *, scheduled: bool) -> None:
        """Raise FeatureMissing unless jobs may be executed, or scheduled."""
        await self.require(Feature.EXECUTE_JOBS)
        if scheduled:
            await self.require(Feature.SCHEDULE_JOBS)

    async def require(self, feature: Feature) -> None:
        """Raise FeatureMissing unless the plan contains it."""
        licence = await self.current()
        if not licence.features.get(feature.value, False):
            raise FeatureMissing(
                f"the plan does not contain {feature.value}: {explain(licence)}",
                hint="choose a larger plan, or renew the licence",
                feature=feature.value,
                plan=licence.plan,
                upgradeUrl=self.upgrade_url,
            )

    async def require_room(self, limit: Limit) -> None:
        """Raise PlanLimit unless one more may be made."""
        licence = await self.current()
        most = licence.limits.get(limit.value, 0)
        if most < 0:
            return
        with database_errors():
            present = int(await self._pool.fetchval(_COUNTED[limit]))
        if present >= most:
            raise PlanLimit(
                f"the plan allows {most}, and {present} are there: {explain(licence)}",
                hint="remove one, or choose a larger plan",
                limit=limit.value,
                most=most,
                present=present,
                upgradeUrl=self.upgrade_url,
            )

    async def install(self, token: str, *, by: Caller | None) -> Licence:
        """Put a licence in force. Raises LicenceInvalid, LicenceEnded."""
        claims, now = self._verified(token, is_ended_fine=False), self._clock()
        name = by.name if by else "service"
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await db.execute(
                    "INSERT INTO licence_token (token, installed_at, installed_by, confirmed_at) "
                    "VALUES ($1, $2, $3, $2) ON CONFLICT (id) DO UPDATE SET token = $1, "
                    "installed_at = CASE WHEN licence_token.token = $1 THEN licence_token.installed_at ELSE $2 END, "
                    "installed_by = $3, confirmed_at = $2",
                    token.strip(),
                    now,
                    name,
                )
                if by is not None:
                    about = {"plan": claims.plan, "customer": claims.customer_id}
                    await self._trail.record(
                        db, by, "licence.installed", ("licence", "1"), after=about, severity=Severity.WARNING
                    )
        self._kept = None
        log.info("licence.installed", plan=claims.plan, by=name)
        return await self.current()

    async def devices(self) -> int:
        """Return how many devices there are."""
        with database_errors():
            return int(await self._pool.fetchval("SELECT count(*) FROM fleet_devices"))

    async def token(self) -> str | None:
        """Return the token in force, as it was signed."""
        kept = await self._token()
        return kept.token if kept else None

    def _verified(self, token: str, *, is_ended_fine: bool) -> Claims:
        if not self._settings.license_public_key:
            raise LicenceInvalid("there is no key to check licences with", hint="set LICENSE_PUBLIC_KEY")
        if len(token) > _LONGEST:
            raise LicenceInvalid
        options = {"require": ["exp"], "verify_exp": False, "verify_aud": False}
        try:
            # One algorithm: a token that names another, or none, is no licence.
            read = jwt.decode(token.strip(), self._settings.license_public_key, ["RS256"], options=options)  # pyright: ignore[reportArgumentType]
        except (jwt.PyJWTError, ValueError, TypeError) as exc:
            raise LicenceInvalid(f"the licence is not signed by the seller: {exc}") from exc
        claims = document_of(read)
        if not is_ended_fine and claims.exp <= self._clock().timestamp():
            raise LicenceEnded
        return claims

    async def _token(self) -> Kept | None:
        async with self._reading:
            if self._kept is not None and time.monotonic() < self._kept[0]:
                return self._kept[1]
            try:
                with database_errors():
                    row = await self._pool.fetchrow("SELECT token, confirmed_at FROM licence_token")
            except IotisticError:
                if self._kept is None:
                    raise
                return self._kept[1]  # a database that is away takes no licence away
            found = Kept(row["token"], row["confirmed_at"]) if row else self._given()
            self._kept = time.monotonic() + _KEPT_S, found
            return found

    def _given(self) -> Kept | None:
        given = self._settings.iotistic_license_key
        return Kept(given.get_secret_value(), None) if given else None
