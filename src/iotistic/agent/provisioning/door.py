"""The routes of the cloud by which a device becomes known, and its refusals as this room's errors.

A refusal is believed only in the cloud's own words (JSON with a reason): a proxy's or a hotel's error page is
an answer from somebody else, and passes. What seals a registration is loaded by the one that a device makes.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable, CloudUnintelligible
from iotistic.agent.link.transport import CloudTransport
from iotistic.agent.provisioning.errors import (
    DeviceLimitReached,
    DeviceTaken,
    ProvisioningKeyRefused,
    ProvisioningRejected,
    Refusal,
)
from iotistic.contracts.provisioning import answers, requests
from iotistic.contracts.provisioning.challenges import Challenge
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.kernel.errors import IotisticError

T = TypeVar("T")

_NOT_FOUND, _CONFLICT = 404, 409
_REMOVE = "remove the device in the cloud, then provision again"
_NEW_KEY = "get a new provisioning key from the cloud"
_REFUSED: Mapping[object, tuple[type[Refusal], str | None]] = {
    401: (ProvisioningKeyRefused, _NEW_KEY),
    402: (DeviceLimitReached, None),
    403: (ProvisioningKeyRefused, _NEW_KEY),
    404: (ProvisioningRejected, "check the endpoint: nothing is provisioned there"),
    409: (DeviceTaken, _REMOVE),
}
_PASSING_STATUS = frozenset({408, 421, 423, 425})
_PASSING = frozenset({"provisioning.key_id_unknown", "provisioning.in_progress"})
_CHALLENGE_LIVES_ON_S = 60.0


class DeviceGone(CloudUnavailable):
    """The cloud does not know the device any more."""

    code = "provisioning.device_gone"


class ProofRefused(DeviceTaken):
    """The cloud does not accept the proof of our key."""


class Door:
    """Speaks for one device that is not known yet."""

    def __init__(self, transport: CloudTransport, uuid: str) -> None:
        self._transport, self._uuid = transport, uuid

    async def register(
        self, request: requests.RegisterRequest, idempotency_key: str
    ) -> answers.RegisterAnswer:
        """Ask to be known. Raises DeviceTaken when a device of this uuid is, and what passes as link errors."""
        from iotistic.contracts.provisioning import envelope  # noqa: PLC0415  megabytes, needed once in a life

        key = _understood(
            answers.read_cloud_key, await self._post(requests.KEY_EXCHANGE_V2, {"uuid": self._uuid})
        )
        addressed = envelope.Addressed(key.key_id, self._uuid)
        try:
            sealed = envelope.seal(request.write(), envelope.read_cloud_key(key.public_key), addressed)
        except ProvisioningInvalid as exc:
            raise CloudUnintelligible(exc.message) from exc
        headers = {requests.IDEMPOTENCY_HEADER: idempotency_key}
        document = await self._post(requests.REGISTER_V2, sealed, headers)
        return _understood(lambda answer: answers.read_register_answer(answer, self._uuid), document)

    async def challenge(self, api_key: str, idempotency_key: str) -> Challenge | None:
        """Ask for something to sign; None where the cloud knows no such thing."""
        headers = {requests.AGENT_KEY_HEADER: api_key, requests.IDEMPOTENCY_HEADER: idempotency_key}
        path = requests.challenge_path(self._uuid)
        try:
            answer = await self._transport.ask("POST", path, body={}, headers=headers)
        except CloudRefused as exc:
            if _status(exc) == _NOT_FOUND and _reason(exc):
                return None
            if _status(exc) == _CONFLICT:
                raise CloudUnavailable(exc.message, retry_after_s=_CHALLENGE_LIVES_ON_S) from exc
            raise _refusal(exc) from exc
        except CloudDenied as exc:
            raise _proof_refused(exc) from exc
        return _understood(answers.read_challenge_answer, answer.document())

    async def key_exchange(self, request: requests.KeyExchangeRequest) -> str:
        """Show that the device has its keys; return its id. Raises ProofRefused, DeviceGone."""
        api_key = request.device_api_key
        headers = {requests.AGENT_KEY_HEADER: api_key, "Authorization": f"Bearer {api_key}"}
        path = requests.key_exchange_path(self._uuid)
        try:
            answer = await self._transport.ask("POST", path, body=request.write(), headers=headers)
        except CloudDenied as exc:
            raise _proof_refused(exc) from exc
        except CloudRefused as exc:
            if _status(exc) == _NOT_FOUND and _reason(exc):
                raise DeviceGone(exc.message) from exc
            raise _refusal(exc) from exc
        return _understood(answers.read_key_exchange_answer, answer.document())

    async def leave(self, api_key: str) -> None:
        """Tell that the device is gone; one that is not known is gone. Raises the link's errors."""
        try:
            await self._transport.ask(
                "DELETE", requests.device_path(self._uuid), headers={"X-Device-API-Key": api_key}
            )
        except CloudRefused as exc:
            if _status(exc) != _NOT_FOUND or not _reason(exc):
                raise

    async def _post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            return (await self._transport.ask("POST", path, body=body, headers=headers)).document()
        except (CloudDenied, CloudRefused) as exc:
            raise _refusal(exc) from exc


def _refusal(exc: CloudDenied | CloudRefused) -> IotisticError:
    """Return what a refused registration means."""
    status, reason = _status(exc), _reason(exc)
    if not reason:
        return CloudUnintelligible(f"somebody who is not the cloud answers: {exc.message}")
    if status in _PASSING_STATUS or reason in _PASSING:
        return CloudUnavailable(exc.message)
    kind, hint = _REFUSED.get(status, (ProvisioningRejected, exc.hint))
    return kind(exc.message, hint=hint or exc.hint)


def _proof_refused(exc: CloudDenied) -> IotisticError:
    if not _reason(exc):
        return CloudUnintelligible(f"somebody who is not the cloud answers: {exc.message}")
    return ProofRefused(exc.message, hint=_REMOVE)


def _understood(read: Callable[[object], T], document: object) -> T:
    try:
        return read(document)
    except ProvisioningInvalid as exc:
        raise CloudUnintelligible(exc.message) from exc


def _status(exc: IotisticError) -> object:
    return exc.fields.get("status")


def _reason(exc: IotisticError) -> object:
    return exc.fields.get("reason")
