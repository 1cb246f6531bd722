"""Provisioning keys over HTTP: the operator's side."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, params
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request

from iotistic.contracts.provisioning.fields import write_time
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.provisioning.key_answers import (
    NewProvisioningKey,
    ProvisioningKeyList,
    ProvisioningKeyRevoked,
)
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.model import ProvisioningKey
from iotistic.kernel.errors import Invalid
from iotistic.kernel.web.describing import answered

_MOST_DAYS = 3650
_DEFAULT_DEVICES, _DEFAULT_DAYS = 100, 365
_WARNING = "Keep this key now: it is not shown again."


class ExpiryInvalid(Invalid):
    """The key would expire before it could be used, or in more than ten years."""

    code = "provisioning.expiry_invalid"


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class NewKeyRequest(_Body):
    """What a new key is to allow; `maxUses` and `expiresAt` are other words for the two before them."""

    fleet_id: str = Field(min_length=1, max_length=255)
    max_devices: int | None = Field(default=None, ge=1, le=10_000)
    max_uses: int | None = Field(default=None, ge=1, le=10_000)
    expires_in_days: int | None = Field(default=None, ge=1, le=_MOST_DAYS)
    expires_at: datetime | None = None
    description: str = Field(default="", max_length=1000)

    @property
    def uses(self) -> int:
        """How many devices it lets in."""
        return self.max_uses or self.max_devices or _DEFAULT_DEVICES

    def lives(self, now: datetime) -> timedelta:
        """Return how long it is good. Raises ExpiryInvalid."""
        if self.expires_at is None:
            return timedelta(days=self.expires_in_days or _DEFAULT_DAYS)
        at = self.expires_at if self.expires_at.tzinfo else self.expires_at.replace(tzinfo=UTC)
        if not timedelta(0) < at - now <= timedelta(days=_MOST_DAYS):
            raise ExpiryInvalid(expiresAt=at.isoformat())
        return at - now


class GenerateRequest(_Body):
    """A key for one device; `previousKeyId` is revoked first."""

    fleet_id: str = Field(default="default-fleet", min_length=1, max_length=255)
    new_key: bool = True
    previous_key_id: str | None = Field(default=None, max_length=64)


class RevokeRequest(_Body):
    """Why a key is revoked."""

    reason: str | None = Field(default=None, max_length=1000)


def provisioning_key_router(
    keys: ProvisioningKeys,
    *,
    read: params.Depends,
    write: params.Depends,
    who: Callable[[Request], str],
    clock: Callable[[], datetime],
) -> APIRouter:
    """Return the routes; `read` and `write` (`Depends(rule)`) say what they need of a caller, `who` names him in the records."""
    router = APIRouter(prefix="/provisioning-keys", tags=["provisioning keys"], route_class=DeviceRoute)

    @router.post(
        "", status_code=201, dependencies=[write], responses=answered(NewProvisioningKey, status=201)
    )
    async def create(request: Request, asked: NewKeyRequest) -> dict[str, Any]:
        """Make a key; it is in this answer and nowhere else."""
        plain, key = await keys.create(
            fleet_id=asked.fleet_id,
            max_uses=asked.uses,
            lives=asked.lives(clock()),
            description=asked.description,
            created_by=who(request),
        )
        return _created(plain, key)

    @router.post(
        "/generate", status_code=201, dependencies=[write], responses=answered(NewProvisioningKey, status=201)
    )
    async def generate(request: Request, asked: GenerateRequest) -> dict[str, Any]:
        """Make a key for one device, good for 30 days."""
        if asked.previous_key_id is not None:
            await keys.revoke(asked.previous_key_id, "replaced", revoked_by=who(request))
        plain, key = await keys.create(
            fleet_id=asked.fleet_id, max_uses=1, lives=timedelta(days=30), created_by=who(request)
        )
        return _created(plain, key)

    @router.get("", dependencies=[read], responses=answered(ProvisioningKeyList))
    async def listed(
        fleet_id: Annotated[str | None, Query(alias="fleetId", max_length=255)] = None,
    ) -> dict[str, Any]:
        """The keys of a fleet, the newest first; never a key itself."""
        found = await keys.list(fleet_id)
        return {"fleet_id": fleet_id, "count": len(found), "keys": [_shown(key) for key in found]}

    @router.delete("/{key_id}", dependencies=[write], responses=answered(ProvisioningKeyRevoked))
    async def revoke(
        request: Request, key_id: str, asked: Annotated[RevokeRequest | None, Body()] = None
    ) -> dict[str, Any]:
        """Let a key be good no more; devices that came by it stay."""
        reason = asked.reason if asked else None
        key = await keys.revoke(key_id, reason, revoked_by=who(request))
        message = "the provisioning key is revoked"
        return {
            "success": True,
            "status": "ok",
            "message": message,
            "keyId": key.id,
            "reason": key.revoked_reason,
        }

    _ = create, generate, listed, revoke
    return router


def _created(plain: str, key: ProvisioningKey) -> dict[str, Any]:
    return _shown(key) | {"key": plain, "maxDevices": key.max_uses, "warning": _WARNING}


def _shown(key: ProvisioningKey) -> dict[str, Any]:
    revoked_at = None if key.revoked_at is None else write_time(key.revoked_at.timestamp())
    return {
        "id": key.id,
        "fleetId": key.fleet_id,
        "description": key.description,
        "maxUses": key.max_uses,
        "currentUses": key.current_uses,
        "createdAt": write_time(key.created_at.timestamp()),
        "createdBy": key.created_by,
        "expiresAt": write_time(key.expires_at.timestamp()),
        "revokedAt": revoked_at,
        "revokedReason": key.revoked_reason,
    }
