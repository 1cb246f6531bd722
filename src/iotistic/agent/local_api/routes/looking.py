"""Looking into the agent: its plan, its parts, the machine, jobs, log lines."""

from aiohttp import web

from iotistic.agent.local_api import shapes
from iotistic.agent.local_api.bodies import count_in, switch_in
from iotistic.agent.local_api.ports import Document, Parts
from iotistic.agent.local_api.problems import NotPossible
from iotistic.agent.local_api.streaming import BEAT_S, stream
from iotistic.agent.operations.finding import find_service
from iotistic.agent.reporting.machine import describe_interfaces, describe_machine
from iotistic.kernel.errors import Unavailable

_LINES, _MOST_LINES = 100, 100_000
_MOST_FOLLOWERS = 16


class TooManyFollowers(Unavailable):
    """Too many callers follow the logs already."""

    code = "device_api.too_many_followers"


class LookingRoutes:
    """Nothing here changes anything."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._followers = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v2/plan", self.plan),
            web.get("/v2/diagnostics", self.diagnostics),
            web.get("/v2/metrics", self.metrics),
            web.get("/v2/jobs", self.jobs),
            web.get("/v2/connection/health", self.connection),
            web.get("/v2/logs", self.logs),
            web.get("/v1/services/{service}/logs", self.service_logs),
        ]

    async def plan(self, _request: web.Request) -> web.Response:
        """Return what would be done now, and why."""
        return web.json_response(shapes.plan(self._parts))

    async def diagnostics(self, _request: web.Request) -> web.Response:
        """Return what every part says of itself."""
        parts = self._parts
        return web.json_response(
            {
                "agentVersion": parts.version,
                **shapes.plan(parts),
                "services": shapes.services(parts),
                "parts": {name: dict(tell()) for name, tell in (parts.diagnoses or {}).items()},
                "machine": self._machine(),
            }
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        """Return figures of the machine, named as in reports."""
        if (found := self._machine()) is None:
            raise NotPossible("this agent does not look at the machine")
        return web.json_response(found)

    async def jobs(self, _request: web.Request) -> web.Response:
        """List the last jobs, newest first."""
        if self._parts.jobs is None:
            raise NotPossible("this agent carries out no jobs")
        return web.json_response({"jobs": [shapes.job(one) for one in self._parts.jobs()]})

    async def connection(self, _request: web.Request) -> web.Response:
        """Return how the cloud is reached."""
        tell = (self._parts.diagnoses or {}).get("cloud")
        return web.json_response(dict(tell()) if tell is not None else {"status": "offline", "cloud": None})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Return the last log lines, or with `follow` everything from there on as NDJSON.

        A service that is gone still has its lines; one that nobody ever heard of is told as such.
        """
        service = request.query.get("service")
        if service and self._parts.logs is not None and not self._parts.logs.recent(1, service):
            find_service(self._parts.operations.target, service)
        return await self._logs(request, service)

    async def service_logs(self, request: web.Request) -> web.StreamResponse:
        """Do the same for one service."""
        _, service = find_service(
            self._parts.operations.target, request.match_info["service"], request.query.get("app", "")
        )
        return await self._logs(request, service.key.service_id)

    async def _logs(self, request: web.Request, service: str | None) -> web.StreamResponse:
        if self._parts.logs is None:
            raise NotPossible("this agent keeps no log lines")
        count = count_in(request, "lines", _LINES, _MOST_LINES)
        if not switch_in(request, "follow"):
            recent = self._parts.logs.recent(count, service)
            return web.json_response({"count": len(recent), "logs": [one.document() for one in recent]})
        if self._followers >= _MOST_FOLLOWERS:
            raise TooManyFollowers(f"{_MOST_FOLLOWERS} callers follow the logs", retry_after_s=BEAT_S)
        self._followers += 1
        try:
            lines = self._parts.logs.follow(service, recent=count)
            return await stream(request, (line.written() async for line in lines))
        finally:
            self._followers -= 1

    def _machine(self) -> Document | None:
        if self._parts.machine is None:
            return None
        machine = self._parts.machine()
        return {**describe_machine(machine), "network_interfaces": describe_interfaces(machine.interfaces)}
