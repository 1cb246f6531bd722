"""The licence over HTTP.

GET  /license            plan, what it contains, how much of it is used
GET  /license/verify     the same, for programs that only want to know whether it is in force
POST /license            put a licence in force
POST /billing/refresh-license   ask the seller for the newest
"""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from iotistic.control.access.model import Permission, UserPrincipal
from iotistic.control.access.rules import requires, signed_in
from iotistic.control.licences.model import Licence, Standing, explain
from iotistic.control.licences.refreshing import Refresher
from iotistic.control.licences.service import LicenceService
from iotistic.kernel.web.describing import Answer, answered

_Owner = Annotated[UserPrincipal, signed_in(Permission.BILLING_MANAGE)]


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Usage(_Answer):
    """How many devices there are of how many; -1 is any number."""

    current: int
    max: int
    percent_used: float


class TrialState(_Answer):
    """How long a trial goes on."""

    is_active: bool
    expires_at: datetime | None
    days_remaining: int


class LicenceState(_Answer):
    """What the installation may do, and why."""

    standing: str
    explanation: str
    is_in_force: bool
    plan: str
    customer: dict[str, str] | None
    subscription: dict[str, Any] | None
    trial: TrialState | None
    features: dict[str, bool]
    limits: dict[str, int]
    usage: dict[str, Usage]
    until: datetime | None
    upgrade_url: str

    @classmethod
    def of(cls, licence: Licence, devices: int, upgrade_url: str, now: datetime) -> "LicenceState":
        """Show a licence."""
        claims = licence.claims
        most = licence.max_devices
        used = 0.0 if most <= 0 else round(100 * devices / most, 1)
        return cls(
            standing=licence.standing.value,
            explanation=explain(licence),
            is_in_force=licence.is_in_force,
            plan=licence.plan,
            customer={"id": claims.customer_id, "name": claims.customer_name} if claims else None,
            subscription=claims.subscription.model_dump(by_alias=True) if claims else None,
            trial=_trial(licence, now),
            features=dict(licence.features),
            limits=dict(licence.limits),
            usage={"devices": Usage(current=devices, max=most, percent_used=used)},
            until=licence.until,
            upgrade_url=upgrade_url,
        )


class LicenceVerdict(Answer):
    """Whether a licence is in force, and why."""

    valid: bool
    plan: str
    standing: Standing


class LicenceRequest(BaseModel):
    """A licence to put in force."""

    model_config = ConfigDict(extra="forbid")

    license: SecretStr = Field(min_length=10, max_length=16_384)


def licence_router(service: LicenceService, refresher: Refresher) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["licence"])

    async def shown() -> LicenceState:
        devices = await service.devices()
        return LicenceState.of(await service.current(), devices, service.upgrade_url, service.now())

    @router.get("/license", operation_id="get_license", dependencies=[requires(Permission.SETTINGS_READ)])
    async def licence() -> LicenceState:
        """The plan, what it contains, and how much of it is used."""
        return await shown()

    @router.get(
        "/license/verify",
        operation_id="verify_license",
        dependencies=[requires(Permission.SETTINGS_READ)],
        responses=answered(LicenceVerdict),
    )
    async def verify() -> dict[str, Any]:
        """Whether a licence is in force."""
        found = await service.current()
        return {"valid": found.is_in_force, "plan": found.plan, "standing": found.standing.value}

    @router.post("/license", operation_id="install_license")
    async def install(asked: LicenceRequest, caller: _Owner) -> LicenceState:
        """Put a licence in force; one that is not signed by the seller, or has ended, is refused."""
        await service.install(asked.license.get_secret_value(), by=caller)
        return await shown()

    @router.post("/billing/refresh-license", operation_id="refresh_license")
    async def refresh(caller: _Owner) -> LicenceState:
        """Ask the seller for the licence in force; 503 when there is nobody to ask."""
        await refresher.refresh(by=caller)
        return await shown()

    _ = licence, verify, install, refresh
    return router


def _trial(licence: Licence, now: datetime) -> TrialState | None:
    claims = licence.claims
    if claims is None or not claims.trial.is_trial_mode:
        return None
    left = (licence.until - now).days if licence.until else 0
    return TrialState(
        is_active=licence.is_in_force, expires_at=claims.trial.expires_at, days_remaining=max(0, left)
    )
