"""The doors by which devices become known.

POST /provisioning/v2/key-exchange     the cloud's key for envelopes
POST /provisioning/v2/register         a registration in an envelope
POST /device/register                  the same in the open, as deployed agents do it
POST /device/{uuid}/challenge          something to sign
POST /device/{uuid}/key-exchange       the last step of both
POST /device/{uuid}/certificate        the next certificate
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.requests import Request

from iotistic.contracts.provisioning import answers, certificates, requests
from iotistic.contracts.provisioning.fields import Fields
from iotistic.control.devices.access import CheckedInside, OwnDevice, bearer
from iotistic.control.devices.model import DeviceKeyMissing
from iotistic.control.devices.service import DeviceService
from iotistic.control.devices.wire import BodyInvalid, DeviceRoute, read_json
from iotistic.control.provisioning.answering import Granted, Offer
from iotistic.control.provisioning.attempts import (
    CHALLENGE,
    KEY_EXCHANGE,
    OK,
    REGISTER,
    REGISTERED,
    RETOLD,
    Attempts,
)
from iotistic.control.provisioning.door_answers import (
    DeployedRegistration,
    DeviceCertificate,
    DeviceChallenge,
    EnvelopeKey,
    KeysProven,
    Registration,
)
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys
from iotistic.control.provisioning.model import KeyUnknown
from iotistic.control.provisioning.proving import Proving
from iotistic.control.provisioning.registration import Registrar
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.web.attempts import caller_address
from iotistic.kernel.web.auth import Public
from iotistic.kernel.web.describing import answered

T = TypeVar("T")

_MOST_BODY = 256 * 1024


@dataclass(frozen=True, slots=True)
class Doors:
    """What the routes need."""

    registrar: Registrar
    proving: Proving
    attempts: Attempts
    envelope_keys: EnvelopeKeys
    offer: Offer
    device_service: DeviceService
    address_of: Callable[[Request], str] = caller_address
    """Who asks; behind a proxy, what the proxy says, if that proxy is one of ours."""

    async def watched(self, route: str, request: Request, uuid: str | None, act: Awaitable[T]) -> T:
        """Do something that is written down and braked."""
        try:
            attempt = await self.attempts.begin(route, self.address_of(request), uuid)
        except IotisticError:
            _never(act)
            raise
        try:
            result = await act
        except IotisticError as exc:
            await self.attempts.end(attempt, exc.code)
            raise
        outcome = OK
        if isinstance(result, Granted):
            outcome, uuid = (RETOLD if result.is_retold else REGISTERED), result.device.uuid
        await self.attempts.end(attempt, outcome, uuid)
        return result


def _never(act: Awaitable[object]) -> None:
    close = getattr(act, "close", None)
    if close is not None:
        close()


def provisioning_router(doors: Doors) -> APIRouter:
    """Return the routes of registration."""
    router = APIRouter(tags=["provisioning"], route_class=DeviceRoute)
    with_key = CheckedInside("a provisioning key")

    @router.post(
        requests.KEY_EXCHANGE_V2,
        dependencies=[Depends(Public("a public key"))],
        responses=answered(EnvelopeKey),
    )
    async def cloud_key(request: Request) -> dict[str, Any]:
        """The cloud's public key, which a registration is sealed for.

        Some devices tell their own key here (`devicePublicKey`) as a second step. It is read and not kept: the one
        that counts is in the signing request, inside the envelope.
        """
        fields = Fields(await read_json(request, most=_MOST_BODY))
        if fields.maybe("uuid"):
            fields.uuid("uuid")
        is_second = bool(fields.maybe("devicePublicKey", lines=True))
        fields.done("the question for the cloud's key")
        told = doors.envelope_keys.told.write()
        return {"success": True, **told} if is_second else told

    @router.post(requests.REGISTER_V2, dependencies=[Depends(with_key)], responses=answered(Registration))
    async def register_sealed(request: Request) -> dict[str, Any]:
        """Take in the device whose registration the envelope holds."""

        async def act() -> Granted:
            opened = doors.envelope_keys.open(await read_json(request, most=_MOST_BODY))
            return await doors.registrar.register(requests.read_register(opened), _name(request))

        return doors.offer.v2(await doors.watched(REGISTER, request, None, act()))

    @router.post(
        requests.REGISTER, dependencies=[Depends(with_key)], responses=answered(DeployedRegistration)
    )
    async def register_open(request: Request) -> dict[str, Any]:
        """Take in a device as agents in use ask for it; the provisioning key is the bearer token."""

        async def act() -> Granted:
            if not (key := bearer(request)):
                raise KeyUnknown("the provisioning key is missing", hint="send it as bearer token")
            asked = requests.read_register(await read_json(request, most=_MOST_BODY), key)
            return await doors.registrar.register(asked, _name(request))

        return doors.offer.deployed(await doors.watched(REGISTER, request, None, act()))

    _ = cloud_key, register_sealed, register_open
    return router


def proving_router(doors: Doors) -> APIRouter:
    """Return what a registered device does: prove itself, and have its certificate renewed."""
    router = APIRouter(tags=["provisioning"], route_class=DeviceRoute)
    anybody = CheckedInside("a device's uuid; an answer is worth nothing without its private key")
    with_key = CheckedInside("the device's API key, and its signature")
    own = OwnDevice(doors.device_service)

    @router.post("/device/{uuid}/challenge", responses=answered(DeviceChallenge))
    async def challenge(request: Request, uuid: Annotated[str, Depends(anybody)]) -> dict[str, str]:
        """Something to sign; one for a device at a time."""
        asked_by, api_key = _name(request), request.headers.get(requests.AGENT_KEY_HEADER, "")
        act = doors.proving.challenge(uuid, asked_by, api_key)
        return answers.write_challenge(await doors.watched(CHALLENGE, request, uuid, act))

    @router.post("/device/{uuid}/key-exchange", responses=answered(KeysProven))
    async def key_exchange(request: Request, uuid: Annotated[str, Depends(with_key)]) -> dict[str, Any]:
        """The device shows that it has the keys that it registered."""

        async def act() -> dict[str, Any]:
            agent_key = request.headers.get(requests.AGENT_KEY_HEADER, "") or bearer(request)
            asked = requests.read_key_exchange(await read_json(request, most=_MOST_BODY), agent_key)
            shown = bearer(request)
            if shown and shown != asked.device_api_key:
                raise BodyInvalid("deviceApiKey is another key than the bearer token")
            if not asked.device_api_key:
                raise DeviceKeyMissing
            device = await doors.proving.exchange(uuid, asked)
            described = {"id": device.number, "uuid": device.uuid, "deviceName": device.name}
            return {"status": "ok", "success": True, "device": described}

        return await doors.watched(KEY_EXCHANGE, request, uuid, act())

    @router.post("/device/{uuid}/certificate", responses=answered(DeviceCertificate))
    async def certificate(request: Request, uuid: Annotated[str, Depends(own)]) -> dict[str, str]:
        """A certificate for the key of a signing request."""
        csr = certificates.read_certificate_request(await read_json(request, most=_MOST_BODY))
        return (await doors.proving.renew_certificate(uuid, csr)).write()

    _ = challenge, key_exchange, certificate
    return router


def _name(request: Request) -> str:
    return request.headers.get(requests.IDEMPOTENCY_HEADER, "").strip()
