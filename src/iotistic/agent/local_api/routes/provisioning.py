"""Bringing the device into a fleet and out of it again."""

from typing import Any

from aiohttp import web

from iotistic.agent.local_api.bodies import read_body
from iotistic.agent.local_api.key import LocalKey
from iotistic.agent.local_api.ports import Parts, Provisioning
from iotistic.agent.local_api.problems import NotPossible
from iotistic.agent.local_api.shapes import iso
from iotistic.agent.local_config.config import Source
from iotistic.agent.local_config.options import endpoint, name
from iotistic.agent.provisioning.model import Farewell, ProvisioningRequest, ProvisioningStatus
from iotistic.planning.faults import text


class ProvisioningRoutes:
    """The shapes that dashboards know."""

    def __init__(self, parts: Parts, key: LocalKey) -> None:
        self._parts, self._key = parts, key

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/provision", self.provision),
            web.get("/v1/provision/status", self.status),
            web.post("/v1/deprovision", self.deprovision),
            web.post("/v1/factory-reset", self.factory_reset),
        ]

    async def status(self, _request: web.Request) -> web.Response:
        """Return how far the device is with its cloud."""
        return web.json_response(_status(self._provisioning().status()))

    async def provision(self, request: web.Request) -> web.Response:
        """Bring the device into a fleet."""
        body = await read_body(request)
        if not body.has("provisioningApiKey"):
            body.fault("provisioningApiKey", "is missing")
        given = {
            "provisioning_key": body.read("provisioningApiKey", _key),
            "api_endpoint": body.read("apiEndpoint", endpoint) or self._set("CLOUD_API_ENDPOINT"),
            "device_name": body.read("deviceName", name) or self._set("DEVICE_NAME"),
            "device_type": body.read("deviceType", name) or self._set("DEVICE_TYPE"),
            "application_id": body.read("applicationId", _id),
        }
        if not given["api_endpoint"] and not (
            body.has("apiEndpoint") or self._provisioning().status().provisioned
        ):
            body.fault("apiEndpoint", "is missing: the address of the cloud (`--api URL`)")
        body.check()
        request_made = ProvisioningRequest(**{field: value or "" for field, value in given.items()})
        status = await self._provisioning().provision(request_made)
        return web.json_response({"status": "ok", "success": True, **_status(status)})

    async def deprovision(self, request: web.Request) -> web.Response:
        """Leave the fleet; uuid and device key stay, and so does the key of this API."""
        (await read_body(request)).check()
        provisioning = self._provisioning()
        farewell = await provisioning.deprovision()
        await self._key.keep()
        return _left(farewell, provisioning)

    async def factory_reset(self, request: web.Request) -> web.Response:
        """Forget everything but the uuid; the key of this API becomes another one."""
        (await read_body(request)).check()
        provisioning = self._provisioning()
        farewell = await provisioning.factory_reset()
        await self._parts.config.forget()
        await self._key.renew()
        return _left(farewell, provisioning)

    def _set(self, option: str) -> str:
        """Return what was set for an option; its default is left to whoever provisions."""
        setting = self._parts.config.get(option)
        return "" if setting.source is Source.DEFAULT else str(setting.value)

    def _provisioning(self) -> Provisioning:
        if self._parts.provisioning is None:
            raise NotPossible("this agent works without a cloud")
        return self._parts.provisioning


def _left(farewell: Farewell, provisioning: Provisioning) -> web.Response:
    told = {"cloudTold": farewell.is_cloud_told, "cloudNotToldBecause": farewell.reason or None}
    return web.json_response({"status": "ok", "success": True, **told, **_status(provisioning.status())})


def _status(status: ProvisioningStatus) -> dict[str, Any]:
    return {
        "provisioned": status.provisioned,
        "uuid": status.uuid,
        "deviceId": status.device_id or None,
        "deviceName": status.device_name or None,
        "apiEndpoint": status.api_endpoint or None,
        "hasProvisioningKey": status.has_provisioning_key,
        "mqttConfigured": status.mqtt_configured,
        "state": str(status.state),
        "problem": status.problem or None,
        "problemCode": status.problem_code or None,
        "nextTryAt": iso(status.next_try_at),
    }


def _key(value: object) -> str:
    """Read a secret: what is wrong with it is told without it. Raises ValueError."""
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= 512 or not value.isprintable():  # noqa: PLR2004
        raise ValueError("is to be a text of 1 to 512 characters")
    return value.strip()


def _id(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
