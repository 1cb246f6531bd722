"""A device is taken into the fleet: in one transaction, or not at all.

- New: the plan has room and the provisioning key a use left. Both are taken under locks, so no race passes either.
- Announced by an operator: it takes over the row that waits for it, which had its place in the plan already.
- Known, and the same registration again: the answer was lost, so it is given once more; nothing is taken.
- Known otherwise: a provisioning key alone replaces nothing. The device proves that it has the key that the cloud
  knows, and then everything that it had before (API keys, certificates, broker password) is good no more.

Locks, always in this order: the device's uuid, the tally of devices, the provisioning key.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncpg
import structlog

from iotistic.contracts.provisioning import keys as crypto
from iotistic.contracts.provisioning.requests import RegisterRequest
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.control.devices import repository as devices
from iotistic.control.devices.keys import check_strength, digest_of, is_key
from iotistic.control.devices.model import Device, NewDevice
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import DeviceService, utc_now
from iotistic.control.provisioning import rows
from iotistic.control.provisioning.answering import Granted, Offer
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.model import (
    UNNAMED_FLEET,
    AwaitedElsewhere,
    DeviceExists,
    DeviceLimit,
    IdempotencyInvalid,
    KeyRevoked,
    ProofRefused,
    ProvisioningKey,
)
from iotistic.control.provisioning.proving import live_challenge, signer_of
from iotistic.control.why.port import NO_DECISIONS, Decisions
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_MOST_NAME = 200
_PROVE = "sign a challenge with the device's private key, or have an operator remove the device"


class Plan(Protocol):
    """How many devices there may be."""

    async def device_limit(self) -> int:
        """Return the most devices; negative means any number."""
        ...

    @property
    def upgrade_url(self) -> str:
        """Where more can be had."""
        ...


class Targets(Protocol):
    """Gives a new device something to be."""

    async def begin(self, db: Database, uuid: str) -> None:
        """Give a device its first target in the caller's transaction; one that has a target keeps it."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPlan:
    """A plan that stands in the settings."""

    limit: int
    upgrade_url: str = ""

    async def device_limit(self) -> int:
        """Return the most devices."""
        return self.limit


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a registration needs of others."""

    device_service: DeviceService
    provisioning_keys: ProvisioningKeys
    certificates: DeviceCertificates
    offer: Offer
    plan: Plan
    targets: Targets
    trail: Trail = NO_TRAIL
    decisions: Decisions = NO_DECISIONS


@dataclass(frozen=True, slots=True)
class _Asked:
    request: RegisterRequest
    name: str
    public_key: crypto.PublicKey | None

    @property
    def public_pem(self) -> str:
        return "" if self.public_key is None else crypto.write_public(self.public_key)


class Registrar:
    """The use case."""

    def __init__(
        self, pool: asyncpg.Pool, around: Surroundings, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._around, self._clock = pool, around, clock

    async def register(self, request: RegisterRequest, name: str) -> Granted:
        """Take a device in; `name` is its idempotency key, empty when it gave none.

        Raises KeyInvalid, DeviceKeyWeak, IdempotencyInvalid, KeyUnknown, KeyRevoked, KeyExpired, KeyUsedUp,
        DeviceLimit, DeviceExists, ProofRefused, AwaitedElsewhere.
        """
        try:
            granted = await self._register(request, name)
        except IotisticError as exc:
            with database_errors():
                await self._around.decisions.refused(
                    self._pool, exc, device=request.uuid, source="provisioning"
                )
            raise
        event = "device.registration_retold" if granted.is_retold else "device.registered"
        log.info(event, device_uuid=request.uuid, fleet_id=granted.device.fleet_id)
        return granted

    async def _register(self, request: RegisterRequest, name: str) -> Granted:
        check_strength(request.device_api_key)
        public_key = crypto.read_csr(request.csr) if request.csr else None
        asked = _Asked(request, _checked_name(name, request), public_key)
        with database_errors():
            is_challenged = request.proof is not None and await self._took_challenge(request)
            async with self._pool.acquire() as db, db.transaction():
                return await self._decide(db, asked, is_challenged=is_challenged)

    async def _took_challenge(self, request: RegisterRequest) -> bool:
        """Use up the challenge that a proof is about, whatever becomes of the registration."""
        wanted = request.proof.challenge if request.proof else None
        return bool(wanted) and bool(
            await rows.take_challenge(self._pool, request.uuid, self._clock(), wanted)
        )

    async def _decide(self, db: Database, asked: _Asked, *, is_challenged: bool) -> Granted:
        uuid = asked.request.uuid
        await devices.lock(db, uuid)
        key = await self._around.provisioning_keys.recognise(db, asked.request.provisioning_key)
        if key.revoked_at is not None:
            raise KeyRevoked
        device, known = await devices.find(db, uuid), await rows.find(db, uuid, for_update=True)
        if device is None or known is None:
            return await self._take_in(db, asked, key)
        if await self._is_again(db, asked, known):
            return await self._grant(db, asked, device, is_retold=True)
        self._require_proof(asked, known, is_challenged=is_challenged)
        key.require_valid(self._clock())
        await self._around.certificates.revoke_all(db, uuid)
        described = await devices.describe(db, _described(asked.request, device.fleet_id))
        await self._note(db, "device.registered_again", described, key, before=device)
        return await self._install(db, asked, described, key)

    async def _is_again(self, db: Database, asked: _Asked, known: rows.Registration) -> bool:
        """Say whether this is the registration that stands. With keys, only until they were proven once."""
        presented = digest_of(asked.request.device_api_key)
        found = await devices.key_of(db, asked.request.uuid, presented)
        has_key = found is not None and is_key(found[0].digest, presented) and found[0].is_good(self._clock())
        is_same = asked.public_pem == known.public_key and has_key
        if not known.public_key:  # the API key is all that such a device has, and so its proof
            return is_same
        return is_same and known.name == asked.name and known.proven_at is None

    def _require_proof(self, asked: _Asked, known: rows.Registration, *, is_challenged: bool) -> None:
        proof = asked.request.proof
        if proof is None or not known.public_key or not is_challenged:
            raise DeviceExists(hint=_PROVE, uuid=asked.request.uuid)
        if signer_of(known, asked.request.uuid, proof) is None:
            raise ProofRefused(hint=_PROVE, uuid=asked.request.uuid)

    async def _take_in(self, db: Database, asked: _Asked, key: ProvisioningKey) -> Granted:
        key.require_valid(self._clock())
        present = await devices.lock_tally(db)
        described = _described(asked.request, key.fleet_id)
        announced = await devices.awaited(db, described.uuid, described.mac_address)
        if announced is None:
            await require_room(self._around.plan, present)
        elif announced.fleet_id not in (key.fleet_id, UNNAMED_FLEET):
            raise AwaitedElsewhere(hint=f"use a provisioning key of the fleet {announced.fleet_id}")
        await self._around.provisioning_keys.take_use(db, key)
        if announced is None:
            device = await devices.add(db, described, self._clock())
        else:
            device = await devices.take_over(db, announced.uuid, described)
        awaited_as = None if announced is None else announced.uuid
        await self._note(db, "device.registered", device, key, awaited_as=awaited_as)
        return await self._install(db, asked, device, key)

    async def _note(
        self,
        db: Database,
        action: str,
        device: Device,
        key: ProvisioningKey,
        *,
        before: Device | None = None,
        awaited_as: str | None = None,
    ) -> None:
        details = {"provisioning_key_id": key.id}
        await self._around.trail.record(
            db,
            f"device:{device.uuid}",
            action,
            ("device", device.uuid),
            before=before,
            after=device,
            severity=Severity.INFO if before is None else Severity.WARNING,
            details=details if awaited_as is None else {**details, "awaited_as": awaited_as},
        )

    async def _install(self, db: Database, asked: _Asked, device: Device, key: ProvisioningKey) -> Granted:
        """Give a device its credentials, in the place of any that it had."""
        registration = rows.Registration(
            name=asked.name,
            provisioning_key_id=key.id,
            public_key=asked.public_pem,
            former_public_key="",
            registered_at=self._clock(),
            proven_at=None,
        )
        await rows.save(db, device.uuid, registration)
        await self._around.device_service.register_key(db, device.uuid, asked.request.device_api_key)
        await self._around.targets.begin(db, device.uuid)
        return await self._grant(db, asked, device, is_retold=False)

    async def _grant(self, db: Database, asked: _Asked, device: Device, *, is_retold: bool) -> Granted:
        now, around, certificate = self._clock(), self._around, ""
        challenge = None
        if asked.public_key is not None:
            issued = await around.certificates.certify(db, device.uuid, asked.public_key)
            certificate = issued.certificate
            challenge = await live_challenge(db, device.uuid, asked.name, now)
        name = await self._registered_name(db, device.uuid, asked)
        password = around.offer.mqtt_password(device.uuid, name)
        username = around.offer.mqtt_username(device.uuid)
        await rows.put_mqtt_account(db, device.uuid, username, digest_of(password), now)
        return Granted(device, name, certificate, challenge, is_retold)

    async def _registered_name(self, db: Database, uuid: str, asked: _Asked) -> str:
        known = await rows.find(db, uuid)
        return asked.name if known is None else known.name


async def require_room(plan: Plan, present: int) -> None:
    """Raise DeviceLimit when one more than `present` devices is too many; the caller holds the tally's lock."""
    limit = await plan.device_limit()
    if 0 <= limit <= present:
        raise DeviceLimit(
            f"the plan allows {limit} devices, and all of them are there",
            hint="remove a device, or choose a larger plan",
            limit=limit,
            upgradeUrl=plan.upgrade_url,
        )


def _described(request: RegisterRequest, fleet_id: str) -> NewDevice:
    return NewDevice(
        uuid=request.uuid,
        name=request.device_name,
        type=request.device_type,
        fleet_id=fleet_id,
        application_id=request.application_id,
        mac_address=request.mac_address,
        os_version=request.os_version,
        agent_version=request.agent_version,
    )


def _checked_name(name: str, request: RegisterRequest) -> str:
    """Return the name of a registration; without one, the keys that it brings are its name."""
    if not name:
        return hashlib.sha256(f"{request.device_api_key}\0{request.csr}".encode()).hexdigest()
    if len(name) > _MOST_NAME or not name.isascii() or not name.isprintable():
        raise IdempotencyInvalid(f"X-Idempotency-Key has more than {_MOST_NAME} printable ASCII characters")
    return name
