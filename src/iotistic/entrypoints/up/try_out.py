"""The agent beside an installation: taken into the fleet by the doors that every device comes by, with an app to try."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from iotistic.agent.local_api.address import PORT
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import Home

log = structlog.get_logger()

SCOPE = "try"
"""Sets its containers apart from those of a real agent on the same Docker."""
NAME = "this machine"
_FLEET = "default-fleet"
_TARGET: Mapping[str, Any] = {
    "apps": {
        "try": {
            "appId": "try",
            "appName": "try",
            "services": [
                {
                    "serviceId": 1,
                    "serviceName": "hello",
                    "config": {
                        "image": "busybox:stable",
                        "command": ["sh", "-c", "while :; do date; sleep 10; done"],
                        "volumes": ["data:/data"],
                        "stopTimeoutSeconds": 1,
                    },
                }
            ],
        }
    },
    "config": {},
}
_FIRST_VERSION = 1
_ANSWER_WITHIN_S = 60.0


class NotTakenIn(Unavailable):
    """The agent beside the installation could not be taken into its fleet."""

    code = "up.agent_not_taken_in"


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Provisioned(_Answer):
    provisioned: bool
    uuid: str
    problem: str | None = None


class _Key(_Answer):
    key: str


class _Standing(BaseModel):
    version: int
    needs_deployment: bool


def folder(home: Home) -> Path:
    """Return where the agent keeps what it knows."""
    return home.path / "agent"


def introduction(api: str, port: int) -> str:
    """Return how a person gets to know the agent whose device API is on `port`."""
    other = "" if port == PORT else f"DEVICE_API_PORT={port} "
    return f"the agent runs what {api}/docs lets it: PUT /devices/{{uuid}}/target-state; look at it: {other}iotctl status"


class Enrolment:
    """Takes the agent into the fleet once, and gives it the app once; both as an operator would."""

    def __init__(self, api: str, token: str, device_api: str) -> None:
        self._api, self._device_api = f"{api}/api/v1", device_api
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ensure(self) -> str:
        """Return the device's uuid once it is in the fleet and has something to run. Raises NotTakenIn."""
        try:
            async with (
                httpx2.AsyncClient(base_url=self._api, headers=self._headers, timeout=30) as cloud,
                httpx2.AsyncClient(base_url=self._device_api, timeout=_ANSWER_WITHIN_S) as device,
            ):
                uuid = await self._taken_in(cloud, device)
                await self._deployed(cloud, uuid)
                return uuid
        except (httpx2.HTTPError, ValidationError) as exc:
            raise NotTakenIn(f"the agent could not be taken into the fleet: {exc}") from exc

    async def _taken_in(self, cloud: httpx2.AsyncClient, device: httpx2.AsyncClient) -> str:
        standing = _read(await device.get("/v1/provision/status"), _Provisioned)
        if not standing.provisioned:
            asked = {"fleetId": _FLEET, "maxDevices": 1, "expiresInDays": 1, "description": NAME}
            key = _read(await cloud.post("/provisioning-keys", json=asked), _Key).key
            given = {"provisioningApiKey": key, "deviceName": NAME, "apiEndpoint": self._api}
            standing = _read(await device.post("/v1/provision", json=given), _Provisioned)
        if not standing.provisioned:
            raise NotTakenIn(standing.problem or "the agent could not be taken into the fleet")
        return standing.uuid

    async def _deployed(self, cloud: httpx2.AsyncClient, uuid: str) -> None:
        """Deploy the app to a device that nobody has given anything yet."""
        path = f"/devices/{uuid}/target-state"
        standing = _read(await cloud.get(path), _Standing)
        if standing.version > _FIRST_VERSION or standing.needs_deployment:
            return
        _read(await cloud.put(path, json=_TARGET), _Standing)
        answer = await cloud.post(f"/devices/{uuid}/deploy", json={"expected_version": _FIRST_VERSION})
        answer.raise_for_status()
        log.info("agent.deployed_to", device_uuid=uuid)


def _read(answer: httpx2.Response, shape: type[Any]) -> Any:
    if answer.is_error:
        raise NotTakenIn(f"{answer.url.path} answered {answer.status_code}: {answer.text[:300]}")
    return TypeAdapter(shape).validate_json(answer.content)


async def ensure_enrolled(api: str, token: str, device_api: str, *, tries: int = 5) -> str:
    """Return the uuid of the agent; what is not ready yet is asked again. Raises NotTakenIn."""
    enrolment = Enrolment(api, token, device_api)
    for _ in range(tries - 1):
        try:
            return await enrolment.ensure()
        except NotTakenIn as exc:
            log.info("agent.not_taken_in_yet", reason=exc.message)
            await asyncio.sleep(1)
    return await enrolment.ensure()
