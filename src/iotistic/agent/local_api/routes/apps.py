"""Apps and services: how they stand, and what can be asked of them. Names may stand for ids everywhere.

An operation is answered when it is done (200), or with 202 when it goes on after the time that the caller
waits (`wait`, in seconds); `waiting` then says why. 423 means that the app holds its lock.
"""

from aiohttp import web

from iotistic.agent.local_api import shapes
from iotistic.agent.local_api.bodies import Body, called, read_body, read_force, read_wait
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.operations.finding import AppUnknown, ServiceUnknown, find_app, find_service
from iotistic.agent.operations.operations import Verb
from iotistic.agent.operations.outcome import Outcome

_OF_SERVICES = {
    "start-service": Verb.START,
    "stop-service": Verb.STOP,
    "pause-service": Verb.PAUSE,
    "restart-service": Verb.RESTART,
}


class AppRoutes:
    """What the contract calls v1 and v2, side by side: both do the same."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._operations = parts, parts.operations

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        verbs = "|".join(Verb)
        return [
            web.get("/v1/apps", self.apps),
            web.get("/v1/apps/{app}", self.app),
            web.post(f"/v1/apps/{{app}}/{{verb:{verbs}}}", self.change_app),
            web.post("/v1/apps/{app}/purge", self.purge_app),
            web.post("/v1/restart", self.restart),
            web.post("/v1/purge", self.purge),
            web.get("/v1/services", self.services),
            web.get("/v1/services/{service}", self.service),
            web.post(f"/v1/services/{{service}}/{{verb:{verbs}}}", self.change_service),
            web.get("/v2/applications/state", self.state),
            web.get("/v2/applications/{app}/state", self.app),
            web.post(f"/v2/applications/{{app}}/{{verb:{verbs}}}", self.change_app),
            web.post("/v2/applications/{app}/purge", self.purge_app),
            web.post(f"/v2/applications/{{app}}/{{verb:{'|'.join(_OF_SERVICES)}}}", self.change_service_of),
        ]

    async def apps(self, _request: web.Request) -> web.Response:
        """List all apps."""
        return web.json_response({"apps": list(shapes.apps(self._parts).values())})

    async def state(self, _request: web.Request) -> web.Response:
        """Return all apps by id, and how far the device is."""
        return web.json_response({"apps": shapes.apps(self._parts), **shapes.standing(self._parts)})

    async def app(self, request: web.Request) -> web.Response:
        """Return one app."""
        wanted, found = request.match_info["app"], shapes.apps(self._parts)
        if wanted not in found:
            wanted = find_app(self._operations.target, wanted).id
        if wanted not in found:
            raise AppUnknown
        return web.json_response(found[wanted])

    async def services(self, request: web.Request) -> web.Response:
        """List services, with `?app=` of one app."""
        app = request.query.get("app")
        app_id = find_app(self._operations.target, app).id if app else None
        return web.json_response({"services": shapes.services(self._parts, app_id)})

    async def service(self, request: web.Request) -> web.Response:
        """Return one service."""
        _, service = find_service(
            self._operations.target, request.match_info["service"], request.query.get("app", "")
        )
        for one in shapes.services(self._parts, service.key.app_id):
            if str(one["serviceId"]) == service.key.service_id:
                return web.json_response(one)
        raise ServiceUnknown

    async def change_app(self, request: web.Request) -> web.Response:
        """Start, stop, pause or restart every service of an app; with `serviceName`, one of them."""
        body = await read_body(request)
        service = body.read("serviceName", called)
        return await self._change(Verb(request.match_info["verb"]), request.match_info["app"], service, body)

    async def change_service(self, request: web.Request) -> web.Response:
        """Start, stop, pause or restart one service."""
        body = await read_body(request)
        app = body.read("appId", called) or request.query.get("app", "")
        return await self._change(Verb(request.match_info["verb"]), app, request.match_info["service"], body)

    async def change_service_of(self, request: web.Request) -> web.Response:
        """Do the same with a service that the body names."""
        body = await read_body(request)
        service = body.read("serviceName", called) or body.read("serviceId", called)
        body.raw("serviceId")
        if not body.has("serviceName") and not body.has("serviceId"):
            body.fault("serviceName", "is missing; serviceId would do as well")
        return await self._change(
            _OF_SERVICES[request.match_info["verb"]], request.match_info["app"], service or "", body
        )

    async def restart(self, request: web.Request) -> web.Response:
        """Restart every service of the app that the body names."""
        body = await read_body(request)
        return await self._change(Verb.RESTART, _app_in(body), None, body)

    async def purge(self, request: web.Request) -> web.Response:
        """Remove the data of the app that the body names."""
        body = await read_body(request)
        return await self._purge(_app_in(body), body)

    async def purge_app(self, request: web.Request) -> web.Response:
        """Remove the data of an app."""
        return await self._purge(request.match_info["app"], await read_body(request))

    async def _change(self, verb: Verb, app: str, service: str | None, body: Body) -> web.Response:
        force, wait_s = read_force(body), read_wait(body)
        body.check()
        if service is None:
            return _answer(await self._operations.app(verb, app, force=force, wait_s=wait_s))
        return _answer(await self._operations.service(verb, service, app=app, force=force, wait_s=wait_s))

    async def _purge(self, app: str, body: Body) -> web.Response:
        force, wait_s = read_force(body), read_wait(body)
        body.check()
        return _answer(await self._operations.purge(app, force=force, wait_s=wait_s))


def _app_in(body: Body) -> str:
    if not body.has("appId"):
        body.fault("appId", "is missing")
    return body.read("appId", called) or ""


def _answer(outcome: Outcome) -> web.Response:
    return web.json_response(shapes.outcome(outcome), status=200 if outcome.done else 202)
