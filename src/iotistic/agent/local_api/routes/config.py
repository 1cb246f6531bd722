"""The agent's settings that can be changed on the device."""

from aiohttp import web

from iotistic.agent.local_api import shapes
from iotistic.agent.local_api.bodies import read_body
from iotistic.agent.local_api.ports import Parts


class ConfigRoutes:
    """Settings by name; the names are those of the environment variables."""

    def __init__(self, parts: Parts) -> None:
        self._config = parts.config

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/config", self.show),
            web.patch("/v1/config", self.change),
            web.delete("/v1/config", self.reset),
            web.get("/v1/config/{name}", self.show_one),
            web.delete("/v1/config/{name}", self.reset_one),
        ]

    async def show(self, _request: web.Request) -> web.Response:
        """Return every setting."""
        return web.json_response(shapes.settings(self._config.all()))

    async def show_one(self, request: web.Request) -> web.Response:
        """Return one setting."""
        return web.json_response(shapes.setting(self._config.get(request.match_info["name"])))

    async def change(self, request: web.Request) -> web.Response:
        """Set some settings, all of them or none."""
        body = await read_body(request)
        values = {name: body.raw(name) for name, _ in body.items()}
        body.check()
        return web.json_response(shapes.change(await self._config.set(values)))

    async def reset(self, request: web.Request) -> web.Response:
        """Forget everything that was set here."""
        (await read_body(request)).check()
        return web.json_response(shapes.change(await self._config.reset()))

    async def reset_one(self, request: web.Request) -> web.Response:
        """Forget what one setting was set to here."""
        (await read_body(request)).check()
        return web.json_response(shapes.change(await self._config.reset(request.match_info["name"])))
