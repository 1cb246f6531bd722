"""Whether the agent is there, what the device is, and the machine under it."""

from typing import Any

from aiohttp import web

from iotistic.agent.local_api import shapes
from iotistic.agent.local_api.bodies import read_body, read_force
from iotistic.agent.local_api.ports import Host, Parts
from iotistic.agent.local_api.problems import NotPossible
from iotistic.agent.reconcile.locks import LockHeld


class DeviceRoutes:
    """`/ping` says that somebody answers, and nothing else: it is the one route without a key."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/ping", self.ping),
            web.get("/v1/healthy", self.healthy),
            web.get("/v1/device", self.device),
            web.get("/v2/device", self.device),
            web.get("/v2/device/name", self.name),
            web.get("/v2/version", self.version),
            web.post("/v1/reboot", self.reboot),
            web.post("/v1/shutdown", self.shutdown),
            web.post("/v1/agent/restart", self.restart_agent),
        ]

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer."""
        return web.Response(text="OK")

    async def healthy(self, _request: web.Request) -> web.Response:
        """Answer 200 while the container engine answers, 503 otherwise."""
        away = self._parts.loop.standing.engine_away
        body = {"status": "unhealthy" if away else "ok", **shapes.standing(self._parts)}
        return web.json_response(body, status=503 if away else 200)

    async def device(self, _request: web.Request) -> web.Response:
        """Return what the device is and how it stands."""
        return web.json_response(
            {**self._identity(), **shapes.standing(self._parts), "status": self._status()}
        )

    async def name(self, _request: web.Request) -> web.Response:
        """Return the device's name."""
        return web.json_response({"status": "success", "deviceName": self._identity()["deviceName"]})

    async def version(self, _request: web.Request) -> web.Response:
        """Return the agent's version."""
        return web.json_response({"status": "success", "version": self._parts.version})

    async def reboot(self, request: web.Request) -> web.Response:
        """Restart the machine."""
        host = await self._undisturbed(request)
        await host.reboot()
        return _accepted()

    async def shutdown(self, request: web.Request) -> web.Response:
        """Switch the machine off."""
        host = await self._undisturbed(request)
        await host.shutdown()
        return _accepted()

    async def restart_agent(self, request: web.Request) -> web.Response:
        """Start the agent anew; containers go on."""
        (await read_body(request)).check()
        await _host(self._parts).restart_agent()
        return _accepted()

    async def _undisturbed(self, request: web.Request) -> Host:
        """Return the machine, when no app minds. Raises LockHeld."""
        body = await read_body(request)
        force = read_force(body)
        body.check()
        held = sorted(self._parts.facts().locked)
        if held and not force:
            raise LockHeld(f"locks are held by the apps {', '.join(held)}", hint="use force to do it anyway")
        return _host(self._parts)

    def _identity(self) -> dict[str, Any]:
        provisioning, config = self._parts.provisioning, self._parts.config
        known: dict[str, Any] = {"agentVersion": self._parts.version, "provisioned": False, "uuid": None}
        known |= {"deviceId": None, "deviceName": config.get("DEVICE_NAME").value}
        if provisioning is not None:
            status = provisioning.status()
            known |= {
                "uuid": status.uuid,
                "deviceId": status.device_id or None,
                "deviceName": status.device_name or known["deviceName"],
                "provisioned": status.provisioned,
                "apiEndpoint": status.api_endpoint or None,
            }
        return {**known, "deviceType": config.get("DEVICE_TYPE").value}

    def _status(self) -> str:
        standing = self._parts.loop.standing
        if standing.engine_away:
            return "engine away"
        return "idle" if standing.settled_at is not None else "updating"


def _host(parts: Parts) -> Host:
    if parts.host is None:
        raise NotPossible("this agent does not control the machine")
    return parts.host


def _accepted() -> web.Response:
    return web.json_response({"status": "accepted"}, status=202)
