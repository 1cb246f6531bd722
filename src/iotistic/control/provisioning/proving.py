"""Challenges, the proof that a device has its private key, and its next certificates.

A challenge is good for one signature. It is used up by whoever shows a good API key, not by whoever knows a uuid:
otherwise anybody could keep a device from ever proving itself.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import structlog

from iotistic.contracts.provisioning import keys as crypto
from iotistic.contracts.provisioning.certificates import NextCertificate
from iotistic.contracts.provisioning.requests import KeyExchangeRequest
from iotistic.control.devices import repository as devices
from iotistic.control.devices.model import Device, DeviceKeyUnknown, DeviceUnknown
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import DeviceService, utc_now
from iotistic.control.provisioning import rows
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.provisioning.model import ChallengeLive, NoChallenge, SignatureRefused
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


async def live_challenge(db: Database, uuid: str, asked_by: str, now: datetime) -> crypto.Challenge:
    """Return what this asker has to sign, a fresh one if there is none; whose it is has been looked at before."""
    live = await rows.challenge_of(db, uuid, now)
    if live is None or live.asked_by != asked_by:
        made = crypto.make_challenge(now.timestamp())
        ends_at = datetime.fromtimestamp(made.expires_at or 0.0, UTC)
        live = rows.LiveChallenge(made.text, asked_by, ends_at)
        await rows.put_challenge(db, uuid, live)
    return crypto.Challenge(live.text, live.expires_at.timestamp())


def signer_of(registration: rows.Registration, uuid: str, proof: crypto.Proof) -> str | None:
    """Return the key (PEM) that made a proof, None when it is none that the cloud knows."""
    for key in registration.public_keys():
        try:
            crypto.check_proof(key, uuid, proof)
        except crypto.ProofInvalid:
            continue
        return crypto.write_public(key)
    return None


class Proving:
    """The use cases of devices that are registered."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        device_service: DeviceService,
        certificates: DeviceCertificates,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._devices, self._certificates, self._clock = (
            pool,
            device_service,
            certificates,
            clock,
        )

    async def challenge(self, uuid: str, asked_by: str, api_key: str = "") -> crypto.Challenge:
        """Return something to sign. One that waits for somebody else stays, unless the asker shows a good API key.

        Raises DeviceUnknown, ChallengeLive.
        """
        now = self._clock()
        is_own = bool(api_key) and await self._is_good(uuid, api_key)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await devices.lock(db, uuid)
                if await devices.find(db, uuid) is None:
                    raise DeviceUnknown(uuid=uuid)
                live = await rows.challenge_of(db, uuid, now)
                if live is not None and live.asked_by != asked_by and not is_own:
                    wait_s = (live.expires_at - now).total_seconds()
                    raise ChallengeLive(hint=f"sign it, or wait {wait_s:.0f} s")
                return await live_challenge(db, uuid, asked_by, now)

    async def exchange(self, uuid: str, asked: KeyExchangeRequest) -> Device:
        """Do the last step: the API key is good, and the private key is the registered one, where there is one.

        Raises DeviceUnknown, DeviceInactive, DeviceKeyUnknown, NoChallenge, SignatureRefused.
        """
        await self._devices.recognise(uuid, asked.device_api_key)
        now = self._clock()
        with database_errors():
            registration = await rows.find(self._pool, uuid)
            signer = ""
            if registration is not None and registration.public_key:
                # Committed by itself: a wrong signature uses the challenge up too.
                text = await rows.take_challenge(self._pool, uuid, now)
                if not text:
                    raise NoChallenge(hint=f"ask for one: POST /device/{uuid}/challenge")
                found = signer_of(registration, uuid, crypto.Proof(text, asked.signature))
                if found is None:
                    raise SignatureRefused
                signer = found
            await rows.note_proof(self._pool, uuid, signer, now)
        log.info("device.proven", device_uuid=uuid)
        return await self._devices.device(uuid)

    async def renew_certificate(self, uuid: str, csr: str) -> NextCertificate:
        """Certify the key of a signing request; the key before stays good for proofs.

        Raises KeyInvalid, DeviceUnknown.
        """
        key = crypto.read_csr(csr)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await devices.lock(db, uuid)
                if await rows.find(db, uuid) is None:
                    raise DeviceUnknown(uuid=uuid)
                await rows.change_key(db, uuid, crypto.write_public(key))
                certificate = await self._certificates.certify(db, uuid, key)
        log.info("device.certificate_issued", device_uuid=uuid)
        return certificate

    async def _is_good(self, uuid: str, api_key: str) -> bool:
        try:
            await self._devices.recognise(uuid, api_key)
        except DeviceKeyUnknown:
            return False
        return True
